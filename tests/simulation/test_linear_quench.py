"""The early quench: mode by mode a normal law, so every posterior is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.scipy.stats import norm

import gl15
from gl15.simulation import ExactRatio, LinearQuench


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


@pytest.mark.parametrize("names", [("eta",), ("eta", "nu")])
def test_its_ratio_is_exact(names):
    quench = LinearQuench(size=8)
    limits = {"eta": (0.0, 1.5), "nu": (0.0, 0.4)}
    prior = gl15.Prior({name: dist.Uniform(*limits[name]) for name in names})
    exact = ExactRatio(quench, prior)
    x = quench({"eta": 0.8, "nu": 0.2}, jax.random.key(0))
    # The mean of a ratio over the prior is one, here by another rule and other nodes.
    posterior = gl15.grid_posterior(exact, x, refine=False)
    np.testing.assert_allclose(posterior.normalisation, 1, rtol=1e-4)
    at = [{"eta": 0.3, "nu": 0.1}, {"eta": 1.2, "nu": 0.3}]
    at = [{name: one[name] for name in names} for one in at]
    np.testing.assert_allclose(
        exact(at[1], x) - exact(at[0], x),
        quench.log_likelihood(at[1], x) - quench.log_likelihood(at[0], x),
        rtol=1e-9,
    )


def test_a_narrow_posterior_is_found_by_its_evidence():
    # A thousand times narrower than its prior, in two parameters, and at an edge.
    class Narrow(eqx.Module):
        def __call__(self, theta, key):
            return jnp.stack([theta["a"], theta["b"]])

        def log_likelihood(self, theta, x):
            return norm.logpdf(x, jnp.stack([theta["a"], theta["b"]]), 1e-3).sum()

    prior = gl15.Prior({"a": dist.Uniform(0.0, 1.0), "b": dist.Uniform(0.0, 2.0)})
    exact = ExactRatio(Narrow(), prior)
    evidence = exact.embed(jnp.asarray([0.3217, 2.0]))[-1]
    np.testing.assert_allclose(evidence, np.log(1 / 2 / 2), rtol=1e-9)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"size": 0}, "`size` must be at least 1, got 0"),
        ({"noise": -1.0}, "`noise` must not be negative, got -1"),
        ({"t1": -1.0}, "`t1` must be positive and finite, got -1"),
        ({"dt": 0.1}, "`dt`=0.1 is above .* `dt` <= 0.0156"),
        ({"dt": 3e-3}, "`t1`=0.5 must be a whole number of steps"),
        ({"drag": 3.0}, "`drag` holds 3, which breaks nu"),
    ],
)
def test_what_is_no_quench_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        LinearQuench(**given)


def test_what_a_quench_does_not_know_is_refused():
    with pytest.raises(ValueError, match=r"names \['nu'\]; give `eta`"):
        QUENCH({"nu": 0.1}, jax.random.key(0))
    wide = gl15.Prior({"eta": dist.Uniform(), "nu": dist.Uniform(0.0, 3.0)})
    with pytest.raises(ValueError, match="holds 3, which breaks nu"):
        ExactRatio(QUENCH, wide)
    with pytest.raises(ValueError, match="`simulator` is function, which has no `log"):
        ExactRatio(lambda theta, key: theta, wide)
