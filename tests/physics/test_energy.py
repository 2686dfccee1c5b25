"""One energy: the flow is minus its gradient, the current its response to A."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from gl15.physics import evolve, Lattice, Links, TDGL, TwoBand


SHAPE = (6, 5)  # Neither square nor even: nothing may rely on either.


# Any well-posed, disordered material, in any field, and any state.
SAMPLES = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "periodic": st.booleans(),
        "stiffness": st.tuples(st.floats(0.2, 5.0), st.floats(0.2, 5.0)),
        "drag": st.floats(-0.95, 0.95),
        "alpha": st.tuples(st.floats(-2.0, 2.0), st.floats(-2.0, 2.0)),
        "beta": st.tuples(st.floats(0.5, 2.0), st.floats(0.5, 2.0)),
        "josephson": st.floats(-2.0, 2.0),
        "flux": st.integers(-4, 4),
    }
)


def build(spec):
    rng = np.random.default_rng(spec["seed"])

    def coupling(mean, spread):
        return jnp.asarray(mean + spread * rng.uniform(-1, 1, SHAPE))

    stiffness = spec["stiffness"]
    material = TwoBand(
        diffusion=(jnp.asarray(stiffness[0]), jnp.asarray(stiffness[1])),
        alpha=(coupling(spec["alpha"][0], 0.5), coupling(spec["alpha"][1], 0.5)),
        beta=(coupling(spec["beta"][0], 0.3), coupling(spec["beta"][1], 0.3)),
        josephson=coupling(spec["josephson"], 0.5),
        drag=jnp.asarray(spec["drag"] * np.sqrt(np.prod(stiffness))),
    )
    lattice = Lattice(SHAPE, 0.5, "periodic" if spec["periodic"] else "open")
    # In an open sample the flux need not be whole, and is not.
    quanta = spec["flux"] if spec["periodic"] else 0.9 * spec["flux"]
    psi = rng.normal(size=(2, *SHAPE)) + 1j * rng.normal(size=(2, *SHAPE))
    tdgl = TDGL(lattice, material, lattice.field_from_quanta(quanta))
    return tdgl, jnp.asarray(psi)


def on_links(tdgl, phases):
    links = Links.from_phases(phases, periodic=not tdgl.lattice.is_open)
    return TDGL(tdgl.lattice, tdgl.material, links=links)


@jax.jit
def energy_gradients(tdgl, psi):
    def by_state(re, im):
        return tdgl.energy(jax.lax.complex(re, im))

    def by_phases(phases):
        return on_links(tdgl, phases).energy(psi)

    re, im = jax.grad(by_state, (0, 1))(psi.real, psi.imag)
    wirtinger = (re + 1j * im) / 2 / tdgl.lattice.spacing**2
    response = jax.grad(by_phases)(tdgl.links.phases(SHAPE)) / tdgl.lattice.spacing
    return wirtinger, response


@jax.jit
def flow_and_current(tdgl, psi):
    return tdgl(0.0, psi), jnp.stack(tdgl.current(psi))


@settings(max_examples=20)
@given(SAMPLES)
def test_flow_and_current_are_minus_the_gradients_of_the_energy(spec):
    sample = build(spec)
    flow, current = flow_and_current(*sample)
    by_state, by_phases = energy_gradients(*sample)
    scale = jnp.max(jnp.abs(flow))
    np.testing.assert_allclose(flow / scale, -by_state / scale, rtol=0, atol=4e-15)
    scale = jnp.max(jnp.abs(current))
    np.testing.assert_allclose(current / scale, -by_phases / scale, rtol=0, atol=4e-15)


@settings(max_examples=20)
@given(SAMPLES)
def test_charge_is_conserved_locally(spec):
    # The supercurrent into a site is all the charge that the flow moves there.
    tdgl, psi = build(spec)
    flow, (jx, jy) = flow_and_current(tdgl, psi)
    dx = tdgl.lattice.spacing
    divergence = (jx - jnp.roll(jx, 1, 0) + jy - jnp.roll(jy, 1, 1)) / dx
    source = 2 * jnp.sum(jnp.imag(jnp.conj(psi) * flow), 0)
    scale = jnp.max(jnp.abs(psi)) * jnp.max(jnp.abs(flow))
    np.testing.assert_allclose(divergence / scale, source / scale, rtol=0, atol=4e-15)
    if tdgl.lattice.is_open:  # Nothing leaves the sample.
        np.testing.assert_array_equal(jx[-1], 0)
        np.testing.assert_array_equal(jy[:, -1], 0)


def test_energy_of_a_uniform_state_is_counted_site_by_site():
    tdgl = TDGL(
        Lattice(SHAPE, spacing=0.5),
        TwoBand(alpha=(-1.0, 0.5), beta=(1.0, 2.0), josephson=0.3, drag=0.2),
    )
    psi = jnp.stack([jnp.full(SHAPE, 0.6 + 0.3j), jnp.full(SHAPE, -0.2 + 0.4j)])
    rho = 0.45, 0.2
    density = -rho[0] + 0.5 * rho[0] ** 2 + 0.5 * rho[1] + rho[1] ** 2
    density -= 2 * 0.3 * (0.6 * -0.2 + 0.3 * 0.4)
    energy = jax.jit(lambda psi: tdgl.energy(psi))(psi)
    np.testing.assert_allclose(energy, tdgl.lattice.area * density, 1e-14)


@pytest.fixture(scope="module", params=["open", "periodic"])
def relaxation(request, draw):
    """A quench relaxing into vortices, saved often, at nearly the largest step."""
    lattice = Lattice((8, 8), spacing=0.5, boundary=request.param)
    tdgl = TDGL(lattice, TwoBand(josephson=0.5, drag=0.4), lattice.field_from_quanta(2))
    psi0 = draw(2, 8, 8)
    dt = 0.95 * float(tdgl.max_stable_step(psi0))
    ts = 2 * dt * np.arange(600)
    run = jax.jit(lambda psi: evolve(tdgl, psi, t1=1200 * dt, dt=dt, ts=ts).ys)
    return tdgl, run(psi0)


def test_energy_never_rises(relaxation):
    tdgl, states = relaxation
    energies = np.asarray(jax.jit(jax.vmap(tdgl.energy))(states))
    round_off = 1e-13 * np.abs(energies).max()
    assert np.all(np.diff(energies) <= round_off)
    assert energies[-1] < energies[0] - 1


def test_hessian_is_minus_twice_the_jacobian_of_the_flow(relaxation):
    tdgl, states = relaxation

    def real(f):
        return lambda v: f(jax.lax.complex(v[0], v[1]))

    def flow(v):
        out = real(lambda psi: tdgl(0.0, psi))(v)
        return jnp.stack([out.real, out.imag])

    point = jnp.stack([states[-1].real, states[-1].imag])
    cell = tdgl.lattice.spacing**2
    hessian = jax.jit(jax.hessian(real(tdgl.energy)))(point).reshape(256, 256) / cell
    jacobian = jax.jit(jax.jacfwd(flow))(point).reshape(256, 256)
    scale = np.abs(hessian).max()
    np.testing.assert_allclose(
        hessian / scale, -2 * jacobian / scale, rtol=0, atol=1e-14
    )
    np.testing.assert_allclose(jacobian / scale, jacobian.T / scale, rtol=0, atol=1e-14)
