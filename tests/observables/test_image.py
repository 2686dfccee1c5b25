"""The image: gauge invariant, the same on every path, honest at open edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gl15.observables import CHANNELS, current_curl, densities, observe
from gl15.physics import Links, quench, TDGL


@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_channels_are_densities_and_curl(boundary, sample, getkey):
    tdgl = sample(boundary)
    psi = quench(tdgl.lattice, key=getkey())
    x = observe(tdgl, psi)
    assert x.shape == (7, 6, 3) == (*tdgl.lattice.shape, len(CHANNELS))
    np.testing.assert_allclose(x[..., 0], abs(psi[0]) ** 2, rtol=1e-15)
    np.testing.assert_array_equal(x[..., 1], densities(psi)[1])
    j_x, j_y = (np.asarray(j) for j in tdgl.current(psi))
    expected = (j_y[3, 2] - j_y[2, 2] - j_x[2, 3] + j_x[2, 2]) / 0.5
    np.testing.assert_allclose(x[2, 2, 2], expected, rtol=1e-14)


@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_gauge_invariance(boundary, sample, regauge, getkey):
    tdgl = sample(boundary)
    psi = quench(tdgl.lattice, key=getkey())
    chi = jax.random.normal(getkey(), tdgl.lattice.shape)
    x = observe(tdgl, psi)
    np.testing.assert_allclose(observe(*regauge(tdgl, psi, chi)), x, atol=1e-13)


def test_circulation_of_the_torus_vanishes_in_total(sample, getkey):
    tdgl = sample("periodic")
    curl = current_curl(tdgl, quench(tdgl.lattice, key=getkey()))
    assert abs(jnp.sum(curl)) < 1e-13 * jnp.sum(jnp.abs(curl))


def test_open_sample_has_no_plaquettes_beyond_its_edge(sample, getkey):
    tdgl = sample("open")
    curl = current_curl(tdgl, quench(tdgl.lattice, key=getkey()))
    assert not np.any(curl[-1]) and not np.any(curl[:, -1])
    assert np.all(curl[:-1, :-1] != 0)
    # Stokes: the plaquettes add up to the current around the rim.
    psi = quench(tdgl.lattice, key=getkey())
    j_x, j_y = tdgl.current(psi)
    rim = jnp.sum(j_x[:, 0] - j_x[:, -1]) + jnp.sum(j_y[-1] - j_y[0])
    total = jnp.sum(current_curl(tdgl, psi)) * 0.5
    np.testing.assert_allclose(total, rim, rtol=1e-13)


def test_reflection_takes_plaquette_j_to_nx_minus_2_minus_j(sample, getkey):
    tdgl = sample("open")
    psi = quench(tdgl.lattice, key=getkey())
    # A reflection reverses the field; about the Landau gauge it is also a shift of
    # the origin, which the links state for themselves.
    a_x, a_y = tdgl.links.phases(tdgl.lattice.shape)
    mirrored = Links.from_phases(
        jnp.stack([-jnp.roll(a_x[::-1], -1, 0), a_y[::-1]]), periodic=False
    )
    mirror = TDGL(tdgl.lattice, tdgl.material, links=mirrored)
    np.testing.assert_allclose(
        current_curl(mirror, psi[:, ::-1])[:-1],
        -current_curl(tdgl, psi)[:-1][::-1],
        atol=1e-13,
    )


def test_real_type_of_the_state_and_transformations(sample, getkey):
    tdgl = sample("open")
    states = jnp.stack([quench(tdgl.lattice, key=getkey()) for _ in range(2)])
    batch = jax.jit(jax.vmap(lambda psi: observe(tdgl, psi)))(states)
    np.testing.assert_allclose(batch[1], observe(tdgl, states[1]), atol=1e-14)
    assert observe(tdgl, states[0].astype("complex64")).dtype == jnp.float32
    with pytest.raises(ValueError, match="`psi` must have shape"):
        observe(tdgl, states[0][:, :3])
