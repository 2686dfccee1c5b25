"""Bond-orientational order: how hexagonal the surroundings of each point are."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex

from gl15.observables._pairs import all_pairs
from gl15.observables._points import Points


@eqx.filter_jit
def bond_order(points: Points, folds: int = 6) -> Complex[Array, " slots"]:
    r"""Bond-orientational order parameter of each point.

    $$\psi_n(j) = \frac{1}{n} \sum_{l \in \text{nearest}} e^{i n \theta_{jl}}$$

    over the n nearest neighbours, with $\theta$ the direction of the shortest way.
    $|\psi_6|$ is 1 in a triangular lattice and $|\psi_4|$ in a square one; their means
    are 0.36 and 0.45 for random points. The phase is the orientation of the bonds, n
    times over. In a box with edges points near an edge lack neighbours beyond it.

    Args:
        points: the points.
        folds: n, the symmetry and the number of neighbours.

    Returns:
        The order parameter; NaN in the slots left out, and for fewer than n neighbours.

    Raises:
        ValueError: if there are no more slots than neighbours.

    Reference:
        Nelson and Halperin, Phys. Rev. B 19, 2457 (1979).
    """
    slots = points.mask.shape[0]
    if not 1 <= folds < slots:
        raise ValueError(
            f"`folds` must be at least 1 and less than the number of slots, {slots}, "
            f"got {folds}."
        )
    distances, valid = all_pairs(points, None)
    nearest, index = jax.lax.top_k(jnp.where(valid, -distances, -jnp.inf), folds)
    where = points.filled
    steps = points.box.displacements(where[:, None], where[index])
    complete = jnp.all(jnp.isfinite(nearest), axis=1)
    # Some direction where there is none keeps derivatives finite.
    x, y = jnp.moveaxis(jnp.where(complete[:, None, None], steps, 1), -1, 0)
    order = jnp.mean(jnp.exp(1j * folds * jnp.arctan2(y, x)), axis=1)
    return jnp.where(complete, order, jnp.nan)
