"""Several snapshots summarised: each as its own encoder does, and kept in files."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import gl15
from gl15.inference import SnapshotEncoder


INNER = gl15.SpectralEncoder(rings=8, key=jax.random.key(0))


@pytest.fixture(scope="module")
def seen():
    """Two snapshots, three channels each."""
    return 0.1 + jax.random.uniform(jax.random.key(1), (32, 32, 6))


@pytest.fixture(scope="module")
def estimator():
    prior = gl15.Prior({"eta": dist.Uniform(0.0, 1.5), "nu": dist.Uniform(0.0, 0.4)})
    encoder = SnapshotEncoder(INNER, 2, features=8, width=16, key=jax.random.key(2))
    return gl15.RatioEstimator(prior, encoder, head="quadratic", key=jax.random.key(3))


def test_every_snapshot_is_summarised_as_if_alone(seen, estimator):
    both = estimator.encoder.summarise(seen)
    assert both.shape == (estimator.encoder.size,)
    alone = [INNER.summarise(seen[..., :3]), INNER.summarise(seen[..., 3:])]
    np.testing.assert_array_equal(both, jnp.concatenate(alone))


def test_a_file_gives_it_back(seen, estimator, tmp_path):
    path = tmp_path / "estimator.npz"
    gl15.save(path, estimator)
    read = gl15.load(path)
    assert isinstance(read.encoder.encoder, gl15.SpectralEncoder)
    theta = {"eta": 0.7, "nu": 0.1}
    log_ratio = eqx.filter_jit(lambda one: one(theta, seen))
    np.testing.assert_array_equal(log_ratio(read), log_ratio(estimator))


def test_another_number_of_snapshots_is_refused(seen, estimator):
    with pytest.raises(ValueError, match="3 channels"):
        estimator.check_image(seen[..., :3])


def test_encoders_that_make_no_vector_are_refused(seen):
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="MLPEncoder, which takes .* 1 axes"):
        SnapshotEncoder(gl15.MLPEncoder(4, key=key), key=key)
    with pytest.raises(ValueError, match="ConvEncoder, whose summaries have"):
        conv = gl15.ConvEncoder(widths=(4,), key=key)
        SnapshotEncoder(conv, features=4, width=4, key=key).summarise(seen)
    with pytest.raises(ValueError, match="`snapshots` must be positive"):
        SnapshotEncoder(INNER, 0, key=key)
