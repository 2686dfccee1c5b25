"""The largest stable step: sharp at the uniform state, safe everywhere."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from gl15.physics import evolve, evolve_batch, Lattice, Links, TDGL, TwoBand


STEPS = 400


@pytest.mark.parametrize("boundary", ["open", "periodic"])
@pytest.mark.parametrize("drag", [0.0, 1.2, -0.7])
def test_the_limit_is_sharp_at_the_uniform_state(boundary, drag):
    lattice = Lattice((8, 8), spacing=0.5, boundary=boundary)
    tdgl = TDGL(lattice, TwoBand(josephson=0.8, drag=jnp.asarray(drag)), 0.0)
    uniform = np.sqrt(1.8)
    # Real, so that nothing of it lies in the phase modes, one of which never decays.
    chequered = (-1.0) ** np.add.outer(np.arange(8), np.arange(8))
    ripple = 1e-7 * np.asarray([1.0, 0.5])[None, :, None, None] * chequered

    def size_after(fraction):
        dt = fraction * float(tdgl.max_stable_step())
        end = evolve_batch(
            tdgl, jnp.asarray(uniform + ripple + 0j), t1=STEPS * dt, dt=dt
        ).ys
        return np.abs(np.asarray(end) - uniform).max() / np.abs(ripple).max()

    # Each step multiplies the fastest mode by 1 - 2 * fraction.
    assert size_after(0.995) < 10 * 0.99**STEPS
    assert size_after(1.005) > 0.01 * 1.01**STEPS


@jax.jit
def fastest_rate(tdgl, psi):
    """The largest rate at which a small deviation from `psi` decays."""

    def rate(v):
        out = tdgl(0.0, jax.lax.complex(v[0], v[1]))
        return jnp.stack([out.real, out.imag])

    point = jnp.stack([psi.real, psi.imag])
    jacobian = jax.jacfwd(rate)(point).reshape(point.size, point.size)
    return -jnp.linalg.eigvalsh(jacobian)[0], 2 / tdgl.max_stable_step(psi)


@settings(max_examples=30)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["open", "periodic"]),
    st.sampled_from(["uniform", "random"]),
    st.integers(-12, 12),
    st.floats(-2.0, 2.0),
    st.floats(-1.9, 1.9),
)
def test_no_mode_of_any_state_is_faster(seed, boundary, flux, n, josephson, drag):
    shape = (6, 4)
    rng = np.random.default_rng(seed)
    # So fine a lattice that the Laplacian outweighs the slack in all other terms.
    lattice = Lattice(shape, spacing=0.05, boundary=boundary)
    if flux == "uniform":
        phases = lattice.links(lattice.field_from_quanta(n)).phases(shape)
    else:
        phases = jnp.asarray(rng.uniform(-np.pi, np.pi, (2, *shape)))
    alpha, beta = rng.uniform(-2, 1, (2, *shape)), rng.uniform(0.5, 2, (2, *shape))
    material = TwoBand(
        alpha=(jnp.asarray(alpha[0]), jnp.asarray(alpha[1])),
        beta=(jnp.asarray(beta[0]), jnp.asarray(beta[1])),
        josephson=josephson,
        drag=drag,
    )
    links = Links.from_phases(phases, periodic=boundary == "periodic")
    psi = rng.normal(size=(2, *shape)) + 1j * rng.normal(size=(2, *shape))
    rate, limit = fastest_rate(TDGL(lattice, material, links=links), jnp.asarray(psi))
    assert rate <= limit * (1 + 1e-12)


def test_a_denser_state_needs_a_smaller_step(draw):
    tdgl = TDGL(Lattice((6, 6), spacing=0.5), TwoBand())
    psi = draw(2, 6, 6)
    assert tdgl.max_stable_step(psi) == tdgl.max_stable_step()
    dense = tdgl.max_stable_step(10 * psi)
    assert dense < 0.9 * tdgl.max_stable_step()
    with pytest.raises(ValueError, match="stability limit"):
        evolve(tdgl, 10 * psi, t1=0.1, dt=float(1.1 * dense))


def test_at_the_defaults_the_limit_is_15_times_the_step():
    limit = TDGL(Lattice(), TwoBand(josephson=0.8), 0.04).max_stable_step()
    assert 15 < limit / 1e-3 < 15.7


@pytest.mark.parametrize(
    "material",
    [{"drag": 2.1}, {"diffusion": (-1.0, 1.0)}, {"beta": (1.0, -1.0)}],
    ids=str,
)
def test_traced_couplings_without_a_lower_bound_have_no_stable_step(material):
    def limit(leaves):
        return TDGL(Lattice((6, 6)), TwoBand(**leaves)).max_stable_step()

    traced = jax.tree.map(jnp.asarray, material)
    assert np.isnan(eqx.filter_jit(limit)(traced))
