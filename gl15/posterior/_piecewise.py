r"""One-dimensional densities that are linear between nodes.

The distribution function of such a density is quadratic between nodes and its inverse a
square root: integrals, quantiles and samples are all exact for the same density. Nodes
`[n]` ascend and need not be equidistant.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int


def trapezoid_weights(nodes: Float[Array, " n"]) -> Float[Array, " n"]:
    """Weights whose sum with a density is the density's exact integral."""
    half = jnp.diff(nodes) / 2
    edge = jnp.zeros_like(nodes[:1])
    return jnp.concatenate([half, edge]) + jnp.concatenate([edge, half])


def mean_and_std(
    nodes: Float[Array, " n"], density: Float[Array, " n"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Exact mean and standard deviation."""
    width = jnp.diff(nodes)
    left, right = density[:-1], density[1:]
    # Per cell: mass, centre of mass relative to the left node, and second moment about
    # the mean. Moments about the origin would cancel for a density far from it.
    mass = width * (left + right) / 2
    first = width**2 * (left + 2 * right) / 6
    total = mass.sum()
    mean = jnp.sum(mass * nodes[:-1] + first) / total
    second = width**3 * (left + 3 * right) / 12
    offset = nodes[:-1] - mean
    variance = jnp.sum(mass * offset**2 + 2 * first * offset + second) / total
    return mean, jnp.sqrt(jnp.maximum(variance, 0))


def cumulative(
    nodes: Float[Array, " n"], density: Float[Array, " n"]
) -> Float[Array, " n"]:
    """Distribution function at the nodes, from 0 to exactly 1."""
    mass = jnp.diff(nodes) * (density[:-1] + density[1:]) / 2
    partial = jnp.concatenate([jnp.zeros_like(mass[:1]), jnp.cumsum(mass)])
    return partial / partial[-1]


def locate(
    nodes: Float[Array, " n"], value: Float[Array, ""]
) -> tuple[Int[Array, ""], Float[Array, ""], Bool[Array, ""]]:
    """Cell that holds `value`, the fraction of the way through it, and if it does."""
    cell = jnp.clip(jnp.searchsorted(nodes, value, side="right") - 1, 0, len(nodes) - 2)
    width = nodes[cell + 1] - nodes[cell]
    fraction = (value - nodes[cell]) / jnp.where(width > 0, width, 1)
    inside = (value >= nodes[0]) & (value <= nodes[-1])
    return cell, jnp.clip(fraction, 0, 1), inside


def cdf(
    nodes: Float[Array, " n"], density: Float[Array, " n"], value: Float[Array, ""]
) -> Float[Array, ""]:
    """Exact distribution function; 0 and 1 beyond the ends."""
    cell, t, _ = locate(nodes, value)
    partial = cumulative(nodes, density)
    left, right = density[cell], density[cell + 1]
    mass = partial[cell + 1] - partial[cell]
    # The share of its cell's mass below `value`: free of the normalisation.
    whole = left + right
    share = t * (2 * left + t * (right - left)) / jnp.where(whole > 0, whole, 1)
    # The fraction t is clipped: NaN must still come out as NaN.
    below = jnp.clip(partial[cell] + mass * share, 0, 1)
    return jnp.where(jnp.isnan(value), value, below)


def quantile(
    nodes: Float[Array, " n"], density: Float[Array, " n"], q: Float[Array, ""]
) -> Float[Array, ""]:
    """Exact inverse of the distribution function."""
    return invert(nodes, density, cumulative(nodes, density), q)


def invert(
    nodes: Float[Array, " n"],
    density: Float[Array, " n"],
    partial: Float[Array, " n"],
    q: Float[Array, ""],
) -> Float[Array, ""]:
    r"""Quantile, given the distribution function at the nodes.

    Within a cell, with $s$ the share of the cell's mass below the quantile,

    $$
    p_0 t + (p_1 - p_0)\frac{t^2}{2} = s\,\frac{p_0 + p_1}{2}
    \quad\Rightarrow\quad
    t = \frac{s\,(p_0 + p_1)}{p_0 + \sqrt{p_0^2 + s\,(p_1^2 - p_0^2)}}
    $$

    in the form that does not cancel.
    """
    # side="left": a stretch without mass is skipped to its left end.
    cell = jnp.clip(jnp.searchsorted(partial, q, side="left") - 1, 0, len(nodes) - 2)
    left, right = density[cell], density[cell + 1]
    mass = partial[cell + 1] - partial[cell]
    share = jnp.clip((q - partial[cell]) / jnp.where(mass > 0, mass, 1), 0, 1)
    square = left**2 + share * (right**2 - left**2)
    root = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    bottom = left + root
    t = share * (left + right) / jnp.where(bottom > 0, bottom, 1)
    return nodes[cell] + jnp.clip(t, 0, 1) * (nodes[cell + 1] - nodes[cell])


def central_interval(
    nodes: Float[Array, " n"], density: Float[Array, " n"], level: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Interval with equal mass beyond either end."""
    partial = cumulative(nodes, density)
    low = invert(nodes, density, partial, (1 - level) / 2)
    return low, invert(nodes, density, partial, (1 + level) / 2)


def shortest_interval(
    nodes: Float[Array, " n"],
    density: Float[Array, " n"],
    level: Float[Array, ""],
    trials: int = 129,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Shortest single interval that holds `level` of the mass.

    A search over the mass below the interval, `trials` values at a time, narrowed
    three times around the best.
    """
    partial = cumulative(nodes, density)
    at = jax.vmap(lambda q: invert(nodes, density, partial, q))
    steps = jnp.linspace(0, 1, trials, dtype=nodes.dtype)

    def narrow(_: Any, found: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = found
        below = low + (high - low) * steps
        best = below[jnp.argmin(at(below + level) - at(below))]
        step = (high - low) * steps[1]
        return jnp.maximum(best - step, 0), jnp.minimum(best + step, 1 - level)

    level = jnp.asarray(level, nodes.dtype)
    low, high = jax.lax.fori_loop(0, 3, narrow, (jnp.zeros_like(level), 1 - level))
    # Against an edge the search has closed in on that edge, not around it.
    edges = jnp.stack([jnp.zeros_like(level), (low + high) / 2, 1 - level])
    ends = at(edges), at(edges + level)
    best = jnp.argmin(ends[1] - ends[0])
    return ends[0][best], ends[1][best]


INTERVALS = {"equal-tailed": central_interval, "highest-density": shortest_interval}


def elementwise(function: Callable[..., Any], value: Any) -> Any:
    """A function of one number, of each number of an array."""
    array = jnp.asarray(value, float)
    flat = jax.vmap(function)(array.reshape(-1))
    return jax.tree.map(lambda leaf: leaf.reshape(array.shape), flat)


def holds(value: Any, condition: Callable[[Any], Any]) -> bool:
    """Whether a condition holds everywhere, or cannot be told under a trace."""
    # NumPy, as JAX would trace the comparison inside a transformation.
    return isinstance(value, Tracer) or bool(np.all(condition(np.asarray(value))))


def safe_log(weight: Float[Array, ""]) -> Float[Array, ""]:
    """Logarithm, minus infinity at zero, with finite gradients."""
    positive = weight > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, weight, 1)), -jnp.inf)
