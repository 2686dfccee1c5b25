"""What a linear regression knows of the parameters goes into the features."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import gl15
from gl15.inference import regressed, RegressedEncoder


INNER = gl15.SpectralEncoder(rings=4, features=8, width=16, key=jax.random.key(0))
PRIOR = gl15.Prior({"eta": dist.Uniform(0.0, 1.5), "nu": dist.Uniform(0.0, 0.4)})


@pytest.fixture(scope="module")
def pairs():
    """Summaries that tell the parameters in a direction of a thousandth's variance."""
    rng = np.random.default_rng(0)
    n, size = 6 * INNER.size, INNER.size
    theta = {"eta": rng.uniform(0.0, 1.5, n), "nu": rng.uniform(0.0, 0.4, n)}
    z = np.repeat(rng.normal(size=(n, size // 2)), 2, axis=1)
    z = np.concatenate([z, rng.normal(size=(n, size - z.shape[1]))], 1)
    z[:, 0] += 0.03 * theta["eta"]
    z[:, 2] += 0.1 * theta["nu"]
    return gl15.Ensemble(
        {k: jnp.asarray(v) for k, v in theta.items()}, jnp.asarray(z), 0.5, ("a",) * 3
    )


@pytest.fixture(scope="module")
def encoder(pairs):
    return regressed(INNER, pairs, PRIOR, ridge=1e-9)


def standardised(pairs):
    return (pairs.x - pairs.x.mean(0)) / pairs.x.std(0)


def test_the_predictions_are_those_of_the_regression(pairs, encoder):
    h = jax.vmap(encoder)(standardised(pairs))
    assert h.shape == (len(pairs), 8 + 5)  # both, their squares and their product
    np.testing.assert_allclose(h[:, 8:].std(0), 1.0, rtol=1e-3)
    for i, name in enumerate(PRIOR.names):
        assert np.corrcoef(h[:, 8 + i], pairs.theta[name])[0, 1] > 0.999
    alone = jax.vmap(INNER)(standardised(pairs))
    np.testing.assert_allclose(h[:, :8], alone, rtol=1e-6, atol=1e-6)


def test_training_leaves_the_regression_and_a_file_keeps_it(pairs, encoder, tmp_path):
    estimator = gl15.RatioEstimator(PRIOR, encoder, key=jax.random.key(1))
    trained, _ = gl15.fit(
        estimator,
        pairs,
        key=jax.random.key(2),
        steps=4,
        batch_size=16,
        weight_decay=0.5,
        learning_rate=0.01,
    )
    np.testing.assert_array_equal(trained.encoder.weights, encoder.weights)
    assert not np.array_equal(
        trained.encoder.encoder.mlp.layers[0].weight, INNER.mlp.layers[0].weight
    )
    gl15.save(tmp_path / "estimator.npz", trained)
    read = gl15.load(tmp_path / "estimator.npz")
    z, theta = standardised(pairs)[0], {"eta": 0.3, "nu": 0.1}
    ratio = eqx.filter_jit(lambda one: one.log_ratio(theta, one.features(z)))
    np.testing.assert_array_equal(ratio(read), ratio(trained))


def test_members_keep_the_regression_and_a_file_keeps_them(pairs, encoder, tmp_path):
    estimator = gl15.RatioEstimator(PRIOR, encoder, key=jax.random.key(1))
    members = gl15.inference.EstimatorEnsemble(estimator, 2, key=jax.random.key(3))
    trained, _ = gl15.fit(
        members,
        pairs,
        key=jax.random.key(2),
        steps=4,
        batch_size=16,
        weight_decay=0.5,
        learning_rate=0.01,
    )
    for kept in trained.members.encoder.weights:
        np.testing.assert_array_equal(kept, encoder.weights)
    one, other = trained.members.encoder.encoder.mlp.layers[0].weight
    assert not np.allclose(one, other)
    gl15.save(tmp_path / "members.npz", trained)
    read = gl15.load(tmp_path / "members.npz")
    assert eqx.tree_equal(read.members, trained.members)


def test_images_serve_as_well_as_their_summaries():
    encoder = gl15.SpectralEncoder(rings=1, key=jax.random.key(0))
    n = 2 * encoder.size
    x = jax.random.uniform(jax.random.key(1), (n, 16, 16, 3))
    theta = PRIOR.sample(jax.random.key(2), (n,))
    images = gl15.Ensemble(theta, x, 0.5)
    summaries = gl15.Ensemble(theta, jax.vmap(encoder.summarise)(x), 0.5)
    found = [regressed(encoder, one, PRIOR, ridge=1e-2) for one in (images, summaries)]
    np.testing.assert_allclose(found[0].weights, found[1].weights, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_regressed_is_refused(pairs):
    with pytest.raises(ValueError, match="needs .* at the least"):
        regressed(INNER, pairs[: INNER.size], PRIOR)
    with pytest.raises(ValueError, match="MLPEncoder and 3"):
        RegressedEncoder(gl15.MLPEncoder(4, key=jax.random.key(0)), 3)
    wrong = gl15.Ensemble(pairs.theta, pairs.x[:, 1:], 0.5)
    with pytest.raises(ValueError, match="makes vectors of"):
        regressed(INNER, wrong, PRIOR)
