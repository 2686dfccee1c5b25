"""Unusual images are noticed, usual ones are not, and posteriors warn."""

import types
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats

import gl15
from gl15.diagnostics import (
    embed_ensemble,
    misspecification,
    p_values,
    predictive_check,
    sbc_ranks,
)
from gl15.inference import (
    calibrate,
    Guarded,
    MisspecificationWarning,
)


N = 24


def images(n, key, *, noise=0.0, scale=2.0):
    """Smooth random densities, their contrast the parameter, and a third channel."""
    rng = np.random.default_rng(key)
    eta = rng.uniform(0, 1.5, n)
    k = np.fft.fftfreq(N)[:, None] ** 2 + np.fft.rfftfreq(N)[None] ** 2
    filters = np.exp(-k * scale**2 * np.asarray([4.0, 6.0, 8.0])[:, None, None])
    white = np.fft.rfft2(rng.standard_normal((n, 3, N, N)))
    field = np.fft.irfft2(white * filters, (N, N))
    field = field / field.std((2, 3), keepdims=True)
    field[:, 1] += eta[:, None, None] * field[:, 0]
    field[:, :2] = np.exp(0.3 * field[:, :2])
    x = np.moveaxis(field + noise * rng.standard_normal(field.shape), 1, -1)
    return types.SimpleNamespace(
        theta={"eta": jnp.asarray(eta)}, x=x.astype(np.float32)
    )


@pytest.fixture(scope="module", name="estimator")
def _estimator():
    key = jax.random.key(0)
    prior = gl15.Prior({"eta": dist.Uniform(0.0, 1.5)})
    encoder = gl15.SpectralEncoder(3, rings=8, features=6, width=8, key=key)
    return gl15.RatioEstimator(prior, encoder, width=8, key=key)


@pytest.fixture(scope="module", name="guarded")
def _guarded(estimator):
    detector = misspecification(estimator, images(2400, 1), key=jax.random.key(1))
    return Guarded(estimator, detector)


def test_p_values_of_like_images_are_uniform(guarded):
    p = p_values(guarded.estimator, guarded.detector, images(1000, 2).x)
    # The reference is finite too: two samples, not one against a known law.
    effective = 1000 * 1200 / 2200
    statistic = scipy.stats.kstest(p, "uniform").statistic
    assert statistic < 1.63 / np.sqrt(effective)  # 1%
    assert np.mean(p < 0.01) < 0.025
    np.testing.assert_allclose(
        [guarded.p_value(x) for x in images(5, 2).x],
        p_values(guarded.estimator, guarded.detector, images(5, 2).x),
        atol=2e-3,
    )


def test_calibration_leaves_the_guard_around_it(guarded):
    found = calibrate(guarded, images(60, 7), key=jax.random.key(3), points=40)
    assert isinstance(found, Guarded) and found.estimator.weights.any()
    usual, noisy = images(1, 2).x[0], images(1, 3, noise=0.3).x[0]
    assert found.p_value(usual) == guarded.p_value(usual)
    with pytest.warns(MisspecificationWarning):
        gl15.grid_posterior(found, noisy)


OTHERS = {
    "noise": lambda: images(40, 3, noise=0.05).x,
    "resolution": lambda: images(40, 3, scale=1.4).x,
    "black": lambda: np.zeros((2, N, N, 3), np.float32),
    "swapped": lambda: images(40, 3).x[..., [2, 1, 0]],
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_images_are_noticed(guarded, kind):
    p = p_values(guarded.estimator, guarded.detector, OTHERS[kind]())
    assert np.mean(p < 0.01) > 0.9


def test_posteriors_of_unusual_images_warn(guarded):
    usual, unusual = images(1, 5).x[0], images(1, 5, noise=0.2).x[0]
    gl15.grid_posterior(guarded, usual, 32)  # warnings are errors
    with pytest.warns(MisspecificationWarning, match="unlike the images"):
        found = gl15.grid_posterior(guarded, unusual, 32)
    with pytest.warns(MisspecificationWarning):
        gl15.RatioLikelihood(guarded, {"eta": 0.5}).log_prob(jnp.asarray(unusual))
    with pytest.warns(MisspecificationWarning):
        gl15.potential(guarded, unusual)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        traced = jax.jit(lambda x: gl15.grid_posterior(guarded, x, 32).mean())(unusual)
    np.testing.assert_allclose(traced["eta"], found.mean()["eta"], rtol=1e-5)


def test_the_guard_and_the_posterior_behind_it_share_one_encoder(guarded, monkeypatch):
    # Encoders take seconds to compile: what is counted is how often one is traced.
    embed, entered = gl15.RatioEstimator.embed, []

    def counted(self, x):
        entered.append(x)
        return embed(self, x)

    monkeypatch.setattr(gl15.RatioEstimator, "embed", counted)
    jax.clear_caches()
    x = jnp.asarray(images(3, 5).x)
    for one in x[:2]:
        gl15.grid_posterior(guarded, one, 32)
    assert len(entered) == 1
    # Without `jit` around it a transformation must not run it operation by operation.
    several = jax.vmap(lambda one: gl15.grid_posterior(guarded, one, 32).mean()["eta"])
    apart = [gl15.grid_posterior(guarded, one, 32).mean()["eta"] for one in x]
    np.testing.assert_allclose(several(x), apart, rtol=1e-5)
    assert len(entered) == 1


def test_diagnostics_of_unusual_images_warn_once(guarded):
    sbc_ranks(guarded, images(60, 5), 32)  # warnings are errors
    noisy = images(60, 5, noise=0.2)
    with pytest.warns(MisspecificationWarning, match="60 of 60 images") as seen:
        features = embed_ensemble(guarded, noisy.x)
        sbc_ranks(guarded, noisy, 32, features=features)
    assert len(seen) == 1


def test_what_is_no_image_has_no_p_value(guarded):
    x = images(2, 5).x
    with pytest.raises(ValueError, match="use `jax.vmap` for several"):
        guarded.p_value(x)
    with pytest.raises(ValueError, match="NaN or infinite"):
        guarded.p_value(x[0] * np.nan)
    with pytest.raises(TypeError, match="`reference` must be an Ensemble"):
        misspecification(guarded, x, key=jax.random.key(0))


def test_observations_are_taken_wherever_an_image_is(guarded):
    pairs = images(200, 5)
    x, seen = pairs.x[0], gl15.Observation(pairs.x[0], 0.5)
    for ask in (
        guarded.p_value,
        guarded.embed,
        lambda x: predictive_check(x, pairs, estimator=guarded).p,
    ):
        np.testing.assert_array_equal(ask(seen), ask(x))


def test_detectors_survive_a_file(guarded, tmp_path):
    gl15.save(tmp_path / "guarded.npz", guarded)
    loaded = gl15.load(tmp_path / "guarded.npz")
    for x in images(3, 6, noise=0.01).x:
        assert float(loaded.p_value(x)) == float(guarded.p_value(x))


@pytest.mark.slow
def test_encoders_of_whole_images_are_seen_by_their_spectra():
    key = jax.random.key(0)
    prior = gl15.Prior({"eta": dist.Uniform(0.0, 1.5)})
    encoder = gl15.ConvEncoder(3, widths=(2,), features=4, key=key)
    estimator = gl15.RatioEstimator(prior, encoder, width=4, key=key)
    detector = misspecification(estimator, images(1200, 7), key=key)
    assert detector.view is not None
    assert (
        np.mean(p_values(estimator, detector, images(20, 8, noise=0.2).x) < 0.01) > 0.9
    )


def test_too_few_references_are_refused(estimator):
    with pytest.raises(ValueError, match="at least 100 images, got 20"):
        misspecification(estimator, images(20, 1), key=jax.random.key(0))
