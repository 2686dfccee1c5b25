"""Points and lines on a torus, as they are seen in the frame of a picture."""

from itertools import product

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from gl15.observables import Box


def frame_points(ax: Axes, box: Box) -> None:
    """On axes without a picture, show the whole box, as wide as it is.

    Args:
        ax: the axes.
        box: what the points lie in.
    """
    if not ax.images:
        ax.set_xlim(0, box.lengths[0])
        ax.set_ylim(0, box.lengths[1])
        ax.set_aspect("equal")
        ax.set_xlabel("x")
        ax.set_ylabel("y")


def into_view(
    ax: Axes, box: Box, positions: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 2"]:
    """Points where they are seen: on a torus, beyond the seam if the frame is there.

    The first pixel of a picture begins half a spacing below zero.

    Args:
        ax: the axes.
        box: what the points lie in.
        positions: the points.

    Returns:
        The points.
    """
    if not box.periodic or not len(positions):
        return positions
    start = np.array([min(ax.get_xlim()), min(ax.get_ylim())])
    return start + np.mod(positions - start, box.lengths)


def copies(
    ax: Axes, box: Box, line: Float[np.ndarray, "n 2"]
) -> list[Float[np.ndarray, "n 2"]]:
    """A line that may run on across the seams, once for each part that is in view.

    Args:
        ax: the axes.
        box: what the line lies in.
        line: its points; on a torus they need not lie in the box.

    Returns:
        The line, moved by whole lengths; drawn inside the frame they complete it.
    """
    if not box.periodic or not len(line):
        return [line]
    low, high = np.sort([ax.get_xlim(), ax.get_ylim()], axis=1).T
    lengths = np.asarray(box.lengths)
    first = np.ceil((low - line.max(0)) / lengths).astype(int)
    last = np.floor((high - line.min(0)) / lengths).astype(int)
    ways = (range(a, b + 1) for a, b in zip(first, last, strict=True))
    return [line + np.asarray(shift) * lengths for shift in product(*ways)]
