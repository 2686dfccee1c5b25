"""Reading ensembles from disk: in parts, larger than memory, and what is strange."""

import json
import os
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from gl15.simulation import (
    Ensemble,
    inspect_ensemble,
    NonFiniteSimulationError,
    open_ensemble,
    Prior,
    simulate,
)


PRIOR = Prior({"b": dist.Uniform(0.0, 1.0), "a": dist.Normal(0.0, 1.0)})
KEY = jax.random.key(7)
N = 300


class Noisy(eqx.Module):
    channels: tuple[str, ...] = ("u", "v")
    spacing: float = 0.5
    bad: float = jnp.inf

    def __call__(self, theta, key):
        x = theta["a"] + jax.random.normal(key, (6, 5, 2))
        return jnp.where(theta["a"] > self.bad, jnp.nan, x)


def draw(path, **options):
    bad = options.pop("bad", jnp.inf)
    arguments = {"key": KEY, "batch_size": 20, "progress": False} | options
    return simulate(Noisy(bad=bad), PRIOR, N, path=path, **arguments)


@pytest.fixture(name="path", scope="module")
def _path(tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "noisy.zarr"
    draw(path, load=False)
    return path


@pytest.fixture(name="whole", scope="module")
def _whole():
    return draw(None)


def test_what_is_not_loaded_is_read_in_parts(path, whole):
    stored = draw(path, load=False)
    assert len(stored) == N
    assert stored.spacing == 0.5
    assert stored.channels == ("u", "v")
    assert stored.x_shape == (6, 5, 2)
    assert stored.dtype == whole.x.dtype
    assert list(stored.theta) == ["b", "a"]
    assert stored.plan["simulator"]["type"] == "Noisy"
    for name, value in stored.theta.items():
        np.testing.assert_array_equal(value, whole.theta[name])
    assert stored.shards == [slice(0, 120), slice(120, 240), slice(240, 300)]
    assert stored.complete
    assert stored.finite().all()
    for rows in (*stored.shards, slice(100, 250), slice(-7, None), slice(3, 3)):
        assert eqx.tree_equal(stored.read(rows), whole[rows])
    assert eqx.tree_equal(stored.load(), whole)
    assert eqx.tree_equal(open_ensemble(path, 130).load(), whole[:130])
    assert "300 pairs of {b, a} and 6x5x2 float64" in repr(stored)


def test_what_cannot_be_read_is_refused(path, tmp_path):
    with pytest.raises(ValueError, match="`n`=301, but .* holds 300"):
        open_ensemble(path, 301)
    with pytest.raises(ValueError, match="must be a slice with a step of 1"):
        open_ensemble(path).read(slice(0, 10, 2))
    with pytest.raises(ValueError, match="is a folder, but no ensemble of gl15"):
        open_ensemble(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist; `gl15.simulate`"):
        open_ensemble(tmp_path / "no.zarr")


def test_simulations_that_are_not_finite_are_never_read_in_silence(tmp_path, whole):
    path = tmp_path / "bad.zarr"
    bad = np.flatnonzero(whole.theta["a"] > 1.5)
    assert 3 < bad.size < 50
    with pytest.raises(NonFiniteSimulationError, match=f"{bad.size} simul") as info:
        draw(path, bad=1.5, load=False)
    np.testing.assert_array_equal(info.value.index, bad)
    np.testing.assert_array_equal(info.value.theta["a"], whole.theta["a"][bad])
    good = np.delete(np.arange(N), bad)
    kept = info.value.ensemble
    assert len(kept) == len(good)
    assert eqx.tree_equal(kept.load(), whole[good])

    with pytest.warns(UserWarning, match="Dropped"):
        dropped = draw(path, bad=1.5, load=False, on_nonfinite="drop")
    assert eqx.tree_equal(dropped.load(), whole[good])
    assert dropped.shards[0] == slice(0, int((good < 120).sum()))
    pieces = [dropped.read(rows) for rows in dropped.shards]
    assert eqx.tree_equal(sum(pieces[1:], pieces[0]), whole[good])

    stored = open_ensemble(path)
    assert len(stored) == N
    np.testing.assert_array_equal(np.flatnonzero(~stored.finite()), bad)
    with pytest.raises(NonFiniteSimulationError) as info:
        stored.read(slice(100, 300))
    np.testing.assert_array_equal(info.value.index, bad[bad >= 100])
    assert open_ensemble(path, on_nonfinite="drop").finite().all()


def test_strange_simulations_are_found_with_their_theta(path, whole):
    x = np.array(whole.x)
    x[10, 2, 2, 1] = np.inf
    x[20] = 0.5
    x[30] *= 1e9
    x[40, ..., 1] = 1e-9 * x[40, ..., 1]
    strange = Ensemble(whole.theta, jnp.asarray(x), 0.5, ("u", "v"))
    found = inspect_ensemble(strange)
    assert (found.n, found.missing) == (N, 0)
    assert found.nonfinite.tolist() == [10]
    assert found.constant.tolist() == [20]
    assert found.outliers.tolist() == [30, 40]
    assert (found.score > 8).all()
    lines = str(found).splitlines()
    assert lines[1].startswith(
        f"10: not finite, at b={float(whole.theta['b'][10]):.6g}"
    )
    assert [line.split(",")[0] for line in lines[2:]] == [
        "20: constant",
        "30: outlier",
        "40: outlier",
    ]
    for ensemble in (whole, open_ensemble(path)):
        assert str(inspect_ensemble(ensemble)).endswith("nothing strange")


def test_nothing_is_strange_about_vortices_or_vectors():
    from gl15.physics import Lattice, TwoBand
    from gl15.simulation import LinearGaussian, VortexSimulator

    simulator = VortexSimulator(Lattice((12, 12)), TwoBand(), t1=1.0, dt=0.01)
    prior = Prior({"eta": dist.Uniform(0.0, 1.5), "B": dist.Uniform(-0.1, 0.1)})
    vortices = simulate(simulator, prior, 200, key=KEY, progress=False)
    assert str(inspect_ensemble(vortices)).endswith("nothing strange")
    toy = LinearGaussian(((1.0, 0.0), (0.0, 2.0)), names=("a", "b"))
    vectors = simulate(toy, PRIOR, 500, key=KEY, progress=False)
    assert str(inspect_ensemble(vectors)).endswith("nothing strange")


def test_a_magnitude_that_passes_through_zero_is_not_strange():
    rng = np.random.default_rng(0)
    field = rng.uniform(-0.1, 0.1, 20_000)
    x = field[:, None, None, None] * rng.normal(size=(20_000, 3, 3, 1))
    ensemble = Ensemble({"B": jnp.asarray(field)}, jnp.asarray(x))
    assert inspect_ensemble(ensemble).outliers.size == 0


def test_what_is_missing_is_not_looked_at(tmp_path):
    stored = draw(tmp_path / "half.zarr", process=(0, 2))
    found = inspect_ensemble(stored)
    assert (found.n, found.missing) == (180, 120)
    partial = open_ensemble(stored.path, partial=True)
    assert partial.complete
    assert partial.shards == [slice(0, 120), slice(120, 180)]
    found = inspect_ensemble(partial)
    assert (found.n, found.missing) == (180, 0)


MILLION = """
import resource, sys, jax, numpyro.distributions as dist
from gl15.simulation import open_ensemble, Prior
from gl15.simulation._draw import Draws
from gl15.simulation._plan import describe_plan
from gl15.simulation._store import Store

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

def dry(n, path):
    prior = Prior({name: dist.Uniform() for name in ("eta", "B", "nu")})
    key = jax.random.key(0)
    draws = Draws(prior, key, n)
    plan = describe_plan(object(), prior, n, key)
    store = Store(path, plan, draws, batch_size=64, default_batch_size=64)
    store.create((64, 64, 3), "float32")
    starts = store.shards((0, 1)).missing()
    stored = open_ensemble(path)
    assert len(stored) == n == 64 * len(starts) + n % 64 - 64 * (n % 64 > 0)
    assert sum(rows.stop - rows.start for rows in stored.missing) == n

dry(1000, sys.argv[1] + "/small.zarr")
before = peak()
dry(1_000_000, sys.argv[1] + "/large.zarr")
print(peak() - before)
"""


def test_the_index_of_a_million_simulations_takes_little_memory(tmp_path):
    # The images would take 49 GB; theta and its keys are 12 MB and 8 MB.
    done = subprocess.run(
        [sys.executable, "-c", MILLION, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200  # MB


def run_command(*arguments):
    from gl15.simulation._commands import main

    return main([str(one) for one in arguments])


def test_an_ensemble_from_a_shell(tmp_path, capsys):
    pytest.importorskip("tyro")
    path = tmp_path / "shell.zarr"
    options = ["--n", 200, "--size", 8, "--t1", 0.01, "--eta", 0.2, 1.2]
    for part in (1, 0):
        command = ["simulate", path, *options, "--process", f"{part}/2"]
        assert run_command(*command) == 0
        assert ("128 missing" if part else "0 missing") in capsys.readouterr().out
        if part:
            assert run_command("status", path) == 1
            assert "missing: 128" in capsys.readouterr().out
    assert run_command("status", path, "--verify", "--json") == 0
    status = json.loads(capsys.readouterr().out)
    expected = {"n": 200, "done": 200, "missing": 0, "damaged": [], "nonfinite": 0}
    assert status | expected == status
    stored = open_ensemble(path)
    assert 0.2 < stored.theta["eta"].min() < stored.theta["eta"].max() < 1.2

    assert run_command("simulate", path, *options, "--seed", 1) == 1
    assert "ValueError: `path`=" in capsys.readouterr().err
    assert run_command("simulate", path, "--eta", 1, 2, 3) == 1
    assert "--eta takes one number or two" in capsys.readouterr().err


def test_without_tyro_a_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert run_command("status", "nowhere") == 2
    assert 'pip install "gl15[cli]"' in capsys.readouterr().err
