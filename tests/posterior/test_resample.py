"""Draws at once and the normal fit, against posteriors in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import gl15
from gl15.posterior import laplace, resample_posterior
from gl15.simulation import ExactRatio, LinearGaussian, Prior, TwoMoons


SIMULATOR = LinearGaussian(np.asarray([[1.0, 0.5], [0.0, 1.0]]), 0.4, ("b", "a"))
PRIOR = Prior({"a": dist.Normal(0.0, 1.0), "b": dist.Normal(0.5, 2.0)})
EXACT = ExactRatio(SIMULATOR, PRIOR)
X = jnp.asarray([0.6, -0.9])
KEY = jax.random.key(2)


def test_draws_have_the_posterior_s_moments():
    for moves in (0, 5):
        draws = resample_posterior(
            EXACT, X, key=KEY, num_samples=20_000, num_candidates=60_000, moves=moves
        )
        mean, covariance = SIMULATOR.posterior(X, PRIOR)
        table = jnp.stack([draws.theta["b"], draws.theta["a"]])
        np.testing.assert_allclose(table.mean(1), mean, atol=0.03)
        np.testing.assert_allclose(np.cov(table), covariance, atol=0.02)
        np.testing.assert_allclose(draws.normalisation, 1, atol=0.05)
        assert 500 < draws.effective < 60_000
    assert 0.1 < draws.accepted < 0.9
    assert len(np.unique(table[0])) > 10_000


def test_separate_peaks_keep_their_weights():
    moons = TwoMoons()

    class Likelihood:
        prior = moons.prior

        def embed(self, x):
            return x

        def log_ratio(self, theta, h):
            return jnp.maximum(moons.log_likelihood(theta, h), -1e4)

        def check_image(self, x, **known):
            pass

    draws = resample_posterior(Likelihood(), jnp.zeros(2), key=KEY, moves=3)
    one = draws.theta["theta1"] + draws.theta["theta2"] > 0
    np.testing.assert_allclose(one.mean(), 0.5, atol=0.06)


def test_numbers_that_are_no_counts_are_refused():
    with pytest.raises(ValueError, match="no more than `num_candidates`=10"):
        resample_posterior(EXACT, X, key=KEY, num_candidates=10)


def test_the_normal_fit_of_a_normal_posterior_is_exact():
    found = laplace(EXACT, X)
    mean, covariance = SIMULATOR.posterior(X, PRIOR)
    assert found.names == ("a", "b")
    np.testing.assert_allclose([found.theta["b"], found.theta["a"]], mean, atol=1e-6)
    np.testing.assert_allclose(found.covariance[::-1, ::-1], covariance, rtol=1e-6)


def test_the_fit_is_found_in_a_bounded_prior_too():
    prior = Prior({name: dist.Uniform(-3.0, 3.0) for name in ("a", "b")})
    found = laplace(ExactRatio(SIMULATOR, prior), X)
    energy = gl15.potential(ExactRatio(SIMULATOR, prior), X, unconstrained=True)
    slope = jax.grad(energy)(found.location)
    assert all(abs(value) < 1e-4 for value in slope.values())
    assert np.linalg.eigvalsh(found.covariance)[0] > 0
