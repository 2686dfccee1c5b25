"""The example of the joint posterior, with an estimator that knows nothing yet."""

import importlib
import json
import pathlib

import jax
import matplotlib
import numpy as np
import numpyro.distributions as dist

import gl15


EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def test_all_marginals_are_drawn_and_the_shape_is_written_down(monkeypatch, tmp_path):
    matplotlib.use("agg")
    monkeypatch.syspath_prepend(EXAMPLES)
    example = importlib.import_module("joint_posterior")
    widths = {"eta": 1.5, "B": 0.1, "nu": 0.4}
    prior = gl15.Prior({name: dist.Uniform(0.0, w) for name, w in widths.items()})
    encoder = gl15.SpectralEncoder(rings=8, width=8, key=jax.random.key(0))
    estimator = gl15.RatioEstimator(prior, encoder, width=8, key=jax.random.key(1))
    gl15.save(tmp_path / "estimator.npz", estimator)
    results = example.main(estimator=tmp_path / "estimator.npz", out=tmp_path)
    # Untrained, it is nearly the prior: uniform, without correlations.
    for name in widths:
        found = results["joint"]["std_of_prior_width"][name]
        np.testing.assert_allclose(found, 1 / np.sqrt(12), rtol=0.15)
    assert max(map(abs, results["joint"]["correlation"].values())) < 0.1
    assert results["drag_known"]["std"]["nu"] < 1e-3
    assert json.loads((tmp_path / "results.json").read_text()) == results
    for figure in ("marginals", "drag_known"):
        assert (tmp_path / f"{figure}.png").stat().st_size > 10_000
