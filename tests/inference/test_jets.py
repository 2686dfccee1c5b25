"""The jet encoder's summaries: invariances, and numbers known in closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.fft import dctn

import gl15
from gl15.inference import JetEncoder
from gl15.inference._encoders.cosine import cosine_spectra
from gl15.inference._encoders.jets import jet_families, jet_size, jet_summary


@pytest.fixture(scope="module")
def image():
    """Smooth maps, two densities and a vorticity with no last row and column."""
    key = jax.random.key(0)
    modes = jax.random.normal(key, (3, 6, 6))
    k, x = jnp.arange(6)[:, None], (jnp.arange(40) + 0.5) / 40
    waves = jnp.cos(jnp.pi * k * x)
    f = jnp.einsum("aij,ix,jy->xya", modes, waves, waves) / 3
    c = f[..., 2].at[-1].set(0).at[:, -1].set(0)
    return jnp.stack([f[..., 0] ** 2, f[..., 1] ** 2, c], -1)


@pytest.fixture(scope="module")
def encoder():
    return JetEncoder(key=jax.random.key(1))


@pytest.fixture(scope="module")
def summarise(encoder):
    return eqx.filter_jit(encoder.summarise)


def test_a_quarter_turn_changes_no_summary(image, summarise):
    """The last row and column of curl J belong to no plaquette and stay at the end."""
    turned = jnp.rot90(image)
    curl = jnp.roll(turned[..., 2], -1, 0)
    turned = turned.at[..., 2].set(curl)
    np.testing.assert_allclose(
        summarise(turned), summarise(image), rtol=1e-6, atol=1e-6
    )


def test_a_reflection_changes_no_jets(image):
    """Curl J changes sign with it, so that its products with slopes do not."""
    n, c = jnp.moveaxis(image[..., :2], -1, 0), image[None, ..., 2]
    summary = jax.jit(jet_summary)
    mirrored = summary(n[:, ::-1], -c[:, ::-1])
    np.testing.assert_allclose(mirrored, summary(n, c), rtol=1e-6, atol=1e-6)
    assert np.abs(summary(n[:, ::-1], c[:, ::-1]) - summary(n, c)).max() > 0.01


def test_single_precision_agrees_with_double(summarise):
    """The ridge keeps the inversion within what float32 can do, on vortex images."""
    simulator = gl15.VortexSimulator(
        gl15.Lattice((32, 32), spacing=0.5, boundary="open"),
        gl15.TwoBand(diffusion=(4.0, 1.0), josephson=0.8),
        dt=0.05,
        solver=gl15.RungeKuttaChebyshev(stages=5),
    )
    vortices = simulator({}, jax.random.key(4))
    double = np.asarray(summarise(vortices))
    single = np.asarray(summarise(vortices.astype(jnp.float32)))
    assert double.dtype == np.float64
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, atol=0.05)


def test_proportional_densities_are_perfectly_correlated(image):
    """n_2 = 4 n_1: correlation 1 of every pair of like fields, whatever the image."""
    n = image[..., 0]
    families = jet_families(jnp.stack([n, 4 * n]), image[None, ..., 2])
    first, second = families[0][0], families[0][1]
    np.testing.assert_allclose(second, 4 * first)
    summary = jax.jit(jet_summary)(jnp.stack([n, 4 * n]), image[None, ..., 2])
    k = len(families[0])
    # Means, spreads, then the correlations of the first field with the second, ...
    np.testing.assert_allclose(summary[k + 1] - summary[k], np.log(4), rtol=1e-6)
    np.testing.assert_allclose(summary[2 * k], np.arctanh(0.9999), rtol=1e-6)


def test_derivatives_are_those_of_a_quadratic():
    """n = x^2 + 3 x y + 2 y^2: central differences are exact."""
    x, y = jnp.meshgrid(jnp.arange(12.0), jnp.arange(12.0), indexing="ij")
    n = 1 + x**2 + 3 * x * y + 2 * y**2
    _, _, linear, curvatures = jet_families(n[None], jnp.zeros((0, 12, 12)))
    np.testing.assert_allclose(linear[1], 6.0, rtol=1e-9)  # Laplacian
    np.testing.assert_allclose(linear[3], 0.0, atol=1e-9)  # its Laplacian
    np.testing.assert_allclose(curvatures[1], 6.0, rtol=1e-9)
    np.testing.assert_allclose(curvatures[2], 2 * 4 - 9.0, rtol=1e-9)  # determinant
    np.testing.assert_allclose(curvatures[3], 4 + 16 + 2 * 9.0, rtol=1e-9)
    inner = (slice(2, -2), slice(2, -2))
    slope = (2 * x + 3 * y)[inner] ** 2 + (3 * x + 4 * y)[inner] ** 2
    np.testing.assert_allclose(curvatures[4], slope, rtol=1e-9)


@pytest.mark.parametrize(("d", "v"), [(1, 0), (2, 1)])
def test_size_for_any_channels(d, v):
    maps = jax.random.uniform(jax.random.key(2), (d + v, 32, 35)) + 0.1
    assert jax.eval_shape(jet_summary, maps[:d], maps[d:]).shape == (jet_size(d, v),)
    encoder = JetEncoder(
        d + v,
        densities=tuple(range(d)),
        vorticities=tuple(range(d, d + v)),
        key=jax.random.key(0),
    )
    assert eqx.filter_jit(encoder.summarise)(jnp.moveaxis(maps, 0, -1)).shape == (
        encoder.size,
    )


def test_cosine_spectra_are_those_of_scipy():
    """Means over the modes of a ring of an orthonormal DCT-II."""
    f = jax.random.normal(jax.random.key(3), (2, 32, 48))
    power, coherence = cosine_spectra(f)
    modes = dctn(np.asarray(f), axes=(1, 2), norm="ortho")
    k = np.hypot(np.arange(32)[:, None] / 32, np.arange(48) / 48)
    ring = (k > 1.5 / 32) & (k <= 2.5 / 32)
    np.testing.assert_allclose(power[:, 1], (modes**2)[:, ring].mean(1))
    cross = (modes[0] * modes[1])[ring].mean()
    np.testing.assert_allclose(coherence[0, 1], cross / np.sqrt(power[:, 1].prod()))


def test_too_small_an_image_is_refused(encoder):
    with pytest.raises(ValueError, match="20 x 20 pixels, too small"):
        encoder.summarise(jnp.ones((20, 20, 3)))


@pytest.mark.parametrize("named", [{"densities": ()}, {"vorticities": (3,)}])
def test_channels_that_are_not_there_are_refused(named):
    with pytest.raises(ValueError, match="must name channels"):
        JetEncoder(3, **named, key=jax.random.key(0))


def test_the_summary_of_a_batch_calls_no_lapack(image, encoder):
    # JAX's batched LAPACK calls wait for threads of the pool that they run in: with as
    # many of them at once as there are threads, for ever.
    batch = jnp.stack([image, image]).astype(jnp.float32)
    lowered = jax.jit(jax.vmap(encoder.summarise)).lower(batch)
    assert "lapack" not in lowered.as_text()
    # What the test looks for is there in a program that calls it.
    inverse = jax.jit(jnp.linalg.inv).lower(jnp.eye(3)[None])
    assert "lapack" in inverse.as_text()
