"""Diagnostics accept the exact posterior and reject spoiled ones."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats

from gl15.diagnostics import (
    check_ranks,
    coverage,
    embed_ensemble,
    hpd_ranks,
    information,
    local_c2st,
    map_posteriors,
    sbc_ranks,
    summarize,
    tarp,
)
from gl15.inference import ConvEncoder, RatioEstimator
from gl15.posterior import grid_posterior
from gl15.simulation import Ensemble, Prior


N = 1000


@pytest.fixture(scope="module", name="pairs")
def _pairs(one):
    return one.pairs(N, jax.random.key(1))


@pytest.fixture(scope="module", name="pairs2")
def _pairs2(two):
    return two.pairs(400, jax.random.key(2))


SPOILED = [{"sharpness": 2.0}, {"sharpness": 0.5}, {"shift": 0.03}]


def test_ranks_are_the_exact_distribution_function(one, pairs):
    ranks = sbc_ranks(one.exact, pairs)["eta"]
    x, sigma = np.asarray(pairs.x)[:, 0], 0.1
    exact = scipy.stats.truncnorm((0 - x) / sigma, (1.5 - x) / sigma, x, sigma)
    np.testing.assert_allclose(
        ranks, exact.cdf(np.asarray(pairs.theta["eta"])), atol=1e-4
    )


def test_exact_posteriors_pass(one, pairs):
    ranks = sbc_ranks(one.exact, pairs)
    check = check_ranks(ranks, key=jax.random.key(3))
    assert check.calibrated
    assert check.count == N
    assert coverage(ranks).consistent()["eta"].all()
    found = tarp(one.exact, pairs, key=jax.random.key(4))
    assert check_ranks(found.fractions, key=jax.random.key(3)).calibrated
    assert abs(found.atc) < 3 * found.atc_standard_error
    assert np.abs(found.coverage - found.levels).max() < 1.7 / np.sqrt(N)
    levels = hpd_ranks(one.exact, pairs, key=jax.random.key(5))
    assert coverage(levels, kind="credibility").consistent()["joint"].all()


@pytest.mark.parametrize("options", SPOILED)
def test_spoiled_posteriors_fail(one, pairs, options):
    estimator = one.spoiled(**options)
    ranks = sbc_ranks(estimator, pairs)
    check = check_ranks(ranks, key=jax.random.key(3))
    assert not check.calibrated
    assert check.ks_p["eta"] < 0.01
    found = tarp(estimator, pairs, key=jax.random.key(4))
    assert not check_ranks(found.fractions, key=jax.random.key(3)).calibrated


def test_signs_tell_narrow_from_wide(one, pairs):
    narrow, wide = one.spoiled(sharpness=2.0), one.spoiled(sharpness=0.5)
    key = jax.random.key(4)
    found = tarp(narrow, pairs, key=key), tarp(wide, pairs, key=key)
    assert found[0].atc < -2 * found[0].atc_standard_error
    assert found[1].atc > 2 * found[1].atc_standard_error
    cover = lambda estimator: coverage(sbc_ranks(estimator, pairs)).empirical["eta"]  # noqa: E731
    exact = cover(one.exact)
    assert np.all(cover(narrow) < exact)
    assert np.all(cover(wide) > exact)
    levels = hpd_ranks(narrow, pairs, key=key)
    assert coverage(levels, (0.68,), kind="credibility").empirical["joint"] < 0.6


def test_joint_posteriors_pass_and_fail(two, pairs2):
    features = embed_ensemble(two.exact, pairs2.x)
    options = {"points": 48, "features": features}
    ranks = sbc_ranks(two.exact, pairs2, **options)
    assert set(ranks) == {"eta", "B"}
    assert check_ranks(ranks, key=jax.random.key(3)).calibrated
    key = jax.random.key(6)
    found = tarp(two.exact, pairs2, key=key, draws=200, **options)
    assert check_ranks(found.fractions, key=key).calibrated
    narrow = two.spoiled(sharpness=2.0)
    found = tarp(narrow, pairs2, key=key, draws=200, **options)
    assert not check_ranks(found.fractions, key=key).calibrated


def test_summary_is_the_grid_posterior_of_each_image(one, pairs):
    few = types.SimpleNamespace(theta={"eta": pairs.theta["eta"][:10]}, x=pairs.x[:10])
    summary = summarize(one.exact, few, levels=(0.68, 0.95))
    assert len(summary) == 10
    for j in range(3):
        theta = {"eta": few.theta["eta"][j]}
        posterior = grid_posterior(one.exact, few.x[j])
        low, high = posterior.interval(0.95)["eta"]
        np.testing.assert_allclose(summary.mean["eta"][j], posterior.mean()["eta"])
        np.testing.assert_allclose(summary.std["eta"][j], posterior.std()["eta"])
        np.testing.assert_allclose(summary.rank["eta"][j], posterior.cdf(theta)["eta"])
        np.testing.assert_allclose(summary.low["eta"][j, 1], low)
        np.testing.assert_allclose(summary.high["eta"][j, 1], high)
        np.testing.assert_allclose(summary.log_prob[j], posterior.log_prob(theta))
        inside = bool(low <= theta["eta"] <= high)
        assert bool(summary.covered("eta", 0.95)[j]) == inside
    np.testing.assert_allclose(
        summary.width("eta", 0.95), summary.high["eta"][:, 1] - summary.low["eta"][:, 1]
    )
    with pytest.raises(ValueError, match="`level` must be in .* got 0.9"):
        summary.width("eta", 0.9)


def test_score_prefers_the_exact_posterior(one, pairs):
    score = lambda estimator: summarize(estimator, pairs).log_prob.mean()  # noqa: E731
    exact = score(one.exact)
    for options in SPOILED:
        assert score(one.spoiled(**options)) < exact - 0.03


def test_results_do_not_depend_on_the_batches(one, pairs):
    few = types.SimpleNamespace(
        theta={"eta": pairs.theta["eta"][:10]}, x=np.asarray(pairs.x[:10])
    )
    whole = sbc_ranks(one.exact, few, batch_size=10)["eta"]
    np.testing.assert_allclose(sbc_ranks(one.exact, few, batch_size=4)["eta"], whole)
    features = embed_ensemble(one.exact, few.x, batch_size=3)
    assert features.shape == (10, 2)
    np.testing.assert_allclose(
        sbc_ranks(one.exact, few, features=features)["eta"], whole
    )


def test_any_function_of_the_posteriors_can_be_mapped(one, pairs):
    few = types.SimpleNamespace(theta={"eta": pairs.theta["eta"][:6]}, x=pairs.x[:6])

    def median_below(posterior, theta, threshold):
        del theta
        return posterior.quantile(0.5)["eta"] < threshold

    found = map_posteriors(
        median_below, one.exact, few, jnp.linspace(0, 1.5, 6), points={"eta": 64}
    )
    expected = np.clip(few.x[:, 0], 0.05, 1.45) < np.linspace(0, 1.5, 6)
    np.testing.assert_array_equal(found, expected)


def test_images_that_are_not_finite_are_refused(one, pairs):
    x = np.array(pairs.x[:200])
    x[130] = np.nan
    bad = types.SimpleNamespace(theta={"eta": pairs.theta["eta"][:200]}, x=x)
    with pytest.raises(ValueError, match="image 130"):
        sbc_ranks(one.exact, bad)


@pytest.mark.parametrize(
    ("theta", "x", "match"),
    [
        ({"B": np.zeros(4)}, np.zeros((4, 1)), r"misses \['eta'\]"),
        ({"eta": np.zeros(4)}, np.zeros((3, 1)), "as many"),
        ({"eta": np.zeros(0)}, np.zeros((0, 1)), "no images"),
        ({"eta": np.zeros(4)}, np.zeros((4, 2)), "`x` has shape"),
    ],
)
def test_bad_ensembles_are_refused(one, theta, x, match):
    with pytest.raises(ValueError, match=match):
        sbc_ranks(one.exact, types.SimpleNamespace(theta=theta, x=x))


DIAGNOSTICS = {
    "sbc": sbc_ranks,
    "tarp": lambda *pair: tarp(*pair, key=jax.random.key(0)),
    "hpd": lambda *pair: hpd_ranks(*pair, key=jax.random.key(0)),
    "summary": summarize,
}


@pytest.mark.parametrize("diagnostic", DIAGNOSTICS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_true_parameters_that_are_not_finite_are_refused(one, diagnostic, value):
    eta = np.full(6, 0.7)
    eta[[3, 5]] = value
    pairs = types.SimpleNamespace(theta={"eta": eta}, x=np.full((6, 1), 0.7))
    match = rf"`ensemble.theta\['eta'\]` must be finite, got {value} at index 3 .and 1"
    with pytest.raises(ValueError, match=match):
        DIAGNOSTICS[diagnostic](one.exact, pairs)


@pytest.mark.parametrize("diagnostic", DIAGNOSTICS)
def test_true_parameters_outside_the_prior_are_refused(one, diagnostic):
    eta = np.full(6, 0.7)
    eta[[3, 5]] = 1.6
    pairs = types.SimpleNamespace(theta={"eta": eta}, x=np.full((6, 1), 0.7))
    with pytest.raises(ValueError, match="in 2 of 6 pairs, the first 1.6 at index 3"):
        DIAGNOSTICS[diagnostic](one.exact, pairs)


def test_counts_of_nothing_are_refused(one, pairs):
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="`draws` must be at least 1, got 0"):
        tarp(one.exact, pairs, key=key, draws=0)
    with pytest.raises(ValueError, match="`contrasts` must be at least 1, got 0"):
        information(one.exact, pairs, key=key, contrasts=0)
    with pytest.raises(ValueError, match="`batch_size` must be at least 1, got 0"):
        sbc_ranks(one.exact, pairs, batch_size=0)
    with pytest.raises(ValueError, match=r"`x` has shape \(1,\).*x\[None\] for one"):
        local_c2st(one.exact, pairs, pairs.x[0], key=key)


def test_levels_of_a_summary_are_probabilities(one, pairs):
    with pytest.raises(ValueError, match="`levels`.*got .95.0,."):
        summarize(one.exact, pairs, levels=(95.0,))


@pytest.mark.parametrize(
    ("spacing", "channels", "match"),
    [
        (0.25, ("u", "v"), "`spacing`"),
        (0.25, (), "`spacing`"),
        (0.5, ("v", "u"), "channels"),
    ],
)
@pytest.mark.parametrize("embedded", [False, True])
def test_images_of_another_kind_are_refused(spacing, channels, match, embedded):
    prior = Prior({"eta": dist.Uniform(0.0, 1.5)})
    keys = jax.random.split(jax.random.key(0))
    encoder = ConvEncoder(2, widths=(3,), features=4, key=keys[0])
    estimator = RatioEstimator(
        prior, encoder, width=8, spacing=0.5, channel_names=("u", "v"), key=keys[1]
    )
    x = jax.random.normal(keys[0], (4, 8, 8, 2))
    theta = {"eta": jnp.linspace(0.1, 1.4, 4)}
    features = embed_ensemble(estimator, x) if embedded else None
    with pytest.raises(ValueError, match=match):
        pairs = Ensemble(theta, x, spacing, channels)
        sbc_ranks(estimator, pairs, 8, features=features)
    with pytest.raises(ValueError, match=match):
        embed_ensemble(estimator, x, spacing=spacing, channel_names=channels)
    ranks = sbc_ranks(estimator, Ensemble(theta, x, 0.5, ("u", "v")), 8)
    assert ranks["eta"].shape == (4,)
