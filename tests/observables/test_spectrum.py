"""The structure factor against what is known about it exactly."""

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
    ring_indices,
    structure_factor,
    wave_numbers,
)
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
        ([0.5], "at least two"),
        ([0.5, np.nan], "finite"),
        ([-0.5, 3.0], "not be negative"),
    ],
)
def test_rings_that_mean_nothing_are_refused(edges, match):
    with pytest.raises(ValueError, match=match):
        structure_factor(jnp.zeros((16, 16)), 0.5, edges)


def test_images_that_are_not_finite_are_refused():
    rho = jnp.zeros((8, 8)).at[2, 3].set(jnp.nan)
    with pytest.raises(ValueError, match="`rho` holds 1 values of 64"):
        structure_factor(rho)
    assert np.all(np.isnan(jax.jit(structure_factor)(rho)[1]))
    with pytest.raises(ValueError, match="`spacing`"):
        structure_factor(jnp.zeros((8, 8)), 0.0)
