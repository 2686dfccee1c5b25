"""Instruments: exact limits, conserved sums, and the noise they promise."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gl15.instruments import Chain, Detector, LorentzTEM, NeutronScattering, STM
from gl15.observables import ring_indices, structure_factor


SPACING = 0.5


@eqx.filter_jit
def measure(instrument, x, key=None, spacing=SPACING):
    return instrument(x, spacing=spacing, key=key)


@pytest.fixture(scope="module")
def x():
    """Any image: two positive channels and one of both signs."""
    parts = jax.random.uniform(jax.random.key(0), (16, 12, 3))
    return parts - jnp.array([0.0, 0.0, 0.5])


def test_perfect_instruments_show_what_is_there(x):
    total = x[..., :2].sum(-1)
    for counts in (None, float("inf")):
        np.testing.assert_array_equal(measure(STM(0.0, counts), x)[..., 0], total)
        S = measure(NeutronScattering(0.0, counts), x)
        np.testing.assert_allclose(S, structure_factor(total, SPACING)[1], rtol=1e-14)
    np.testing.assert_array_equal(measure(LorentzTEM(), x), x[..., 2:])
    np.testing.assert_array_equal(measure(Detector(), x), x)


@pytest.mark.parametrize("width", [0.01, 0.3, 1.0, 6.0])
def test_blur_conserves_sums_and_sign_and_flat_images(width, x):
    seen = measure(STM(width), x)
    np.testing.assert_allclose(seen.sum(), x[..., :2].sum(), rtol=1e-13)
    assert np.all(seen >= 0)
    flux = measure(LorentzTEM(width, thickness=0.1), x)
    np.testing.assert_allclose(flux.sum(), 0.1 * x[..., 2].sum(), rtol=1e-12)
    flat = measure(STM(width), jnp.ones_like(x))
    np.testing.assert_allclose(flat, 2.0, rtol=1e-2 if width == 6.0 else 1e-9)
    turned = measure(STM(width), x[::-1])
    np.testing.assert_allclose(turned, seen[::-1], rtol=1e-13)


@pytest.mark.parametrize("n", [16, 32])
def test_blur_multiplies_waves_by_the_gaussian_at_every_resolution(n):
    # Waves that fit the mirror images are eigenfunctions.
    length, width = 8.0, 0.7
    r = (np.arange(n) + 0.5) * length / n
    kx, ky = np.pi * np.array([3, 2]) / length
    wave = np.cos(kx * r)[:, None] * np.cos(ky * r)
    x = jnp.asarray(np.stack([wave + 2, wave * 0], -1))
    seen = STM(width)(x, spacing=length / n)[..., 0]
    expected = 2 + wave * np.exp(-(kx**2 + ky**2) * width**2 / 2)
    np.testing.assert_allclose(seen, expected, atol=1e-8)


def test_counts_have_the_mean_and_variance_of_poisson():
    # Exposure per pixel is counts dx^2 = 10 per unit of density.
    x = jnp.full((4, 3, 2), 0.35).at[0].set(0.0)
    stm = STM(counts=40.0)
    keys = jax.random.split(jax.random.key(1), 4000)
    seen = jax.jit(jax.vmap(lambda key: stm(x, spacing=SPACING, key=key)))(keys)
    number = np.asarray(seen[:, 1:]).ravel() * 10
    np.testing.assert_allclose(number, np.round(number), atol=1e-9)
    error = 1 / np.sqrt(number.size)
    assert abs(number.mean() / 7 - 1) < 4 * error / np.sqrt(7)
    assert abs(number.var() / 7 - 1) < 4 * error * np.sqrt(2 + 1 / 7)
    np.testing.assert_array_equal(seen[:, 0], 0)


@pytest.mark.parametrize(
    "instrument", [LorentzTEM(noise=0.3), Detector(readout_noise=0.3)]
)
def test_gaussian_noise_has_its_deviation(instrument, x):
    keys = jax.random.split(jax.random.key(2), 500)
    seen = jax.jit(jax.vmap(lambda k: instrument(x, spacing=SPACING, key=k)))(keys)
    noise = np.asarray(seen - x[..., -seen.shape[-1] :])
    assert abs(noise.mean()) < 4 * 0.3 / np.sqrt(noise.size)
    assert abs(noise.std() / 0.3 - 1) < 4 / np.sqrt(2 * noise.size)


def test_neutrons_are_all_counted(x):
    neutrons = NeutronScattering(counts=1e4)
    keys = jax.random.split(jax.random.key(3), 500)
    seen = jax.jit(jax.vmap(lambda k: neutrons(x, spacing=SPACING, key=k)))(keys)
    clean = measure(NeutronScattering(), x)
    edges = neutrons._edges((16, 12), SPACING)
    rings = ring_indices((16, 12), SPACING, edges)
    members = np.array([np.sum(rings == ring) for ring in range(len(clean))])
    per_signal = 1e4 * members / np.sum(clean * members)
    counted = np.asarray(seen) * per_signal
    assert abs(counted.sum(1).mean() / 1e4 - 1) < 4 / np.sqrt(1e4 * 500)
    spread = counted.var(0) / (clean * per_signal)
    np.testing.assert_allclose(spread, 1, atol=4 * np.sqrt(2 / 500))


def test_resolution_spreads_a_bragg_ring_by_dk_over_k():
    n, m = 128, 24
    r = np.arange(n) * SPACING
    q = 2 * np.pi * m / (n * SPACING)
    rho = jnp.asarray(1 + np.cos(q * r)[:, None] * np.ones(n))[..., None]
    neutrons = NeutronScattering(resolution=0.1, channels=(0,))
    k, S = neutrons.wave_numbers((n, n), SPACING), neutrons(rho, spacing=SPACING)
    ring = np.argmax(structure_factor(rho[..., 0], SPACING)[1])
    # S(k) R(k, q): read at fixed q, with the normalisation's slow drift divided out.
    shape = np.asarray(S) * k
    peak = np.exp(-(((k - k[ring]) / (0.1 * k)) ** 2) / 2)
    np.testing.assert_allclose(
        shape[10:45] / shape[ring], peak[10:45], rtol=0.1, atol=1e-2
    )
    flat = neutrons._resolution_matrix(jnp.asarray(k), neutrons._edges((n, n), SPACING))
    np.testing.assert_allclose(flat.sum(1), 1)


def test_a_flat_image_scatters_no_neutrons(getkey):
    flat = jnp.ones((8, 8, 2))
    seen = NeutronScattering(counts=100.0)(flat, spacing=SPACING, key=getkey())
    np.testing.assert_array_equal(seen, 0)


def test_detector_bins_and_saturates(x):
    seen = measure(Detector(binning=4, saturation=0.45), x)
    assert seen.shape == (4, 3, 3)
    mean = np.asarray(x)[4:8, :4].mean((0, 1))
    np.testing.assert_allclose(seen[1, 0], np.clip(mean, -0.45, 0.45), rtol=1e-13)
    assert np.max(seen) == 0.45 > np.min(seen)


def test_a_chain_hands_on_the_signal_and_its_spacing(x, getkey):
    stm, detector = STM(1.0), Detector(2, readout_noise=0.1)
    last = LorentzTEM(1.0, channel=0)
    chain = Chain([stm, detector, last])
    assert chain.output_spacing(SPACING) == 2 * SPACING
    key = getkey()
    own = jax.random.split(key, 3)[1]
    expected = measure(last, measure(detector, measure(stm, x), own), spacing=1.0)
    np.testing.assert_allclose(measure(chain, x, key), expected, rtol=1e-12)
    spectrum = measure(Chain([Detector(2), NeutronScattering()]), x)
    assert spectrum.shape == (2,)


def test_instruments_differentiate_in_their_parameters(x, getkey):
    key = getkey()

    @jax.jit
    @partial(jax.value_and_grad, argnums=(0, 1))
    def seen(width, sigma):
        chain = Chain([STM(width), Detector(readout_noise=sigma)])
        return jnp.sum(chain(x, spacing=SPACING, key=key) ** 2)

    step = 1e-4
    numerical = (
        (seen(0.6 + step, 0.05)[0] - seen(0.6 - step, 0.05)[0]) / (2 * step),
        (seen(0.6, 0.05 + step)[0] - seen(0.6, 0.05 - step)[0]) / (2 * step),
    )
    np.testing.assert_allclose(seen(0.6, 0.05)[1], numerical, rtol=1e-6)
    # At the limit of no blur too.
    assert np.all(np.isfinite(seen(0.0, 0.0)[1]))
    S = jax.grad(lambda r: measure(NeutronScattering(r), x).sum())(0.05)
    assert np.isfinite(S) and S != 0


def test_counts_differentiate_on_average():
    # With mean m and exposure c, <y^2> = m^2 + m/c exactly.
    m, c = 0.6, 5.0
    keys = jax.random.split(jax.random.key(4), 20_000)

    def square(m, c, key):
        y = STM(counts=c / SPACING**2, channels=(0,))(
            jnp.full((1, 1, 1), m), spacing=SPACING, key=key
        )
        return jnp.sum(y**2)

    slopes = jax.jit(jax.vmap(jax.grad(square, (0, 1)), (None, None, 0)))(m, c, keys)
    for slope, expected in zip(slopes, (2 * m + 1 / c, -m / c**2), strict=True):
        error = slope.std() / np.sqrt(len(keys))
        assert abs(slope.mean() - expected) < 4 * error < 0.1 * abs(expected)


def test_single_precision_stays_single(x, getkey):
    x = x.astype(jnp.float32)
    for instrument in (STM(1.0, 10.0), LorentzTEM(1.0, 0.1), Detector(2, 1.0, 0.1)):
        seen = jax.eval_shape(
            lambda x, i=instrument: i(x, spacing=0.5, key=getkey()), x
        )
        assert seen.dtype == jnp.float32


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: STM(tip_width=-1.0), "`tip_width` must not be negative, got -1.0"),
        (lambda: STM(counts=-3), "`counts`"),
        (lambda: STM(counts=0.0), "`counts` must be positive, got 0.0; None"),
        (lambda: NeutronScattering(counts=0), "`counts` must be positive, got 0; None"),
        (lambda: LorentzTEM(defocus_width=-1.0), "`defocus_width`"),
        (lambda: LorentzTEM(noise=float("nan")), "`noise`"),
        (lambda: NeutronScattering(resolution=-0.1), "`resolution`"),
        (lambda: Detector(saturation=0.0), "`saturation` must be positive"),
        (lambda: Detector(binning=0), "`binning` must be at least 1"),
        (lambda: Chain([]), "`instruments` is empty"),
    ],
)
def test_instruments_that_cannot_be_are_refused(build, match):
    with pytest.raises(ValueError, match=match):
        build()


@pytest.mark.parametrize(
    ("instrument", "match"),
    [
        (STM(tip_width=6.1), "`tip_width`=6.1 is wider than the image"),
        (LorentzTEM(defocus_width=9), "`defocus_width`=9 is wider"),
        (STM(counts=3.0), "STM has `counts`, so it needs `key="),
        (Detector(readout_noise=1.0), "Detector has `readout_noise`, so"),
        (LorentzTEM(noise=1.0), "LorentzTEM has `noise`, so it needs `key="),
        (LorentzTEM(channel=3), "LorentzTEM looks at channels"),
        (Detector(binning=5), "crop it to 15 x 10"),
        (Chain([NeutronScattering(), Detector()]), "Detector needs an image"),
        (NeutronScattering(edges=(0.5, 7.0)), "Nyquist"),
    ],
)
def test_measurements_that_cannot_be_are_refused(instrument, match, x):
    with pytest.raises(ValueError, match=match):
        instrument(x, spacing=SPACING)
