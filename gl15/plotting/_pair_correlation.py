"""Pair correlation functions."""

import numpy as np
from jaxtyping import Array, Float
from matplotlib.axes import Axes

from gl15.plotting._axes import axes_or_new
from gl15.plotting._curves import mean_and_error
from gl15.plotting._palette import palette_of


def plot_pair_correlation(
    r: Float[Array | np.ndarray, " bins"],
    g: Float[Array | np.ndarray, "*runs bins"],
    *,
    label: str | None = None,
    color: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A pair correlation function, against the line at 1 of independent points.

    Args:
        r: distances, from `gl15.observables.pair_correlation`.
        g: g(r) of one pattern, or of each run: then their mean and its standard error.
        label: name of the curve in a legend.
        color: its colour; by default blue.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if there is not one value of g for each distance, or none is
            finite, as where there are no pairs at all.
    """
    ax = axes_or_new(ax)
    mean_and_error(ax, "r", r, "g", g, label=label, color=color)
    line = {"color": palette_of(ax).grey, "linewidth": 0.8, "linestyle": "--"}
    ax.axhline(1, zorder=0, **line)
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("$r$")
    ax.set_ylabel("$g(r)$")
    if label is not None:
        ax.legend(frameon=False)
    return ax
