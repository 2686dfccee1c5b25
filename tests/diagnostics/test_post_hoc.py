"""Posteriors of the wrong width or place are mended from held-out pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import gl15
from gl15.diagnostics import binned_coverage, summarize
from gl15.inference import calibrate, Calibrated
from gl15.inference._calibration.calibrate import thinned
from gl15.inference._calibration.correction import Table
from gl15.posterior import grid_posterior
from gl15.simulation import Ensemble


@pytest.fixture(scope="module", name="pairs")
def _pairs(one):
    return one.pairs(1500, jax.random.key(1)), one.pairs(1000, jax.random.key(3))


def uniform(ranks, held_out):
    """Within what chance allows at 1%: the correction has its own, of its pairs."""
    statistic = scipy.stats.kstest(np.asarray(ranks), "uniform").statistic
    return statistic < 1.63 * np.sqrt(1 / len(ranks) + 1 / held_out)


def mended(estimator, held_out, **options):
    options = {"points": 160, **options}
    return calibrate(estimator, held_out, key=jax.random.key(0), **options)


def test_without_weights_it_is_the_estimator_normalised(one, pairs):
    x = pairs[0].x[0]
    # Raised to a power, the mean ratio is no longer one; wrapped, it is again.
    narrow = one.spoiled(sharpness=2.0)
    raw = grid_posterior(narrow, x)
    wrapped = grid_posterior(Calibrated(narrow), x)
    np.testing.assert_allclose(wrapped.normalisation, 1, atol=1e-3)
    assert abs(float(raw.normalisation) - 1) > 0.1
    np.testing.assert_allclose(wrapped.mean()["eta"], raw.mean()["eta"], atol=1e-6)
    np.testing.assert_allclose(wrapped.std()["eta"], raw.std()["eta"], rtol=1e-5)


def test_overconfidence_is_mended_and_its_temperature_found(one, pairs):
    found = mended(one.spoiled(sharpness=2.0), pairs[0])
    middle = [float(found.temperature({"eta": jnp.asarray(v)})) for v in (0.4, 1.0)]
    np.testing.assert_allclose(middle, 2.0, rtol=0.15)
    summary = summarize(found, pairs[1])
    exact = summarize(one.exact, pairs[1])
    assert uniform(summary.rank["eta"], 1500)
    assert float(exact.log_prob.mean() - summary.log_prob.mean()) < 0.02
    np.testing.assert_allclose(
        np.mean(summary.std["eta"]), np.mean(exact.std["eta"]), rtol=0.05
    )
    # What it says of its gain on new pairs is true.
    gain = float(found.after - found.before)
    spoiled = summarize(one.spoiled(sharpness=2.0), pairs[1]).log_prob.mean()
    measured = float(summary.log_prob.mean() - spoiled)
    assert abs(gain - measured) < 5 * float(found.gain_error)


@pytest.mark.slow
def test_a_width_that_is_wrong_here_and_there_is_mended_everywhere(one, pairs):
    class Uneven(type(one.estimator)):
        def log_ratio(self, theta, h):
            # Too narrow for large x, too wide for small.
            place = h[0] * 0.01 / 1.5
            sharpness = jnp.exp(2 * jnp.clip(place, 0, 1) - 1)
            return sharpness * self.inner.log_ratio(theta, h)

    uneven = Uneven(one.estimator.inner)
    bins = np.linspace(0, 1.5, 6)
    before = binned_coverage(summarize(uneven, pairs[1]), bins=bins, by="mean")
    found = mended(uneven, pairs[0])
    after = binned_coverage(summarize(found, pairs[1]), bins=bins, by="mean")
    assert not before.passed[:-1].all()
    assert after.passed.all()


def test_a_shifted_posterior_is_moved_back(one, pairs):
    found = mended(one.spoiled(shift=0.03), pairs[0])
    summary = summarize(found, pairs[1])
    assert uniform(summary.rank["eta"], 1500)
    bias = np.mean(summary.mean["eta"] - summary.truth["eta"])
    assert abs(bias) < 0.01


@pytest.mark.parametrize("shift", [0.0, 0.05])
def test_truths_ten_widths_away_are_found_again(one, pairs, shift):
    # Newton's steps from no correction would end at negative temperatures.
    found = mended(one.spoiled(sharpness=100.0, shift=shift), pairs[0])
    summary, exact = (summarize(e, pairs[1]) for e in (found, one.exact))
    assert uniform(summary.rank["eta"], 1500)
    assert float(exact.log_prob.mean() - summary.log_prob.mean()) < 0.05
    # What it was fitted with is what it gives.
    np.testing.assert_allclose(found.after, summary.log_prob.mean(), atol=0.1)


def test_what_is_right_is_left_alone(one, pairs):
    found = mended(one.exact, pairs[0])
    exact, after = (summarize(e, pairs[1]).log_prob.mean() for e in (one.exact, found))
    assert abs(float(exact - after)) < 0.005
    assert float(found.after - found.before) < 0.005


@pytest.mark.slow
def test_two_parameters_are_mended_together(two):
    held_out, fresh = (
        two.pairs(500, jax.random.key(4)),
        two.pairs(400, jax.random.key(5)),
    )
    narrow = two.spoiled(sharpness=2.5)
    found = mended(narrow, held_out, points=32)
    scores = [
        float(summarize(e, fresh, points=48).log_prob.mean())
        for e in (narrow, found, two.exact)
    ]
    assert scores[2] - scores[1] < 0.1 * (scores[2] - scores[0])
    ranks = summarize(found, fresh, points=48).rank
    assert all(uniform(one, 500) for one in ranks.values())


def test_it_is_an_estimator_and_survives_a_file(one, tmp_path):
    prior, key = one.prior, jax.random.key(0)
    encoder = gl15.MLPEncoder(1, features=4, width=8, key=key)
    estimator = gl15.RatioEstimator(prior, encoder, width=8, key=key)
    held_out = one.pairs(150, key)
    found = calibrate(estimator, held_out, key=key, points=64)
    gl15.save(tmp_path / "mended.npz", found)
    loaded = gl15.load(tmp_path / "mended.npz")
    x, theta = held_out.x[0], {"eta": jnp.asarray(0.4)}
    np.testing.assert_array_equal(loaded(theta, x), found(theta, x))
    assert float(loaded.after) == float(found.after)
    slope = jax.grad(lambda eta: found.log_ratio({"eta": eta}, found.embed(x)))(0.4)
    assert np.isfinite(slope)
    log_ratio = gl15.RatioLikelihood(found, theta).log_prob(x)
    np.testing.assert_allclose(log_ratio, found(theta, x))


def test_pairs_that_do_not_serve_are_refused(one, pairs):
    few = one.pairs(10, jax.random.key(0))
    with pytest.raises(ValueError, match="at least 50 pairs, got 10"):
        mended(one.exact, few)
    few = one.pairs(60, jax.random.key(0))
    few.theta["eta"] = few.theta["eta"] + 2.0
    with pytest.raises(ValueError, match="outside the support"):
        mended(one.exact, few)
    few = one.pairs(60, jax.random.key(0))
    spoiled = Ensemble(few.theta, few.x.at[7].set(jnp.nan))
    with pytest.raises(ValueError, match="`held_out.x` .* not finite, .* index 7"):
        mended(one.exact, spoiled)


def test_nodes_that_stand_for_all_have_finite_weights():
    # All mass at the first of many nodes, so that the share of the last is none in
    # single precision, where the sum of all shares may still end.
    log_mass = -jnp.linspace(0.0, 4_000.0, 5_000, dtype=jnp.float32)
    table = Table(
        jnp.zeros(1), jnp.ones(1), log_mass[:, None], jnp.zeros(5_000), jnp.zeros(())
    )
    log_weight, values = thinned(table)
    assert np.isfinite(log_weight).all()
    # They stand for all: the same normalisation, and the same mean.
    log_z = jax.nn.logsumexp(log_mass)
    np.testing.assert_allclose(jax.nn.logsumexp(log_weight), log_z, atol=0.01)
    mean = jnp.exp(log_weight - log_z) @ values[:, 0]
    np.testing.assert_allclose(mean, jnp.exp(log_mass - log_z) @ log_mass, rtol=0.02)
