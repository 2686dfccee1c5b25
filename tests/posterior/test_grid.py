import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats

from gl15.posterior import grid_posterior, grid_posterior_from_features
from gl15.simulation import ExactRatio, LinearGaussian, Prior


SIGMA = 0.05
ETA = Prior({"eta": dist.Uniform(0.0, 1.5)})
ONE = ExactRatio(LinearGaussian([[1.0]], SIGMA, ("eta",)), ETA)

PAIR = Prior({"eta": dist.Normal(0.7, 0.5), "B": dist.Normal(0.0, 1.0)})
TWO = ExactRatio(
    LinearGaussian([[1.0, 0.5], [0.2, 1.0], [1.0, 1.0]], 0.05, ("eta", "B")), PAIR
)
X2 = jnp.asarray([0.8, 0.5, 1.1])


def truncated(x, sigma=SIGMA, low=0.0, high=1.5):
    return scipy.stats.truncnorm((low - x) / sigma, (high - x) / sigma, x, sigma)


@pytest.fixture(name="pair", scope="module")
def _pair():
    return grid_posterior(TWO, X2)


@pytest.mark.parametrize("x", [0.7, 0.02, 1.5])
@pytest.mark.parametrize("refine", [True, False])
def test_one_parameter_against_the_truncated_normal(x, refine):
    posterior = grid_posterior(ONE, jnp.asarray([x]), refine=refine)
    exact = truncated(x)
    # Equidistant nodes are 0.06 sigma apart: errors are of the order of its square.
    tolerance = 2e-4 if refine else 1e-3
    np.testing.assert_allclose(posterior.normalisation, 1, atol=tolerance)
    np.testing.assert_allclose(posterior.mean()["eta"], exact.mean(), rtol=tolerance)
    np.testing.assert_allclose(posterior.std()["eta"], exact.std(), rtol=tolerance)
    q = np.array([0.01, 0.025, 0.16, 0.5, 0.84, 0.975, 0.99])
    np.testing.assert_allclose(
        posterior.quantile(jnp.asarray(q))["eta"], exact.ppf(q), atol=tolerance * SIGMA
    )
    eta = np.clip(x + SIGMA * np.linspace(-3, 3, 9), 0, 1.5)
    np.testing.assert_allclose(
        posterior.cdf({"eta": jnp.asarray(eta)})["eta"], exact.cdf(eta), atol=tolerance
    )
    np.testing.assert_allclose(
        posterior.log_prob({"eta": jnp.asarray(eta)}), exact.logpdf(eta), atol=5e-3
    )
    low, high = posterior.interval(0.68)["eta"]
    np.testing.assert_allclose([low, high], exact.ppf([0.16, 0.84]), atol=1e-4)


def shape_of(*arguments):
    return jax.eval_shape(lambda: grid_posterior(*arguments)).log_density.shape


def test_default_and_given_numbers_of_points():
    x = jnp.asarray([0.7])
    assert shape_of(ONE, x) == (512,)
    assert shape_of(ONE, x, 100) == (100,)
    assert shape_of(ONE, x, {"eta": 60}) == (60,)
    assert shape_of(TWO, X2) == (128, 128)
    assert shape_of(TWO, X2, (20, 30)) == (20, 30)
    assert shape_of(TWO, X2, {"B": 30, "eta": 20}) == (20, 30)


def test_equidistant_nodes_are_exactly_normalised():
    posterior = grid_posterior(ONE, jnp.asarray([0.7]), refine=False)
    nodes, density = posterior.marginal("eta")
    np.testing.assert_allclose(nodes, np.linspace(0, 1.5, 512))
    np.testing.assert_allclose(np.trapezoid(density, nodes), 1)


@pytest.mark.parametrize("sigma", [1e-4, 1e-3, 0.01])
def test_refinement_resolves_posteriors_far_narrower_than_the_prior(sigma):
    estimator = ExactRatio(LinearGaussian([[1.0]], sigma, ("eta",)), ETA)
    posterior = grid_posterior(estimator, jnp.asarray([0.7123]))
    np.testing.assert_allclose(posterior.std()["eta"], sigma, rtol=0.01)
    np.testing.assert_allclose(posterior.normalisation, 1, rtol=0.01)


def test_two_parameters_against_the_exact_posterior(pair):
    mean, covariance = TWO.simulator.posterior(X2, PAIR)
    std = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(pair.normalisation, 1, atol=1e-3)
    for j, name in enumerate(("eta", "B")):
        np.testing.assert_allclose(pair.mean()[name], mean[j], atol=1e-3 * std[j])
        np.testing.assert_allclose(pair.std()[name], std[j], rtol=5e-3)
        nodes, density = pair.marginal(name)
        np.testing.assert_allclose(
            density, scipy.stats.norm(mean[j], std[j]).pdf(nodes), atol=0.01 / std[j]
        )
    joint = scipy.stats.multivariate_normal(mean, covariance)
    theta = np.asarray(mean) + 0.5 * std * np.array([[0.0, 0.0], [1.0, -1.0]])
    np.testing.assert_allclose(
        pair.log_prob({"eta": theta[:, 0], "B": theta[:, 1]}),
        joint.logpdf(theta),
        atol=0.02,
    )
    best = pair.map()
    assert abs(best["eta"] - mean[0]) < 0.2 * std[0]


def test_marginals_agree_with_each_other(pair):
    (b, eta), density = pair.marginal(("B", "eta"))
    assert density.shape == (len(b), len(eta))
    np.testing.assert_allclose(
        np.trapezoid(density, eta, axis=1), pair.marginal("B")[1], atol=1e-9
    )


def test_draws_follow_the_density_in_every_direction(pair):
    mean, covariance = TWO.simulator.posterior(X2, PAIR)
    draws = pair.sample(jax.random.key(0), (100, 40))
    assert draws["eta"].shape == (100, 40)
    points = np.stack([draws["eta"].reshape(-1), draws["B"].reshape(-1)], -1)
    points = points - np.asarray(mean)
    for direction in ([1, 0], [0, 1], [1, 1], [1, -1]):
        direction = np.asarray(direction)
        spread = np.sqrt(direction @ np.asarray(covariance) @ direction)
        test = scipy.stats.kstest(points @ direction / spread, "norm")
        assert test.pvalue > 1e-3
    one = pair.sample(jax.random.key(1))
    assert one["B"].shape == ()


def test_three_parameters():
    prior = Prior({name: dist.Uniform(0.0, 1.0) for name in ("c", "a", "b")})
    toy = LinearGaussian(np.eye(3) + 0.3, 0.05, ("c", "a", "b"))
    estimator = ExactRatio(toy, prior, nodes=24)
    x = jnp.asarray([1.1, 0.9, 1.0])
    posterior = grid_posterior(estimator, x, 32)
    exact = jnp.linalg.solve(toy.matrix, x)
    covariance = np.linalg.inv(toy.precision())
    for j, name in enumerate(prior.names):
        np.testing.assert_allclose(posterior.mean()[name], exact[j], atol=2e-3)
        np.testing.assert_allclose(
            posterior.std()[name], np.sqrt(covariance[j, j]), rtol=0.03
        )
    np.testing.assert_allclose(posterior.normalisation, 1, rtol=0.02)
    draws = posterior.sample(jax.random.key(0), (3000,))
    found = np.cov(np.stack([draws[name] for name in prior.names]))
    np.testing.assert_allclose(found, covariance, atol=0.12 * covariance[0, 0])


def test_highest_density_interval_of_a_posterior_at_the_edge():
    posterior = grid_posterior(ONE, jnp.asarray([0.0]))
    low, high = posterior.interval(0.95, kind="highest-density")["eta"]
    np.testing.assert_allclose([low, high], [0.0, truncated(0.0).ppf(0.95)], atol=1e-4)


def test_mean_ratio_reports_an_estimator_that_is_not_normalised():
    class Doubled(ExactRatio):
        def log_ratio(self, theta, h):
            return super().log_ratio(theta, h) + jnp.log(2.0)

    posterior = grid_posterior(Doubled(ONE.simulator, ETA), jnp.asarray([0.7]))
    np.testing.assert_allclose(posterior.normalisation, 2, rtol=1e-4)
    np.testing.assert_allclose(posterior.std()["eta"], SIGMA, rtol=1e-4)


def test_bounds_truncate():
    posterior = grid_posterior(ONE, jnp.asarray([0.7]), bounds={"eta": (0.7, 0.8)})
    exact = truncated(0.7, low=0.7, high=0.8)
    np.testing.assert_allclose(posterior.mean()["eta"], exact.mean(), rtol=1e-5)
    assert posterior.cdf({"eta": 0.7})["eta"] == 0


def test_outside_the_grid():
    posterior = grid_posterior(ONE, jnp.asarray([0.7]))
    theta = {"eta": jnp.asarray([-0.1, 1.6, jnp.nan])}
    np.testing.assert_array_equal(posterior.log_prob(theta), -jnp.inf)
    np.testing.assert_array_equal(posterior.cdf(theta)["eta"], [0.0, 1.0, jnp.nan])


def test_maps_over_images_and_jits():
    x = jnp.linspace(0.2, 1.2, 5)[:, None]

    @jax.jit
    @jax.vmap
    def summary(image):
        posterior = grid_posterior(ONE, image, points=128)
        low, high = posterior.interval(0.9, "highest-density")["eta"]
        draws = posterior.sample(jax.random.key(0), (3,))["eta"]
        return posterior.mean()["eta"], posterior.std()["eta"], low, high, draws

    single = [grid_posterior(ONE, image, points=128) for image in x]
    many = summary(x)
    np.testing.assert_allclose(many[0], [one.mean()["eta"] for one in single])
    np.testing.assert_allclose(many[1], [one.std()["eta"] for one in single])
    assert np.all(many[2] < many[0])
    assert np.all(many[3] > many[0])
    assert many[4].shape == (5, 3)
    np.testing.assert_allclose(
        jax.vmap(lambda h: grid_posterior_from_features(ONE, h, 128).mean()["eta"])(
            jax.vmap(ONE.embed)(x)
        ),
        many[0],
    )


def test_posterior_mean_differentiates_in_the_image():
    # d mean / dx = 1 for a flat prior far from its edges.
    mean = lambda x: grid_posterior(ONE, x[None], refine=False).mean()["eta"]  # noqa: E731
    np.testing.assert_allclose(jax.grad(mean)(jnp.asarray(0.7)), 1, rtol=1e-3)


def test_the_encoder_runs_once_an_image(counting):
    estimator, calls = counting(ONE)
    posterior = grid_posterior(estimator, jnp.asarray([0.7]))
    jax.block_until_ready(posterior.sample(jax.random.key(0), (10,)))
    assert calls() == 1


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"points": 3}, "at least 4"),
        ({"points": (10, 10)}, "at least 4 for each"),
        ({"points": {"B": 10}}, "missing"),
        ({"points": 10**9}, "grid of 1,000,000,000 nodes"),
        ({"bounds": {"B": (0.0, 1.0)}}, r"names \['B'\]"),
        ({"bounds": {"eta": (1.0, 0.0)}}, "low < high"),
        ({"bounds": {"eta": (0.0, float("inf"))}}, "low < high"),
    ],
)
def test_bad_grids_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        grid_posterior(ONE, jnp.asarray([0.7]), **arguments)


@pytest.mark.parametrize("x", [[jnp.nan], [jnp.inf], [0.1, 0.2]])
def test_bad_images_are_refused(x):
    with pytest.raises(ValueError, match="`x`"):
        grid_posterior(ONE, jnp.asarray(x))


def test_four_parameters_are_sent_elsewhere():
    names = ("a", "b", "c", "d")
    prior = Prior({name: dist.Uniform() for name in names})
    estimator = ExactRatio(LinearGaussian(np.eye(4), 1.0, names), prior)
    with pytest.raises(ValueError, match="`sample_posterior`"):
        grid_posterior_from_features(estimator, jnp.zeros(5))


def test_bad_questions_are_refused():
    posterior = grid_posterior(ONE, jnp.asarray([0.7]))
    with pytest.raises(ValueError, match="unknown parameter"):
        posterior.marginal("B")
    with pytest.raises(ValueError, match="unknown parameter"):
        posterior.cdf({"B": 0.0})
    with pytest.raises(ValueError, match=r"misses \['eta'\]"):
        posterior.log_prob({})
    with pytest.raises(ValueError, match=r"`name`=\('eta', 'eta'\) repeats"):
        posterior.marginal(("eta", "eta"))


@pytest.mark.parametrize(
    "level",
    [95, 95.0, 1, 0, 0.0, float("nan"), np.asarray(2.0), jnp.asarray([0.5, 95])],
)
def test_levels_that_are_no_probabilities_are_refused(pair, level):
    for kind in ("equal-tailed", "highest-density"):
        with pytest.raises(ValueError, match="`level` must be a probability in .*95%"):
            pair.interval(level, kind)
    with pytest.raises(ValueError, match="`q` must be a probability in .*95%"):
        pair.quantile(level if np.max(level) > 1 else level - 2)


def test_quantiles_reach_the_ends_and_levels_may_be_traced(pair):
    for end in (0, 1):
        found = pair.cdf({"eta": pair.quantile(end)["eta"]})["eta"]
        np.testing.assert_allclose(found, end, atol=1e-9)
    traced = jax.jit(lambda level: pair.interval(level)["eta"])(0.9)
    np.testing.assert_allclose(traced, pair.interval(0.9)["eta"])
