"""Clusters of points: who is linked to whom by a chain of near neighbours."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Shaped

from gl15.observables._points import Points


class Clusters(eqx.Module):
    """The clusters of a point pattern, in arrays of fixed size.

    Attributes:
        labels: cluster of each point, the lowest slot of its members; -1 in the slots
            left out.
        sizes: number of points in the cluster that begins at each slot; 0 elsewhere.
    """

    labels: Int[Array, " slots"]
    sizes: Int[Array, " slots"]

    @property
    def count(self) -> Int[Array, "*frames"]:
        """Number of clusters, single points included."""
        return jnp.sum(self.sizes > 0, axis=-1)

    @property
    def member_sizes(self) -> Int[Array, "*frames slots"]:
        """Size of the cluster that each point is in; 0 in the slots left out."""
        index = jnp.maximum(self.labels, 0)
        sizes = jnp.take_along_axis(self.sizes, index, axis=-1)
        return jnp.where(self.labels >= 0, sizes, 0)

    @property
    def mean_size(self) -> Float[Array, "*frames"]:
        """Number of points over number of clusters; NaN without points."""
        return jnp.sum(self.sizes, axis=-1) / self.count

    @property
    def histogram(self) -> Int[Array, "*frames sizes"]:
        """Number of clusters of 1, 2, 3, ... points."""
        possible = 1 + jnp.arange(self.sizes.shape[-1])
        return jnp.sum(self.sizes[..., None] == possible, axis=-2)


def clusters(points: Points, linking_length: Float[Array, ""] | float) -> Clusters:
    """Clusters of points: all that a chain of steps no longer than a length joins.

    Single linkage ("friends of friends"), with the minimum-image distance on a torus.

    Args:
        points: the points, for instance `vortices.points(0)`.
        linking_length: the longest step. A multiple of the core size or of the mean
            spacing; see how the result changes with it before trusting either.

    Returns:
        The clusters.

    Raises:
        ValueError: if the linking length is not positive.
    """
    if not isinstance(linking_length, Tracer) and not linking_length > 0:
        raise ValueError(
            f"`linking_length` must be a positive length, got {linking_length}."
        )
    return _clusters(points, jnp.asarray(linking_length))


@eqx.filter_jit
def _clusters(points: Points, linking_length: Shaped[Array, ""]) -> Clusters:
    slots = points.mask.shape[0]
    distances = points.box.distances(points.filled, points.filled)
    linked = (distances <= linking_length) & points.mask & points.mask[:, None]
    own = jnp.arange(slots)

    def spread(state):
        labels, _ = state
        nearby = jnp.min(jnp.where(linked, labels, slots), axis=1, initial=slots)
        lower = jnp.minimum(labels, nearby)
        # A member points to a member with a lower label: follow it, and chains
        # shorten by halves.
        lower = jnp.minimum(lower, lower[lower])
        return lower, jnp.any(lower != labels)

    start = (own, jnp.asarray(True))
    labels, _ = jax.lax.while_loop(lambda state: state[1], spread, start)
    sizes = jnp.zeros(slots, int).at[labels].add(points.mask)
    return Clusters(jnp.where(points.mask, labels, -1), sizes)
