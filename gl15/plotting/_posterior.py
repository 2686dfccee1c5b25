"""Posteriors and parameter recovery."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from gl15.diagnostics import RecoveryTable
from gl15.plotting._axes import axes_or_new, row_of_axes
from gl15.plotting._palette import palette_of
from gl15.posterior import GridPosterior


_SIZE = (4.2, 3.2)  # of a new figure, in inches
_SYMBOLS = {"eta": r"$\eta$", "B": "$B$", "nu": r"$\nu$"}


def plot_posterior(
    posterior: GridPosterior,
    name: str | None = None,
    *,
    truth: float | Mapping[str, Any] | None = None,
    levels: tuple[float, ...] = (0.68, 0.95),
    color: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Marginal density of one parameter, its credible intervals shaded.

    Args:
        posterior: a grid posterior.
        name: the parameter; may be left out if there is only one.
        truth: the true value, or a dictionary that holds it, drawn as a line.
        levels: equal-tailed intervals to shade, the narrowest darkest.
        color: colour of the curve and the intervals; by default blue.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if `name` is unknown or needed, or `levels` are no probabilities.
    """
    ax = axes_or_new(ax, _SIZE)
    palette = palette_of(ax)
    color = palette.blue if color is None else color
    name = _only(posterior.names) if name is None else name
    nodes, density = map(np.asarray, posterior.marginal(name))
    for rank, level in enumerate(sorted(levels, reverse=True)):
        low, high = (float(end) for end in posterior.interval(float(level))[name])
        inside = nodes[(nodes > low) & (nodes < high)]
        x = np.concatenate([[low], inside, [high]])
        ax.fill_between(
            x,
            np.interp(x, nodes, density),
            color=color,
            alpha=0.18 + 0.22 * rank / max(len(levels) - 1, 1),
            linewidth=0,
            label=f"{level:.0%} interval",
        )
    ax.plot(nodes, density, color=color, linewidth=1.5)
    value = truth[name] if isinstance(truth, Mapping) else truth
    if value is not None:
        ax.axvline(
            float(value),
            color=palette.ink,
            linestyle="--",
            linewidth=1.2,
            label="truth",
        )
    ax.set_xlim(*_window(posterior, name, value))
    ax.set_ylim(bottom=0)
    ax.set_xlabel(symbol(name))
    ax.set_ylabel(f"$p$({symbol(name)} | $x$)")
    ax.legend(frameon=False)
    return ax


def plot_joint(
    posterior: GridPosterior,
    names: tuple[str, str] | None = None,
    *,
    truth: Mapping[str, Any] | None = None,
    levels: tuple[float, ...] = (0.68, 0.95),
    color: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Joint density of two parameters, with highest-density contours.

    Args:
        posterior: a grid posterior of two or three parameters.
        names: the parameters on the horizontal and vertical axis; by default the
            first two.
        truth: true values by name, marked by a star.
        levels: probability within each contour.
        color: of the map where the density is largest; by default blue.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if `names` are unknown, or the posterior has one parameter alone.
    """
    if len(posterior.names) < 2:
        raise ValueError(
            "`posterior` must be of two parameters or more, got "
            f"{list(posterior.names)}; use `plot_posterior`."
        )
    ax = axes_or_new(ax, _SIZE)
    palette = palette_of(ax)
    color = palette.blue if color is None else color
    if names is None:
        names = (posterior.names[0], posterior.names[1])
    nodes, density = posterior.marginal(names)
    x, y, density = np.asarray(nodes[0]), np.asarray(nodes[1]), np.asarray(density)
    shades = LinearSegmentedColormap.from_list("posterior", [palette.ground, color])
    ax.pcolormesh(x, y, density.T, cmap=shades, shading="gouraud", rasterized=True)
    styles = ["-", "--", ":", "-."]
    ordered = sorted(levels)
    drawn = ax.contour(
        x,
        y,
        density.T,
        levels=_contours(x, y, density, ordered)[::-1],
        colors=palette.ink,
        linewidths=1,
        linestyles=[styles[i % 4] for i in range(len(ordered))][::-1],
    )
    handles = drawn.legend_elements()[0][::-1]
    labels = [f"{level:.0%}" for level in ordered]
    if truth is not None:
        handles += ax.plot(
            float(truth[names[0]]),
            float(truth[names[1]]),
            "*",
            color=palette.vermilion,
            markeredgecolor=palette.ground,
            markersize=14,
        )
        labels += ["truth"]
    for set_limits, name in zip((ax.set_xlim, ax.set_ylim), names, strict=True):
        set_limits(*_window(posterior, name, truth[name] if truth else None))
    ax.set_xlabel(symbol(names[0]))
    ax.set_ylabel(symbol(names[1]))
    # The best place among so many contours takes long to find, and a warning says so.
    ax.legend(
        handles,
        labels,
        loc="upper right",
        frameon=True,
        framealpha=0.9,
        edgecolor="none",
    )
    return ax


def plot_recovery(
    table: RecoveryTable,
    *,
    label: str | None = None,
    color: str | None = None,
    axes: tuple[Axes, Axes] | None = None,
) -> tuple[Axes, Axes]:
    """Error of the posterior mean and width of the intervals, over the true value.

    Bars are standard errors over the images of each true value. Call again with the
    axes and another colour to compare estimators.

    Args:
        table: what `recovery_table` gave.
        label: name of the estimator in the legend.
        color: its colour; by default blue.
        axes: two axes to draw on; by default a new row of two.

    Returns:
        The two axes: errors, widths.
    """
    if axes is None:
        made = row_of_axes(2, (8, 3.2))
        axes = (made[0], made[1])
    left, right = axes
    color = palette_of(left).blue if color is None else color
    bars = {"capsize": 2, "markersize": 5, "linewidth": 1.4, "color": color}
    left.errorbar(
        table.true,
        table.error.value,
        _bars(table.error.standard_error),
        fmt="o-",
        label=label,
        **bars,
    )
    styles = ["o-", "s--", "^:", "d-."]
    for style, (level, width) in zip(styles, sorted(table.width.items()), strict=False):
        prefix = f"{label}, " if label else ""
        right.errorbar(
            table.true,
            width.value,
            _bars(width.standard_error),
            fmt=style,
            label=f"{prefix}{level:.0%}",
            **bars,
        )
    for ax, text in (
        (left, "mean absolute error"),
        (right, "width of credible interval"),
    ):
        ax.set_xlabel(f"true {symbol(table.name)}")
        ax.set_ylabel(text)
        # A second call may bring larger values than those the limits were set for.
        ax.autoscale(axis="y")
        ax.set_ylim(bottom=0)
        ax.grid(alpha=0.25, linewidth=0.6)
    if label:
        left.legend(frameon=False)
    right.legend(frameon=False)
    return left, right


def symbol(name: str) -> str:
    """How a parameter is written on an axis."""
    return _SYMBOLS.get(name, name)


def _only(names: tuple[str, ...]) -> str:
    if len(names) != 1:
        raise ValueError(f"`name` is needed; give one of {list(names)}.")
    return names[0]


def _window(posterior: GridPosterior, name: str, truth: Any) -> tuple[float, float]:
    """The range that holds the posterior and the truth, and a margin."""
    low, high = (float(end) for end in posterior.interval(0.999)[name])
    if truth is not None:
        low, high = min(low, float(truth)), max(high, float(truth))
    nodes = posterior.axes[name]
    margin = 0.15 * (high - low)
    return max(low - margin, float(nodes[0])), min(high + margin, float(nodes[-1]))


def _contours(x: Any, y: Any, density: Any, levels: list[float]) -> list[float]:
    """Densities above which each level of probability lies."""
    cell = np.outer(np.gradient(x), np.gradient(y)) * density
    order = np.argsort(density, axis=None)[::-1]
    mass = np.cumsum(cell.ravel()[order])
    picked = np.searchsorted(mass / mass[-1], levels)
    return [float(density.ravel()[order][index]) for index in picked]


def _bars(errors: Any) -> Any:
    return np.nan_to_num(np.asarray(errors))
