"""Symmetries of the model: gauge, sign of the couplings, time reversal, translation."""

from math import gcd

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from gl15.physics import Lattice, Links, TDGL, TwoBand


SHAPE = (8, 6)


def material(rng, sign=1.0, swap=False):
    """The same material at the same seed, up to the sign of its couplings."""
    pairs = {
        "diffusion": rng.uniform(0.5, 4.0, 2),
        "alpha": rng.uniform(-1.5, 0.5, 2),
        "beta": rng.uniform(0.5, 2.0, 2),
    }
    order = (1, 0) if swap else (0, 1)
    return TwoBand(
        **{name: tuple(jnp.asarray(v[i]) for i in order) for name, v in pairs.items()},
        josephson=jnp.asarray(sign * rng.uniform(0.0, 1.5)),
        drag=jnp.asarray(sign * rng.uniform(0.0, 0.45)),
    )


def sample(seed, boundary, *, sign=1.0, swap=False, reverse=False):
    """A sample and a state, functions of the seed; keywords transform the sample."""
    rng = np.random.default_rng(seed)
    lattice = Lattice(SHAPE, spacing=0.5, boundary=boundary)
    field = lattice.field_from_quanta(int(rng.integers(1, 6)))
    coupled = material(rng, sign, swap)
    psi = rng.normal(size=(2, *SHAPE)) + 1j * rng.normal(size=(2, *SHAPE))
    tdgl = TDGL(lattice, coupled, -field if reverse else field)
    return tdgl, jnp.asarray(psi)


@jax.jit
def observe(tdgl, psi):
    return tdgl(0.0, psi), tdgl.energy(psi), jnp.stack(tdgl.current(psi))


def size_of_energy(tdgl, psi):
    """The energy with positive terms alone: what its rounding scales with."""
    alpha = tuple(abs(a) for a in tdgl.material.alpha)
    positive = eqx.tree_at(
        lambda t: (t.material.alpha, t.material.josephson, t.material.drag),
        tdgl,
        (alpha, jnp.asarray(0.0), jnp.asarray(0.0)),
    )
    return observe(positive, psi)[1]


BOUNDARY = st.sampled_from(["open", "periodic"])
SEED = st.integers(0, 2**32 - 1)


@settings(max_examples=20)
@given(SEED, BOUNDARY)
def test_gauge_covariance(seed, boundary):
    tdgl, psi = sample(seed, boundary)
    chi = jnp.asarray(np.random.default_rng(seed + 1).uniform(-np.pi, np.pi, SHAPE))
    # U' = exp(i chi(r)) U exp(-i chi(r + mu)), with U = exp(-i a).
    gradient = jnp.stack([jnp.roll(chi, -1, 0) - chi, jnp.roll(chi, -1, 1) - chi])
    phases = tdgl.links.phases(SHAPE) + gradient
    moved = TDGL(
        tdgl.lattice,
        tdgl.material,
        links=Links.from_phases(phases, periodic=boundary == "periodic"),
    )
    turn = jnp.exp(1j * chi)
    flow, energy, current = observe(tdgl, psi)
    moved_flow, moved_energy, moved_current = observe(moved, turn * psi)
    scale = jnp.max(jnp.abs(flow))
    np.testing.assert_allclose(
        moved_flow / scale, turn * flow / scale, rtol=0, atol=4e-15
    )
    scale = jnp.max(jnp.abs(current))
    np.testing.assert_allclose(
        moved_current / scale, current / scale, rtol=0, atol=4e-15
    )
    scale = size_of_energy(tdgl, psi)
    np.testing.assert_allclose(moved_energy / scale, energy / scale, rtol=0, atol=4e-15)


@settings(max_examples=20)
@given(SEED, BOUNDARY)
def test_sign_of_both_couplings_is_a_choice_of_phase(seed, boundary):
    # (eta, nu, psi_2) -> -(eta, nu, psi_2), to the last bit.
    tdgl, psi = sample(seed, boundary)
    opposite, _ = sample(seed, boundary, sign=-1.0)
    flip = jnp.asarray([1.0, -1.0])[:, None, None]
    flow, energy, current = observe(tdgl, psi)
    flipped_flow, flipped_energy, flipped_current = observe(opposite, flip * psi)
    np.testing.assert_array_equal(flipped_flow, flip * flow)
    np.testing.assert_array_equal(flipped_energy, energy)
    np.testing.assert_array_equal(flipped_current, current)


@settings(max_examples=20)
@given(SEED, BOUNDARY)
def test_complex_conjugation_reverses_the_field(seed, boundary):
    # psi -> psi*, B -> -B, to the last bit; currents turn round.
    tdgl, psi = sample(seed, boundary)
    opposite, _ = sample(seed, boundary, reverse=True)
    flow, energy, current = observe(tdgl, psi)
    reversed_flow, reversed_energy, reversed_current = observe(opposite, jnp.conj(psi))
    np.testing.assert_array_equal(reversed_flow, jnp.conj(flow))
    np.testing.assert_array_equal(reversed_energy, energy)
    np.testing.assert_array_equal(reversed_current, -current)


@settings(max_examples=10)
@given(SEED, BOUNDARY)
def test_the_name_of_a_band_means_nothing(seed, boundary):
    tdgl, psi = sample(seed, boundary)
    exchanged, _ = sample(seed, boundary, swap=True)
    flow, _, current = observe(tdgl, psi)
    other_flow, _, other_current = observe(exchanged, psi[::-1])
    scale = jnp.max(jnp.abs(flow))
    np.testing.assert_allclose(
        other_flow / scale, flow[::-1] / scale, rtol=0, atol=1e-15
    )
    scale = jnp.max(jnp.abs(current))
    np.testing.assert_allclose(
        other_current / scale, current / scale, rtol=0, atol=1e-15
    )


@pytest.mark.parametrize("n", [0, 2, 4])
def test_magnetic_translations(n):
    lattice = Lattice(SHAPE, spacing=0.5, boundary="periodic")
    nx, ny = SHAPE
    rng = np.random.default_rng(n)
    tdgl = TDGL(lattice, material(rng), lattice.field_from_quanta(n))
    psi = rng.normal(size=(2, *SHAPE)) + 1j * rng.normal(size=(2, *SHAPE))
    phi = 2 * np.pi * n / (nx * ny)
    x, y = np.arange(nx)[:, None], np.arange(ny)
    along_x, along_y = nx // gcd(n, nx), ny // gcd(n, ny)

    def shift_x(field):
        # Beyond the seam the state carries the seam's phase with it.
        seam = np.where(x + along_x >= nx, np.exp(1j * phi * nx * y), 1.0)
        gauge = np.exp(-1j * phi * along_x * y)
        return gauge * seam * np.roll(field, -along_x, 1)

    def shift_y(field):
        return np.roll(field, -along_y, 2)

    flow, energy, current = (np.asarray(a) for a in observe(tdgl, jnp.asarray(psi)))
    for shift, (axis, step) in ((shift_x, (1, along_x)), (shift_y, (2, along_y))):
        moved = observe(tdgl, jnp.asarray(shift(psi)))
        scale = np.abs(flow).max()
        np.testing.assert_allclose(
            moved[0] / scale, shift(flow) / scale, rtol=0, atol=9e-15
        )
        np.testing.assert_allclose(moved[1], energy, rtol=9e-15)
        scale = np.abs(current).max()
        rolled = np.roll(current, -step, axis)
        np.testing.assert_allclose(moved[2] / scale, rolled / scale, rtol=0, atol=9e-15)
