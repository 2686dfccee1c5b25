"""Thermal noise: the Langevin dynamics reaches the equilibrium it should."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gl15.physics import evolve, evolve_batch, exact, Lattice, TDGL, TwoBand


def test_fluctuations_of_the_normal_state_are_those_of_the_exact_covariance(getkey):
    # A step near the stability limit, where Euler's own equilibrium is far from
    # Boltzmann's: (T / dx^2) [A (1 - dt A / 2)]^-1 with A = l K + alpha - eta X.
    shape, dx, dt, lanes, temperature = (4, 6), 0.8, 0.08, 512, 1e-6
    lattice = Lattice(shape, spacing=dx, boundary="periodic")
    material = TwoBand(diffusion=(1.0, 0.5), alpha=(1.0, 1.5), josephson=0.4, drag=0.3)
    tdgl = TDGL(lattice, material, 0.0)
    psi = eqx.filter_jit(evolve_batch)(
        tdgl,
        jnp.zeros((lanes, 2, *shape), complex),
        t1=150 * dt,
        dt=dt,
        temperature=temperature,
        keys=jax.random.split(getkey(), lanes),
    ).ys[0]
    modes = np.fft.fft2(psi, norm="ortho").transpose(2, 3, 1, 0)

    a = -np.asarray(
        exact.mode_matrix(material, exact.plane_wave_eigenvalues(shape, dx))
    )
    stepped = a @ (np.eye(2) - dt * a / 2)
    covariance = temperature / dx**2 * np.linalg.inv(stepped)
    assert np.linalg.eigvalsh(dt * a).max() > 1
    white = np.linalg.solve(np.linalg.cholesky(covariance), modes)
    found = white @ white.conj().swapaxes(-1, -2) / lanes
    # Every mode by itself, in units of its standard error.
    deviation = np.abs(found - np.eye(2)) * np.sqrt(lanes)
    assert deviation.max() < 4.5
    # All of them together.
    together = found.mean((0, 1))
    sigma = 1 / np.sqrt(lanes * shape[0] * shape[1])
    np.testing.assert_allclose(together, np.eye(2), rtol=0, atol=4 * sigma)


def test_every_step_has_noise_of_its_own():
    # With next to no dynamics a simulation is a random walk, <|psi|^2> = 2 T t / dx^2,
    # though the time be no whole number of steps, and the key one of the old kind.
    t1, key = 0.0325, jax.random.PRNGKey(0)
    lattice = Lattice((64, 64), spacing=0.5)
    tiny = TwoBand(diffusion=(1e-9, 1e-9), alpha=(1e-9, 1e-9), beta=(1e-9, 1e-9))
    start = jnp.zeros((2, 64, 64), complex)
    run = eqx.filter_jit(evolve)
    tdgl = TDGL(lattice, tiny)
    end = run(tdgl, start, t1=t1, dt=0.01, temperature=0.2, key=key).ys[0]
    spread = 2 * 0.2 * t1 / 0.25
    np.testing.assert_allclose(np.mean(np.abs(end) ** 2), spread, rtol=0.05)
    # Isotropic, and independent between bands and between neighbours.
    assert abs(np.mean(end**2)) < 0.1 * spread
    assert abs(np.mean(end[0] * end[1].conj())) < 0.12 * spread
    assert abs(np.mean(end[:, 1:] * end[:, :-1].conj())) < 0.1 * spread
