"""Peaks: their density, their draws, and the estimator that carries them."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats

import gl15
from gl15.inference import MLPEncoder, NearMisses, Peaks, RatioEstimator
from gl15.inference._estimators.candidates import candidates, resampled
from gl15.simulation import LinearGaussian, Prior


PEAKS = Peaks(
    jnp.log(jnp.asarray([0.25, 0.75])),
    jnp.asarray([[0.0, 1.0], [2.0, -1.0]]),
    jnp.asarray([[[2.0, 0.0], [1.0, 4.0]], [[1.0, 0.0], [-0.5, 0.5]]]),
)
PRIOR = Prior({"b": dist.Uniform(-1.0, 3.0), "a": dist.Normal(1.0, 2.0)})


def build(**options):
    keys = jax.random.split(jax.random.key(1))
    encoder = MLPEncoder(3, features=4, width=5, depth=1, key=keys[0])
    options = {"head": "quadratic"} | options
    return RatioEstimator(PRIOR, encoder, width=6, key=keys[1], **options)


def moments(peak):
    precision = PEAKS.factor[peak].T @ PEAKS.factor[peak]
    return np.asarray(PEAKS.location[peak]), np.linalg.inv(precision)


def test_the_density_is_a_mixture_of_normals():
    u = jnp.asarray([0.3, 0.2])
    expected = sum(
        weight * scipy.stats.multivariate_normal(*moments(i)).pdf(u)
        for i, weight in enumerate((0.25, 0.75))
    )
    np.testing.assert_allclose(PEAKS.log_prob(u), np.log(expected), rtol=1e-10)


def test_draws_have_the_mixture_s_moments():
    draws = PEAKS.sample(jax.random.key(0), 40_000)
    means, covariances = zip(*(moments(i) for i in (0, 1)), strict=True)
    mean = 0.25 * means[0] + 0.75 * means[1]
    second = sum(
        w * (c + np.outer(m - mean, m - mean))
        for w, m, c in zip((0.25, 0.75), means, covariances, strict=True)
    )
    np.testing.assert_allclose(draws.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(draws.T), second, atol=0.12)
    place, covariance = PEAKS.highest()
    np.testing.assert_allclose(place, means[1])
    np.testing.assert_allclose(covariance, covariances[1], rtol=1e-10)


CUT = Peaks(
    PEAKS.log_weight, PEAKS.location, PEAKS.factor, ((0.0, 1.5), (-np.inf, 0.5))
)


def test_within_limits_the_density_has_mass_one_and_the_draws_follow_it():
    """One parameter leans on both limits, the other on its only one."""
    axes = (np.linspace(0, 1.5, 201), np.linspace(-10, 0.5, 801))
    middle = [(one[1:] + one[:-1]) / 2 for one in axes]
    u = jnp.asarray(np.stack(np.meshgrid(*middle, indexing="ij"), -1).reshape(-1, 2))
    cell = np.prod([one[1] - one[0] for one in axes])
    density = jnp.exp(jax.vmap(CUT.log_prob)(u)) * cell
    np.testing.assert_allclose(density.sum(), 1, rtol=2e-4)
    draws = CUT.sample(jax.random.key(0), 40_000)
    assert draws[:, 0].min() >= 0 and draws[:, 0].max() <= 1.5
    assert draws[:, 1].max() <= 0.5
    np.testing.assert_allclose(draws.mean(0), density @ u, atol=0.03)
    np.testing.assert_allclose(
        (draws[:, 0] * draws[:, 1]).mean(), density @ (u[:, 0] * u[:, 1]), atol=0.03
    )


def test_a_single_cut_peak_is_a_truncated_normal():
    low, high, place, width = 0.0, 1.0, 1.2, 0.25
    peak = Peaks(
        jnp.zeros(1),
        jnp.asarray([[place]]),
        jnp.asarray([[[1 / width]]]),
        ((low, high),),
    )
    exact = scipy.stats.truncnorm(
        (low - place) / width, (high - place) / width, place, width
    )
    found = [float(peak.log_prob(jnp.asarray([u]))) for u in (0.3, 0.99)]
    np.testing.assert_allclose(found, exact.logpdf([0.3, 0.99]), rtol=1e-6)
    draws = np.asarray(peak.sample(jax.random.key(0), 5_000))[:, 0]
    assert scipy.stats.kstest(draws, exact.cdf).pvalue > 0.01
    assert low < peak.highest()[0][0] < high


def test_peaks_far_beyond_a_limit_stay_finite():
    far = Peaks(
        jnp.zeros(1),
        jnp.asarray([[40.0, -30.0]]),
        100 * PEAKS.factor[:1],
        ((0.0, 1.0), (0.0, 1.0)),
    )
    gradient = jax.grad(lambda one: one.log_prob(jnp.asarray([0.3, 0.6])))(far)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    draws = far.sample(jax.random.key(0), 50)
    assert jnp.all((draws >= 0) & (draws <= 1))


def test_an_estimator_s_peaks_keep_within_its_prior():
    estimator = build(components=2, members=2)
    h = estimator.embed(jnp.zeros(3))
    draws = PRIOR.unstandardize(estimator.peaks(h).sample(jax.random.key(0), 500))
    assert jnp.all(PRIOR.contains(draws))
    assert estimator.peaks(h).limits == ((0.0, 1.0), (-np.inf, np.inf))
    # The ratio begins as that of the peaks.
    assert estimator.correction({"a": 0.7, "b": 1.9}, h) == 0


def test_the_log_ratio_is_peaks_over_prior_times_correction():
    estimator = build(components=2, members=3)
    h = estimator.embed(jnp.asarray([0.1, -0.4, 1.0]))
    theta = {"a": 0.7, "b": 1.9}
    u = PRIOR.standardize(theta)
    density = jnp.exp(PRIOR.log_prob(theta)) * 4.0 * 2.0
    expected = estimator.correction(theta, h) + estimator.peaks(h).log_prob(u)
    found = estimator.log_ratio(theta, h)
    np.testing.assert_allclose(found, expected - jnp.log(density), rtol=1e-10)


def test_untrained_peaks_are_as_wide_as_the_prior_and_apart():
    one = build().peaks(build().embed(jnp.zeros(3)))
    spread = 1 / jnp.diagonal(one.factor[0])
    assert jnp.all((0.2 < spread) & (spread < 1.0))
    several = build(components=3)
    location = several.peaks(several.embed(jnp.zeros(3))).location
    assert jnp.abs(location[0] - location[1]).max() > 0.01


def test_without_that_head_there_are_no_peaks():
    estimator = build(head="mlp")
    assert estimator.peaks(estimator.embed(jnp.zeros(3))) is None
    with pytest.raises(ValueError, match="`components` must be at least 1, got 0"):
        build(components=0)


def test_a_quadratic_estimator_survives_its_file(tmp_path):
    estimator = build(components=2, members=3)
    gl15.save(tmp_path / "e.npz", estimator)
    again = gl15.load(tmp_path / "e.npz")
    x, theta = jnp.asarray([0.1, -0.4, 1.0]), {"a": 0.7, "b": 1.9}
    np.testing.assert_array_equal(again(theta, x), estimator(theta, x))


def test_weighted_draws_make_the_posterior():
    """Of any log-ratio: the weights' mean is the integral of ratio times prior."""
    simulator = LinearGaussian(np.eye(2), 0.5, ("a", "b"))
    prior = Prior({"b": dist.Normal(0.0, 1.0), "a": dist.Normal(1.0, 2.0)})
    exact = gl15.simulation.ExactRatio(simulator, prior)
    x = jnp.asarray([0.3, -0.8])
    u, log_weight = candidates(exact, exact.embed(x), jax.random.key(0), 40_000)
    np.testing.assert_allclose(jnp.exp(log_weight).mean(), 1, atol=0.03)
    mean, covariance = simulator.posterior(x, prior)
    drawn = prior.unstandardize(resampled(u, log_weight, jax.random.key(1), 20_000))
    for j, name in enumerate(("a", "b")):
        np.testing.assert_allclose(drawn[name].mean(), mean[j], atol=0.03)
        np.testing.assert_allclose(drawn[name].std() ** 2, covariance[j, j], rtol=0.07)


@pytest.mark.slow
def test_near_misses_sharpen_a_posterior_a_hundredth_of_its_prior_wide():
    """What plain contrasts leave twice too wide after as many steps."""
    simulator = LinearGaussian(np.ones((4, 1)), 0.02)
    prior = Prior({"theta": dist.Uniform(0.0, 1.0)})
    keys = jax.random.split(jax.random.key(4), 4)
    pairs = gl15.simulate(simulator, prior, 2_000, key=keys[0])
    estimator = RatioEstimator(
        prior,
        MLPEncoder(4, features=16, width=32, key=keys[1]),
        width=16,
        head="quadratic",
        key=keys[2],
    )
    trained, _ = gl15.fit(
        estimator,
        pairs,
        key=keys[3],
        loss=NearMisses(),
        steps=2_000,
        weight_decay=0.3,
        learning_rate=3e-3,
        averaging=0.99,
        progress=False,
    )
    for value in (0.2, 0.5, 0.77):
        x = simulator({"theta": value}, jax.random.key(9))
        posterior = gl15.grid_posterior(trained, x)
        assert 0.8 < posterior.std()["theta"] / 0.01 < 1.35
        assert abs(posterior.mean()["theta"] - x.mean()) < 0.006
        np.testing.assert_allclose(posterior.normalisation, 1, atol=0.25)
