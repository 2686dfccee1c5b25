"""Structure factors."""

import numpy as np
from jaxtyping import Array, Float
from matplotlib.axes import Axes

from gl15.plotting._axes import axes_or_new
from gl15.plotting._palette import BLUE


def plot_structure_factor(
    k: Float[Array | np.ndarray, " rings"],
    S: Float[Array | np.ndarray, "*runs rings"],
    *,
    label: str | None = None,
    color: str = BLUE,
    ax: Axes | None = None,
) -> Axes:
    """A structure factor; of several runs, their mean and its standard error.

    Args:
        k: wave numbers, from `gl15.observables.structure_factor`.
        S: structure factor of one run, or of each run.
        label: name of the curve in a legend.
        color: its colour.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.
    """
    ax = axes_or_new(ax)
    k = np.asarray(k)
    runs = np.asarray(S).reshape(-1, k.size)
    mean = runs.mean(0)
    ax.plot(k, mean, color=color, linewidth=1.4, marker=".", markersize=5, label=label)
    if len(runs) > 1:
        error = runs.std(0, ddof=1) / np.sqrt(len(runs))
        # On a logarithmic scale a band must not reach zero.
        low = np.maximum(mean - error, 1e-3 * mean)
        ax.fill_between(k, low, mean + error, color=color, alpha=0.25, linewidth=0)
    ax.set_yscale("log")
    ax.set_xlim(left=0)
    ax.set_xlabel("$k$")
    ax.set_ylabel("$S(k)$")
    if label is not None:
        ax.legend(frameon=False)
    return ax
