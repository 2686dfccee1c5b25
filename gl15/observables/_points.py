"""Point patterns: where points lie, and the rectangle or torus they lie in."""

from collections.abc import Sequence
from math import isfinite

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from gl15.physics import Lattice


class Box(eqx.Module):
    """The rectangle that points lie in, with edges or without.

    Attributes:
        lengths: length along x and along y; it begins at the origin.
        periodic: whether opposite edges are one: a torus.
    """

    lengths: tuple[float, float] = eqx.field(static=True)
    periodic: bool = eqx.field(static=True)

    def __init__(self, lengths: Sequence[float | int], periodic: bool):
        """Build a box.

        Args:
            lengths: length along x and along y.
            periodic: whether it is a torus.

        Raises:
            ValueError: if `lengths` are not two positive lengths.
        """
        valid = len(lengths) == 2 and all(isfinite(a) and a > 0 for a in lengths)
        if not valid:
            raise ValueError(f"`lengths` must be two positive lengths, got {lengths}.")
        self.lengths = (float(lengths[0]), float(lengths[1]))
        self.periodic = bool(periodic)

    @staticmethod
    def of(lattice: Lattice) -> "Box":
        """The box that the vortices of a sample lie in.

        Args:
            lattice: the sample's lattice.

        Returns:
            The whole torus; of an open sample, from its first sites to its last.
        """
        sites = np.asarray(lattice.shape) - (1 if lattice.is_open else 0)
        return Box((sites * lattice.spacing).tolist(), not lattice.is_open)

    @property
    def area(self) -> float:
        """Area of the box."""
        return self.lengths[0] * self.lengths[1]

    def displacements(
        self, start: Float[Array, "*a 2"], end: Float[Array, "*b 2"]
    ) -> Float[Array, "*c 2"]:
        """The way from one point to another; on a torus, the shortest.

        Args:
            start: points.
            end: points, of a shape that broadcasts with that of `start`.

        Returns:
            `end - start`, wrapped to the nearest image.
        """
        steps = end - start
        if not self.periodic:
            return steps
        lengths = jnp.asarray(self.lengths, steps.dtype)
        return steps - lengths * jnp.round(steps / lengths)

    def distances(
        self, start: Float[Array, "n 2"], end: Float[Array, "m 2"]
    ) -> Float[Array, "n m"]:
        """Distance of every point from every other; on a torus, the shortest.

        Args:
            start: points.
            end: points.

        Returns:
            The distances.
        """
        return safe_norm(self.displacements(start[:, None], end[None]))

    def wrap(self, positions: Float[Array, "*n 2"]) -> Float[Array, "*n 2"]:
        """Positions within the box; in one with edges they stay what they are.

        Args:
            positions: points.

        Returns:
            The points, on a torus wrapped into it.
        """
        if not self.periodic:
            return positions
        return jnp.mod(positions, jnp.asarray(self.lengths, positions.dtype))


class Points(eqx.Module):
    """A point pattern, in arrays of fixed size.

    Attributes:
        positions: coordinates (x, y); of no meaning in the slots that `mask` leaves
            out.
        mask: which slots hold a point.
        box: what they lie in.
    """

    positions: Float[Array, "slots 2"]
    mask: Bool[Array, " slots"]
    box: Box

    def __init__(
        self,
        positions: Float[Array | np.ndarray, "slots 2"],
        box: Box,
        mask: Bool[Array | np.ndarray, " slots"] | None = None,
    ):
        """Collect points.

        Args:
            positions: coordinates (x, y).
            box: what they lie in.
            mask: which of the slots hold a point; by default all.

        Raises:
            ValueError: if a point is not finite or lies outside a box with edges.
        """
        self.positions = jnp.asarray(positions)
        slots = self.positions.shape[0]
        self.mask = jnp.ones(slots, bool) if mask is None else jnp.asarray(mask)
        self.box = box

    def __check_init__(self):
        if isinstance(self.positions, Tracer) or isinstance(self.mask, Tracer):
            return
        inside = np.asarray(self.positions)[np.asarray(self.mask)]
        if not np.all(np.isfinite(inside)):
            raise ValueError(
                "`positions` must be finite, but "
                f"{int(np.sum(~np.isfinite(inside).all(1)))} of {len(inside)} points "
                "are not; leave them out through `mask`."
            )
        # A few roundings beyond an edge are the edge.
        lengths = np.asarray(self.box.lengths)
        slack = 1e-5 * lengths
        outside = np.any((inside < -slack) | (inside > lengths + slack), axis=1)
        if not self.box.periodic and np.any(outside):
            raise ValueError(
                f"`positions` must lie within the box of lengths {self.box.lengths}, "
                f"but {inside[outside][0].tolist()} does not; shift the points so "
                "that the box begins at the origin."
            )

    @property
    def count(self) -> Float[Array, ""]:
        """Number of points, in the type of the positions."""
        return jnp.sum(self.mask).astype(self.positions.dtype)

    @property
    def filled(self) -> Float[Array, "slots 2"]:
        """Positions, with the origin in the slots left out instead of NaN."""
        return jnp.where(self.mask[:, None], self.positions, 0)


def safe_norm(vectors: Float[Array, "*n 2"]) -> Float[Array, "*n"]:
    """Length of vectors, with a derivative of zero where the length is zero.

    Args:
        vectors: the vectors.

    Returns:
        Their lengths.
    """
    squares = jnp.sum(vectors**2, axis=-1)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
