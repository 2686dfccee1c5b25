r"""A density on a grid that is fine where the density is."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float


# Nodes go where the log-density is within this of its highest: beyond, a normal
# density has 4e-8 of its mass.
_DEPTH = 15.0
_SPREAD = 0.25  # share of the nodes that stays spread over the whole box


def tabulate(
    log_density: Callable[[tuple[Array, ...]], Array],
    box: tuple[tuple[Any, Any], ...],
    shape: tuple[int, ...],
    *,
    refine: bool = True,
) -> tuple[tuple[Float[Array, " _"], ...], Float[Array, "..."], Float[Array, "..."]]:
    """Nodes in a box, most of them where a density is, and its logarithm there.

    Args:
        log_density: from the nodes of each axis to the log-density on their mesh, one
            axis each.
        box: lower and upper end of each axis.
        shape: nodes of each axis.
        refine: whether to look for the density first, or space the nodes equally.

    Returns:
        The nodes of each axis, the log-density on their mesh, and the logarithms of the
        weights of the trapezoidal rule there.
    """
    search = box
    # One axis is searched finely enough at once; with two and three the first look is
    # coarse, and a second one inside what it found sharpens the region.
    for _ in range(min(len(shape), 2) if refine else 0):
        coarse = _equidistant(search, tuple(max(size // 2, 2) for size in shape))
        values = log_density(coarse)
        search = tuple(
            _region(axis, _profile(values, j)) for j, axis in enumerate(coarse)
        )
    nodes = _equidistant(box, shape)
    if refine:
        nodes = tuple(
            _concentrated(axis, region)
            for axis, region in zip(nodes, search, strict=True)
        )
    log_weight = jnp.zeros(())
    for j, axis in enumerate(nodes):
        width = jnp.diff(axis)
        ends = jnp.concatenate([width, jnp.zeros_like(width[:1])])
        weight = jnp.log((ends + jnp.roll(ends, 1)) / 2)
        others = [k for k in range(len(nodes)) if k != j]
        log_weight = log_weight + jnp.expand_dims(weight, others)
    return nodes, log_density(nodes), log_weight


def _equidistant(
    box: tuple[tuple[Any, Any], ...], shape: tuple[int, ...]
) -> tuple[Float[Array, " _"], ...]:
    sides = zip(box, shape, strict=True)
    return tuple(jnp.linspace(low, high, size) for (low, high), size in sides)


def _profile(values: Float[Array, "..."], axis: int) -> Float[Array, " n"]:
    return values.max(axis=tuple(j for j in range(values.ndim) if j != axis))


def _region(
    nodes: Float[Array, " n"], profile: Float[Array, " n"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Ends of the stretch where the profile is high, and one cell more on each side."""
    high = profile > profile.max() - _DEPTH
    last = len(nodes) - 1
    first = jnp.maximum(jnp.argmax(high) - 1, 0)
    final = jnp.minimum(last - jnp.argmax(high[::-1]) + 1, last)
    return nodes[first], nodes[final]


def _concentrated(
    nodes: Float[Array, " n"], region: tuple[Float[Array, ""], Float[Array, ""]]
) -> Float[Array, " n"]:
    """As many nodes between the same ends, most of them in the region."""
    ends = jnp.stack([nodes[0], *region, nodes[-1]])
    spread = (ends - ends[0]) / (ends[3] - ends[0])
    inner = jnp.clip((ends - ends[1]) / (ends[2] - ends[1]), 0, 1)
    # The inverse of the wanted distribution of nodes, at equal steps.
    steps = jnp.linspace(0, 1, len(nodes), dtype=nodes.dtype)
    placed = jnp.interp(steps, _SPREAD * spread + (1 - _SPREAD) * inner, ends)
    return placed.at[0].set(ends[0]).at[-1].set(ends[3])
