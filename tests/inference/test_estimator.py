"""The estimator: two branches that meet, and a gate for images it was not made for."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from gl15.inference import (
    ConvEncoder,
    leaning,
    MLPEncoder,
    RatioEstimator,
    truncate,
)
from gl15.simulation import Observation


KEYS = jax.random.split(jax.random.key(0), 2)
PRIOR = dist.Uniform(0.0, 1.5)


def build(distributions, encoder=None, **arguments):
    from gl15.simulation import Prior

    if encoder is None:
        encoder = ConvEncoder(2, widths=(3, 4), features=5, key=KEYS[0])
    return RatioEstimator(Prior(distributions), encoder, key=KEYS[1], **arguments)


# Not in alphabetical order: JAX sorts dictionaries, the estimator must not.
TWO = {"nu": dist.Uniform(-0.5, 0.5), "eta": dist.Uniform(0.0, 1.5)}
ESTIMATOR = build(TWO, width=6, spacing=0.5, channel_names=("u", "v"))
X = jnp.asarray(np.random.default_rng(0).normal(size=(8, 8, 2)))
THETA = {"eta": 0.3, "nu": 0.1}


def test_the_branches_have_the_shapes_of_the_paper():
    estimator = build({"eta": PRIOR}, MLPEncoder(3, features=64, key=KEYS[0]))
    layers = [*estimator.parameter_mlp.layers, *estimator.head.layers]
    shapes = [layer.weight.shape for layer in layers]
    assert shapes == [(64, 1), (64, 64), (64, 128), (64, 64), (1, 64)]


@pytest.mark.parametrize(
    ("value", "scaled"),
    [(PRIOR, 0.3 / 1.5), (dist.Uniform(-1.0, 1.0), 0.65), (dist.Normal(0.1, 0.4), 0.5)],
)
def test_parameters_are_scaled_by_their_prior(value, scaled):
    estimator = build({"eta": value}, width=6)
    h = estimator.embed(X)
    features = estimator.parameter_mlp(jnp.asarray([scaled]))
    expected = estimator.head(jnp.concatenate([h, features]))
    found = estimator.log_ratio({"eta": 0.3}, h)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_each_parameter_meets_its_own_weights():
    h = ESTIMATOR.embed(X)
    features = ESTIMATOR.parameter_mlp(jnp.asarray([0.1 + 0.5, 0.3 / 1.5]))
    expected = ESTIMATOR.head(jnp.concatenate([h, features]))
    for theta in (THETA, dict(reversed(THETA.items()))):
        np.testing.assert_allclose(ESTIMATOR.log_ratio(theta, h), expected, rtol=1e-12)


def test_a_call_embeds_and_compares():
    h = ESTIMATOR.embed(X)
    assert h.shape == (5,)
    ratio = ESTIMATOR(THETA, X)
    assert ratio.shape == ()
    np.testing.assert_array_equal(ratio, ESTIMATOR.log_ratio(THETA, h))


def test_summaries_are_standardised_before_the_encoder():
    mean, scale = jnp.asarray([1.0, -2.0]), jnp.asarray([0.5, 3.0])
    moved = eqx.tree_at(
        lambda e: (e.standardization.mean, e.standardization.scale),
        ESTIMATOR,
        (mean, scale),
    )
    np.testing.assert_allclose(
        moved.embed(mean + scale * X), ESTIMATOR.embed(X), rtol=1e-10
    )


def test_it_compiles_maps_and_differentiates():
    etas = jnp.asarray([0.1, 0.7, 1.4])
    images = jnp.stack([X, -X])

    @eqx.filter_jit
    def table(estimator, etas, images):
        at = lambda x: jax.vmap(lambda e: estimator({"eta": e, "nu": 0.1}, x))(etas)  # noqa: E731
        return jax.vmap(at)(images)

    found = table(ESTIMATOR, etas, images)
    np.testing.assert_allclose(
        found[1, 2], ESTIMATOR({"eta": 1.4, "nu": 0.1}, -X), rtol=1e-10
    )
    h = ESTIMATOR.embed(X)
    score = lambda theta: ESTIMATOR.log_ratio(theta, h)  # noqa: E731
    slopes = jax.jit(jax.grad(score))(THETA)
    step = 1e-6
    for name, value in THETA.items():
        up, down = (score(THETA | {name: value + s}) for s in (step, -step))
        np.testing.assert_allclose(slopes[name], (up - down) / (2 * step), rtol=1e-6)
        assert abs(slopes[name]) > 1e-4
    # In the image too, for attribution and for instruments with parameters.
    assert jnp.any(jax.grad(lambda x: ESTIMATOR(THETA, x))(X) != 0)


def test_the_precision_is_that_of_the_image():
    with jax.enable_x64(False):
        estimator = build(TWO, width=6)
        ratio = estimator({"eta": np.float64(0.3), "nu": 0.1}, X.astype(jnp.float32))
    assert ratio.dtype == jnp.float32


@pytest.mark.parametrize("theta", [{"eta": 0.3}, {**THETA, "B": 0.1}, {}])
def test_other_parameters_than_the_prior_s_are_refused(theta):
    with pytest.raises(ValueError, match=r"the parameters are \['nu', 'eta'\]"):
        ESTIMATOR(theta, X)


HOLED = X.at[2, 3, 1].set(jnp.nan).at[0, 0, 0].set(-jnp.inf)


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (X[0], r"shape \(8, 2\).*one observation \(nx, ny, channels\); use `jax.vmap`"),
        (X[None], r"shape \(1, 8, 8, 2\).*use `jax.vmap`"),
        (X[..., :1], r"1 channels \(shape \(8, 8, 1\)\).*for 2 \('u', 'v'\)"),
        (HOLED, "holds 2 values that are NaN or infinite, of 128; mend"),
    ],
)
def test_a_wrong_image_is_refused(x, match):
    for gate in (
        ESTIMATOR.check_image,
        ESTIMATOR.embed,
        lambda x: ESTIMATOR(THETA, x),
    ):
        with pytest.raises(ValueError, match=match):
            gate(x)
    with pytest.raises(ValueError, match=match):
        ESTIMATOR.check_image(np.asarray(x))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"width": 0}, "`width` must be at least 1, got 0"),
        ({"depth": -1}, "`depth` must be at least 0, got -1"),
        ({"spacing": -1.0}, "`spacing` must be one positive length, got -1"),
        ({"members": 3}, '`members`=3 counts peaks .* give head="quadratic"'),
        ({"components": 3}, '`components`=3 counts peaks .* give head="quadratic"'),
    ],
)
def test_what_makes_no_estimator_is_refused(given, match):
    with pytest.raises(ValueError, match=match):
        build(TWO, **given)


def test_an_observation_is_compared_and_read():
    seen = Observation(np.asarray(X), 0.5, ("u", "v"))
    np.testing.assert_array_equal(ESTIMATOR.embed(seen), ESTIMATOR.embed(X))
    ESTIMATOR.check_image(seen)
    swapped = Observation(np.asarray(X), 0.5, ("v", "u"))
    for gate in (
        ESTIMATOR.check_image,
        ESTIMATOR.embed,
        lambda x: truncate(ESTIMATOR, x, key=KEYS[0]),
        lambda x: leaning(ESTIMATOR, x, ESTIMATOR.prior, key=KEYS[0]),
    ):
        with pytest.raises(ValueError, match="in this order"):
            gate(swapped)


def test_shapes_are_checked_where_values_are_traced():
    with pytest.raises(ValueError, match="2 channels|for 2"):
        jax.eval_shape(ESTIMATOR.embed, X[..., :1])
    # Values cannot be: a hole goes through, as a NaN that says so.
    assert jnp.isnan(jax.jit(lambda x: ESTIMATOR.embed(x))(HOLED)).any()


def test_an_image_of_another_spacing_or_other_channels_is_refused():
    check = ESTIMATOR.check_image
    check(X, spacing=0.5 * (1 + 1e-6), channel_names=("u", "v"))
    with pytest.raises(ValueError, match="`spacing`=0.25 .*trained at 0.5; .*resample"):
        check(X, spacing=0.25)
    with pytest.raises(ValueError, match="`spacing`=nan"):
        check(X, spacing=float("nan"))
    with pytest.raises(ValueError, match=r"\('v', 'u'\).*\('u', 'v'\), in this order"):
        check(X, channel_names=("v", "u"))
    # What is not known on one side cannot be compared.
    build(TWO, width=6).check_image(X, spacing=0.25, channel_names=("v", "u"))


def test_vectors_are_observations_of_a_perceptron():
    estimator = build({"eta": PRIOR}, MLPEncoder(4, width=3, key=KEYS[0]), width=3)
    assert estimator({"eta": 0.3}, jnp.ones(4)).shape == ()
    with pytest.raises(ValueError, match=r"shape \(2, 4\).*\(size,\)"):
        estimator({"eta": 0.3}, jnp.ones((2, 4)))
    with pytest.raises(ValueError, match="has 5 channels"):
        estimator({"eta": 0.3}, jnp.ones(5))
