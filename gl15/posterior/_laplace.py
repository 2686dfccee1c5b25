"""The normal approximation at a posterior's highest point."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.inference._estimators.candidates import candidates
from gl15.posterior._embedding import checked, embed_once
from gl15.posterior._potential import Potential
from gl15.posterior._protocol import LogRatio


_CANDIDATES = 4096
_NEWTON_STEPS = 20


class Laplace(eqx.Module):
    """A normal density over unconstrained positions, fitted at the highest point.

    Attributes:
        names: the parameters, in alphabetical order, as NumPyro flattens them.
        location: parameter name -> unconstrained position of the highest point.
        covariance: inverse of the potential's second derivative there, `[d, d]`: a
            sampler's inverse mass matrix.
        theta: parameter name -> value at the highest point.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    location: dict[str, Float[Array, ""]]
    covariance: Float[Array, "d d"]
    theta: dict[str, Float[Array, ""]]


def laplace(estimator: LogRatio, x: Any, *, key: PRNGKeyArray | None = None) -> Laplace:
    r"""Highest point of the posterior and the normal density that fits it.

    $$
    \hat u = \arg\min U(u), \qquad \Sigma = (\nabla\nabla U(\hat u))^{-1}
    $$

    with U the unconstrained `potential`, in whose coordinates the prior's edges are
    infinitely far. The search starts from the best of some draws from the prior and,
    where there is a quadratic head, from its peaks, and goes on by Newton steps.

    Args:
        estimator: a trained `RatioEstimator`, or any `LogRatio`.
        x: one image, an array or an `Observation`.
        key: JAX random key of the draws; a fixed one by default.

    Returns:
        Start and inverse mass matrix for a sampler.

    Raises:
        ValueError: if the image does not suit the estimator.
    """
    features = embed_once(estimator, checked(estimator, x))
    return _laplace(estimator, features, jax.random.key(0) if key is None else key)


@eqx.filter_jit
def _laplace(estimator: LogRatio, h: Array, key: PRNGKeyArray) -> Laplace:
    prior = estimator.prior
    energy = Potential(estimator, h, unconstrained=True)
    names = tuple(sorted(prior.names))

    def named(v: Float[Array, " d"]) -> dict[str, Array]:
        return dict(zip(names, v, strict=True))

    def value(v: Float[Array, " d"]) -> Float[Array, ""]:
        return energy(named(v))

    u, log_weight = candidates(estimator, h, key, _CANDIDATES)
    positions = energy.unconstrain(prior.restrict(prior.unstandardize(u)))
    stacked = jnp.stack([positions[name] for name in names], -1)
    energies = jax.lax.map(value, stacked, batch_size=1024)
    usable = jnp.isfinite(log_weight) & jnp.isfinite(stacked).all(-1)
    start = stacked[jnp.argmin(jnp.where(usable, energies, jnp.inf))]

    def step(_: Any, v: Float[Array, " d"]) -> Float[Array, " d"]:
        direction = _inverse(jax.hessian(value)(v)) @ jax.grad(value)(v)
        tries = v - 0.5 ** jnp.arange(8)[:, None] * direction
        reached = jax.vmap(value)(jnp.concatenate([v[None], tries]))
        best = jnp.argmin(jnp.where(jnp.isnan(reached), jnp.inf, reached))
        return jnp.concatenate([v[None], tries])[best]

    found = jax.lax.fori_loop(0, _NEWTON_STEPS, step, start)
    covariance = _inverse(jax.hessian(value)(found))
    location = named(found)
    return Laplace(names, location, covariance, energy.constrain(location))


def _inverse(hessian: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """Inverse of the nearest matrix that is positive definite by a margin."""
    values, vectors = jnp.linalg.eigh((hessian + hessian.T) / 2)
    size = jnp.abs(values)
    floor = jnp.maximum(1e-6 * size.max(), jnp.finfo(hessian.dtype).tiny)
    return (vectors / jnp.maximum(size, floor)) @ vectors.T
