"""The uniform state and its neighbours: relaxation, superflow, walls."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from gl15.physics import evolve, evolve_batch, exact, Lattice, TDGL, TwoBand


TORUS = Lattice((6, 6), spacing=0.5, boundary="periodic")


@jax.jit
def flow(tdgl, psi):
    return tdgl(0.0, psi)


@pytest.mark.parametrize(("josephson", "phase"), [(1.25, 1), (0.5625, 1), (0.75, -1)])
def test_the_uniform_state_is_stationary_to_the_last_bit(josephson, phase):
    # |psi_i|^2 = 1 + eta in phase and 1 - eta in anti-phase, with exact square roots.
    tdgl = TDGL(TORUS, TwoBand(josephson=josephson, drag=0.5), 0.0)
    size = np.sqrt(1 + phase * josephson)
    assert size == round(size * 8) / 8
    psi = size * jnp.stack([jnp.ones((6, 6)), jnp.full((6, 6), float(phase))])
    np.testing.assert_array_equal(flow(tdgl, psi.astype(complex)), 0)


@jax.jit
def curvatures(tdgl, psi):
    point = jnp.stack([psi.real, psi.imag])

    def energy(v):
        return tdgl.energy(jax.lax.complex(v[0], v[1]))

    def rate(v):
        out = tdgl(0.0, jax.lax.complex(v[0], v[1]))
        return jnp.stack([out.real, out.imag])

    size = point.size
    return (
        jax.jacfwd(rate)(point).reshape(size, size),
        jax.hessian(energy)(point).reshape(size, size) / tdgl.lattice.spacing**2,
    )


@settings(max_examples=5)
@given(st.floats(0.0, 1.5), st.floats(-1.8, 1.8))
def test_relaxation_spectrum_about_the_uniform_state(josephson, drag):
    tdgl = TDGL(TORUS, TwoBand(josephson=josephson, drag=drag), 0.0)
    psi = jnp.full((2, 6, 6), np.sqrt(1 + josephson), complex)
    eigenvalues = exact.plane_wave_eigenvalues((6, 6), 0.5).ravel()
    expected = np.sort(exact.relaxation_rates(tdgl.material, eigenvalues), None)
    jacobian, hessian = curvatures(tdgl, psi)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(jacobian / scale, jacobian.T / scale, rtol=0, atol=1e-14)
    rates = np.linalg.eigvalsh(np.asarray(jacobian))
    np.testing.assert_allclose(rates / scale, expected / scale, rtol=0, atol=6e-12)
    # Without going through the flow: the second derivative of the energy, per cell.
    stiffness = np.linalg.eigvalsh(np.asarray(hessian))
    np.testing.assert_allclose(
        stiffness / scale, -2 * expected[::-1] / scale, rtol=0, atol=1e-11
    )


def test_goldstone_and_leggett_modes():
    rates = exact.relaxation_rates(TwoBand(josephson=0.8, drag=0.3), 0.0)
    np.testing.assert_allclose(rates, [-3.6, -5.2, 0.0, -1.6], rtol=0, atol=1e-15)


def test_a_uniform_run_follows_its_closed_form_at_first_order():
    lattice = Lattice((3, 3), spacing=0.5)
    tdgl = TDGL(lattice, TwoBand(josephson=0.8, drag=0.3))
    psi0 = jnp.full((2, 3, 3), 0.3 * jnp.exp(0.7j))
    ts = jnp.asarray([0.4, 0.8, 1.6])
    expected = exact.uniform_density(ts, 0.09, 0.8)
    errors = []
    for dt in (2e-3, 1e-3):
        run = jax.jit(lambda psi, dt=dt: evolve(tdgl, psi, t1=1.6, dt=dt, ts=ts).ys)
        rho = np.abs(run(psi0)) ** 2
        np.testing.assert_allclose(rho, rho[:, :1, :1, :1] * np.ones((2, 3, 3)), 1e-13)
        errors.append(rho[:, 0, 0, 0] - expected)
    assert np.all(np.abs(errors[1]) < 3e-3)
    np.testing.assert_allclose(errors[0] / errors[1], 2.0, rtol=0, atol=0.05)


@given(
    st.floats(0.3, 3.0), st.floats(0.0, 1.5), st.floats(-0.9, 0.9), st.integers(-1, 1)
)
def test_superflow_is_stationary(stiffness, josephson, drag, turns):
    drag = drag * stiffness
    material = TwoBand(diffusion=(stiffness,) * 2, josephson=josephson, drag=drag)
    q = 2 * np.pi * turns / 6
    kinetic = (stiffness + drag) * 4 / 0.25 * np.sin(q / 2) ** 2
    size = np.sqrt(max(1 + josephson - kinetic, 0.0))
    wave = size * np.exp(1j * q * np.arange(6))[:, None] * np.ones((1, 6))
    rate = flow(TDGL(TORUS, material, 0.0), jnp.asarray(np.stack([wave, wave])))
    # Where the flow would be too fast, size = 0 and the test is of the normal state.
    scale = 8 * stiffness / 0.25
    np.testing.assert_allclose(rate / scale, 0, rtol=0, atol=3e-14)


def test_a_wall_of_equal_bands_is_a_hyperbolic_tangent():
    josephson, stiffness, length = 0.5, 1.5, 24.0
    material = TwoBand(diffusion=(stiffness,) * 2, josephson=josephson)
    residuals = []
    for sites in (96, 192):
        dx = length / sites
        x = (np.arange(sites) + 0.5) * dx - length / 2
        width = np.sqrt(2 * stiffness / (1 + josephson))
        wall = np.sqrt(1 + josephson) * np.tanh(x / width)
        psi = jnp.asarray(np.broadcast_to(wall[:, None], (2, sites, 4)), complex)
        rate = flow(TDGL(Lattice((sites, 4), spacing=dx), material), psi)
        residuals.append(float(jnp.sqrt(jnp.mean(jnp.abs(rate) ** 2))))
    assert residuals[1] < 0.01
    np.testing.assert_allclose(residuals[0] / residuals[1], 4.0, rtol=0.05)


def test_the_density_never_exceeds_its_bound_without_drag(draw):
    # Maximum principle: from random phases at the bound, at several eta and fields.
    lattice = Lattice((8, 8), spacing=0.5)
    etas = jnp.asarray([0.0, 0.4, 0.8, 1.4])

    @eqx.filter_vmap(out_axes=eqx.if_array(0))
    def samples(eta, field):
        return TDGL(lattice, TwoBand(josephson=eta), field)

    bound = 1 + etas[:, None, None, None]
    psi0 = jnp.sqrt(bound) * jnp.exp(1j * jnp.angle(draw(4, 2, 8, 8)))

    @eqx.filter_jit
    def run(fields):
        ts = 0.02 * np.arange(201)
        return evolve_batch(samples(etas, fields), psi0, t1=4.0, dt=1e-2, ts=ts).ys

    states = run(jnp.asarray([0.0, 0.1, 0.3, 0.5]))
    assert np.all(np.abs(states) ** 2 <= bound * (1 + 1e-14))
