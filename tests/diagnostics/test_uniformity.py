import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gl15.diagnostics import (
    check_ranks,
    ecdf_band,
    null_deviation_quantile,
    null_deviations,
    rank_deviation,
)


@hypothesis.settings(max_examples=20)
@hypothesis.given(st.lists(st.floats(0, 1), min_size=7, max_size=7))
def test_deviation_is_the_mean_over_a_fine_grid(ranks):
    u = np.linspace(0, 1, 20_001)
    ecdf = (np.asarray(ranks)[:, None] <= u).mean(axis=0)
    np.testing.assert_allclose(
        rank_deviation(jnp.asarray(ranks)), np.abs(ecdf - u).mean(), atol=1e-3
    )


def test_deviation_of_extreme_ranks():
    np.testing.assert_allclose(rank_deviation(jnp.zeros(10)), 0.5)
    np.testing.assert_allclose(rank_deviation(jnp.ones(10)), 0.5)
    evenly = (jnp.arange(100) + 0.5) / 100
    np.testing.assert_allclose(rank_deviation(evenly), 0.25 / 100)


def test_null_of_the_deviation_at_500_and_4000_ranks():
    # Averages and quantiles of an independent simulation; a Brownian bridge has
    # sqrt(pi/32) = 0.3133 on average.
    null = null_deviations(500, key=jax.random.key(0))
    np.testing.assert_allclose(null.mean(), 0.0138, rtol=0.03)
    np.testing.assert_allclose(null.mean(), np.sqrt(np.pi / 32 / 500), rtol=0.01)
    np.testing.assert_allclose(np.quantile(null, 0.95), 0.026, rtol=0.03)
    np.testing.assert_allclose(np.quantile(null, 0.99), 0.033, rtol=0.05)
    # A deviation of 0.035 over 500 ranks rejects calibration at 1%.
    assert 0.004 < np.mean(np.asarray(null) >= 0.035) < 0.009
    quantile = null_deviation_quantile(4000, key=jax.random.key(1), draws=2000)
    np.testing.assert_allclose(quantile, 0.0092, rtol=0.05)


def test_check_accepts_uniform_and_rejects_others():
    u = np.asarray(jax.random.uniform(jax.random.key(2), (1000,)))
    check = check_ranks({"eta": u, "B": 1 - u}, key=jax.random.key(3))
    assert check.calibrated
    assert check.deviation["eta"] < check.null_quantile
    np.testing.assert_allclose(check.deviation["eta"], check.deviation["B"], rtol=1e-6)
    assert min(check.ks_p.values()) > 0.05
    text = check.to_markdown()
    assert "1000 ranks" in text
    assert f"{check.null_quantile:.4f}" in text
    spoiled = check_ranks({"eta": u, "B": u**1.3}, key=jax.random.key(3))
    assert not spoiled.calibrated
    assert spoiled.deviation_p["B"] == 0
    assert spoiled.ks_p["B"] < 1e-3


def test_deviation_p_is_uniform_under_the_null():
    keys = jax.random.split(jax.random.key(4), 200)
    null = null_deviations(100, key=jax.random.key(5), draws=2000)
    found = [rank_deviation(jax.random.uniform(key, (100,))) for key in keys[:40]]
    p = [np.mean(np.asarray(null) >= one) for one in found]
    assert 0.3 < np.mean(p) < 0.7
    assert np.mean(np.asarray(p) < 0.05) < 0.2


def test_band_holds_whole_curves_at_its_level():
    n = 200
    u, low, high = ecdf_band(n, key=jax.random.key(6), level=0.9, points=50)
    assert u.shape == low.shape == high.shape == (50,)
    ranks = np.asarray(jax.random.uniform(jax.random.key(7), (1000, n)))
    ecdf = (ranks[:, :, None] <= u).mean(axis=1)
    inside = np.all((ecdf >= low) & (ecdf <= high), axis=1).mean()
    assert 0.86 < inside < 0.95


@pytest.mark.parametrize("ranks", [[0.1, 1.1], [0.1, float("nan")], [], [[0.1]]])
def test_bad_ranks_are_refused(ranks):
    with pytest.raises(ValueError, match="`ranks`"):
        check_ranks({"eta": np.asarray(ranks)}, key=jax.random.key(0))
