"""Windings are integers and know the field; zeros are found inside plaquettes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from gl15.observables import vortices, windings
from gl15.observables._vortices import _turns
from gl15.physics import evolve, Lattice, quench, TDGL, TwoBand


@settings(max_examples=30)
@given(
    quanta=st.integers(-5, 5),
    shape=st.sampled_from([(7, 6), (10, 8)]),
    seed=st.integers(0, 2**20),
)
def test_windings_of_the_torus_are_integers_that_sum_to_the_quanta(
    quanta, shape, seed, sample
):
    tdgl = sample("periodic", shape, quanta)
    psi = quench(tdgl.lattice, key=jax.random.key(seed))
    turns = _turns(tdgl, psi)
    np.testing.assert_allclose(turns, np.round(turns), atol=2e-15)
    n = windings(tdgl, psi)
    assert n.shape == (2, *shape) and jnp.issubdtype(n.dtype, jnp.integer)
    np.testing.assert_array_equal(jnp.sum(n, axis=(1, 2)), quanta)


@settings(max_examples=30)
@given(quanta=st.floats(-4, 4), seed=st.integers(0, 2**20))
def test_windings_of_an_open_sample_are_integers_in_any_gauge(
    quanta, seed, sample, regauge
):
    tdgl = sample("open", quanta=quanta)
    keys = jax.random.split(jax.random.key(seed))
    psi = quench(tdgl.lattice, key=keys[0])
    turns = _turns(tdgl, psi)
    assert turns.shape == (2, 6, 5)
    np.testing.assert_allclose(turns, np.round(turns), atol=2e-15)
    chi = 3 * jax.random.normal(keys[1], tdgl.lattice.shape)
    other = regauge(tdgl, psi, chi)
    np.testing.assert_array_equal(windings(*other), windings(tdgl, psi))


def linear_state(lattice, zeros, winding=1):
    """Order parameters that vanish linearly at one point each."""
    x, y = (jnp.arange(n) * lattice.spacing for n in lattice.shape)
    sign = jnp.sign(winding)
    return jnp.stack([(x[:, None] - a) + 1j * sign * (y - b) for a, b in zeros])


@pytest.mark.parametrize("winding", [1, -1])
def test_a_linear_zero_is_found_exactly(winding, sample):
    tdgl = sample("open", quanta=0.0)
    zeros = np.array([[1.23, 0.71], [2.01, 1.87]])
    found = vortices(tdgl, linear_state(tdgl.lattice, zeros, winding), 4)
    np.testing.assert_array_equal(found.counts, 1)
    np.testing.assert_array_equal(found.charges[:, 0], winding)
    np.testing.assert_allclose(found.positions[:, 0], zeros, rtol=1e-13)
    assert not np.any(found.charges[:, 1:]) and np.all(np.isnan(found.positions[:, 1:]))


@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_positions_lie_in_their_plaquettes_whatever_the_gauge(
    boundary, sample, regauge, getkey
):
    tdgl = sample(boundary, (10, 8), 2.0)
    psi = quench(tdgl.lattice, key=getkey())
    found = vortices(tdgl, psi)
    for band in range(2):
        winding = np.asarray(windings(tdgl, psi)[band])
        cells = np.argwhere(winding)
        where = np.asarray(found.positions[band][found.mask[band]]) / 0.5
        assert len(where) == len(cells) > 5
        inside = where - cells
        assert np.all((inside >= 0) & (inside <= 1))
        charges = found.charges[band][found.mask[band]]
        np.testing.assert_array_equal(charges, winding[tuple(cells.T)])
    chi = jax.random.normal(getkey(), tdgl.lattice.shape)
    other = vortices(*regauge(tdgl, psi, chi))
    np.testing.assert_allclose(other.positions, found.positions, rtol=1e-11)


def test_a_bilinear_zero_is_a_zero(sample, getkey):
    # In the quadratic's general case, against the interpolant itself.
    tdgl = sample("open", (10, 8), 0.0)
    psi = np.asarray(quench(tdgl.lattice, key=getkey()))
    found = vortices(tdgl, jnp.asarray(psi))
    where = np.asarray(found.positions[0][found.mask[0]]) / 0.5
    assert len(where) > 10
    for x, y in where:
        j, k = int(x), int(y)
        value = [1 - x + j, x - j] @ psi[0, j : j + 2, k : k + 2] @ [1 - y + k, y - k]
        assert abs(value) < 1e-13


def test_a_positive_field_grows_positive_vortices():
    lattice = Lattice((16, 16), boundary="periodic")
    tdgl = TDGL(lattice, TwoBand(josephson=0.8), lattice.field_from_quanta(2))

    @jax.jit
    def settled(key):
        return evolve(tdgl, quench(lattice, key=key), t1=15.0, dt=5e-3).ys[-1]

    psi = settled(jax.random.key(3))
    found = vortices(tdgl, psi, max_vortices=8)
    np.testing.assert_array_equal(found.counts, 2)
    assert np.all(found.charges[found.mask] == 1)
    # Cores of the two bands coincide here, and the two vortices repel.
    first, second = found.positions[:, :2]
    np.testing.assert_allclose(first, second, atol=0.1)
    apart = np.abs(first[0] - first[1])
    assert np.linalg.norm(np.minimum(apart, 8 - apart)) > 3


def test_positions_differentiate(sample):
    tdgl = sample("open", quanta=0.0)

    def where(shift):
        psi = linear_state(tdgl.lattice, jnp.array([[1.23, 0.71]] * 2) + shift)
        return vortices(tdgl, psi, max_vortices=3).positions[0, 0]

    slopes = jax.jit(jax.jacrev(where))(0.0)
    np.testing.assert_allclose(slopes, [1.0, 1.0], rtol=1e-12)


def test_too_few_slots_are_refused(sample, getkey):
    tdgl = sample("periodic")
    psi = quench(tdgl.lattice, key=getkey())
    with pytest.raises(ValueError, match=r"`max_vortices`=2, but a band holds \d+"):
        vortices(tdgl, psi, max_vortices=2)
    with pytest.raises(Exception, match="more vortices than"):
        jax.jit(lambda p: vortices(tdgl, p, max_vortices=2).charges)(psi)
    with pytest.raises(ValueError, match="at least 1"):
        vortices(tdgl, psi, max_vortices=0)
