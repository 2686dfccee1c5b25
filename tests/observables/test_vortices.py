"""Windings are integers and know the field; zeros are found inside plaquettes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from gl15.observables import vortices, wave_numbers, windings
from gl15.observables._vortices import _check_windings, _turns
from gl15.physics import evolve, exact, Lattice, quench, TDGL, TwoBand


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
    turns, _ = _turns(tdgl, psi)
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
    turns, _ = _turns(tdgl, psi)
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


def core_state(lattice, field, centre, core):
    """A vortex of a known core at a known place, in the Landau gauge."""
    x, y = (jnp.arange(n) * lattice.spacing for n in lattice.shape)
    x, y = x[:, None] - centre[0], y[None] - centre[1]
    r = jnp.hypot(x, y)
    psi = core(r) * (x + 1j * y) / jnp.where(r > 0, r, 1)
    # From the gauge that is symmetric about the centre.
    psi = psi * jnp.exp(1j * field * (centre[0] * y + x * y / 2))
    return jnp.stack([psi, psi.conj() if field == 0 else psi])


CORES = {
    "tanh": lambda r: jnp.tanh(0.583189 * r),
    "rational": lambda r: r / jnp.sqrt(r**2 + 2),
    "Pade": lambda r: (
        r * jnp.sqrt((0.34 + 0.07 * r**2) / (1 + 0.41 * r**2 + 0.07 * r**4))
    ),
}


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize(("xi", "field"), [(0.5, 0.0), (1.0, 0.3), (2.0, 0.0)])
def test_a_known_core_is_found_within_a_twentieth_of_the_spacing(core, xi, field):
    # The worst over a plaquette of places, down to a core of one spacing.
    lattice = Lattice((14, 14), spacing=0.5)
    tdgl = TDGL(lattice, TwoBand(), field)
    fractions = np.linspace(0.02, 0.98, 7)
    grid = np.stack(np.meshgrid(fractions, fractions), -1).reshape(-1, 2)

    def error(offset):
        centre = (6 + offset) * lattice.spacing
        psi = core_state(lattice, field, centre, lambda r: CORES[core](r / xi))
        found = vortices(tdgl, psi, 2).positions[:, 0]
        return jnp.linalg.norm(found - centre, axis=-1) / lattice.spacing

    errors = jax.jit(jax.vmap(error))(jnp.asarray(grid))
    assert np.max(errors) < (0.03 if xi == 0.5 else 0.01)


@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_zeros_on_sites_are_one_vortex_each_and_small_ones_count(boundary, sample):
    tdgl = sample(boundary, (8, 8), 2.0)
    psi = quench(tdgl.lattice, key=jax.random.key(1))
    n = windings(tdgl, psi.at[:, 3, 4].set(0))
    if boundary == "periodic":
        np.testing.assert_array_equal(n.sum((1, 2)), 2)
    # Products of such numbers underflow.
    np.testing.assert_array_equal(windings(tdgl, 1e-200 * psi), windings(tdgl, psi))
    flat = sample("open", (8, 8), 0.0)
    here = linear_state(flat.lattice, np.array([[1.5, 2.0], [2.0, 1.0]]))
    found = vortices(flat, here)
    np.testing.assert_array_equal(found.counts, 1)
    np.testing.assert_allclose(found.positions[:, 0], [[1.5, 2.0], [2.0, 1.0]])


def test_states_that_are_not_finite_are_refused(sample, getkey):
    tdgl = sample("open")
    psi = quench(tdgl.lattice, key=getkey()).at[1, 2, 2].set(jnp.nan)
    with pytest.raises(ValueError, match="`psi` holds 1 values"):
        windings(tdgl, psi)
    with pytest.raises(Exception, match="not finite: it has no vortices"):
        jax.jit(lambda p: windings(tdgl, p))(psi)


def test_windings_are_checked_against_the_flux():
    turns = np.zeros((2, 3, 3))
    turns[:, 1, 1] = 1
    _check_windings(turns, jnp.asarray(1.0))
    for wrong in (turns, turns + 0.2):
        with pytest.raises(RuntimeError, match="too imprecise"):
            _check_windings(wrong, jnp.asarray(2.0))
    with pytest.raises(RuntimeError, match="off an integer by up to 0.2"):
        _check_windings(turns + 0.2, None)


def test_slots_are_as_many_as_it_takes_outside_compiled_code(sample, getkey):
    tdgl = sample("open", (10, 8))
    psi = quench(tdgl.lattice, key=getkey())
    found = vortices(tdgl, psi)
    assert found.mask.shape[1] in (16, 32) and found.counts.max() <= 32
    compiled = jax.jit(lambda p: vortices(tdgl, p))(psi)
    assert compiled.mask.shape[1] == 9 * 7
    for band in range(2):
        vortex, antivortex, all_of = (
            np.asarray(found.points(band, charge).mask) for charge in (1, -1, None)
        )
        np.testing.assert_array_equal(vortex | antivortex, all_of)
        np.testing.assert_array_equal(
            compiled.positions[band][compiled.mask[band]],
            found.positions[band][found.mask[band]],
        )
    with pytest.raises(ValueError, match="`band` must be 0 or 1, got 2"):
        found.points(2)
    assert found.box.lengths == (4.5, 3.5) and not found.box.periodic
    frames = jax.vmap(lambda p: vortices(tdgl, p, 40))(jnp.stack([psi, psi]))
    with pytest.raises(ValueError, match="axes of frames"):
        frames.points(0)


def count_in_the_linear_stage(runs, key):
    """Vortices per band after a quench from a tiny start, and row 25's prediction."""
    lattice = Lattice((64, 64), boundary="periodic")
    material = TwoBand(josephson=0.8, drag=0.2)
    tdgl = TDGL(lattice, material)
    t1, dt = 1.0, 0.01

    @jax.jit
    def count(key):
        psi0 = quench(lattice, key=key, amplitude=1e-3)
        return jnp.abs(windings(tdgl, evolve(tdgl, psi0, t1=t1, dt=dt).ys[-1]))

    counts = [count(one).sum((1, 2)) for one in jax.random.split(key, runs)]
    lam = exact.plane_wave_eigenvalues(lattice.shape, lattice.spacing)
    growth = jnp.eye(2) + dt * exact.mode_matrix(material, lam)
    power = jnp.linalg.matrix_power(growth, 2 * round(t1 / dt))
    power = jnp.diagonal(power, axis1=-2, axis2=-1)
    squares = wave_numbers(lattice.shape, lattice.spacing)[..., None] ** 2
    mean = (power * squares).sum((0, 1)) / power.sum((0, 1))
    return np.array(counts), np.asarray(mean * lattice.area / (4 * np.pi))


def test_vortices_in_the_linear_stage():
    # Table row 25: <k^2> L^2 / 4 pi per band.
    counts, expected = count_in_the_linear_stage(24, jax.random.key(0))
    error = counts.std(0) / np.sqrt(len(counts))
    assert np.all(np.abs(counts.mean(0) - expected) < 3 * error)
    assert np.all(error < 0.08 * expected)


@pytest.mark.slow
def test_vortices_in_the_linear_stage_to_three_per_cent():
    counts, expected = count_in_the_linear_stage(400, jax.random.key(1))
    np.testing.assert_allclose(counts.mean(0), expected, rtol=0.03)


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
