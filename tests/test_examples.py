"""The examples run, on samples small enough for every day."""

import importlib
import json
import pathlib

import matplotlib
import numpy as np
import pytest

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
    assert (tmp_path / "posterior.png").stat().st_size > 10_000

    unfit = tmp_path / "unfit.npz"
    gl15.save_observation(unfit, gl15.Observation(np.ones((48, 48, 3)), 1.0))
    with pytest.raises(SystemExit, match="`spacing`"):
        reader.main(image=unfit, out=tmp_path)
