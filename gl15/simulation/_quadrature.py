"""Integrals of a density over a box of parameters, in logarithms."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


Box: TypeAlias = Sequence[tuple[Any, Any]]
"""Lowest and highest value of every parameter."""

LogDensity: TypeAlias = Callable[[Float[Array, "n d"]], Float[Array, " n"]]

_DEPTH = 35.0  # below its highest by this a log-density holds 1e-15 of it
_LOOKS = 4  # each finds what is some thirty times narrower than the one before


def log_integral(
    log_density: LogDensity, box: Box, nodes: int = 64
) -> Float[Array, ""]:
    """Logarithm of the integral over a box, by Gauss-Legendre quadrature.

    Args:
        log_density: of many points at once.
        box: where.
        nodes: nodes per parameter.

    Returns:
        The logarithm.
    """
    unit, weight = np.polynomial.legendre.leggauss(nodes)
    axes, log_weights = [], []
    for low, high in box:
        half = (jnp.asarray(high, float) - low) / 2
        axes.append(low + half * (1 + unit))
        log_weights.append(jnp.log(half * weight))
    log_weight = jnp.stack(jnp.meshgrid(*log_weights, indexing="ij")).sum(0).ravel()
    return jax.nn.logsumexp(log_density(_points(axes)) + log_weight)


def where_high(log_density: LogDensity, box: Box, nodes: int = 64) -> Box:
    """The part of a box that holds the integral: looked for by ever finer grids.

    Args:
        log_density: of many points at once.
        box: where to look.
        nodes: nodes per parameter of each look.

    Returns:
        A smaller box.
    """
    unit = (np.arange(nodes) + 0.5) / nodes
    for _ in range(_LOOKS):
        sides = [(low, jnp.asarray(high, float) - low) for low, high in box]
        value = log_density(_points([low + side * unit for low, side in sides]))
        high = (value >= value.max() - _DEPTH).reshape((nodes,) * len(sides))
        found = []
        for j, (low, side) in enumerate(sides):
            seen = high.any(tuple(k for k in range(len(sides)) if k != j))
            # The cells of the nodes that are high, and one more on each side.
            first = jnp.maximum(jnp.argmax(seen) - 1, 0)
            last = jnp.minimum(nodes + 1 - jnp.argmax(seen[::-1]), nodes)
            found.append((low + side * first / nodes, low + side * last / nodes))
        box = found
    return box


def _points(axes: Sequence[Float[Array, " _"]]) -> Float[Array, "n d"]:
    return jnp.stack(jnp.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
