import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.integrate
import scipy.stats

from gl15.simulation import (
    ExactRatio,
    GaussianLinearUniform,
    LinearGaussian,
    Prior,
    SLCP,
    TwoMoons,
)


MATRIX = np.array([[1.0, 0.5], [0.2, 1.0], [1.0, 1.0]])
TOY = LinearGaussian(MATRIX, 0.3, ("b", "a"))


def test_exact_ratio_is_posterior_over_prior():
    prior = Prior({"a": dist.Normal(0.5, 2.0), "b": dist.Normal(0.0, 1.0)})
    x = TOY({"a": 0.3, "b": 0.2}, jax.random.key(0))
    mean, covariance = TOY.posterior(x, prior)
    theta = {"a": 0.1, "b": 0.4}
    posterior = scipy.stats.multivariate_normal(mean, covariance).logpdf([0.4, 0.1])
    np.testing.assert_allclose(
        TOY.exact_log_ratio(theta, x, prior), posterior - prior.log_prob(theta)
    )


@pytest.mark.parametrize(
    ("x", "sigma"), [(0.7, 0.003), (1.49, 0.003), (0.0, 0.3), (2.5, 0.3), (2.5, 30.0)]
)
def test_exact_ratio_under_a_uniform_prior(x, sigma):
    # Peaks narrow, wide, at an edge and beyond it.
    toy = LinearGaussian([[1.0]], sigma, ("eta",))
    prior = Prior({"eta": dist.Uniform(0.0, 1.5)})
    likelihood = scipy.stats.norm(x, sigma)
    high = likelihood.logsf(0.0) + np.log1p(
        -np.exp(likelihood.logsf(1.5) - likelihood.logsf(0.0))
    )
    if x > 1.5:
        high = likelihood.logcdf(1.5) + np.log1p(
            -np.exp(likelihood.logcdf(0.0) - likelihood.logcdf(1.5))
        )
    expected = likelihood.logpdf(1.2) - (high - np.log(1.5))
    ratio = toy.exact_log_ratio({"eta": 1.2}, jnp.asarray([x]), prior)
    np.testing.assert_allclose(ratio, expected, rtol=1e-6)


def test_simulations_have_the_stated_moments():
    theta = {"a": 0.3, "b": 0.2}
    keys = jax.random.split(jax.random.key(1), 4000)
    x = np.asarray(jax.vmap(lambda key: TOY(theta, key))(keys))
    np.testing.assert_allclose(x.mean(0), MATRIX @ [0.2, 0.3], atol=0.03)
    np.testing.assert_allclose(np.cov(x.T), 0.09 * np.eye(3), atol=0.01)


@pytest.mark.parametrize("task", [TwoMoons(), GaussianLinearUniform(), SLCP()])
def test_likelihood_is_that_of_the_simulator(task):
    # E[exp(log p(x|t') - log p(x|t))] over x ~ p(.|t) is 1 for any t' whose support
    # lies within that of t.
    theta = {name: jnp.asarray(0.9) for name in task.names}
    other = {name: jnp.asarray(0.93) for name in task.names}
    if isinstance(task, TwoMoons):
        other = theta
    keys = jax.random.split(jax.random.key(2), 20_000)

    @jax.vmap
    def weight(key):
        x = task(theta, key)
        return jnp.exp(task.log_likelihood(other, x) - task.log_likelihood(theta, x))

    weights = np.asarray(weight(keys))
    error = weights.std() / np.sqrt(len(weights))
    assert abs(weights.mean() - 1) <= 4 * error


def test_two_moons_likelihood_is_normalised():
    task, theta = TwoMoons(), {"theta1": jnp.asarray(0.3), "theta2": jnp.asarray(-0.1)}
    centre = np.array([0.25 - 0.2 / np.sqrt(2), -0.4 / np.sqrt(2)])
    r, a = np.meshgrid(
        np.linspace(0.04, 0.16, 400), np.linspace(-np.pi / 2, np.pi / 2, 400)[1:-1]
    )
    x = np.stack([centre[0] + r * np.cos(a), centre[1] + r * np.sin(a)], -1)
    density = jnp.exp(
        jax.vmap(lambda one: task.log_likelihood(theta, one))(x.reshape(-1, 2))
    ).reshape(r.shape)
    area = scipy.integrate.simpson(
        scipy.integrate.simpson(np.asarray(density) * r, r[0], axis=1), a[:, 0]
    )
    np.testing.assert_allclose(area, 1, rtol=0.01)


@pytest.mark.parametrize("task", [TwoMoons(), GaussianLinearUniform(), SLCP()])
def test_tasks_know_their_parameters(task):
    assert task.prior.names == task.names
    x = task(task.prior.sample(jax.random.key(0)), jax.random.key(1))
    assert jnp.all(jnp.isfinite(x))


def test_mistakes_are_explained():
    with pytest.raises(ValueError, match="2 columns but `names` lists 1"):
        LinearGaussian(MATRIX, 0.3, ("a",))
    uniform = Prior({"a": dist.Uniform(), "b": dist.Uniform()})
    with pytest.raises(ValueError, match="needs dist.Normal"):
        TOY.posterior(jnp.zeros(3), uniform)
    with pytest.raises(ValueError, match="same parameters"):
        ExactRatio(TOY, Prior({"a": dist.Uniform()}))
    ratio = ExactRatio(TOY, uniform)
    with pytest.raises(ValueError, match=r"shape \(2, 3\)"):
        ratio.check_image(jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match="NaN"):
        ratio.check_image(jnp.full(3, jnp.nan))
