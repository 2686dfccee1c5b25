"""The examples run, on samples small enough for every day."""

import functools
import importlib
import json
import pathlib
import re
import shlex

import matplotlib
import numpy as np
import pytest
import tyro

import gl15


EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


@pytest.fixture
def main_job(monkeypatch):
    matplotlib.use("agg")
    monkeypatch.syspath_prepend(EXAMPLES)
    job = importlib.import_module("recover_josephson")
    sample = gl15.VortexSimulator(
        gl15.Lattice((48, 48), spacing=0.5), gl15.TwoBand(), t1=0.05, dt=0.01
    )
    plan = job.Plan("spectral", 64, 4, 16, 3, 1e-3, 0.1, 40, 20, 2)
    monkeypatch.setattr(job, "SIMULATOR", sample)
    monkeypatch.setattr(job, "PLANS", {"smoke": plan})
    return job


@pytest.mark.slow
def test_the_main_job_resumes_and_reads_a_file(main_job, tmp_path):
    first = main_job.main(plan="smoke", out=tmp_path)
    assert np.isfinite(first["test"]["mean_abs_error"])
    assert first["image"]["nuts_mean"] == pytest.approx(first["image"]["mean"], abs=0.2)
    report = (tmp_path / "report.md").read_text()
    for name in ("image", "posteriors", "recovery", "sbc"):
        assert f"{name}.png" in report
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    assert (
        json.loads((tmp_path / "results.json").read_text())["plan"]["name"] == "smoke"
    )

    estimator = tmp_path / "estimator-smoke-0.npz"
    written = estimator.stat().st_mtime_ns
    again = main_job.main(
        plan="smoke", out=tmp_path, image=tmp_path / "observation.npz"
    )
    assert estimator.stat().st_mtime_ns == written
    assert again["image"]["truth"] is None
    assert again["image"]["mean"] == first["image"]["mean"]
    assert again["test"] == first["test"]


@pytest.mark.parametrize(
    ("size", "spacing", "message"), [(48, 1.0, "`spacing`"), (32, 0.5, "too small")]
)
def test_an_unfit_image_is_refused_before_any_work(
    main_job, tmp_path, size, spacing, message
):
    image = tmp_path / "unfit.npz"
    gl15.save_observation(image, gl15.Observation(np.ones((size, size, 3)), spacing))
    with pytest.raises(SystemExit, match=message):
        main_job.main(plan="smoke", out=tmp_path / "runs", image=image)
    assert not (tmp_path / "runs").exists()


def test_an_image_is_read_with_the_trained_estimator(monkeypatch, tmp_path):
    matplotlib.use("agg")
    monkeypatch.syspath_prepend(EXAMPLES)
    reader = importlib.import_module("read_image")
    results = reader.main(out=tmp_path)
    assert 0 < results["eta_std"] < 0.05
    file = gl15.inference.describe(gl15.inference.pretrained_path("eta"))
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["estimator_sha256"] == file["estimator_sha256"]
    assert (tmp_path / "posterior.png").stat().st_size > 10_000

    unfit = tmp_path / "unfit.npz"
    gl15.save_observation(unfit, gl15.Observation(np.ones((48, 48, 3)), 1.0))
    with pytest.raises(SystemExit, match="`spacing`"):
        reader.main(image=unfit, out=tmp_path)


def test_an_ensemble_is_made_in_parts_and_trained_on(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(EXAMPLES)
    job = importlib.import_module("ensemble")
    real = gl15.VortexSimulator
    younger = lambda *args, **given: real(*args, **given | {"t1": 0.1})  # noqa: E731
    monkeypatch.setattr(gl15, "VortexSimulator", younger)
    options = {"n": 300, "size": 48, "out": tmp_path}
    monkeypatch.setenv("GL15_PROCESS", "1/2")
    job.main(**options)
    assert re.match(r"1\d\d of 300 simulations are done", capsys.readouterr().out)
    with pytest.raises(SystemExit, match="start this again"):
        job.main(**options, steps=4)
    monkeypatch.setenv("GL15_PROCESS", "0/2")
    job.main(**options)
    monkeypatch.delenv("GL15_PROCESS")
    for _ in range(2):
        job.main(**options, steps=4)
        assert "300 of 300 simulations" in capsys.readouterr().out
    trained = tmp_path / "eta-300-4.npz"
    assert gl15.load(trained).prior.names == ("eta",)
    assert gl15.inference.describe(trained)["provenance"]["steps"] == 4


def test_the_page_on_ensembles_starts_the_example_as_it_is(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    job = importlib.import_module("ensemble")
    page = (EXAMPLES.parent / "docs" / "guide" / "ensembles.md").read_text()
    assert '--8<-- "examples/ensemble.py"' in page
    page = page.replace("\\\n", " ")
    commands = re.findall(r'python examples/ensemble\.py([^"&\n]*)', page)
    assert len(commands) >= 6

    @functools.wraps(job.main)
    def options(**given):
        return given

    for command in commands:
        assert tyro.cli(options, args=shlex.split(command))["n"] >= 1_000
