"""While it is small the order parameter grows linearly, and exactly as predicted."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from gl15.physics import evolve_batch, exact, Lattice, TDGL, TwoBand


SHAPE = (8, 6)
DT, STEPS = 1e-3, 200
# Small enough that the cubic term is lost in round-off, with both bands unlike.
TINY = 1e-9
MATERIAL = TwoBand(diffusion=(4.0, 1.0), alpha=(-1.0, -0.6), josephson=0.8, drag=0.3)


@eqx.filter_jit
def grow(tdgl, psi0, steps=STEPS, dt=DT):
    return evolve_batch(tdgl, psi0, t1=steps * dt, dt=dt).ys[0]


@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_modes_grow_at_the_predicted_rates(laplacian_matrix, boundary):
    lattice = Lattice(SHAPE, spacing=0.5, boundary=boundary)
    tdgl = TDGL(lattice, MATERIAL, lattice.field_from_quanta(2))
    values, vectors = np.linalg.eigh(np.asarray(laplacian_matrix(tdgl)))
    starts, factors = [], []
    for level in (0, 2, 7):
        generator = exact.mode_matrix(MATERIAL, values[level])
        bands = np.linalg.eigh(np.asarray(generator))[1]
        slow, fast = exact.growth_rates(MATERIAL, values[level])
        mode = vectors[:, level].reshape(SHAPE)
        for band, rate in ((bands[:, 1], slow), (bands[:, 0], fast)):
            starts.append(TINY * band[:, None, None] * mode)
            factors.append((1 + DT * float(rate)) ** STEPS)
    starts = np.stack(starts)
    ends = grow(tdgl, jnp.asarray(starts))
    expected = np.asarray(factors)[:, None, None, None] * starts
    scale = np.abs(expected).max((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(ends / scale, expected / scale, rtol=0, atol=2e-13)


def test_every_fourier_mode_without_a_field(draw):
    lattice = Lattice(SHAPE, spacing=0.5, boundary="periodic")
    psi0 = TINY * draw(6, 2, *SHAPE)
    end = grow(TDGL(lattice, MATERIAL, lattice.field_from_quanta(0)), psi0)

    eigenvalues = exact.plane_wave_eigenvalues(SHAPE, 0.5)
    step = np.eye(2) + DT * np.asarray(exact.mode_matrix(MATERIAL, eigenvalues))
    many = np.linalg.matrix_power(step, STEPS)
    start = np.fft.fft2(psi0)
    expected = np.einsum("xyij,njxy->nixy", many, start)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        np.fft.fft2(end) / scale, expected / scale, rtol=0, atol=6e-13
    )


@pytest.mark.parametrize(
    ("josephson", "drag", "expected"),
    [(0, 0, 1), (0.2, 0, 1.0131), (0.8, 0, 1.1733), (1.4, 0, 1.4191), (0.8, 0.3, 1.07)],
)
def test_nucleation_in_the_default_material(josephson, drag, expected):
    value = exact.nucleation(TwoBand(josephson=josephson, drag=drag))
    np.testing.assert_allclose(value, expected, rtol=0, atol=5e-5)


# Equal bands without coupling: two roots in one, and no digits to lose.
@example(
    d=(3.731967595024062,) * 2, alpha=(-1.1492884480997316,) * 2, josephson=0, drag=0
)
@given(
    st.tuples(st.floats(0.3, 4.0), st.floats(0.3, 4.0)),
    st.tuples(st.floats(-2.0, -0.2), st.floats(-2.0, -0.2)),
    st.floats(-1.5, 1.5),
    st.floats(-0.9, 0.9),
)
def test_growth_rates_are_the_eigenvalues_of_the_generator(d, alpha, josephson, drag):
    material = TwoBand(
        diffusion=d, alpha=alpha, josephson=josephson, drag=drag * (d[0] * d[1]) ** 0.5
    )
    lam = jnp.asarray([0.0, 0.7, 30.0])
    rates = np.stack(exact.growth_rates(material, lam), -1)
    generators = np.asarray(exact.mode_matrix(material, lam))
    values = np.linalg.eigvalsh(generators)[:, ::-1]
    np.testing.assert_allclose(rates, values, rtol=0, atol=1e-13 * 200)
    # Nucleation is where the faster one begins to grow, for good.
    critical = float(exact.nucleation(material))
    onset, _ = exact.growth_rates(material, jnp.asarray([1.0, 1.001]) * critical)
    np.testing.assert_allclose(onset[0], 0, rtol=0, atol=1e-13)
    assert onset[1] < 0


def test_vortices_of_the_linear_stage(draw):
    # Zeros of a field that smoothing has made Gaussian: <k^2>_P L^2 / 4 pi of them.
    shape, dx, dt, steps, lanes = (32, 32), 0.5, 4e-3, 100, 128
    lattice = Lattice(shape, spacing=dx, boundary="periodic")
    material = TwoBand(josephson=0.3)
    tdgl = TDGL(lattice, material, 0.0)
    psi0 = 1e-6 * draw(lanes, 2, *shape)
    end = np.asarray(grow(tdgl, psi0, steps, dt))

    def winding(field):
        edges = [np.angle(np.roll(field, -1, a) * field.conj()) for a in (-2, -1)]
        loop = edges[0] + np.roll(edges[1], -1, -2) - np.roll(edges[0], -1, -1)
        return np.rint((loop - edges[1]) / (2 * np.pi))

    counted = np.abs(winding(end)).sum((-2, -1)).mean(0)
    eigenvalues = exact.plane_wave_eigenvalues(shape, dx)
    step = np.eye(2) + dt * np.asarray(exact.mode_matrix(material, eigenvalues))
    power = np.linalg.matrix_power(step, 2 * steps)
    power = np.diagonal(power, axis1=-2, axis2=-1)
    k_squared = np.einsum("xyi,xy->i", power, eigenvalues) / power.sum((0, 1))
    expected = k_squared * lattice.area / (4 * np.pi)
    np.testing.assert_allclose(counted, expected, rtol=0.1)
