"""Ensembles of summaries stand in for ensembles of images."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import gl15
from gl15.inference import Summarised


@pytest.fixture(scope="module")
def sample():
    return gl15.VortexSimulator(
        gl15.Lattice((32, 32), spacing=0.5), gl15.TwoBand(), t1=0.2, dt=0.01
    )


def test_training_on_summaries_is_training_on_images(sample, tmp_path):
    """The same pairs, the same key: the same estimator to rounding."""
    prior = gl15.Prior({"eta": dist.Uniform(0.0, 1.5)})
    encoder = gl15.SpectralEncoder(rings=8, key=jax.random.key(0))
    estimator = gl15.RatioEstimator(prior, encoder, key=jax.random.key(1))
    key = jax.random.key(2)
    images = gl15.simulate(sample, prior, 96, key=key)
    summarised = Summarised(sample, encoder)
    summaries = gl15.simulate(
        summarised, prior, 96, key=key, path=tmp_path / "summaries.zarr"
    )
    assert summaries.x.shape == (96, encoder.size)
    assert (summaries.spacing, summaries.channels) == (0.5, images.channels)
    options = {"key": jax.random.key(3), "steps": 6, "batch_size": 16}
    one, _ = gl15.fit(estimator, images, **options)
    other, _ = gl15.fit(estimator, summaries, **options)
    stored = gl15.open_ensemble(tmp_path / "summaries.zarr")
    third, _ = gl15.fit(estimator, stored, **options)
    theta = {"eta": 0.7}
    assert other(theta, images.x[0]) == third(theta, images.x[0])
    np.testing.assert_allclose(
        one(theta, images.x[0]), other(theta, images.x[0]), rtol=1e-4, atol=1e-6
    )


def test_a_store_of_summaries_does_not_know_the_weights(sample, tmp_path):
    path, key = tmp_path / "store.zarr", jax.random.key(0)
    for seed in (0, 1):
        encoder = gl15.SpectralEncoder(rings=8, key=jax.random.key(seed))
        made = gl15.simulate(
            Summarised(sample, encoder), {"eta": [0.1, 0.2]}, key=key, path=path
        )
    assert made.x.shape == (2, encoder.size)


def test_a_vector_of_another_length_is_no_summary(sample):
    prior = gl15.Prior({"eta": dist.Uniform(0.0, 1.5)})
    encoder = gl15.SpectralEncoder(rings=8, key=jax.random.key(0))
    estimator = gl15.RatioEstimator(prior, encoder, key=jax.random.key(1))
    wrong = gl15.Ensemble({"eta": jnp.full(40, 0.5)}, jnp.ones((40, encoder.size + 1)))
    with pytest.raises(ValueError, match="the encoder takes 3 axes"):
        gl15.fit(estimator, wrong, key=jax.random.key(0), steps=1, batch_size=8)


def test_what_is_held_out_of_a_store_is_kept_as_summaries(sample, tmp_path):
    prior = gl15.Prior({"eta": dist.Uniform(0.0, 1.5)})
    encoder = gl15.SpectralEncoder(rings=8, key=jax.random.key(0))
    estimator = gl15.RatioEstimator(prior, encoder, key=jax.random.key(1))
    make = functools.partial(gl15.simulate, sample, prior, load=False)
    train = make(40, key=jax.random.key(2), path=tmp_path / "train.zarr")
    other = make(16, key=jax.random.key(4), path=tmp_path / "other.zarr")
    fit = functools.partial(
        gl15.fit, estimator, train, key=jax.random.key(3), steps=2, batch_size=8
    )
    # An eighth of it holds the summaries of 16 pairs, or two images: no warning.
    room = 8 * 16 * encoder.size * train.dtype.itemsize
    assert room // 8 < 3 * math.prod(train.x_shape) * train.dtype.itemsize
    fit(validation=0.4, cache=room)
    losses = [
        fit(validation=one, cache=room)[1].validation_loss
        for one in (other, other.load())
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5)
