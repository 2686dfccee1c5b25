"""The early quench: mode by mode a normal law, so every posterior is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gl15
from gl15.simulation import LinearQuench


QUENCH = LinearQuench(size=8, t1=0.2, dt=1e-3, noise=0.0)


def test_it_is_the_dynamics_of_a_tiny_order_parameter():
    lattice = gl15.Lattice((8, 8), spacing=0.5, boundary="periodic")
    material = gl15.TwoBand(josephson=0.7, drag=0.3)
    tdgl = gl15.TDGL(lattice, material, field=0.0)
    start = jax.random.normal(jax.random.split(jax.random.key(4))[0], (8, 8, 4)).astype(
        float
    )
    psi = jnp.moveaxis(jax.lax.complex(start[..., 0::2], start[..., 1::2]), -1, 0)
    tiny = 1e-6
    end = gl15.evolve(tdgl, tiny * psi, t1=0.2, dt=1e-3).ys[-1] / tiny
    found = QUENCH({"eta": 0.7, "nu": 0.3}, jax.random.key(4))
    seen = jax.lax.complex(found[..., 0::2], found[..., 1::2])
    np.testing.assert_allclose(jnp.moveaxis(seen, -1, 0), end, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("theta", [{"eta": 0.8}, {"eta": 0.3, "nu": 0.4}])
def test_the_spectrum_is_that_of_the_likelihood(theta):
    quench = LinearQuench(size=8, t1=0.5)
    draws = jax.vmap(lambda key: quench(theta, key))(
        jax.random.split(jax.random.key(0), 2_000)
    )
    mean = jax.vmap(quench.shells)(draws).mean(0)
    # At the true covariance the likelihood of the mean spectrum is stationary.
    score = jax.grad(lambda one: quench.log_likelihood_of(one, mean))(theta)
    slope = jax.grad(quench.log_likelihood)
    each = jax.jit(jax.vmap(lambda x: slope(theta, x)))(draws[:400])
    for name, value in score.items():
        assert abs(value) < 4 * each[name].std() / np.sqrt(2_000)


def test_the_shells_hold_all_that_the_likelihood_needs():
    quench = LinearQuench(size=8)
    x = quench({"eta": 0.5}, jax.random.key(1))
    # Mode by mode, without shells.
    psi = jnp.fft.fft2(jax.lax.complex(x[..., 0::2], x[..., 1::2]), axes=(0, 1))
    psi = psi.reshape(-1, 2) / 8
    growth = quench._growth({"eta": 0.9}, jnp.asarray(quench._l()).ravel())
    p = 2 * (growth @ growth + quench.noise**2 * jnp.eye(2))
    solved = jnp.linalg.solve(p.astype(psi.dtype), psi[..., None])[..., 0]
    quadratic = (jnp.conj(psi) * solved).real.sum()
    expected = -(jnp.linalg.slogdet(p)[1].sum() + quadratic)
    np.testing.assert_allclose(quench.log_likelihood({"eta": 0.9}, x), expected)


def test_it_differentiates_where_eigenvalues_meet():
    slope = jax.grad(lambda eta: QUENCH({"eta": eta}, jax.random.key(0)).sum())
    assert jnp.isfinite(slope(0.0)) and jnp.isfinite(slope(0.5))
