"""Statistics of pairs of points: nearest neighbours and the pair correlation."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gl15.observables._points import Box, Points
from gl15.observables._rings import Edges


class Neighbours(eqx.Module):
    """The nearest neighbour of each point.

    Attributes:
        distances: distance to it; NaN in the slots left out, and without a neighbour.
        index: its slot, -1 where there is none.
    """

    distances: Float[Array, " slots"]
    index: Int[Array, " slots"]

    @property
    def mean(self) -> Float[Array, ""]:
        """Mean distance; NaN without neighbours."""
        return jnp.nanmean(self.distances)

    @property
    def std(self) -> Float[Array, ""]:
        """Standard deviation of the distances; NaN without neighbours."""
        return jnp.nanstd(self.distances)


@eqx.filter_jit
def nearest_neighbours(points: Points, other: Points | None = None) -> Neighbours:
    """The nearest neighbour of each point, by minimum-image distance on a torus.

    Args:
        points: the points.
        other: where the neighbours are looked for; by default among the points
            themselves.

    Returns:
        The neighbours.
    """
    distances, valid = all_pairs(points, other)
    far = jnp.where(valid, distances, jnp.inf)
    index = jnp.argmin(far, axis=1)
    has = jnp.any(valid, axis=1)
    nearest = jnp.take_along_axis(distances, index[:, None], 1)[:, 0]
    return Neighbours(jnp.where(has, nearest, jnp.nan), jnp.where(has, index, -1))


class ClarkEvans(eqx.Module):
    """Nearest-neighbour distances against those of complete spatial randomness.

    Attributes:
        ratio: mean distance over its expectation: 1 for Poisson points, below for
            clusters, up to 2.149 for a triangular lattice.
        z: deviation from 1 in standard errors of a Poisson pattern.
    """

    ratio: Float[Array, ""]
    z: Float[Array, ""]


@eqx.filter_jit
def clark_evans(points: Points) -> ClarkEvans:
    r"""Clark and Evans' aggregation index.

    $R = \bar d / \langle d \rangle$ with $\langle d \rangle = \tfrac12 \sqrt{A/N}$, and
    in a box with edges, where neighbours beyond them are missed, Donnelly's
    $\langle d \rangle = \tfrac12\sqrt{A/N} + (0.0514 + 0.041/\sqrt N) P/N$ for the
    perimeter P.

    Args:
        points: the points, at least two.

    Returns:
        The index and its significance; NaN for fewer than two points.

    Reference:
        Clark and Evans, Ecology 35, 445 (1954); Donnelly (1978).
    """
    mean = nearest_neighbours(points).mean
    n, area = points.count, points.box.area
    expected = 0.5 * jnp.sqrt(area / n)
    variance = (4 - np.pi) / (4 * np.pi) * area / n**2
    if not points.box.periodic:
        perimeter = 2 * sum(points.box.lengths)
        expected += (0.0514 + 0.041 / jnp.sqrt(n)) * perimeter / n
        variance = 0.0703 * area / n**2 + 0.037 * perimeter * jnp.sqrt(area / n**5)
    return ClarkEvans(mean / expected, (mean - expected) / jnp.sqrt(variance))


def pair_correlation(
    points: Points, edges: Edges | None = None, *, other: Points | None = None
) -> tuple[Float[Array, " bins"], Float[Array, " bins"]]:
    r"""Pair correlation function $g(r)$: pairs at r, relative to independent points.

    $$
    g(r) = \frac{A^2}{N(N-1)\,|\text{bin}|} \sum_{i \ne j}
    \frac{\mathbb{1}[r_{ij} \in \text{bin}]}{\gamma(\mathbf{r}_{ij})}
    $$

    with $|\text{bin}|$ the area of the annulus and $\gamma$ the area over which a pair
    with this displacement fits into the box: A on a torus, $(L_x - |x|)(L_y - |y|)$ in
    a box with edges. This translation correction makes it 1 on average at every r for
    independent points in either.

    Args:
        points: the points.
        edges: edges of the bins of distance, rising. By default 16 bins up to a quarter
            of the shorter side.
        other: partners in another pattern, for the cross correlation; by default the
            points themselves.

    Returns:
        Middle of each bin, and g there; NaN where there are no pairs at all.

    Raises:
        ValueError: if the edges do not rise from at least zero, or reach further than
            pairs are counted fairly.

    Reference:
        Illian et al., Statistical Analysis and Modelling of Spatial Point Patterns,
        section 4.3 (2008).
    """
    shortest = min(points.box.lengths)
    if edges is None:
        edges = np.linspace(0, shortest / 4, 17)
    values = np.asarray(edges, float)
    rising = values.ndim == 1 and len(values) > 1 and np.all(np.diff(values) > 0)
    if not rising or not np.all(np.isfinite(values)) or values[0] < 0:
        raise ValueError(
            f"`edges` must be at least two rising distances from 0 on, got {edges}."
        )
    limit = shortest / 2 if points.box.periodic else shortest
    if values[-1] > limit * (1 + 1e-9):
        kind = "half the shorter side" if points.box.periodic else "the shorter side"
        raise ValueError(
            f"`edges` reach to {values[-1]:g}, but in this box pairs are counted "
            f"fairly up to {kind}, {limit:g}; end them there."
        )
    middle = (values[1:] + values[:-1]) / 2
    g = _pair_correlation(points, other, tuple(values.tolist()))
    return jnp.asarray(middle, g.dtype), g


@eqx.filter_jit
def _pair_correlation(
    points: Points, other: Points | None, edges: tuple[float, ...]
) -> Float[Array, " bins"]:
    distances, valid = all_pairs(points, other)
    partners = points if other is None else other
    fits = _translations(points.box, points.filled, partners.filled)
    # Every pair closer than the last edge fits somewhere; others must not divide by 0.
    weights = jnp.where(valid & (fits > 0), 1 / jnp.where(fits > 0, fits, 1), 0)
    values = np.asarray(edges)
    bins = jnp.searchsorted(jnp.asarray(values, distances.dtype), distances, "right")
    # The last edge belongs to the last bin, as in a histogram.
    bins = jnp.where(
        distances == jnp.asarray(values[-1], distances.dtype), bins - 1, bins
    )
    totals = jnp.zeros(len(values) + 1, weights.dtype).at[bins].add(weights)[1:-1]
    ring = jnp.asarray(np.pi * np.diff(values**2), weights.dtype)
    pairs = jnp.sum(valid).astype(weights.dtype)
    return totals * points.box.area**2 / (ring * pairs)


def all_pairs(
    points: Points, other: Points | None
) -> tuple[Float[Array, "n m"], Bool[Array, "n m"]]:
    """Distances of all points from all others, and which of them are pairs.

    Args:
        points: the points.
        other: partners in another pattern; by default the points themselves.

    Returns:
        The distances, and the mask.
    """
    partners = points if other is None else other
    distances = points.box.distances(points.filled, partners.filled)
    valid = points.mask[:, None] & partners.mask
    if other is None:
        valid &= ~jnp.eye(points.mask.shape[0], dtype=bool)
    return distances, valid


def _translations(
    box: Box, start: Float[Array, "n 2"], end: Float[Array, "m 2"]
) -> Float[Array, "n m"]:
    if box.periodic:
        return jnp.full((start.shape[0], end.shape[0]), box.area, start.dtype)
    steps = jnp.abs(box.displacements(start[:, None], end[None]))
    return jnp.prod(jnp.asarray(box.lengths, steps.dtype) - steps, axis=-1)
