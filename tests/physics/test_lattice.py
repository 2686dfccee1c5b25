"""The flux through the lattice: every plaquette, the seam and the corner included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

from gl15.physics import Lattice, Links


SHAPES = st.sampled_from([(8, 8), (8, 12), (5, 9)])
TORUS = Lattice((8, 12), spacing=0.5, boundary="periodic")


@given(SHAPES, st.integers(-9, 9))
def test_every_plaquette_of_the_torus_carries_the_same_flux(shape, n):
    lattice = Lattice(shape, spacing=0.5, boundary="periodic")
    flux = lattice.links(lattice.field_from_quanta(n)).flux(shape)
    phi = 2 * np.pi * n / (shape[0] * shape[1])
    assert flux.shape == shape
    np.testing.assert_allclose(flux, phi, rtol=0, atol=1e-14)
    np.testing.assert_allclose(flux.sum(), 2 * np.pi * n, rtol=1e-14, atol=1e-13)


@given(SHAPES, st.floats(-2.0, 2.0))
def test_every_plaquette_of_an_open_sample_carries_the_same_flux(shape, field):
    lattice = Lattice(shape, spacing=0.5, boundary="open")
    flux = lattice.links(field).flux(shape)
    assert flux.shape == (shape[0] - 1, shape[1] - 1)
    np.testing.assert_allclose(flux, field * 0.25, rtol=0, atol=1e-14)


def test_the_torus_holds_its_flux_in_single_precision():
    # The seam's phase winds n times around; unreduced it would lose these digits.
    lattice = Lattice((64, 64), spacing=0.5, boundary="periodic")
    with jax.enable_x64(False):
        links = lattice.links(lattice.field_from_quanta(40))
        flux = links.flux(lattice.shape)
    assert links.y.dtype == jnp.float32
    np.testing.assert_allclose(flux, 2 * np.pi * 40 / 64**2, rtol=0, atol=1e-5)


def test_the_gauge_is_the_papers():
    # U_y(j) = exp(-i phi j) and, inside the sample, U_x = 1 (D1, D2).
    a_x, a_y = Lattice((6, 5), spacing=0.5).links(0.4).phases((6, 5))
    np.testing.assert_array_equal(a_x, 0)
    np.testing.assert_allclose(
        a_y[:, :-1], 0.1 * np.arange(6)[:, None] * np.ones(4), rtol=1e-15
    )
    np.testing.assert_array_equal(a_y[:, -1], 0)


@given(st.floats(-50.0, 50.0))
def test_flux_quanta_inverts_field_from_quanta(n):
    field = TORUS.field_from_quanta(n)
    np.testing.assert_allclose(TORUS.flux_quanta(field), n, rtol=0, atol=1e-13)
    np.testing.assert_allclose(field * TORUS.area, 2 * np.pi * n, rtol=0, atol=1e-12)
    assert TORUS.area == 8 * 12 * 0.25


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_links_of_any_gauge_hold_the_phases_given(seed, periodic):
    shape = (5, 9)
    given_phases = np.random.default_rng(seed).uniform(-4, 4, (2, *shape))
    phases = Links.from_phases(jnp.asarray(given_phases), periodic=periodic).phases(
        shape
    )
    expected = given_phases.copy()
    if not periodic:
        expected[0, -1], expected[1, :, -1] = 0, 0
    np.testing.assert_array_equal(phases, expected)


@given(st.integers(0, 2**32 - 1), st.integers(-5, 5))
def test_no_gauge_transformation_changes_the_flux(seed, n):
    shape = (5, 9)
    lattice = Lattice(shape, spacing=0.5, boundary="periodic")
    links = lattice.links(lattice.field_from_quanta(n))
    chi = np.random.default_rng(seed).uniform(-3, 3, shape)
    gradient = jnp.stack([jnp.roll(chi, -1, 0) - chi, jnp.roll(chi, -1, 1) - chi])
    moved = Links.from_phases(links.phases(shape) + gradient, periodic=True)
    np.testing.assert_allclose(moved.flux(shape), links.flux(shape), rtol=0, atol=1e-14)


def test_a_field_that_the_type_rounds_is_carried_by_the_torus():
    # A caller writes the field with eight digits; half a quantum more is refused.
    exact = TORUS.links(TORUS.field_from_quanta(3))
    written = TORUS.links(round(float(TORUS.field_from_quanta(3)), 8))
    np.testing.assert_array_equal(written.y, exact.y)
    with pytest.raises(ValueError, match="flux quanta"):
        TORUS.links(TORUS.field_from_quanta(3.5))
