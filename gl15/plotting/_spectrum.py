"""Spectra of the Hessian."""

import numpy as np
from matplotlib.axes import Axes

from gl15.plotting._axes import axes_or_new
from gl15.plotting._palette import palette_of
from gl15.spectra import DensityOfStates, Modes


def plot_spectrum(
    density: DensityOfStates,
    modes: Modes | None = None,
    *,
    label: str | None = None,
    color: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A density of states, with the band of two standard errors.

    Args:
        density: from `gl15.spectra.density_of_states`.
        modes: lowest modes, drawn as ticks at the bottom.
        label: name of the curve in a legend.
        color: its colour; by default blue.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.
    """
    ax = axes_or_new(ax)
    palette = palette_of(ax)
    color = palette.blue if color is None else color
    grid, mean, error = (
        np.asarray(a) for a in (density.eigenvalues, density.density, density.error)
    )
    low = np.maximum(mean - 2 * error, 0)
    ax.fill_between(grid, low, mean + 2 * error, color=color, alpha=0.25, linewidth=0)
    ax.plot(grid, mean, color=color, linewidth=1.4, label=label)
    ax.axvline(0, color=palette.grey, linewidth=0.8, linestyle="--", zorder=0)
    if modes is not None:
        ax.plot(
            np.asarray(modes.eigenvalues),
            np.zeros(modes.eigenvalues.shape),
            linestyle="none",
            marker="|",
            markersize=12,
            color=palette.vermilion,
            label=f"lowest {modes.eigenvalues.size} modes",
            clip_on=False,
        )
    ax.set_ylim(bottom=0)
    ax.set_xlim(grid[0], grid[-1])
    ax.set_xlabel(r"$\lambda$")
    ax.set_ylabel(r"$\rho(\lambda)$")
    if label is not None or modes is not None:
        ax.legend(frameon=False)
    return ax


def plot_modes(
    modes: Modes,
    *,
    label: str | None = None,
    color: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The lowest eigenvalues one by one; unstable directions lie below the line.

    Args:
        modes: from `gl15.spectra.lowest_modes`.
        label: name in a legend.
        color: colour of the points; by default blue.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.
    """
    ax = axes_or_new(ax)
    palette = palette_of(ax)
    color = palette.blue if color is None else color
    values = np.asarray(modes.eigenvalues)
    number = np.arange(1, values.size + 1)
    ax.plot(number, values, "o", color=color, markersize=4, label=label)
    ax.axhline(0, color=palette.grey, linewidth=0.8, linestyle="--", zorder=0)
    ax.set_xlabel("mode")
    ax.set_ylabel(r"$\lambda$")
    if label is not None:
        ax.legend(frameon=False)
    return ax
