"""What tells the parameters may be a small difference of great numbers."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import gl15
from gl15.inference import MLPEncoder, Standardization
from gl15.inference._training.data import folded


PRIOR = gl15.Prior({"a": dist.Uniform(-1.0, 1.0)})
KEY = jax.random.key(0)
quiet = functools.partial(gl15.fit, key=KEY, progress=False)


def hidden(n, seed):
    """Two numbers that scatter a thousand times as much as their difference does."""
    one, two, three = jax.random.split(jax.random.key(seed), 3)
    a = PRIOR.sample(one, (n,))["a"]
    great = jax.random.normal(two, (n,))
    small = 0.001 * (a + 0.1 * jax.random.normal(three, (n,)))
    return gl15.Ensemble({"a": a}, jnp.stack([great, great + small], -1))


def untrained():
    return gl15.RatioEstimator(PRIOR, MLPEncoder(2, width=32, key=KEY), key=KEY)


def test_the_rotation_decorrelates():
    z = jax.random.normal(KEY, (4_000, 3)) @ jnp.asarray(
        [[1.0, 1.0, 0.0], [0.0, 0.1, 0.0], [3.0, 0.0, 0.2]]
    )
    whitened = Standardization.fit(z).whitening(z)(z)
    covariance = whitened.T @ whitened / len(z)
    # The floor of 1e-5 takes a little off where hardly anything varies.
    np.testing.assert_allclose(covariance, np.eye(3), atol=0.03)


def test_what_lies_beyond_the_limit_does_not_count():
    standardization = Standardization(jnp.ones(2), jnp.ones(2), limit=8.0)
    np.testing.assert_array_equal(
        standardization(jnp.asarray([100.0, -3.0])), [8.0, -4.0]
    )


@pytest.mark.slow
def test_small_differences_are_learned_and_the_rotation_is_folded_away():
    train, fresh = hidden(2_000, 1), hidden(200, 2)
    found, _ = quiet(
        untrained(), train, steps=600, whiten=True, loss=gl15.Contrastive(15)
    )
    assert found.standardization.rotation is None
    # The scatter of 0.1 leaves a mean error of 0.08; the prior alone 0.5.
    assert gl15.summarize(found, fresh).error("a").mean() < 0.12
    plain, _ = quiet(untrained(), train, steps=600, loss=gl15.Contrastive(15))
    assert gl15.summarize(plain, fresh).error("a").mean() > 0.3


@pytest.mark.parametrize("name", ["mlp", "spectral", "jet", "snapshots"])
def test_the_rotation_may_become_part_of_every_linear_beginning(name):
    jet = gl15.JetEncoder(width=4, features=3, key=KEY)
    encoder = {
        "mlp": MLPEncoder(5, key=KEY),
        "spectral": gl15.SpectralEncoder(rings=3, key=KEY),
        "jet": jet,
        "snapshots": gl15.inference.SnapshotEncoder(jet, 2, width=4, key=KEY),
    }[name]
    assert encoder.begins_linear
    estimator = gl15.RatioEstimator(PRIOR, encoder, key=KEY)
    turn = jnp.roll(jnp.eye(encoder.size), 1, 0) * 0.5
    turned = eqx.tree_at(
        lambda e: e.standardization.rotation,
        estimator,
        turn,
        is_leaf=lambda leaf: leaf is None,
    )
    z = 100 * jax.random.normal(KEY, (encoder.size,))
    found, expected = (
        one.features(one.standardization(z)) for one in (folded(turned), turned)
    )
    assert not np.allclose(expected, estimator.features(estimator.standardization(z)))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_whitening_needs_a_linear_beginning_and_all_summaries():
    train = hidden(64, 3)
    conv = gl15.RatioEstimator(PRIOR, gl15.ConvEncoder(2, key=KEY), key=KEY)
    with pytest.raises(ValueError, match="`whiten`.*ConvEncoder does not"):
        quiet(conv, train, steps=1, whiten=True)
    with pytest.raises(ValueError, match="`standardize=False` keeps"):
        quiet(untrained(), train, steps=1, whiten=True, standardize=False)
    with pytest.raises(ValueError, match="`whiten` needs the summaries of all"):
        quiet(untrained(), [train], validation=train, steps=1, whiten=True)
