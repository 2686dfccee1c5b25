r"""What a correction of posteriors is made of: their moments, and what it weighs."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gl15.inference._calibration.tabulate import tabulate
from gl15.simulation import Prior


ORDER = 4  # highest degree: location, width, skewness, peakedness


class Table(eqx.Module):
    """The posterior of one image as an uncorrected log-ratio has it.

    Attributes:
        mean: of the standardised parameters.
        std: of them.
        statistics: what the correction is linear in, at every node.
        log_weight: log of prior times weight of the trapezoidal rule.
        log_mean: log of the mean ratio over the prior.
    """

    mean: Float[Array, " d"]
    std: Float[Array, " d"]
    statistics: Float[Array, "nodes statistics"]
    log_weight: Float[Array, " nodes"]
    log_mean: Float[Array, ""]


def posterior_table(estimator: Any, h: Float[Array, " features"], points: int) -> Table:
    """The posterior on a grid, from features.

    Args:
        estimator: any log-ratio of one to three parameters.
        h: features that `estimator.embed` gave.
        points: nodes per parameter.

    Returns:
        The table.
    """
    prior = estimator.prior

    def at(nodes: tuple[Array, ...]) -> dict[str, Array]:
        mesh = jnp.meshgrid(*nodes, indexing="ij")
        return {n: one.reshape(-1) for n, one in zip(prior.names, mesh, strict=True)}

    def log_joint(nodes: tuple[Array, ...]) -> Array:
        theta = at(nodes)
        ratio = jax.vmap(estimator.log_ratio, (0, None))(theta, h)
        return (ratio + prior.log_prob(theta)).reshape([len(axis) for axis in nodes])

    box = tuple(prior.bounds.values())
    nodes, log_density, log_weight = tabulate(log_joint, box, (points,) * len(box))
    theta = at(nodes)
    scaled, log_prior = prior.standardize(theta), prior.log_prob(theta)
    log_weight = jnp.broadcast_to(log_weight, log_density.shape).reshape(-1)
    log_mass = log_density.reshape(-1) + log_weight
    log_mean = jax.nn.logsumexp(log_mass)
    mass = jnp.exp(log_mass - log_mean)
    mean = mass @ scaled
    std = jnp.sqrt(mass @ (scaled - mean) ** 2)
    std = jnp.maximum(std, jnp.finfo(std.dtype).tiny)
    # Where the prior vanishes the ratio is of no account, but must be a number.
    possible = jnp.isfinite(log_prior)
    log_ratio = log_density.reshape(-1) - jnp.where(possible, log_prior, 0)
    log_ratio = jnp.where(possible, log_ratio - log_mean, 0)
    values = jax.vmap(statistics, (0, 0, None, None))(log_ratio, scaled, mean, std)
    return Table(mean, std, values, log_weight + log_prior, log_mean)


def statistics(
    log_ratio: Float[Array, ""],
    scaled: Float[Array, " d"],
    mean: Float[Array, " d"],
    std: Float[Array, " d"],
) -> Float[Array, " statistics"]:
    """What a correction is linear in, at one parameter.

    Args:
        log_ratio: the uncorrected one, normalised.
        scaled: the standardised parameters.
        mean: their uncorrected posterior means.
        std: their uncorrected posterior deviations.

    Returns:
        The log-ratio, and bounded polynomials of each parameter's deviation from its
        mean: their tilts change location, width, skewness and peakedness.
    """
    v = jax.scipy.special.erf((scaled - mean) / std / np.sqrt(2))
    return jnp.concatenate([log_ratio[None], *_legendre(v, ORDER)[1:]])


def polynomials(
    prior: Prior, mean: Float[Array, " d"], degree: int
) -> Float[Array, " basis"]:
    """Products of Legendre polynomials over the prior's bounds.

    Args:
        prior: the prior.
        mean: standardised parameters.
        degree: total degree.

    Returns:
        Their values, the constant first.
    """
    ends = zip(*prior.bounds.values(), strict=True)
    low, high = (
        prior.standardize(dict(zip(prior.names, end, strict=True))) for end in ends
    )
    t = jnp.clip(2 * (mean - low) / (high - low) - 1, -1, 1)
    powers = _legendre(t, degree)
    return jnp.stack(
        [
            functools.reduce(jnp.multiply, [powers[k][j] for j, k in enumerate(one)])
            for one in exponents(len(prior.names), degree)
        ]
    )


def _legendre(t: Float[Array, " d"], degree: int) -> list[Float[Array, " d"]]:
    found = [jnp.ones_like(t), t]
    for k in range(1, degree):
        found.append(((2 * k + 1) * t * found[k] - k * found[k - 1]) / (k + 1))
    return found


def exponents(count: int, degree: int) -> list[tuple[int, ...]]:
    """Degrees in each of `count` variables of the polynomials up to a total degree."""
    found: list[tuple[int, ...]] = [()]
    for _ in range(count):
        found = [(*one, k) for one in found for k in range(degree + 1 - sum(one))]
    return sorted(found, key=lambda one: (sum(one), one))
