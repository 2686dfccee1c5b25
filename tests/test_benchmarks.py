"""The peers of the speed comparison integrate what gl15 integrates."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest


BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"
CASES = [("open", 0.0), ("open", 0.3), ("periodic", 0.0), ("periodic", 0.3)]
IDS = ["open", "open with drag", "torus", "torus with drag"]


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Scripts find each other in their folder, as when one of them is run."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def found(name, problem, **options):
    """A peer, or a skip with the reason why it is not here."""
    import importlib

    from peer_steps.problem import Missing

    try:
        return importlib.import_module(f"peer_steps.{name}").peers(problem, **options)
    except Missing as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize(("boundary", "drag"), CASES, ids=IDS)
def test_the_problem_is_the_one_of_gl15(boundary, drag):
    # The links that NumPy, Numba and plain JAX read, against gl15's own.
    from peer_steps.problem import Problem

    problem = Problem((12, 10), boundary, drag)
    phases = np.asarray(problem.tdgl().links.phases((12, 10)))
    for own, phase in zip(problem.links, phases, strict=True):
        there = own != 0
        np.testing.assert_allclose(own[there], np.exp(-1j * phase[there]), atol=1e-12)
    missing = sum(int((own == 0).sum()) for own in problem.links)
    assert missing == (22 if boundary == "open" else 0)


@pytest.mark.parametrize(("boundary", "drag"), CASES, ids=IDS)
@pytest.mark.parametrize("name", ["numpy_roll", "jax_roll", "numba_loops", "c_kernel"])
def test_peer_agrees_with_the_right_hand_side(name, boundary, drag):
    from peer_steps.check import agreement
    from peer_steps.problem import Problem

    # 12 x 10: unequal sides; a vector of the C kernel is 2 sites, a row 5 of them.
    problem = Problem((12, 10), boundary, drag)
    for peer in found(name, problem):
        assert agreement(peer, problem)


@pytest.mark.parametrize("shape", [(5, 9), (6, 16), (4, 48)])
@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_c_kernel_in_any_vector_width_and_on_threads(shape, boundary):
    # Rows of one vector, of several, and vectors of one site.
    from peer_steps.check import agreement
    from peer_steps.problem import Problem

    problem = Problem(shape, boundary, 0.3)
    for peer in found("c_kernel", problem, batch=5, threads=2):
        assert agreement(peer, problem)


@pytest.mark.parametrize(("boundary", "drag"), [("open", 0.3), ("periodic", 0.0)])
def test_gl15_flow_and_evolution_agree(boundary, drag):
    from peer_steps.check import agreement
    from peer_steps.gl15_loops import BareLoop, Evolve, Integrate
    from peer_steps.problem import Problem

    problem = Problem((12, 10), boundary, drag)
    for peer in (
        Evolve(problem),
        Integrate(problem, 2),
        BareLoop(problem, 2),
    ):
        assert agreement(peer, problem)


def test_gl15_ensemble_agrees():
    from peer_steps.check import agreement
    from peer_steps.gl15_loops import Simulate
    from peer_steps.problem import Problem

    problem = Problem((12, 10), "periodic", 0.3)
    assert agreement(Simulate(problem, batch=3, workers=2), problem)


def test_a_peer_that_disagrees_is_refused():
    from peer_steps.check import agreement, Disagreement
    from peer_steps.numpy_roll import NumpyRoll
    from peer_steps.problem import Problem

    problem = Problem((12, 10), "periodic")
    # The seam forgotten: plain wrapping, which looks right everywhere else.
    peer = NumpyRoll(problem)
    peer.forward[0][-1] = 1
    with pytest.raises(Disagreement, match="not timed"):
        agreement(peer, problem)


def test_the_script_runs(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- figures: begin -->\n<!-- figures: end -->\nafter\n")
    options = "--sites 16 --rounds 1 --steps 0.02 --cores 1 --only NumPy kernel"
    run = subprocess.run(
        [
            sys.executable,
            str(BENCHMARKS / "peers.py"),
            *options.split(),
            "--table",
            str(page),
        ],
        env=os.environ | {"PYTHONPATH": str(BENCHMARKS.parent)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    figures = json.loads(run.stdout)
    assert figures["environment"]["date"]
    for column in figures["per_core"].values():
        assert column["NumPy, roll | complex64"]["rate"] > 0
    text = page.read_text()
    assert "NumPy, roll, complex64" in text
    assert text.startswith("before") and text.endswith("after\n")
