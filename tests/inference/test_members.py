"""Several estimators as one: members, models, and where they disagree."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import gl15
from gl15.inference import (
    disagreement,
    EstimatorEnsemble,
    MLPEncoder,
    model_pairs,
    ModelAverage,
    RatioEstimator,
)
from gl15.simulation import ExactRatio, LinearGaussian, Prior


PRIOR = Prior({"theta": dist.Normal(0.0, 1.0)})
KEY = jax.random.key(0)
X, THETA = jnp.asarray([0.4, -0.3]), {"theta": 0.7}


def build(key, **options):
    one, two = jax.random.split(key)
    encoder = MLPEncoder(2, features=4, width=5, depth=1, key=one)
    return RatioEstimator(PRIOR, encoder, width=6, key=two, **options)


@pytest.mark.parametrize("head", ["mlp", "quadratic"])
def test_members_are_averaged(head):
    make = lambda key: build(key, head=head)  # noqa: E731
    alone = [eqx.filter_jit(make(k))(THETA, X) for k in jax.random.split(KEY, 3)]
    for average, expected in (
        ("ratio", np.log(np.mean(np.exp(alone)))),
        ("log", np.mean(alone)),
    ):
        ensemble = EstimatorEnsemble(make, 3, average=average, key=KEY)
        found = eqx.filter_jit(ensemble)(THETA, X)
        np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_members_of_a_given_structure_share_its_prior_only():
    ensemble = EstimatorEnsemble(build(KEY), 2, key=KEY)
    first, second = ensemble.members.head.layers[0].weight
    assert ensemble.count == 2 and not jnp.array_equal(first, second)
    assert ensemble.prior == PRIOR
    with pytest.raises(ValueError, match="`count` positive, got 'ratio' and 0"):
        EstimatorEnsemble(build, 0, key=KEY)


def test_estimators_trained_apart_are_stacked_if_they_fit():
    one, two = (build(key) for key in jax.random.split(KEY))
    ensemble = EstimatorEnsemble.stack([one, two], average="log")
    expected = (one(THETA, X) + two(THETA, X)) / 2
    np.testing.assert_allclose(ensemble(THETA, X), expected, rtol=1e-8)
    moved = eqx.tree_at(lambda e: e.standardization.mean, two, jnp.ones(2))
    with pytest.raises(ValueError, match="differ in structure, prior or standard"):
        EstimatorEnsemble.stack([one, moved])


def test_members_train_together_and_survive_a_file(tmp_path):
    simulator = LinearGaussian(np.ones((2, 1)), 0.5)
    pairs = gl15.simulate(simulator, PRIOR, 1_000, key=KEY)
    make = lambda key: build(key, head="quadratic")  # noqa: E731
    ensemble, _ = gl15.fit(
        EstimatorEnsemble(make, 2, key=KEY),
        pairs,
        key=KEY,
        loss=gl15.inference.NearMisses(),
        steps=300,
        learning_rate=5e-3,
        progress=False,
    )
    posterior = gl15.grid_posterior(ensemble, X)
    mean, covariance = simulator.posterior(X, PRIOR)
    assert abs(posterior.mean()["theta"] - mean[0]) < 0.15
    assert 0.7 < posterior.std()["theta"] / np.sqrt(covariance[0, 0]) < 1.4
    table = disagreement(ensemble, X, key=KEY)
    np.testing.assert_allclose(np.diag(table), 0, atol=1e-6)
    assert 0 < table[0, 1] < 0.5
    gl15.save(tmp_path / "e.npz", ensemble)
    again = gl15.load(tmp_path / "e.npz")
    np.testing.assert_array_equal(again(THETA, X), ensemble(THETA, X))


@pytest.mark.slow
def test_divergence_of_members_is_that_of_their_posteriors():
    """Of members whose posteriors are known normals."""
    first = build(KEY, head="quadratic")
    first = jax.tree.map(lambda a: 0 * a if eqx.is_inexact_array(a) else a, first)
    at = lambda e: e.quadratic.mlp.layers[-1].bias  # noqa: E731
    first = eqx.tree_at(lambda e: e.standardization.scale, first, jnp.ones(2))
    members = [
        eqx.tree_at(at, first, jnp.asarray([0.0, mean, np.log(4.0)]))
        for mean in (0.1, 0.35)
    ]
    ensemble = EstimatorEnsemble.stack(members)
    table = disagreement(ensemble, X, key=KEY, draws=60_000)
    np.testing.assert_allclose(table[[0, 1], [1, 0]], 0.5, rtol=0.05)


def test_models_are_weighted_by_their_evidences():
    """Two noise levels, exact ratios within each, the selector learned."""
    models = [LinearGaussian(np.ones((2, 1)), sigma) for sigma in (0.3, 1.0)]
    keys = jax.random.split(KEY, 5)
    ensembles = [
        gl15.simulate(model, PRIOR, 3_000, key=key)
        for model, key in zip(models, keys, strict=False)
    ]
    pairs = model_pairs(ensembles, key=keys[2])
    selector = RatioEstimator(
        Prior({"model": dist.Uniform(0.0, 1.0)}),
        MLPEncoder(2, features=16, width=32, key=keys[3]),
        width=16,
        key=keys[4],
    )
    selector, _ = gl15.fit(
        selector, pairs, key=KEY, steps=1_000, batch_size=64, progress=False
    )
    average = ModelAverage([ExactRatio(one, PRIOR) for one in models], selector)

    def log_evidence(sigma, x):
        covariance = np.ones((2, 2)) + sigma**2 * np.eye(2)
        return jax.scipy.stats.multivariate_normal.logpdf(x, np.zeros(2), covariance)

    x = jnp.concatenate([one.x[:100] for one in ensembles])
    exact = jax.nn.softmax(
        jnp.stack([log_evidence(sigma, x) for sigma in (0.3, 1.0)], -1), axis=-1
    )
    found = jax.jit(jax.vmap(average.weights))(x)
    assert jnp.abs(found - exact).mean() < 0.05
    # The average over models is the mixture of their posteriors.
    w, theta = average.weights(X), {"theta": 0.2}
    parts = jnp.stack([one(theta, X) for one in average.estimators])
    np.testing.assert_allclose(average(theta, X), jnp.log(w @ jnp.exp(parts)))
    odds = ModelAverage(average.estimators, selector, [0.0, 50.0])
    assert odds.weights(X)[1] > 0.999


def test_models_that_do_not_go_together_are_refused():
    model = ExactRatio(LinearGaussian(np.ones((2, 1)), 0.3), PRIOR)
    with pytest.raises(ValueError, match="`selector` infers"):
        ModelAverage([model, model], build(KEY))
    with pytest.raises(ValueError, match="`estimators` holds no models"):
        ModelAverage([], build(KEY))
    selector = eqx.tree_at(
        lambda one: one.prior, build(KEY), Prior({"model": dist.Uniform()})
    )
    with pytest.raises(ValueError, match="`log_prior_odds` must be finite"):
        ModelAverage([model, model], selector, [0.0, -np.inf])
    with pytest.raises(ValueError, match="give two models or more"):
        model_pairs([], key=KEY)
