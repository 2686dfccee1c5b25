"""Truncation: the box holds the posterior, and inside it the ratio stays honest."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import gl15
from gl15.inference import (
    leaning,
    MLPEncoder,
    NearMisses,
    RatioEstimator,
    truncate,
    truncated_rounds,
)
from gl15.simulation import ExactRatio, LinearGaussian, Prior, truncated_prior


KEY = jax.random.key(3)
SIMULATOR = LinearGaussian(np.ones((4, 1)), 0.2)
WIDE = Prior({"theta": dist.Uniform(-10.0, 10.0)})


def test_the_box_ends_where_the_ratio_falls_to_the_threshold():
    x = jnp.full(4, 2.0)
    reach = 0.1 * np.sqrt(2 * np.log(1e6))
    box = truncate(ExactRatio(SIMULATOR, WIDE), x, key=KEY, margin=0.0)
    np.testing.assert_allclose(
        box.bounds["theta"], (2 - reach, 2 + reach), atol=0.05 * reach
    )
    wider = truncate(ExactRatio(SIMULATOR, WIDE), x, key=KEY, margin=0.5)
    np.testing.assert_allclose(
        wider.bounds["theta"], (2 - 2 * reach, 2 + 2 * reach), atol=0.1 * reach
    )
    # Never beyond the prior.
    edge = truncate(ExactRatio(SIMULATOR, WIDE), jnp.full(4, 9.9), key=KEY)
    assert edge.bounds["theta"][1] == 10.0
    with pytest.raises(ValueError, match="`threshold`"):
        truncate(ExactRatio(SIMULATOR, WIDE), x, key=KEY, threshold=2.0)


def test_a_posterior_on_an_edge_of_the_truncation_is_noticed():
    inside = truncated_prior(WIDE, {"theta": (1.0, 3.0)})
    exact = ExactRatio(SIMULATOR, inside)
    assert leaning(exact, jnp.full(4, 2.0), WIDE, key=KEY) == ()
    assert leaning(exact, jnp.full(4, 2.95), WIDE, key=KEY) == ("theta",)
    # An edge of the prior itself is no truncation.
    whole = truncated_prior(WIDE, {"theta": (9.0, 10.0)})
    at_the_edge = ExactRatio(SIMULATOR, whole)
    assert leaning(at_the_edge, jnp.full(4, 9.95), WIDE, key=KEY) == ()


@pytest.mark.parametrize(
    "value",
    [
        dist.Uniform(-1.0, 2.0),
        dist.LogUniform(0.1, 10.0),
        dist.Normal(0.5, 0.7),
        dist.HalfNormal(1.5),
        dist.TruncatedDistribution(dist.Normal(0.0, 1.0), -1.0, 4.0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_truncated_prior_is_the_prior_inside_the_box(value):
    whole = Prior({"theta": value, "other": dist.Normal(0.0, 1.0)})
    inside = truncated_prior(whole, {"theta": (0.2, 0.9)})
    np.testing.assert_allclose(inside.bounds["theta"], (0.2, 0.9), rtol=1e-6)
    theta = jnp.linspace(0.25, 0.85, 7)
    difference = inside.log_prob({"theta": theta, "other": 0.0}) - whole.log_prob(
        {"theta": theta, "other": 0.0}
    )
    np.testing.assert_allclose(difference, difference[0], atol=1e-6)
    grid = jnp.linspace(0.2, 0.9, 2001)[1:-1]
    log_other = dist.Normal(0.0, 1.0).log_prob(0.0)
    mass = jnp.exp(inside.log_prob({"theta": grid, "other": 0.0}) - log_other)
    np.testing.assert_allclose(mass.mean() * 0.7, 1, rtol=2e-3)
    assert inside.log_prob({"theta": 1.0, "other": 0.0}) == -jnp.inf
    assert Prior.from_description(inside.describe()) == inside


def test_what_cannot_be_truncated_is_refused():
    prior = Prior({"theta": dist.Gamma(2.0, 1.0)})
    with pytest.raises(ValueError, match="Gamma, which NumPyro cannot truncate"):
        truncated_prior(prior, {"theta": (0.5, 1.0)})
    with pytest.raises(ValueError, match=r"leaves \(10, 5\)|leaves"):
        truncated_prior(WIDE, {"theta": (11.0, 12.0)})
    with pytest.raises(ValueError, match="`box` names"):
        truncated_prior(WIDE, {"eta": (0.0, 1.0)})


@pytest.mark.slow
def test_the_second_round_is_calibrated_inside_its_box(tmp_path):
    x = SIMULATOR({"theta": 2.0}, jax.random.key(8))

    def build(prior, key):
        one, two = jax.random.split(key)
        encoder = MLPEncoder(4, features=16, width=32, key=one)
        return RatioEstimator(prior, encoder, width=16, head="quadratic", key=two)

    first, second = truncated_rounds(
        SIMULATOR,
        WIDE,
        x,
        build,
        key=KEY,
        n=2_000,
        loss=NearMisses(),
        steps=800,
        learning_rate=3e-3,
        averaging=0.98,
        progress=False,
    )
    assert first.prior == WIDE
    low, high = second.prior.bounds["theta"]
    assert -10 < low < 1.7 and 2.3 < high < 10 and high - low < 4
    fresh = gl15.simulate(SIMULATOR, second.prior, 400, key=jax.random.key(5))
    found = gl15.summarize(second, fresh)
    for level, slack in ((0.68, 0.07), (0.95, 0.035)):
        share = np.asarray(found.covered("theta", level)).mean()
        assert abs(share - level) < slack
    gl15.save(tmp_path / "e.npz", second)
    assert gl15.load(tmp_path / "e.npz").prior == second.prior
