"""Simulations side by side give what each of them gives alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gl15.physics import evolve, evolve_batch, Lattice, Links, TDGL, TwoBand


SHAPE = (6, 5)
LANES = 3
TIMES = {"t1": 0.2, "dt": 0.01}
ETA = jnp.asarray([0.2, 0.8, 1.4])
NU = jnp.asarray([0.0, 0.4, -0.3])


def scalars(lattice):
    fields = lattice.field_from_quanta(1.0) * jnp.asarray([1.0, -2.0, 3.0])

    def sample(i):
        d = 1.0 + 0.5 * i
        material = TwoBand(
            diffusion=(4.0, d), alpha=(-1.0, -d / 2), josephson=ETA[i], drag=NU[i]
        )
        return TDGL(lattice, material, fields[i])

    return sample


def maps(lattice):
    disorder = jnp.asarray(np.random.default_rng(0).uniform(0.5, 1.5, (3, 2, *SHAPE)))

    def sample(i):
        material = TwoBand(
            alpha=(-disorder[i, 0], -1.0),
            beta=(1.0, disorder[i, 1]),
            josephson=ETA[i] * disorder[0, 0],
        )
        return TDGL(lattice, material, lattice.field_from_quanta(2))

    return sample


def gauges(lattice):
    phases = jnp.asarray(np.random.default_rng(0).uniform(-3, 3, (3, 2, *SHAPE)))

    def sample(i):
        links = Links.from_phases(phases[i], periodic=not lattice.is_open)
        return TDGL(lattice, TwoBand(josephson=0.5, drag=NU[i]), links=links)

    return sample


@pytest.mark.parametrize(
    ("vary", "boundary"),
    [
        (scalars, "periodic"),
        (maps, "open"),
        (gauges, "periodic"),
    ],
)
def test_lanes_agree_with_one_at_a_time(vary, boundary, draw):
    sample = vary(Lattice(SHAPE, spacing=0.5, boundary=boundary))
    psi0 = draw(LANES, 2, *SHAPE)

    @eqx.filter_jit
    def side_by_side(psi0):
        batch = eqx.filter_vmap(sample, out_axes=eqx.if_array(0))(jnp.arange(LANES))
        return evolve_batch(batch, psi0, ts=[0.05, 0.2], **TIMES).ys

    together = side_by_side(psi0)
    assert together.shape == (2, LANES, 2, *SHAPE)
    alone = jax.jit(lambda i, psi: evolve(sample(i), psi, ts=[0.05, 0.2], **TIMES).ys)
    for i in range(LANES):
        expected = alone(i, psi0[i])
        np.testing.assert_allclose(together[:, i], expected, rtol=0, atol=1e-13)


def test_lanes_may_share_everything_but_the_start(draw):
    # No leaf has an axis of simulations: maps, links and numbers serve all lanes.
    rng = np.random.default_rng(0)
    pinning = jnp.asarray(rng.uniform(-1.5, -0.5, SHAPE))
    lattice = Lattice(SHAPE, spacing=0.5)
    material = TwoBand(alpha=(pinning, -1.0), josephson=0.8, drag=0.2)
    tdgl = TDGL(lattice, material, 0.3)
    psi0 = draw(LANES, 2, *SHAPE)
    together = eqx.filter_jit(evolve_batch)(tdgl, psi0, **TIMES).ys[0]
    alone = jax.jit(lambda psi: evolve(tdgl, psi, **TIMES).ys[0])
    for i in range(LANES):
        np.testing.assert_allclose(together[i], alone(psi0[i]), rtol=0, atol=1e-13)


def test_thermal_noise_of_a_lane_depends_on_its_key_alone(draw):
    sample = scalars(Lattice(SHAPE, spacing=0.5))
    psi0 = draw(LANES, 2, *SHAPE)
    keys = jax.random.split(jax.random.key(0), LANES)
    temperatures = jnp.asarray([0.1, 0.3, 0.7])

    @eqx.filter_jit
    def side_by_side(psi0):
        batch = eqx.filter_vmap(sample, out_axes=eqx.if_array(0))(jnp.arange(LANES))
        noise = {"temperature": temperatures, "keys": keys}
        return evolve_batch(batch, psi0, **noise, **TIMES).ys[0]

    @jax.jit
    def alone(i, psi, temperature, key):
        noise = {"temperature": temperature, "key": key}
        return evolve(sample(i), psi, **noise, **TIMES).ys[0]

    together = side_by_side(psi0)
    for i in range(LANES):
        expected = alone(i, psi0[i], temperatures[i], keys[i])
        np.testing.assert_allclose(together[i], expected, rtol=0, atol=1e-13)
