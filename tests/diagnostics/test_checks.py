"""Checks beyond ranks: bins, local tests, two samples, information, predictions."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats

from gl15.diagnostics import (
    binned_coverage,
    c2st,
    hpd_ranks,
    image_statistics,
    information,
    local_c2st,
    posterior_predictive,
    predictive_check,
    report,
    reweighting_check,
    summarize,
    tarp,
)
from gl15.posterior import grid_posterior, sample_posterior
from gl15.simulation import ExactRatio, LinearGaussian, Prior


KEY = jax.random.key(0)


@pytest.fixture(scope="module", name="pairs")
def _pairs(one):
    return one.pairs(1500, jax.random.key(1))


def test_binned_coverage_counts_and_judges(one, pairs):
    summary = summarize(one.exact, pairs)
    found = binned_coverage(summary, bins=np.linspace(0, 1.5, 6))
    eta = np.asarray(pairs.theta["eta"])
    inside = np.asarray(summary.covered("eta", 0.68))
    for row in range(5):
        here = (eta >= 0.3 * row) & (eta < 0.3 * (row + 1))
        assert found.count[row] == here.sum()
        np.testing.assert_allclose(found.covered[row, 0], inside[here].mean())
        ends = scipy.stats.binom.interval(0.99, here.sum(), 0.68)
        np.testing.assert_allclose(found.low[row, 0] * here.sum(), ends[0])
        np.testing.assert_allclose(found.high[row, 0] * here.sum(), ends[1])
    assert found.count[-1] == 1500
    assert binned_coverage(summary, by="mean").passed.all()
    narrow = binned_coverage(summarize(one.spoiled(sharpness=2.0), pairs))
    assert not narrow.passed[:, 0].any()
    assert narrow.to_markdown().count("**") >= 12
    with pytest.raises(ValueError, match="`name` must be in"):
        binned_coverage(summary, "B")


def test_local_test_passes_the_exact_and_finds_width_and_shift(one, pairs):
    exact = local_c2st(one.exact, pairs, key=KEY)
    assert exact.p_overall > 0.05 and exact.rejected < 0.2
    narrow = local_c2st(one.spoiled(sharpness=2.0), pairs, key=KEY)
    assert narrow.p_overall < 0.02
    inner = (narrow.mean["eta"] > 0.3) & (narrow.mean["eta"] < 1.2)
    assert narrow.rejected > 0.9
    np.testing.assert_allclose(np.mean(narrow.width[inner]), np.sqrt(2), rtol=0.1)
    shifted = local_c2st(one.spoiled(shift=0.05), pairs, pairs.x[:40], key=KEY)
    assert shifted.p_overall < 0.02 and shifted.statistic.shape == (40,)
    np.testing.assert_allclose(np.mean(shifted.shift), -0.5, atol=0.15)


def test_local_test_sees_what_average_ranks_hide(one, pairs):
    class Tilted(type(one.estimator)):
        def log_ratio(self, theta, h):
            # Shifted up for small x and down for large: ranks cancel on average.
            shift = 0.1 * (h[0] * 0.01 - 0.75)
            moved = {"eta": theta["eta"] + shift}
            return self.inner.log_ratio(moved, h)

    found = local_c2st(Tilted(one.estimator.inner), pairs, key=KEY)
    assert found.p_overall < 0.02
    low = found.mean["eta"] < 0.4
    assert np.mean(found.shift[low]) * np.mean(found.shift[~low]) < 0


@pytest.mark.slow
def test_local_test_of_two_parameters(two):
    pairs = two.pairs(400, jax.random.key(2))
    options = {"key": KEY, "points": 40, "trials": 50}
    assert local_c2st(two.exact, pairs, **options).p_overall > 0.01
    assert local_c2st(two.spoiled(sharpness=2.0), pairs, **options).p_overall < 0.03


@pytest.mark.parametrize("classifier", ["sklearn", "jax"])
def test_two_samples(classifier):
    if classifier == "sklearn":
        pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 400, 1))
    same = c2st(a, b, key=KEY, classifier=classifier)
    assert abs(float(same) - 0.5) < 0.06 and same.p > 0.01
    # The best any classifier can do on two normals two deviations apart.
    apart = c2st(a, b + 2, key=KEY, classifier=classifier)
    np.testing.assert_allclose(apart.accuracy, scipy.stats.norm.cdf(1), atol=0.03)
    assert apart.p < 1e-6 and apart.count == 800


def test_two_samples_must_match():
    with pytest.raises(ValueError, match=r"shapes \(20, 2\) and \(20, 3\)"):
        c2st(np.zeros((20, 2)), np.zeros((20, 3)), key=KEY)


@pytest.mark.slow
def test_weighted_images_are_those_of_one_parameter(one):
    pool = one.pairs(3000, jax.random.key(3))
    held = one.observe({"eta": jnp.full(500, 0.7)}, jax.random.key(4))
    good = reweighting_check(one.exact, pool, held, key=KEY)
    assert good.p > 0.02
    bad = reweighting_check(one.spoiled(shift=0.1), pool, held, key=KEY)
    assert bad.accuracy > 0.6 and bad.p < 1e-3
    with pytest.raises(ValueError, match="must be one parameter"):
        reweighting_check(one.exact, pool, pool, key=KEY)


def test_information_is_that_of_the_exact_problem(one, pairs):
    found = information(one.exact, pairs, key=KEY)
    # A uniform prior seen through noise: log of range over width, but for the edges.
    x = np.linspace(-0.6, 2.1, 4001)
    density = np.diff(scipy.stats.norm.cdf([x - 1.5, x], scale=0.1), axis=0)[0] / 1.5
    entropy = -np.trapezoid(density * np.log(density + 1e-300), x)
    exact = entropy - scipy.stats.norm(scale=0.1).entropy()
    assert abs(found.gain - exact) < 4 * found.gain_error
    assert abs(found.log_ratio - found.gain) < 0.01
    assert found.contrastive < found.ceiling
    assert abs(found.contrastive - exact) < 4 * found.contrastive_error + 0.02
    worse = information(one.spoiled(sharpness=2.0), pairs, key=KEY)
    assert worse.gain < found.gain


def test_posterior_predictive_from_every_kind_of_posterior(one, pairs):
    x = pairs.x[0]
    grid = grid_posterior(one.exact, x)
    mcmc = sample_posterior(one.exact, x, key=KEY, num_warmup=50, num_samples=50)
    draws = {"eta": jnp.linspace(0.2, 0.3, 10)}
    for posterior in (one.exact, grid, mcmc, draws):
        found = posterior_predictive(posterior, one.simulator, x, key=KEY, n=30)
        assert len(found) == 30 and found.x.shape == (30, 1)
        residual = np.asarray(found.x[:, 0] - found.theta["eta"])
        assert 0.05 < residual.std() < 0.15
    with pytest.raises(ValueError, match="`x` is needed"):
        posterior_predictive(one.exact, one.simulator, key=KEY)


def test_predictive_check_counts_alike_without_an_estimator(pairs):
    found = predictive_check(jnp.asarray([0.3]), pairs)
    below = np.mean(np.asarray(pairs.x)[:, 0] < 0.3)
    np.testing.assert_allclose(found.p, 2 * min(below, 1 - below), atol=2e-3)
    assert np.isnan(found.calibrated_p).all() and found.names == ("x[0]",)
    np.testing.assert_allclose(found.effective, 1500)


@pytest.mark.slow
def test_predictive_p_values_are_calibrated():
    # Two views of one parameter: their difference is the model's noise alone.
    prior = Prior({"eta": dist.Uniform(0.0, 1.5)})
    simulator = LinearGaussian([[1.0], [1.0]], 0.2, prior.names)
    exact = ExactRatio(simulator, prior)

    def pairs(n, key):
        theta = prior.sample(key, (n,))
        x = jax.vmap(simulator)(theta, jax.random.split(key, n))
        return types.SimpleNamespace(theta=theta, x=x)

    def statistics(x):
        return {"first": x[0], "difference": x[1] - x[0]}

    pool, fresh = pairs(500, jax.random.key(6)), pairs(50, jax.random.key(7))
    options = {"estimator": exact, "statistics": statistics, "calibration": 100}
    found = [predictive_check(x, pool, **options) for x in fresh.x]
    calibrated = np.stack([one.calibrated_p for one in found])
    for column in calibrated.T:
        assert scipy.stats.kstest(column, "uniform").statistic < 0.28
    # The plain p of what the posterior has seen crowds around one half and above.
    assert np.mean([one.p[0] for one in found]) > 0.55
    assert 20 < found[0].effective < 300
    far = predictive_check(jnp.asarray([0.2, 1.3]), pool, **options)
    assert far.calibrated_p[1] < 0.03
    assert "| difference |" in far.to_markdown()
    plain = predictive_check(fresh.x[0], pool)
    assert np.isnan(plain.calibrated_p).all()
    np.testing.assert_allclose(plain.effective, 500)
    assert plain.names == ("x[0]", "x[1]")


def test_statistics_of_images_are_what_they_say():
    x = np.random.default_rng(0).normal(size=(32, 32, 2))
    x[..., 1] = 2 * x[..., 0] + 1
    found = image_statistics(jnp.asarray(x))
    np.testing.assert_allclose(found["correlation 0 1"], 1, rtol=1e-6)
    np.testing.assert_allclose(found["mean 1"], x[..., 1].mean())
    np.testing.assert_allclose(found["log deviation 0"], np.log(x[..., 0].std()))
    # Neighbours of white noise differ by twice its variance, over both axes by four.
    np.testing.assert_allclose(found["log roughness 0"], 0, atol=0.1)


def test_report_holds_every_number_beside_its_null(one):
    pairs = one.pairs(500, jax.random.key(8))
    found = report(one.exact, pairs, key=KEY)
    assert found.count == 500
    assert found.estimator_sha256 is None  # an exact log-ratio, no estimator
    judged = [one for one in found.figures if one.passed is not None]
    assert len(judged) >= 13 and sum(not one.passed for one in judged) <= 1
    text = found.to_markdown()
    assert "eta: central 68%" in text and "| true eta |" in text
    data = json.loads(found.to_json())
    assert data["figures"]["eta: central 95%"]["passed"] is True
    assert len(data["coverage_by_bin"]["eta"]["covered"]) == 6
    bad = report(one.spoiled(sharpness=2.0), pairs, key=KEY, local=False)
    assert not bad.calibrated
    assert bad["eta: central 68%"].passed is False
    with pytest.raises(KeyError, match="the report has"):
        bad["nothing"]


def test_report_says_what_its_parts_say_alone(one):
    pairs = one.pairs(200, jax.random.key(9))
    found = report(one.exact, pairs, key=KEY)
    hpd_key, tarp_key, _, known_key, local_key = jax.random.split(KEY, 5)
    summary = summarize(one.exact, pairs, levels=(0.5, 0.68, 0.9, 0.95))
    for own, alone in zip(
        jax.tree.leaves(found.summary), jax.tree.leaves(summary), strict=True
    ):
        np.testing.assert_allclose(own, alone, rtol=1e-12)
    np.testing.assert_allclose(found.hpd, hpd_ranks(one.exact, pairs, key=hpd_key))
    alone = tarp(one.exact, pairs, key=tarp_key)
    np.testing.assert_allclose(found.tarp.fractions, alone.fractions)
    np.testing.assert_allclose(found["TARP: area to curve"].value, alone.atc)
    known = information(one.exact, pairs, key=known_key)
    np.testing.assert_allclose(found["mean log-ratio"].value, known.log_ratio)
    local = local_c2st(one.exact, pairs, key=local_key)
    assert found["local C2ST: p of all"].value == local.p_overall
