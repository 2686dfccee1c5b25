"""A batch's loss: who meets whom, and what the peaks add."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from gl15.inference import (
    Balanced,
    BinaryCrossEntropy,
    Contrastive,
    EstimatorEnsemble,
    MLPEncoder,
    NearMisses,
    RatioEstimator,
)
from gl15.inference._losses.contrast import contrast, pair_logits
from gl15.simulation import Prior


PRIOR = Prior({"b": dist.Uniform(-1.0, 3.0), "a": dist.Normal(1.0, 2.0)})
KEYS = jax.random.split(jax.random.key(0), 4)
THETA = PRIOR.sample(KEYS[0], (6,))
Z = jax.random.normal(KEYS[1], (6, 3))


loss_of = eqx.filter_jit(contrast)


def build(key=KEYS[2], **options):
    one, two = jax.random.split(key)
    encoder = MLPEncoder(3, features=4, width=5, depth=1, key=one)
    return RatioEstimator(PRIOR, encoder, width=6, key=two, **options)


@pytest.mark.parametrize("head", ["mlp", "quadratic"])
@pytest.mark.parametrize("table", [True, False])
def test_each_observation_meets_the_next_ones_around_the_batch(head, table):
    estimator = build(head=head)
    found = jax.jit(lambda z: pair_logits(estimator, THETA, z, 3, table=table))(Z)
    one = jax.jit(lambda theta, z: estimator.log_ratio(theta, estimator.features(z)))
    for i, k in itertools.product(range(6), range(4)):
        theta = {name: value[(i + k) % 6] for name, value in THETA.items()}
        np.testing.assert_allclose(found[i, k], one(theta, Z[i]), rtol=1e-10)


@pytest.mark.parametrize("contrasts", [1, 5])
def test_the_loss_is_that_of_the_logits(contrasts):
    estimator, loss = build(), Contrastive(contrasts)
    logits = eqx.filter_jit(pair_logits)(estimator, THETA, Z, contrasts)
    found = loss_of(estimator, THETA, Z, loss)
    np.testing.assert_allclose(found, loss(logits[:, 0], logits[:, 1:]), rtol=1e-12)


def test_members_are_trained_as_if_alone():
    ensemble = EstimatorEnsemble(build, 3, key=KEYS[3])
    loss = BinaryCrossEntropy(2)
    alone = [
        loss_of(build(key), THETA, Z, loss) for key in jax.random.split(KEYS[3], 3)
    ]
    found = loss_of(ensemble, THETA, Z, loss)
    np.testing.assert_allclose(found, np.mean(alone), rtol=1e-10)


def test_near_misses_shift_the_logits_by_the_density_they_were_drawn_from():
    """With the exact posterior for its log-ratio, any peaks leave the loss least."""
    # theta = x exactly known law: x standard normal, theta | x normal about x / 2.
    prior = Prior({"a": dist.Normal(0.0, 1.0)})
    encoder = MLPEncoder(1, features=2, width=2, depth=1, key=KEYS[0])
    base = RatioEstimator(prior, encoder, width=4, head="quadratic", key=KEYS[1])
    std = 0.5

    class Exact(eqx.Module):
        inner: RatioEstimator
        error: float

        @property
        def prior(self):
            return self.inner.prior

        @property
        def quadratic(self):
            return self.inner.quadratic

        def features(self, z):
            return jnp.append(z, self.inner.features(z))

        def peaks(self, h):
            return self.inner.peaks(h[1:])

        def correction(self, theta, h):
            u = self.prior.standardize(theta)
            right = jax.scipy.stats.norm.logpdf(u[0], 0.8 * h[0], std)
            wrong = self.error * u[0]
            return right - self.peaks(h).log_prob(u) + wrong

    x = jax.random.normal(KEYS[2], (4096, 1))
    theta = {"a": 0.8 * x[:, 0] + std * jax.random.normal(KEYS[3], (4096,))}
    loss = NearMisses(Contrastive(8))

    @jax.jit
    def slope(error):
        return jax.grad(lambda e: loss.of_batch(Exact(base, e), theta, x))(error)

    # Stationary at the truth to within its noise, and steep on both sides.
    assert abs(slope(0.0)) < 0.02
    assert slope(0.5) > 0.05 and slope(-0.5) < -0.05


def test_near_misses_want_peaks_and_both_kinds_of_contrasts():
    with pytest.raises(ValueError, match='head="quadratic"'):
        contrast(build(), THETA, Z, NearMisses(Contrastive(4)))
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        NearMisses(Contrastive(4), share=1.0)
    with pytest.raises(ValueError, match="put Balanced inside it"):
        Balanced(NearMisses())


def test_near_misses_follow_from_the_batch_and_reach_every_weight():
    estimator = build(head="quadratic", components=2)
    # The correction starts at zero, and nothing before its last layer is felt there.
    last = estimator.head.layers[-1].weight
    estimator = eqx.tree_at(
        lambda e: e.head.layers[-1].weight, estimator, jnp.ones_like(last)
    )
    loss = NearMisses(Contrastive(4))
    slopes = eqx.filter_jit(eqx.filter_grad(contrast))(estimator, THETA, Z, loss)
    value = loss_of(estimator, THETA, Z, loss)
    assert value == loss_of(estimator, THETA, Z, loss)
    turned = {name: jnp.roll(one, 1) for name, one in THETA.items()}
    assert value != loss_of(estimator, turned, jnp.roll(Z, 1, 0), loss)
    for part in (slopes.encoder, slopes.quadratic, slopes.head, slopes.parameter_mlp):
        leaves = jax.tree.leaves(eqx.filter(part, eqx.is_inexact_array))
        assert all(jnp.isfinite(leaf).all() for leaf in leaves)
        assert any(jnp.any(leaf != 0) for leaf in leaves)
