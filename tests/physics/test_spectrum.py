"""The spectrum of minus the gauge-covariant Laplacian against exact results."""

from math import fsum, gcd

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse.linalg import eigsh, LinearOperator

from gl15.physics import exact, Lattice, TDGL, TwoBand


# Nothing but the gradient energy of the first band: F_K = dx^2 sum |D psi_1|^2.
GRADIENT = TwoBand(diffusion=(1.0, 1.0), alpha=(0.0, 0.0), beta=(1e-30, 1e-30))
LATTICE = Lattice((8, 8), spacing=0.5, boundary="periodic")


def torus(n, lattice=LATTICE):
    return TDGL(lattice, GRADIENT, lattice.field_from_quanta(n))


def harper(sites, quanta):
    """Lowest eigenvalue of the cyclic Harper chain, to the last digits.

    A dense solver is accurate to round-off of the *largest* eigenvalue. The Rayleigh
    quotient of its eigenvector, as a sum of squares, keeps the digits of the lowest.
    """
    j = np.arange(sites**2 // gcd(quanta, sites))
    phi = 2 * np.pi * quanta / sites**2
    chain = np.diag(4 - 2 * np.cos(phi * j))
    for step in (1, -1):
        np.add.at(chain, (j, (j + step) % len(j)), -1)
    v = np.linalg.eigh(chain)[1][:, 0]
    squares = (np.roll(v, -1) - v) ** 2 + 4 * np.sin(phi * j / 2) ** 2 * v**2
    return fsum(squares) / fsum(v**2)


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_lowest_eigenvalue_is_that_of_the_harper_chain(laplacian_matrix, n):
    tdgl = torus(n)
    matrix = np.asarray(laplacian_matrix(tdgl))
    np.testing.assert_array_equal(matrix, matrix.conj().T)
    ground = np.linalg.eigh(matrix)[1][:, 0]
    psi = jnp.asarray(ground.reshape(LATTICE.shape))
    # The energy is the Rayleigh quotient, as a sum of squares too; dx^2 cancels.
    lowest = tdgl.energy(jnp.stack([psi, 0 * psi])) / fsum(np.abs(ground) ** 2)
    np.testing.assert_allclose(lowest, harper(8, n), rtol=2e-15)
    np.testing.assert_allclose(
        exact.harper_lowest(8, n), harper(8, n), rtol=0, atol=2e-14
    )


@pytest.mark.parametrize("n", [1, 2, 3])
def test_landau_levels_are_n_fold_degenerate(laplacian_matrix, n):
    values = np.linalg.eigvalsh(np.asarray(laplacian_matrix(torus(n)))) * 0.25
    phi = 2 * np.pi * n / 64
    np.testing.assert_allclose(values[:n], exact.landau_level(phi), rtol=2e-4)
    # The series stops at phi^2, which leaves a relative error of order phi^2.
    np.testing.assert_allclose(
        values[n : 2 * n], exact.landau_level(phi, 1), rtol=2e-2 * phi**2
    )
    assert values[2 * n] > 1.3 * values[2 * n - 1]


@pytest.mark.parametrize("n", [0, 2, 5, -5])
def test_spectrum_of_an_even_torus_is_symmetric(laplacian_matrix, n):
    values = np.linalg.eigvalsh(np.asarray(laplacian_matrix(torus(n))))
    np.testing.assert_allclose(values + values[::-1], 8 / 0.25, rtol=4e-14)


def test_an_open_sample_nucleates_at_its_corners_then_at_its_edges():
    shape, phi = (48, 48), 0.15
    tdgl = TDGL(Lattice(shape, spacing=0.5), GRADIENT, phi / 0.25)
    apply = jax.jit(lambda psi: -tdgl.laplacian(jnp.stack([psi, psi]))[0])

    def product(v):
        return np.asarray(apply(jnp.asarray(v, complex).reshape(shape))).ravel()

    sites = shape[0] * shape[1]
    values = eigsh(
        LinearOperator((sites, sites), matvec=product, dtype=complex),
        k=6,
        ncv=60,
        which="SA",
        tol=1e-5,
        v0=np.ones(sites, complex),
        return_eigenvectors=False,
    )
    ratio = np.sort(values) / (phi / 0.25)
    np.testing.assert_allclose(ratio[:4], 0.5099, rtol=5e-2)
    np.testing.assert_allclose(ratio[4:], 0.5901, rtol=5e-2)


def test_eigenvalues_converge_at_second_order_in_the_spacing(laplacian_matrix):
    length = 8.0
    waves, levels = [], []
    for sites in (8, 16):
        dx = length / sites
        lattice = Lattice((sites, sites), spacing=dx, boundary="periodic")
        q = 2 * np.pi / length
        wave = jnp.exp(1j * q * dx * jnp.arange(sites))[:, None] * jnp.ones((1, sites))
        psi = jnp.stack([wave, wave])
        laplacian = jax.jit(lambda psi, at=lattice: torus(0, at).laplacian(psi))
        eigenvalue = -(laplacian(psi) / psi).real
        np.testing.assert_allclose(eigenvalue, eigenvalue[0, 0, 0], rtol=1e-12)
        waves.append((eigenvalue[0, 0, 0] - q**2) / dx**2)

        field = 2 * np.pi / length**2
        levels.append((harper(sites, 1) / dx**2 - field) / dx**2)
    np.testing.assert_allclose(waves[1], -(q**4) / 12, rtol=1e-2)
    np.testing.assert_allclose(levels[1], -(field**2) / 8, rtol=1e-2)
    np.testing.assert_allclose(2 + np.log2(waves[0] / waves[1]), 2.0, rtol=0, atol=0.05)
    np.testing.assert_allclose(
        2 + np.log2(levels[0] / levels[1]), 2.0, rtol=0, atol=0.05
    )


@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_plane_waves_are_eigenvectors(laplacian_matrix, boundary):
    lattice = Lattice((8, 8), spacing=0.5, boundary=boundary)
    values = np.linalg.eigvalsh(
        np.asarray(laplacian_matrix(TDGL(lattice, GRADIENT, 0.0)))
    )
    if boundary == "periodic":
        expected = exact.plane_wave_eigenvalues((8, 8), 0.5)
    else:  # Standing waves, their normal derivative zero half a spacing outside.
        along = 4 / 0.25 * np.sin(np.pi * np.arange(8) / 16) ** 2
        expected = along[:, None] + along
    np.testing.assert_allclose(values, np.sort(expected, None), rtol=0, atol=32 * 4e-14)
