"""The example on soft modes runs, and reports what it found."""

import importlib
import json
import pathlib

import matplotlib
import pytest


EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture
def job(monkeypatch):
    matplotlib.use("agg")
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("soft_modes")


@pytest.mark.slow
def test_the_report_tells_slopes_from_soft_modes(job, tmp_path):
    results = job.main(plan="smoke", out=tmp_path)
    (sample,) = results["samples"]
    assert sample["snapshot"]["negative"] > 0 == sample["stationary"]["negative"]
    assert sample["snapshot"]["gradient_norm"] > 0.1
    assert sample["stationary"]["gradient_norm"] < 1e-9
    assert sample["stationary"]["zero"].count(True) == 1
    report = (tmp_path / "report.md").read_text()
    assert f"{sample['snapshot']['negative']} directions have negative" in report
    for name in ("densities", "modes", "counts"):
        assert f"{name}.png" in report
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "results.json").read_text())["samples"]
