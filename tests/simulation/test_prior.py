import json

import equinox as eqx
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats

from gl15.simulation import Prior


# Not in alphabetical order: JAX sorts dictionaries, the prior must not.
PRIOR = Prior(
    {
        "nu": dist.Uniform(-0.5, 0.5),
        "eta": dist.Uniform(0.0, 1.5),
        "B": dist.Normal(0.04, 0.01),
    }
)

KINDS = {
    "Uniform": dist.Uniform(0.5, 1.5),
    "Normal": dist.Normal(1.0, 2.0),
    "HalfNormal": dist.HalfNormal(2.0),
    "LogNormal": dist.LogNormal(0.0, 0.5),
    "LogUniform": dist.LogUniform(0.1, 10.0),
    "TruncatedNormal": dist.TruncatedNormal(0.0, 1.0, low=-1.0, high=2.0),
    "left-truncated": dist.TruncatedNormal(0.0, 1.0, low=3.0),
    "HalfCauchy": dist.HalfCauchy(1.0),
    "Beta": dist.Beta(2.0, 3.0),
}


# Those whose samplers compile quickly.
QUICK = Prior(
    {name: KINDS[name] for name in ("Uniform", "Normal", "LogUniform", "HalfCauchy")}
)


@pytest.fixture(params=KINDS, name="kind")
def _kind(request):
    return KINDS[request.param]


def test_names_keep_the_order_given():
    assert PRIOR.names == ("nu", "eta", "B")
    theta = {"B": 0.04, "eta": 1.5, "nu": -0.5}
    np.testing.assert_allclose(PRIOR.standardize(theta), [0.0, 1.0, 0.0], atol=1e-12)


def test_log_prob_is_the_sum_over_parameters():
    theta = {"eta": 0.3, "B": 0.05, "nu": 0.1}
    expected = -np.log(1.5) + scipy.stats.norm.logpdf(0.05, 0.04, 0.01)
    np.testing.assert_allclose(PRIOR.log_prob(theta), expected)


def test_samples_follow_each_distribution():
    draws = QUICK.sample(jax.random.key(0), (2000,))
    for name in QUICK.names:
        assert draws[name].shape == (2000,)
        level = np.asarray(KINDS[name].cdf(draws[name]))
        assert scipy.stats.kstest(level, "uniform").pvalue > 1e-3, name


def test_parameters_are_drawn_independently():
    prior = Prior({"a": dist.Normal(0.0, 1.0), "b": dist.Normal(0.0, 1.0)})
    draws = prior.sample(jax.random.key(1), (4000,))
    assert abs(np.corrcoef(draws["a"], draws["b"])[0, 1]) < 0.06


@pytest.mark.parametrize("value", [-0.1, 1.6, jnp.nan, jnp.inf, -jnp.inf])
def test_outside_the_support_is_minus_infinity_with_finite_gradient(value):
    log_prob = lambda eta: PRIOR.log_prob({"eta": eta, "B": 0.04, "nu": 0.0})  # noqa: E731
    assert log_prob(value) == -jnp.inf
    np.testing.assert_array_equal(jax.grad(log_prob)(value), 0.0)


@pytest.mark.parametrize("name", ["HalfNormal", "LogNormal", "LogUniform", "Beta"])
def test_below_zero_is_minus_infinity_with_finite_gradient(name):
    prior = Prior({"a": KINDS[name]})
    value, slope = jax.value_and_grad(lambda a: prior.log_prob({"a": a}))(-1.0)
    assert value == -jnp.inf
    assert slope == 0.0


@hypothesis.given(st.floats(-10, 10, allow_subnormal=False))
def test_contains_and_restrict_agree(value):
    prior = Prior({"a": dist.Uniform(0.0, 1.5)})
    inside = 0 <= value <= 1.5
    assert bool(prior.contains({"a": value})) == inside
    restricted = prior.restrict({"a": value})
    assert bool(prior.contains(restricted))
    if inside:
        np.testing.assert_array_equal(restricted["a"], value)


def test_bounds_are_limits_or_quantiles(kind):
    low, high = Prior({"a": kind}).bounds["a"]
    assert low < high
    bottom = getattr(kind.support, "lower_bound", None)
    top = getattr(kind.support, "upper_bound", None)
    if bottom is not None and top is not None:
        assert (low, high) == (float(bottom), float(top))
    elif bottom is None:
        np.testing.assert_allclose(kind.cdf(low), 1e-6, rtol=1e-4)
        np.testing.assert_allclose(1 - kind.cdf(high), 1e-6, rtol=1e-4)
    else:
        assert bool(kind.support(low))
        np.testing.assert_allclose(1 - kind.cdf(high), 1e-6, rtol=1e-4)
    assert jnp.isfinite(Prior({"a": kind}).log_prob({"a": high})) or top == high


def test_bounds_without_quantiles_say_what_to_do():
    with pytest.raises(ValueError, match="`g` has an unbounded prior.*`bounds`"):
        _ = Prior({"g": dist.Gamma(2.0, 1.0)}).bounds


def test_standardize_is_of_order_one():
    values = QUICK.standardize(QUICK.sample(jax.random.key(2), (2000,)))
    assert values.shape == (2000, 4)
    low, high = np.quantile(values, [0.1, 0.9], axis=0)
    assert np.all(-2 < low)
    assert np.all(low < high)
    assert np.all(high < 4)


def test_standardize_maps_differentiates_and_jits():
    theta = {"eta": 0.3, "B": 0.05, "nu": 0.1}
    slope = jax.jacobian(PRIOR.standardize)(theta)
    np.testing.assert_allclose(slope["eta"], [0.0, 1 / 1.5, 0.0])
    batch = PRIOR.sample(jax.random.key(3), (5,))
    np.testing.assert_allclose(
        jax.jit(jax.vmap(PRIOR.standardize))(batch), PRIOR.standardize(batch)
    )


def test_numbers_of_a_prior_are_no_leaves():
    # An optimiser with weight decay shrinks every array it is given.
    assert jax.tree.leaves(PRIOR) == []


def test_equal_priors_share_a_compilation():
    traces = []

    @eqx.filter_jit
    def log_prob(prior, theta):
        traces.append(1)
        return prior.log_prob(theta)

    for low in (0.0, 0.0, 0.1):
        log_prob(Prior({"eta": dist.Uniform(low, 1.5)}), {"eta": jnp.asarray(0.3)})
    assert len(traces) == 2


def test_description_survives_json():
    prior = Prior(KINDS)
    again = Prior.from_description(json.loads(json.dumps(prior.describe())))
    assert again == prior
    theta = {name: sum(prior.bounds[name]) / 2 for name in prior.names}
    np.testing.assert_array_equal(again.log_prob(theta), prior.log_prob(theta))


def test_description_is_by_name_of_argument():
    # NumPyro orders a distribution's leaves by a set of strings, whose order changes
    # from process to process; a file must not depend on it.
    assert Prior({"a": dist.Uniform(0.5, 1.5)}).describe() == {
        "a": {"distribution": "Uniform", "low": 0.5, "high": 1.5}
    }


def test_a_transformed_distribution_works_but_has_no_description():
    shifted = dist.TransformedDistribution(
        dist.Uniform(0.0, 1.0), dist.transforms.AffineTransform(1.0, 2.0)
    )
    prior = Prior({"a": shifted})
    np.testing.assert_allclose(prior.log_prob({"a": 2.0}), -np.log(2))
    hash(prior._fixed)
    with pytest.raises(TypeError, match="TransformedDistribution"):
        prior.describe()


@pytest.mark.parametrize(
    ("distributions", "error", "match"),
    [
        ({}, ValueError, "empty"),
        ({"a": 1.0}, TypeError, "not a NumPyro distribution"),
        ({"a": dist.Normal(jnp.zeros(2), 1.0)}, ValueError, "not scalar"),
        ({"a": dist.Dirichlet(jnp.ones(2))}, ValueError, "not scalar"),
        ({"a": dist.Poisson(1.0)}, ValueError, "discrete"),
        ({"a": dist.Uniform(1.5, 0.0)}, ValueError, r"`=Uniform\(low=1.5.*in order"),
        ({"a": dist.Uniform(1.0, 1.0)}, ValueError, "no finite density"),
        ({"a": dist.Uniform(0.0, jnp.inf)}, ValueError, "no finite density"),
        (
            {"a": dist.Normal(0.0, -1.0, validate_args=False)},
            ValueError,
            "scale positive",
        ),
    ],
)
def test_bad_distributions_are_refused(distributions, error, match):
    with pytest.raises(error, match=match):
        Prior(distributions)


def test_traced_distributions_are_refused():
    with pytest.raises(ValueError, match="traced"):
        jax.jit(lambda low: Prior({"a": dist.Uniform(low, 2.0)}).log_prob({"a": 1.0}))(
            0.5
        )


@pytest.mark.parametrize(
    ("theta", "match"),
    [
        ({"eta": 0.1, "B": 0.04}, r"missing \['nu'\]"),
        ({"eta": 0.1, "B": 0.04, "nu": 0.0, "mu": 0.0}, r"unknown \['mu'\]"),
    ],
)
def test_wrong_names_are_refused(theta, match):
    for method in (PRIOR.log_prob, PRIOR.standardize, PRIOR.contains, PRIOR.restrict):
        with pytest.raises(ValueError, match=match):
            method(theta)
