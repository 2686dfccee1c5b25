"""Curves with the standard error of the mean of several runs."""

import numpy as np
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogFormatter, LogLocator, NullFormatter

from gl15.plotting._palette import palette_of


def mean_and_error(
    ax: Axes,
    x_name: str,
    x: Float[Array | np.ndarray, "..."],
    name: str,
    runs: Float[Array | np.ndarray, "..."],
    *,
    label: str | None,
    color: str | None,
) -> None:
    """One run as a curve; of several, the mean and the band of its standard error.

    Runs that have no value at a point are left out there.

    Args:
        ax: the axes.
        x_name: what the caller calls `x`.
        x: where the values are.
        name: what the caller calls `runs`.
        runs: values; the last axis is that of `x`.
        label: name of the curve.
        color: its colour; by default blue.

    Raises:
        ValueError: if the shapes do not fit or there is no finite value.
    """
    x, runs = np.asarray(x), np.asarray(runs)
    if x.ndim != 1 or not x.size or runs.shape[-1:] != x.shape:
        raise ValueError(
            f"`{name}` must have one value for each of `{x_name}`, shape (..., "
            f"{x.size}), got {runs.shape} with `{x_name}` of shape {x.shape}."
        )
    runs = runs.reshape(-1, x.size)
    finite = np.isfinite(runs)
    if not np.any(finite):
        raise ValueError(
            f"`{name}` has no finite value among its {runs.size}; there is nothing to "
            "draw."
        )
    count = finite.sum(0)
    # A point without any run is a gap in the curve.
    mean = np.where(finite, runs, 0).sum(0) / np.where(count > 0, count, np.nan)
    color = palette_of(ax).blue if color is None else color
    ax.plot(x, mean, color=color, linewidth=1.4, marker=".", markersize=5, label=label)
    if len(runs) > 1:
        squares = np.where(finite, (runs - mean) ** 2, 0).sum(0)
        freedom = np.where(count > 1, count * (count - 1), np.nan)
        error = np.sqrt(squares / freedom)
        # On a logarithmic scale a band must not reach zero.
        low = np.maximum(mean - error, 1e-3 * mean)
        ax.fill_between(x, low, mean + error, color=color, alpha=0.25, linewidth=0)


class _Plain(LogFormatter):
    """Labels between powers of ten, where there is room, without powers."""

    def __call__(self, x, pos=None):
        return f"{x:g}" if super().__call__(x, pos) else ""


def logarithmic_y(ax: Axes) -> None:
    """A logarithmic y axis whose small labels, if any, are plain numbers.

    Args:
        ax: the axes.
    """
    ax.set_yscale("log")
    ax.yaxis.set_minor_formatter(_Plain(minor_thresholds=(1.0, 0.4)))


def logarithmic(ax: Axes) -> None:
    """A logarithmic x axis of a decade or two, with plain numbers that do not collide.

    Args:
        ax: the axes.
    """
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(LogLocator(subs=range(1, 10)))
    ax.xaxis.set_minor_formatter(NullFormatter())
