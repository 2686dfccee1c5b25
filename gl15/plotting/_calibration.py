"""Calibration: ranks and coverage, each against the band of exact calibration."""

from typing import Any, Literal

import numpy as np
from jaxtyping import PRNGKeyArray
from matplotlib.axes import Axes

from gl15.diagnostics import check_ranks, coverage, ecdf_band, named_ranks, Ranks
from gl15.plotting._axes import axes_or_new, legend_below
from gl15.plotting._palette import palette_of
from gl15.plotting._posterior import symbol


def plot_sbc(
    ranks: Ranks,
    *,
    key: PRNGKeyArray,
    difference: bool = True,
    level: float = 0.95,
    ax: Axes | None = None,
) -> Axes:
    """Distribution function of ranks, against that of uniform ones.

    The band holds the whole curve of an exactly calibrated posterior with probability
    `level`. The legend gives the mean absolute deviation and, for comparison, its 95%
    quantile under exact calibration. A difference above zero
    throughout means posteriors that sit too high, below zero too low; first above and
    then below zero means too narrow, the reverse too wide.

    Args:
        ranks: what `sbc_ranks` gave: a dictionary by name, or one array.
        key: random key of the simulated null.
        difference: draw the difference to the uniform distribution function, which
            shows what the function itself hides at this scale.
        level: probability of the band.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if ranks lie outside 0 to 1.
    """
    named = named_ranks(ranks)
    check = check_ranks(named, key=key)
    labels = {
        name: f"{symbol(name)}: mean deviation {check.deviation[name]:.4f}"
        for name in named
    }
    ax = _draw(named, labels, check.count, key, difference, level, ax)
    ax.set_xlabel("rank of the truth")
    ax.set_ylabel("distribution function" + (" − uniform" if difference else ""))
    _legend(
        ax,
        f"{check.count} images; if exact, mean\n"
        f"deviation < {check.null_quantile:.4f} (95%)",
    )
    return ax


def plot_coverage(
    ranks: Ranks,
    *,
    key: PRNGKeyArray,
    kind: Literal["central", "credibility"] = "central",
    difference: bool = False,
    level: float = 0.95,
    ax: Axes | None = None,
) -> Axes:
    """Empirical coverage of credible regions of every level, against the diagonal.

    Above the diagonal posteriors are too wide, below it too narrow. The band holds the
    whole curve of an exactly calibrated posterior with probability `level`.

    Args:
        ranks: ranks as for `coverage`.
        key: random key of the simulated null.
        kind: as for `coverage`: `"central"` for `sbc_ranks`, `"credibility"` for
            `hpd_ranks` and `tarp(...).fractions`.
        difference: draw the difference to the diagonal.
        level: probability of the band.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if ranks lie outside 0 to 1, or `kind` is unknown.
    """
    named = named_ranks(ranks)
    found = coverage(named, (0.68, 0.95), kind=kind)
    labels = {
        name: f"{symbol(name)}: 68% holds {found.empirical[name][0]:.1%}, "
        f"95% holds {found.empirical[name][1]:.1%}"
        for name in named
    }
    if kind == "central":
        # The smallest central interval that holds the truth: uniform too.
        named = {name: 2 * np.abs(value - 0.5) for name, value in named.items()}
    ax = _draw(named, labels, found.count, key, difference, level, ax)
    ax.set_xlabel("credibility level")
    ax.set_ylabel("empirical coverage" + (" − level" if difference else ""))
    # At the width of a column it would lie on the curves.
    legend_below(ax, 1, f"{found.count} images")
    return ax


def _draw(
    named: dict[str, Any],
    labels: dict[str, str],
    count: int,
    key: PRNGKeyArray,
    difference: bool,
    level: float,
    ax: Axes | None,
) -> Axes:
    ax = axes_or_new(ax, (4.6, 3.8) if difference else (4.6, 5.0))
    palette = palette_of(ax)
    u, low, high = ecdf_band(count, key=key, level=level)
    # The band shrinks to nothing at the ends, where the function is 0 and 1.
    u, low, high = (np.concatenate([[0], values, [1]]) for values in (u, low, high))
    base = u if difference else np.zeros_like(u)
    ax.fill_between(
        u,
        low - base,
        high - base,
        color=palette.grey,
        alpha=0.25,
        linewidth=0,
        label=f"exact calibration, {level:.0%}",
    )
    ax.plot(u, u - base, color=palette.ink, linestyle="--", linewidth=1)
    styles = ["-", "-.", ":", (0, (5, 1))]
    for j, (name, rank) in enumerate(named.items()):
        x = np.concatenate([[0], np.sort(rank), [1]])
        y = np.concatenate([np.arange(len(rank) + 1) / len(rank), [1]])
        if difference:
            # Between its steps the difference falls: draw both ends of each.
            x, y = np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]
        ax.plot(
            x,
            y - x if difference else y,
            color=palette.cycle[j % len(palette.cycle)],
            linestyle=styles[j % len(styles)],
            linewidth=1.5,
            drawstyle="default" if difference else "steps-post",
            label=labels[name],
        )
    ax.set_xlim(0, 1)
    if difference:
        limit = 1.6 * max(np.abs(line.get_ydata()).max() for line in ax.lines)
        ax.set_ylim(-max(limit, 2 * (high - u).max()), max(limit, 2 * (high - u).max()))
    else:
        ax.set_ylim(0, 1)
        ax.set_aspect("equal")
    return ax


def _legend(ax: Axes, title: str) -> None:
    legend = ax.legend(frameon=False, fontsize="small", title=title)
    legend.get_title().set_fontsize("small")
    legend.get_title().set_multialignment("center")
