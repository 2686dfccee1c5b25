"""Optimal assignment of two sets of slots, inside and outside compiled code."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped
from scipy.optimize import linear_sum_assignment


def assign(
    distances: Float[Array, "n m"],
    allowed: Bool[Array, "n m"],
    limit: Shaped[Array, ""],
) -> Int[Array, " n"]:
    r"""Pair rows with columns so that the pairs are close, one to one.

    Minimises $\sum_i \min(d_{i p(i)}^2, R^2)$ over all one-to-one $p$, with R the
    limit: a pair is made only where it is allowed and closer than R, and leaving two
    apart costs as much as a pair at R. Solved exactly (SciPy's
    `linear_sum_assignment`, on the host, also from compiled code); which one is
    paired with which is discrete and has no derivative.

    Args:
        distances: distance of each row from each column.
        allowed: which pairs may be made at all.
        limit: R; infinity for no limit.

    Returns:
        The column of each row, -1 where it has none.
    """
    # Beyond this no limit is felt: as many pairs are made as can be.
    largest = jnp.max(jnp.where(allowed, distances, 0), initial=0)
    limit = jnp.minimum(limit, largest * np.sqrt(sum(distances.shape)))
    made = allowed & (distances <= limit)
    # In units of the limit, whatever the unit of length; and a pair at just the limit
    # is better than none.
    ratio = jnp.where(made, distances, 0) / jnp.where(limit > 0, limit, 1)
    cost = jnp.where(made, ratio**2 * (1 - 1e-6), 1)
    shape = jax.ShapeDtypeStruct((distances.shape[0],), jnp.int32)
    column = jax.pure_callback(
        _solve, shape, jax.lax.stop_gradient(cost), vmap_method="expand_dims"
    )
    index = jnp.maximum(column, 0)[:, None]
    kept = (column >= 0) & jnp.take_along_axis(made, index, 1)[:, 0]
    return jnp.where(kept, column, -1)


def _solve(costs: Float[Array | np.ndarray, "*batch n m"]) -> np.ndarray:
    cost = np.asarray(costs)
    found = np.full(cost.shape[:-1], -1, np.int32)
    for index in np.ndindex(*cost.shape[:-2]):
        # Most slots are empty, and the time is cubic.
        possible = cost[index] < 1
        rows = np.flatnonzero(possible.any(1))
        columns = np.flatnonzero(possible.any(0))
        chosen = linear_sum_assignment(cost[index][np.ix_(rows, columns)])
        found[index][rows[chosen[0]]] = columns[chosen[1]]
    return found
