"""NUTS, potentials and the NumPyro distribution, each against an exact posterior."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats
from numpyro.diagnostics import effective_sample_size
from numpyro.infer import MCMC, NUTS, Predictive
from numpyro.infer.util import log_density

from gl15.inference import ConvEncoder, RatioEstimator, SpectralEncoder
from gl15.posterior import (
    grid_posterior,
    laplace,
    potential,
    RatioLikelihood,
    sample_posterior,
    to_arviz,
)
from gl15.simulation import ExactRatio, LinearGaussian, Observation, Prior


SIGMA = 0.05
ETA = Prior({"eta": dist.Uniform(0.0, 1.5)})
ONE = ExactRatio(LinearGaussian([[1.0]], SIGMA, ("eta",)), ETA)
X = jnp.asarray([0.7])


def run(model, *arguments, draws=1000, chains=2, **options):
    mcmc = MCMC(
        NUTS(model),
        num_warmup=300,
        num_samples=draws,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
        **options,
    )
    mcmc.run(jax.random.key(0), *arguments)
    return mcmc.get_samples(group_by_chain=True)


def assert_follows(draws, exact):
    """Kolmogorov-Smirnov test, at the number of draws that count as independent."""
    draws = np.atleast_2d(draws)
    distance = scipy.stats.kstest(draws.reshape(-1), exact.cdf).statistic
    size = float(effective_sample_size(draws))
    assert size > 200
    assert scipy.stats.kstwobign.sf(np.sqrt(size) * distance) > 1e-3


def truncated(x, sigma=SIGMA, low=0.0, high=1.5):
    return scipy.stats.truncnorm((low - x) / sigma, (high - x) / sigma, x, sigma)


# sample_posterior


def test_chains_begin_with_the_mass_matrix_of_the_peaks():
    # Without warm-up NumPyro keeps the matrix that it was given.
    prior = Prior({"eta": dist.Uniform(0.0, 1.5), "nu": dist.Uniform(0.0, 0.4)})
    key = jax.random.key(0)
    encoder = SpectralEncoder(2, rings=4, features=6, width=8, key=key)
    estimator = RatioEstimator(prior, encoder, head="quadratic", width=8, key=key)
    x = jax.random.uniform(key, (16, 16, 2)) + 0.1
    mcmc = sample_posterior(
        estimator, x, key=key, num_warmup=0, num_samples=4, num_chains=1
    )
    (found,) = mcmc.last_state.adapt_state.inverse_mass_matrix.values()
    expected = laplace(estimator, x).covariance
    assert abs(expected[0, 1]) > 0  # a dense one, not variances alone
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_nuts_agrees_with_the_grid():
    x = jnp.asarray([1.48])  # against the upper edge
    draws = sample_posterior(ONE, x, key=jax.random.key(1)).get_samples(
        group_by_chain=True
    )["eta"]
    assert draws.shape == (4, 1000)
    assert_follows(draws, truncated(1.48))
    grid = grid_posterior(ONE, x)
    np.testing.assert_allclose(draws.mean(), grid.mean()["eta"], atol=0.005)
    np.testing.assert_allclose(draws.std(), grid.std()["eta"], rtol=0.1)


def test_nuts_in_several_parameters():
    names = ("nu", "eta")
    prior = Prior({"nu": dist.Normal(0.0, 1.0), "eta": dist.Normal(0.7, 0.5)})
    toy = LinearGaussian([[1.0, 0.8], [0.0, 1.0]], 0.02, names)
    x = jnp.asarray([0.9, 0.5])
    mcmc = sample_posterior(ExactRatio(toy, prior, 16), x, key=jax.random.key(2))
    draws = np.stack([mcmc.get_samples()[name] for name in names])
    mean, covariance = toy.posterior(x, prior)
    std = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(draws.mean(axis=1), mean, atol=0.1 * std.min())
    np.testing.assert_allclose(
        np.cov(draws), covariance, atol=0.12 * float(covariance.max())
    )


def test_nuts_starts_inside_a_posterior_lost_in_a_flat_prior():
    # The log-ratio is flat beyond a few sigma, as classifiers are: its gradient does
    # not lead there.
    class Floored(ExactRatio):
        def log_ratio(self, theta, h):
            return jnp.maximum(super().log_ratio(theta, h), -8.0)

    mcmc = sample_posterior(
        Floored(LinearGaussian([[1.0]], 0.002, ("eta",)), ETA),
        X,
        key=jax.random.key(3),
        num_warmup=200,
        num_samples=100,
        num_chains=3,
        target_accept_prob=0.7,
    )
    draws = mcmc.get_samples(group_by_chain=True)["eta"]
    assert draws.shape == (3, 100)
    np.testing.assert_array_less(draws.std(axis=1), 0.004)
    data = to_arviz(mcmc)
    np.testing.assert_array_equal(data.posterior["eta"], draws)
    assert "log_likelihood" not in data.groups()


def test_no_chains_are_refused():
    with pytest.raises(ValueError, match="`num_chains` must be at least 1, got 0"):
        sample_posterior(ONE, jnp.asarray([0.7]), key=jax.random.key(0), num_chains=0)


def test_bad_images_are_refused():
    with pytest.raises(ValueError, match="`x`"):
        sample_posterior(ONE, X[0] * jnp.nan, key=jax.random.key(0))
    with pytest.raises(ValueError, match="`x`"):
        potential(ONE, jnp.asarray([jnp.inf]))


# Observation


def _small_estimator():
    encoder = ConvEncoder(2, widths=(3,), features=4, key=jax.random.key(0))
    return RatioEstimator(
        ETA,
        encoder,
        width=8,
        spacing=0.5,
        channel_names=("u", "v"),
        key=jax.random.key(1),
    )


QUICK = {"num_warmup": 5, "num_samples": 5, "num_chains": 1}
ENTRIES = {
    "grid": lambda x: grid_posterior(_small_estimator(), x, 8).log_density,
    "potential": lambda x: potential(_small_estimator(), x).features,
    "nuts": lambda x: sample_posterior(
        _small_estimator(), x, key=jax.random.key(2), **QUICK
    ).get_samples()["eta"],
}
IMAGE = np.random.default_rng(0).normal(size=(8, 8, 2))


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_observation_is_its_image(entry):
    make = ENTRIES[entry]
    observation = Observation(IMAGE, 0.5, ("u", "v"))
    np.testing.assert_array_equal(make(observation), make(IMAGE))


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    ("observation", "match"),
    [
        (Observation(IMAGE, 0.25, ("u", "v")), "`spacing`"),
        (Observation(IMAGE, 0.25), "`spacing`"),
        (Observation(IMAGE, 0.5, ("v", "u")), "channels"),
    ],
)
def test_an_observation_of_another_kind_is_refused(entry, observation, match):
    with pytest.raises(ValueError, match=match):
        ENTRIES[entry](observation)


# potential


def test_potential_is_the_negative_log_posterior():
    energy, exact = potential(ONE, X), truncated(0.7)
    eta = np.linspace(0.5, 0.9, 5)
    values = jax.vmap(lambda one: energy({"eta": one}))(jnp.asarray(eta))
    expected = -exact.logpdf(eta)
    np.testing.assert_allclose(values - values[2], expected - expected[2], atol=1e-9)


def test_potential_outside_the_support_is_infinite_with_zero_gradient():
    for outside in (-0.1, 1.6, jnp.nan):
        value, slope = jax.value_and_grad(lambda one: potential(ONE, X)({"eta": one}))(
            outside
        )
        assert value == jnp.inf
        assert slope == 0


def test_unconstrained_potential_samples_with_numpyro():
    energy = potential(ONE, jnp.asarray([1.48]), unconstrained=True)
    mcmc = MCMC(
        NUTS(potential_fn=energy),
        num_warmup=300,
        num_samples=2000,
        progress_bar=False,
    )
    mcmc.run(jax.random.key(5), init_params=energy.unconstrain({"eta": 1.4}))
    assert_follows(energy.constrain(mcmc.get_samples())["eta"], truncated(1.48))


def test_unconstrained_potential_differs_by_the_jacobian():
    free, bound = potential(ONE, X, unconstrained=True), potential(ONE, X)
    position = free.unconstrain({"eta": 0.6})
    np.testing.assert_allclose(free.constrain(position)["eta"], 0.6)
    jacobian = jax.grad(lambda u: free.constrain({"eta": u})["eta"])(position["eta"])
    np.testing.assert_allclose(
        free(position), bound({"eta": 0.6}) - jnp.log(jacobian), rtol=1e-10
    )


def test_potential_embeds_once(counting):
    estimator, calls = counting(ONE)
    energy = potential(estimator, X)
    jax.block_until_ready([energy({"eta": eta}) for eta in (0.1, 0.2, 0.3)])
    assert calls() == 1


def test_wrong_names_are_refused():
    with pytest.raises(ValueError, match="missing"):
        potential(ONE, X)({"B": 0.1})
    with pytest.raises(ValueError, match="missing"):
        RatioLikelihood(ONE, {"B": 0.1})


# RatioLikelihood


def model(x, estimator=ONE):
    eta = numpyro.sample("eta", dist.Uniform(0.0, 1.5))
    numpyro.sample("x", RatioLikelihood(estimator, {"eta": eta}), obs=x)


def test_likelihood_in_a_model_follows_the_exact_posterior(counting):
    estimator, calls = counting(ONE)
    draws = run(model, jnp.asarray([0.02]), estimator)["eta"]
    assert_follows(draws, truncated(0.02))
    # Once for each trace of the model, of which NumPyro makes a few; not at each of
    # the thousands of steps.
    assert 1 <= calls() <= 4


def test_encoder_is_not_in_the_compiled_density(counting):
    estimator, _ = counting(ONE)
    density = lambda eta, x: log_density(model, (x, estimator), {}, {"eta": eta})[0]  # noqa: E731
    assert "callback" not in str(jax.make_jaxpr(lambda eta: density(eta, X))(0.5))
    assert "callback" in str(jax.make_jaxpr(density)(0.5, X))


def test_sampler_stays_within_the_training_support_under_another_prior():
    # The model's own prior is wider, and the image pulls outwards.
    def wide(x):
        eta = numpyro.sample("eta", dist.Normal(1.4, 0.05))
        numpyro.sample("x", RatioLikelihood(ONE, {"eta": eta}), obs=x)

    draws = run(wide, jnp.asarray([1.54]))["eta"]
    assert_follows(draws, truncated(1.47, 0.05 / np.sqrt(2)))


def test_images_in_a_plate_are_independent_observations():
    x = jnp.asarray([0.66, 0.71, 0.73])[:, None]

    def plated(x):
        eta = numpyro.sample("eta", dist.Uniform(0.0, 1.5))
        with numpyro.plate("images", len(x)):
            numpyro.sample("x", RatioLikelihood(ONE, {"eta": eta}), obs=x)

    theta = {"eta": jnp.asarray(0.65)}
    found, _ = log_density(plated, (x,), {}, theta)
    ratios = sum(ONE(theta, one) for one in x)
    np.testing.assert_allclose(found, ratios + ETA.log_prob(theta))


def test_hierarchical_model_against_its_marginal():
    # eta_i ~ N(mu, tau), x_i ~ N(eta_i, sigma): mu given the x_i is normal if mu is.
    # The training prior is wide enough not to matter.
    wide = Prior({"eta": dist.Uniform(-10.0, 10.0)})
    estimator = ExactRatio(LinearGaussian([[1.0]], 0.3, ("eta",)), wide)
    x = jnp.asarray([0.1, 0.9, 0.4, 1.2])[:, None]

    def hierarchical(x):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        with numpyro.plate("samples", len(x)):
            eta = numpyro.sample("eta", dist.Normal(mu, 0.4))
            numpyro.sample("x", RatioLikelihood(estimator, {"eta": eta}), obs=x)

    draws = run(hierarchical, x)
    weight = 4 / (0.3**2 + 0.4**2)
    exact = scipy.stats.norm(
        weight * float(x.mean()) / (1 + weight), (1 + weight) ** -0.5
    )
    assert_follows(draws["mu"], exact)
    assert draws["eta"].shape == (2, 1000, 4)


def test_log_prob_shapes_and_batches():
    x = jnp.asarray([[0.5], [0.7]])
    ratio = lambda eta, image: RatioLikelihood(ONE, {"eta": eta}).log_prob(image)  # noqa: E731
    expected = lambda eta, j: ONE({"eta": jnp.asarray(eta)}, x[j])  # noqa: E731
    np.testing.assert_allclose(ratio(0.6, x[0]), expected(0.6, 0))
    both = [expected(0.6, 0), expected(0.6, 1)]
    np.testing.assert_allclose(ratio(0.6, x), both)
    eta = jnp.asarray([0.6, 0.8])
    np.testing.assert_allclose(ratio(eta, x), [expected(0.6, 0), expected(0.8, 1)])
    np.testing.assert_allclose(ratio(eta, x[0]), [expected(0.6, 0), expected(0.8, 0)])
    np.testing.assert_allclose(
        ratio(eta[:, None], x),
        [both, [expected(0.8, 0), expected(0.8, 1)]],
    )


def test_log_prob_outside_the_support():
    ratio = lambda eta: RatioLikelihood(ONE, {"eta": eta}).log_prob(X)  # noqa: E731
    for outside in (-0.1, 1.6, jnp.nan):
        value, slope = jax.value_and_grad(ratio)(outside)
        assert value == -jnp.inf
        assert slope == 0


def test_distribution_is_a_pytree(counting):
    estimator, _ = counting(ONE)
    likelihood = RatioLikelihood(estimator, {"eta": jnp.asarray(0.6)})
    value = jax.jit(lambda one, x: one.log_prob(x))(likelihood, X)
    np.testing.assert_allclose(value, likelihood.log_prob(X))
    stacked = jax.vmap(lambda eta: RatioLikelihood(estimator, {"eta": eta}))(
        jnp.asarray([0.6, 0.8])
    )
    values = jax.vmap(lambda one: one.log_prob(X))(stacked)
    np.testing.assert_allclose(values[0], value)


def test_traced_images_embed_in_the_trace():
    log_prob = jax.jit(lambda x: RatioLikelihood(ONE, {"eta": 0.6}).log_prob(x))
    np.testing.assert_allclose(log_prob(X), ONE({"eta": jnp.asarray(0.6)}, X))


@pytest.mark.parametrize("x", [[jnp.nan], [0.1, 0.2]])
def test_observations_are_checked(x):
    with pytest.raises(ValueError, match="`x`"):
        RatioLikelihood(ONE, {"eta": 0.6}).log_prob(jnp.asarray(x))


def test_drawing_images_needs_a_simulator():
    with pytest.raises(NotImplementedError, match="simulator="):
        RatioLikelihood(ONE, {"eta": 0.6}).sample(jax.random.key(0))


def test_posterior_predictive_draws_from_the_simulator():
    def generative(x=None):
        eta = numpyro.sample("eta", dist.Uniform(0.0, 1.5))
        likelihood = RatioLikelihood(ONE, {"eta": eta}, simulator=ONE.simulator)
        with numpyro.plate("images", 3):
            numpyro.sample("x", likelihood, obs=x)

    eta = jnp.linspace(0.2, 1.2, 500)
    drawn = Predictive(generative, {"eta": eta})(jax.random.key(6))["x"]
    assert drawn.shape == (500, 3, 1)
    residual = (drawn[..., 0] - eta[:, None]) / SIGMA
    assert scipy.stats.kstest(np.asarray(residual).reshape(-1), "norm").pvalue > 1e-3


# to_arviz


def test_grid_posteriors_enter_arviz_as_draws():
    data = to_arviz(grid_posterior(ONE, X), key=jax.random.key(8), draws=500)
    assert dict(data.posterior.sizes) == {"chain": 4, "draw": 500}
    assert_follows(data.posterior["eta"].values, truncated(0.7))


def test_draws_for_arviz_need_a_key():
    with pytest.raises(ValueError, match="`key` must be a random key .* got None"):
        to_arviz(grid_posterior(ONE, X))


def test_a_missing_arviz_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install \"gl15\[plots\]\""):
        to_arviz(grid_posterior(ONE, X), key=jax.random.key(0))
