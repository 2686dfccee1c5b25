"""Instruments: exact limits, conserved sums, and the noise they promise."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from gl15.instruments import Chain, Detector, LorentzTEM, NeutronScattering, STM
from gl15.instruments._checks import check_boundary
from gl15.observables import (
    Box,
    point_structure_factor,
    Points,
    ring_indices,
    structure_factor,
)


SPACING = 0.5


@eqx.filter_jit
def measure(instrument, x, key=None, spacing=SPACING):
    return instrument(x, spacing=spacing, key=key)


def test_perfect_instruments_show_what_is_there(x, getkey):
    total = x[..., :2].sum(-1)
    for counts in (None, float("inf"), jnp.asarray(jnp.inf)):
        np.testing.assert_array_equal(
            measure(STM(0.0, counts), x, getkey())[..., 0], total
        )
        S = measure(NeutronScattering(0.0, counts), x, getkey())
        np.testing.assert_allclose(S, structure_factor(total, SPACING)[1], rtol=1e-14)
    np.testing.assert_array_equal(measure(LorentzTEM(), x), x[..., 2:])
    np.testing.assert_array_equal(measure(Detector(), x), x)


@pytest.mark.parametrize("width", [0.01, 0.3, 1.0, 6.0])
@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_blur_conserves_sums_and_sign_and_flat_images(width, boundary, x):
    seen = measure(STM(width, boundary=boundary), x)
    np.testing.assert_allclose(seen.sum(), x[..., :2].sum(), rtol=1e-13)
    assert np.all(seen >= 0)
    lorentz = LorentzTEM(width, thickness=0.1, beam_angle=0.7, boundary=boundary)
    flux = measure(lorentz, x)
    np.testing.assert_allclose(flux.sum(), 0.1 * x[..., 2].sum(), rtol=1e-12)
    flat = measure(STM(width, boundary=boundary), jnp.ones_like(x))
    np.testing.assert_allclose(flat, 2.0, rtol=1e-7)
    turned = measure(STM(width, boundary=boundary), x[::-1])
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


def test_on_a_torus_the_tip_sees_across_the_seam():
    n, length, width = 16, 8.0, 0.7
    r = np.arange(n) * length / n
    kx, ky = 2 * np.pi * np.array([2, 1]) / length
    wave = jnp.asarray(2 + np.cos(kx * r + 0.3)[:, None] * np.sin(ky * r))
    stm = STM(width, channels=(0,), boundary="periodic")
    seen = stm(wave[..., None], spacing=length / n)[..., 0]
    decay = np.exp(-(kx**2 + ky**2) * width**2 / 2)
    np.testing.assert_allclose(seen, 2 + (wave - 2) * decay, atol=1e-8)


def test_depth_of_field_averages_the_smear_over_the_film():
    n, spacing, d, angle, width = 32, 0.5, 3.0, 0.4, 0.5
    k = np.pi * 4 / (n * spacing)
    wave = np.cos(k * (np.arange(n) + 0.5) * spacing)[:, None] * np.ones(n)
    lorentz = LorentzTEM(width, 0.0, d, 0, angle, field_unit=2.0)
    seen = lorentz(jnp.asarray(wave)[..., None], spacing=spacing)[..., 0]
    depths = np.linspace(-d / 2, d / 2, 2001)
    decay = np.trapezoid(
        np.exp(-(k**2) * (width**2 + (angle * depths) ** 2) / 2), depths
    )
    np.testing.assert_allclose(seen, 2 * wave * decay, atol=1e-5)


@pytest.mark.parametrize("expected", [1e5, 1e8, 1e12])
def test_many_counts_keep_their_variance_in_single_precision(expected):
    x = jnp.full((50, 50, 1), 1.0, jnp.float32)
    stm = STM(counts=expected / SPACING**2, channels=(0,))
    seen = np.asarray(measure(stm, x, jax.random.key(5)), float) - 1
    assert abs(seen.mean()) < 4 / np.sqrt(expected * seen.size) + 1e-7
    if expected < 1e10:  # beyond that single precision shows the signal itself
        assert abs(seen.var() * expected - 1) < 4 * np.sqrt(2 / seen.size)
    else:
        assert seen.std() < 2e-6


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


def test_resolution_spreads_the_end_of_a_spectrum_by_dk_over_k():
    # White below an edge, nothing above: what is seen there is the normal law.
    edges = np.arange(1, 62) * 0.1
    k = jnp.asarray((edges[1:] + edges[:-1]) / 2)
    S = jnp.where(k < edges[20], 3.0, 0.0)
    seen = NeutronScattering(resolution=0.1).scatter(k, S, edges=edges)
    expected = 3 * norm.cdf((edges[20] - k) / (0.1 * k))
    np.testing.assert_allclose(seen[5:40], expected[5:40], atol=1e-5)
    white = NeutronScattering(resolution=0.1).scatter(k, 0 * S + 2, edges=edges)
    np.testing.assert_allclose(white, 2.0)
    fine = NeutronScattering(resolution=0.0).scatter(k, S, edges=edges)
    np.testing.assert_array_equal(fine, S)


def test_open_samples_scatter_through_a_window(x):
    edges = (0.6, 1.8, 3.0, 4.2)
    seen = measure(NeutronScattering(0.0, edges=edges, window="hann"), x)
    rho = x[..., :2].sum(-1)
    np.testing.assert_allclose(
        seen, structure_factor(rho, SPACING, edges, window="hann")[1], rtol=1e-12
    )


def test_vortex_positions_scatter_too(getkey):
    points = Points(10 * jax.random.uniform(getkey(), (40, 2)), Box((10.0, 10.0), True))
    edges = tuple(2 * np.pi / 10 * (np.arange(9) + 0.5))
    k, S = point_structure_factor(points, edges)
    neutrons = NeutronScattering(counts=1e4)
    seen = neutrons.scatter(k, S, edges=edges, key=getkey())
    clean = NeutronScattering().scatter(k, S, edges=edges)
    assert 0 < np.max(np.abs(seen / clean - 1)) < 0.5


def test_a_flat_image_scatters_no_neutrons(getkey):
    flat = jnp.ones((8, 8, 2))
    seen = NeutronScattering(counts=100.0)(flat, spacing=SPACING, key=getkey())
    np.testing.assert_array_equal(seen, 0)


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


PARAMETERS = {
    "STM.tip_width": (lambda p: STM(p), 0.6),
    "LorentzTEM.defocus_width": (lambda p: LorentzTEM(p), 0.6),
    "LorentzTEM.noise": (lambda p: LorentzTEM(0.6, p), 0.1),
    "LorentzTEM.thickness": (lambda p: LorentzTEM(0.6, 0.1, p, beam_angle=0.4), 2.0),
    "LorentzTEM.beam_angle": (
        lambda p: LorentzTEM(0.6, thickness=2, beam_angle=p),
        0.4,
    ),
    "LorentzTEM.field_unit": (lambda p: LorentzTEM(0.6, field_unit=p), 3.0),
    "NeutronScattering.resolution": (lambda p: NeutronScattering(p), 0.2),
    "Detector.saturation": (lambda p: Detector(saturation=p), 0.45),
    "Detector.readout_noise": (lambda p: Detector(readout_noise=p), 0.1),
    "Detector.baseline_drift": (lambda p: Detector(baseline_drift=p), 0.1),
    "Detector.drift": (lambda p: Detector(drift=(p, 0.3)), 0.83),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_instruments_differentiate_in_their_parameters(name, x, getkey):
    build, value = PARAMETERS[name]
    key, step = getkey(), 1e-5

    @jax.jit
    @jax.value_and_grad
    def seen(parameter):
        y = build(parameter)(x, spacing=SPACING, key=key)
        return jnp.sum(y**2)

    numerical = (seen(value + step)[0] - seen(value - step)[0]) / (2 * step)
    np.testing.assert_allclose(seen(value)[1], numerical, rtol=1e-5)
    # At the limit where it does nothing too.
    assert np.isfinite(seen(0.0)[1])


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


@pytest.mark.parametrize(
    "instrument",
    [
        STM(1.0, 10.0),
        LorentzTEM(1.0, 0.1, 2.0, beam_angle=0.3, field_unit=2.0),
        NeutronScattering(0.1, 10.0, window="hann"),
        Detector(1, 1.0, 0.1, 0.8, (0.1, 0.2), 0.1),
        Chain([STM(1.0), Detector(2)]),
    ],
    ids=lambda instrument: type(instrument).__name__,
)
def test_single_precision_stays_single(instrument, x, getkey):
    x = x.astype(jnp.float32)
    # Parameters of double precision too: those that a prior has drawn, for example.
    wide = jax.tree.map(jnp.asarray, instrument)
    for one in (instrument, wide):
        seen = jax.eval_shape(lambda x, i=one: i(x, spacing=0.5, key=getkey()), x)
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
        (lambda: NeutronScattering(resolution=5.0), "a fraction, 0.05 for 5 per cent"),
        (lambda: LorentzTEM(thickness=0.0), "`thickness` must be positive.*1 leaves"),
        (lambda: LorentzTEM(beam_angle=-0.1), "`beam_angle` must not be negative"),
        (lambda: STM(channels=()), "`channels` must name at least one"),
        (lambda: STM(channels=(0, -1)), "counted from 0, got"),
        (lambda: check_boundary("torus"), '"open".*"periodic".*, got \'torus\''),
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
        (STM(tip_width=6.1), "`tip_width`=6.1 is wider than the image.*InNanometres"),
        (LorentzTEM(1.0, thickness=70.0, beam_angle=0.2), "thickness / 2`=7 is wider"),
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


BAD_IMAGES = {
    "NaN": (lambda x: x.at[2, 3].set(jnp.nan), "`x` holds 3 values that are NaN"),
    "infinite": (lambda x: x.at[0, 0, 0].set(jnp.inf), "of 576, and .* mend or crop"),
    "flat": (
        lambda x: x[..., 0],
        r"has shape \(16, 12\); give a single channel an axis",
    ),
    "several": (lambda x: jnp.stack([x, x]), "`jax.vmap` or `gl15.simulation.observe"),
    "empty": (lambda x: x[:0], r"has shape \(0, 12, 3\)"),
}


@pytest.mark.parametrize("bad", BAD_IMAGES)
@pytest.mark.parametrize(
    "instrument",
    [STM(1.0), LorentzTEM(1.0), NeutronScattering(), Detector(), Chain([Detector()])],
    ids=lambda instrument: type(instrument).__name__,
)
def test_images_that_cannot_be_measured_are_refused(instrument, bad, x):
    spoil, match = BAD_IMAGES[bad]
    with pytest.raises(ValueError, match=match):
        instrument(spoil(x), spacing=SPACING)


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan")])
def test_a_spacing_that_is_no_length_is_refused(spacing, x):
    with pytest.raises(ValueError, match="`spacing` must be a positive length"):
        STM()(x, spacing=spacing)


def test_there_are_no_negative_counts(x, getkey):
    stm = STM(counts=10.0)
    with pytest.raises(ValueError, match="negative at 192 of 192 points, down to"):
        stm(-x, spacing=SPACING, key=getkey())
    # Traced, they are NaN and nothing else, which whoever collects them will see.
    half = x.at[:8].multiply(-1.0)
    seen = measure(stm, half, getkey())
    assert np.all(np.isnan(seen[:8])) and np.all(np.isfinite(seen[8:]))


def test_images_may_be_numpys_and_counts_of_a_camera():
    counts = np.arange(48).reshape(4, 4, 3)
    seen = Detector(2)(counts, spacing=SPACING)
    np.testing.assert_array_equal(seen[0, 0], counts[:2, :2].mean((0, 1)))


@pytest.mark.parametrize(
    ("instrument", "channels"),
    [
        (STM(), ("density",)),
        (LorentzTEM(), ("projected_flux",)),
        (Detector(), ("a", "b", "c")),
        (NeutronScattering(), ()),
        (Chain([STM(), Detector()]), ("density",)),
    ],
)
def test_channels_are_named(instrument, channels):
    assert instrument.output_channels(("a", "b", "c")) == channels
