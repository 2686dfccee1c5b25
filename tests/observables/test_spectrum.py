"""The structure factor against what is known about it exactly."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from gl15.observables import (
    cross_power,
    cross_structure_factor,
    default_edges,
    densities,
    density_spectra,
    fit_power_law,
    ring_counts,
    ring_indices,
    structure_factor,
    structure_factor_map,
    wave_numbers,
)
from gl15.observables._spectrum import check_images
from gl15.physics import Lattice, quench


def test_quench_start_is_white_at_its_variance():
    # Table row 24: S(k != 0) = 8 a^4 / 45 per band, and no cross correlation.
    a, runs, lattice = 0.5, 400, Lattice((32, 32))

    def spectra(key):
        rho = densities(quench(lattice, key=key, amplitude=a))
        return [structure_factor(r)[1] for r in rho], cross_structure_factor(*rho)[1]

    keys = jax.random.split(jax.random.key(0), runs)
    each, cross = jax.jit(jax.vmap(spectra))(keys)
    expected = 8 * a**4 / 45
    for S in each:
        error = S.std(0) / np.sqrt(runs)
        assert np.all(np.abs(S.mean(0) - expected) < 4 * error)
        total = np.sqrt(np.sum(error**2)) / len(error)
        assert abs(S.mean() - expected) < 4 * total < 0.04 * expected
    assert np.all(np.abs(cross.mean(0)) < 4 * cross.std(0) / np.sqrt(runs))


@pytest.mark.parametrize("window", [None, "hann"])
def test_independent_pixels_show_their_variance_at_every_wave_vector(window):
    # Exactly: the power of white noise is the sum of the powers of single pixels.
    shape = (9, 6)
    pixels = jnp.eye(54).reshape(54, *shape)
    power = sum(cross_power(pixel, pixel, window).real for pixel in pixels)
    assert abs(power[0, 0]) < 1e-12
    np.testing.assert_allclose(power.ravel()[1:], 1, rtol=1e-12)


def test_row_24_also_through_the_window_of_an_open_sample(sample):
    runs, tdgl = 200, sample("open", (32, 32))

    def spectra(key):
        return density_spectra(tdgl, quench(tdgl.lattice, key=key))

    found = jax.jit(jax.vmap(spectra))(jax.random.split(jax.random.key(1), runs))
    expected = 8 * 0.5**4 / 45
    for S, value in (
        (found.bands[:, 0], expected),
        (found.bands[:, 1], expected),
        (found.total, 2 * expected),
        (found.cross, 0.0),
    ):
        error = S.std(0) / np.sqrt(runs)
        assert np.all(np.abs(S.mean(0) - value) < 4 * error)
        assert np.all(error < 0.15 * expected)


@pytest.mark.parametrize(("boundary", "window"), [("open", "hann"), ("periodic", None)])
def test_spectra_of_a_state_are_those_of_its_densities(
    boundary, window, sample, getkey
):
    tdgl = sample(boundary, (12, 10))
    psi = quench(tdgl.lattice, key=getkey())
    rho = densities(psi)
    edges = [0.7, 3.0, 6.0]
    found = density_spectra(tdgl, psi, edges)
    for S, image in zip(
        (*found.bands, found.total), (*rho, rho[0] + rho[1]), strict=True
    ):
        k, alone = structure_factor(image, 0.5, edges, window=window)
        np.testing.assert_allclose(S, alone, rtol=1e-12)
        np.testing.assert_array_equal(k, found.k)
    assert np.all(np.abs(found.coherence) <= 1)
    cross = cross_structure_factor(*rho, 0.5, edges, window=window)[1]
    np.testing.assert_allclose(found.cross, cross, rtol=1e-12)
    maps = [structure_factor_map(rho[0], other=rho[1], window=window)[2]]
    maps += [structure_factor_map(image, window=window)[2] for image in rho]
    total = structure_factor_map(rho[0] + rho[1], window=window)[2]
    np.testing.assert_allclose(2 * maps[0] + maps[1] + maps[2], total, atol=1e-12)
    with pytest.raises(ValueError, match="`psi` holds 1 values"):
        density_spectra(tdgl, psi.at[0, 2, 2].set(jnp.nan))


def test_the_window_keeps_an_open_samples_edges_out_of_its_spectrum():
    # A slope: as a torus it jumps, and leaks power as 1/k^2 along the axis.
    ramp = jnp.broadcast_to(jnp.linspace(0, 1, 64)[:, None], (64, 64))
    k_x, k_y, bare = structure_factor_map(ramp)
    through = structure_factor_map(ramp, window="hann")[2]
    far = np.asarray(k_x) > 3.0
    on_axis = np.asarray(k_y) == 0
    assert np.max(through[far][:, on_axis]) < 1e-4 * np.min(bare[far][:, on_axis])
    # With shape checks on, as in this suite, the annotation is faster.
    with pytest.raises((ValueError, TypeError), match="window"):
        structure_factor(ramp, window="hamming")


def test_the_map_shows_a_plane_wave_at_its_wave_vector_and_averages_to_the_rings():
    shape, spacing, m = (20, 16), 0.25, (3, -2)
    x, y = (np.arange(n) * spacing for n in shape)
    q = [2 * np.pi * a / (n * spacing) for a, n in zip(m, shape, strict=True)]
    rho = jnp.asarray(np.cos(q[0] * x[:, None] + q[1] * y))
    k_x, k_y, S = structure_factor_map(rho, spacing)
    assert S.shape == shape and np.all(np.diff(k_x) > 0) and np.all(np.diff(k_y) > 0)
    peaks = np.argwhere(np.asarray(S) > 1e-9)
    where = sorted((float(k_x[i]), float(k_y[j])) for i, j in peaks)
    np.testing.assert_allclose(where, sorted([q, [-q[0], -q[1]]]), rtol=1e-12)
    noise = jax.random.normal(jax.random.key(0), shape)
    k_x, k_y, S = structure_factor_map(noise, spacing)
    k = np.hypot(k_x[:, None], k_y)
    edges = default_edges(shape, spacing)
    radial = structure_factor(noise, spacing)[1]
    counts = ring_counts(shape, spacing, edges)
    for ring, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        inside = (k > low) & (k <= high)
        assert np.sum(inside) == counts[ring]
        np.testing.assert_allclose(np.mean(S[inside]), radial[ring], rtol=1e-12)


def test_a_power_law_of_an_image_is_recovered_within_its_error():
    shape, runs, alpha = (48, 48), 60, 1.3
    k = wave_numbers(shape, 0.5)
    edges = default_edges(shape, 0.5)[:12]
    counts = ring_counts(shape, 0.5, edges)
    filters = jnp.asarray(np.where(k > 0, k, 1) ** (alpha / 2))

    def exponent(key):
        noise = jnp.fft.fft2(jax.random.normal(key, shape))
        image = jnp.fft.ifft2(noise * filters).real
        law = fit_power_law(*structure_factor(image, 0.5, edges), counts)
        return law.exponent, law.exponent_std, law(1.0)

    found, std, at_one = jax.jit(jax.vmap(exponent))(
        jax.random.split(jax.random.key(2), runs)
    )
    scores = (found - alpha) / std
    assert abs(scores.mean()) < 4 / np.sqrt(runs)
    assert 0.75 < scores.std() < 1.3
    np.testing.assert_allclose(at_one.mean(), 1, atol=0.05)
    with pytest.raises(ValueError, match="`S` must be positive"):
        fit_power_law(np.ones(3), np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match="`counts` must be positive in two"):
        fit_power_law(np.ones(3), np.ones(3), np.array([1, 0, 0]))


@pytest.mark.parametrize("m", [(1, 0), (3, 4), (0, 7)])
def test_a_plane_wave_shows_at_its_physical_wave_number(m):
    n, spacing, amplitude = 20, 0.25, 0.3
    x, y = np.meshgrid(*[np.arange(n) * spacing] * 2, indexing="ij")
    q = 2 * np.pi * np.array(m) / (n * spacing)
    rho = jnp.asarray(1 + amplitude * np.cos(q[0] * x + q[1] * y))
    k, S = structure_factor(rho, spacing)
    ring = np.argmax(S)
    members = np.sum(
        ring_indices((n, n), spacing, default_edges((n, n), spacing)) == ring
    )
    np.testing.assert_allclose(S[ring], 2 * (amplitude * n / 2) ** 2 / members)
    assert np.max(np.delete(S, ring)) < 1e-25 * n**4
    assert abs(k[ring] - np.hypot(*q)) < np.pi / (n * spacing)


@settings(max_examples=20)
@given(shift=st.tuples(st.integers(0, 30), st.integers(0, 30)), seed=st.integers(0, 99))
def test_invariant_under_shifts_turns_and_offsets(shift, seed):
    rho = jax.random.uniform(jax.random.key(seed), (12, 12))
    _, S = structure_factor(rho)
    for other in (jnp.roll(rho, shift, (0, 1)), rho.T, rho[::-1], rho + 3.0):
        np.testing.assert_allclose(structure_factor(other)[1], S, rtol=1e-9)


def test_parseval(getkey):
    first, second = jax.random.normal(getkey(), (2, 9, 14))
    power = cross_power(first, second)
    np.testing.assert_allclose(
        jnp.mean(power), np.cov(first.ravel(), second.ravel(), ddof=0)[0, 1], atol=1e-14
    )


def test_one_image_at_two_resolutions_has_one_spectrum():
    # A band-limited field: S dx^2 does not know how finely it was sampled.
    length = 8.0

    def spectrum(n):
        x = np.arange(n) * length / n
        wave = np.cos(2 * np.pi * 2 * x / length)[:, None] * np.cos(
            2 * np.pi * x / length
        )
        edges = 2 * np.pi / length * np.array([0.5, 1.5, 2.5, 3.5])
        k, S = structure_factor(jnp.asarray(1 + wave), length / n, edges)
        return k, S * (length / n) ** 2

    for coarse, fine in zip(spectrum(16), spectrum(32), strict=True):
        np.testing.assert_allclose(coarse, fine, atol=1e-12)


@pytest.mark.parametrize("shape", [(8, 8), (9, 9), (8, 12), (15, 6)])
def test_default_rings_are_never_empty_and_end_at_nyquist(shape):
    spacing = 0.5
    edges = default_edges(shape, spacing)
    rings = ring_indices(shape, spacing, edges)
    counts = np.bincount(rings[rings >= 0], minlength=len(edges))[: len(edges) - 1]
    assert np.all(counts >= 2) and edges[-1] <= np.pi / spacing * (1 + 1e-12)
    assert rings[0, 0] == -1
    k, S = structure_factor(jnp.ones(shape), spacing)
    assert np.all((k > edges[:-1]) & (k < edges[1:])) and not np.any(S)
    assert wave_numbers(shape, spacing).shape == shape


def test_rings_on_the_wave_vectors_belong_to_the_ring_below():
    step = 2 * np.pi / (16 * 0.5)
    k, _ = structure_factor(jnp.zeros((16, 16)), 0.5, step * np.arange(9))
    np.testing.assert_allclose(k[0], step)


def test_single_precision_stays_single():
    k, S = jax.jit(structure_factor)(jnp.ones((8, 8), jnp.float32))
    assert k.dtype == S.dtype == jnp.float32


@pytest.mark.parametrize(
    ("edges", "match"),
    [
        ([0.5, 7.0], "beyond the Nyquist"),
        ([0.5, 0.6, 3.0], "narrower than the spacing"),
        ([3.0, 1.0], "`edges` must rise"),
        ([0.5], "at least two"),
        ([0.5, np.nan], "finite"),
        ([-0.5, 3.0], "not be negative"),
    ],
)
def test_rings_that_mean_nothing_are_refused(edges, match):
    with pytest.raises(ValueError, match=match):
        structure_factor(jnp.zeros((16, 16)), 0.5, edges)


def test_what_is_no_image_is_refused_with_the_remedy():
    # Without the suite's shape checks, which would come first.
    check = inspect.unwrap(check_images)
    for shapes in ([(8,)], [(8, 8, 3)], [(8, 8), (8, 9)], [(0, 8)]):
        images = dict(zip(("rho", "other"), map(jnp.zeros, shapes), strict=False))
        with pytest.raises(ValueError, match="must be one image.*take one channel"):
            check(**images)
    with pytest.raises(ValueError, match="`rho` is complex; give a density"):
        check(rho=jnp.ones((4, 4), complex))


def test_images_that_are_not_finite_are_refused():
    rho = jnp.zeros((8, 8)).at[2, 3].set(jnp.nan)
    with pytest.raises(ValueError, match="`rho` holds 1 values of 64"):
        structure_factor(rho)
    assert np.all(np.isnan(jax.jit(structure_factor)(rho)[1]))
    with pytest.raises(ValueError, match="`spacing`"):
        structure_factor(jnp.zeros((8, 8)), 0.0)
