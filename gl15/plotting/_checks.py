"""Checks part by part and image by image: bins, TARP, local tests, p-values."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray
from matplotlib.axes import Axes

from gl15.diagnostics import BinnedCoverage, LocalC2ST, Tarp
from gl15.plotting._axes import axes_or_new, legend_below
from gl15.plotting._calibration import plot_coverage
from gl15.plotting._palette import palette_of
from gl15.plotting._posterior import symbol


def plot_binned_coverage(table: BinnedCoverage, *, ax: Axes | None = None) -> Axes:
    """Coverage in each part of the range, over the ranges that chance allows.

    Filled points lie in their range, open ones do not.

    Args:
        table: what `binned_coverage` gave.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.
    """
    ax = axes_or_new(ax)
    palette = palette_of(ax)
    left, right = table.edges[:-1], table.edges[1:]
    for j, level in enumerate(table.levels):
        color = palette.cycle[j % len(palette.cycle)]
        name = f"{level:.0%} intervals: {table.covered[-1, j]:.1%} over all"
        for row, (low, high) in enumerate(zip(left, right, strict=True)):
            ends = table.low[row, j], table.high[row, j]
            ax.fill_between([low, high], *ends, color=color, alpha=0.2, linewidth=0)
            passed = table.passed[row, j]
            ax.plot(
                (low + high) / 2,
                table.covered[row, j],
                "o",
                markersize=5,
                color=color,
                markerfacecolor=color if passed else "none",
                label=name if row == 0 else None,
            )
        ax.axhline(level, color=color, linewidth=0.8, linestyle="--")
    ax.set_xlim(table.edges[0], table.edges[-1])
    ax.set_xlabel(f"{table.by} {symbol(table.name)}")
    ax.set_ylabel("empirical coverage")
    legend_below(ax, 1, f"{table.count[-1]} images; bands hold {table.confidence:.0%}")
    return ax


def plot_tarp(
    found: Tarp, *, key: PRNGKeyArray, difference: bool = False, ax: Axes | None = None
) -> Axes:
    """Coverage of regions around random points, with the band of exact posteriors.

    Args:
        found: what `tarp` gave.
        key: random key of the simulated null.
        difference: draw the difference to the diagonal.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.
    """
    ax = plot_coverage(
        {"TARP": found.fractions},
        key=key,
        kind="credibility",
        difference=difference,
        ax=ax,
    )
    # The area is what the test is judged by, not two of its levels.
    ax.lines[-1].set_label(
        f"area to curve {found.atc:+.4f} (exact: ± {found.atc_standard_error:.4f})"
    )
    legend_below(ax, 1, f"TARP, {len(found.fractions)} images")
    return ax


def plot_local_c2st(
    found: LocalC2ST, name: str | None = None, *, ax: Axes | None = None
) -> Axes:
    """Local test statistic over the posterior mean, above or below its null.

    Points above the line, the 95% quantile for exact posteriors, are images whose
    posterior the classifier holds for wrong.

    Args:
        found: what `local_c2st` gave.
        name: the parameter on the axis; by default the first.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if `name` is unknown.
    """
    name = next(iter(found.mean)) if name is None else name
    if name not in found.mean:
        raise ValueError(f"`name` must be in {list(found.mean)}, got {name!r}.")
    ax = axes_or_new(ax)
    palette = palette_of(ax)
    order = np.argsort(found.mean[name])
    mean = found.mean[name][order]
    many = len(mean) > 50
    ax.plot(
        mean,
        found.statistic[order],
        "." if many else "o",
        markersize=2 if many else 5,
        color=palette.blue,
        label=f"{found.rejected:.0%} of images rejected at 5%",
    )
    ax.plot(
        mean,
        found.null_quantile[order],
        color=palette.ink,
        linestyle="--",
        linewidth=1,
        label="95% of exact posteriors are below",
    )
    ax.set_ylim(bottom=0)
    ax.set_xlabel(f"posterior mean of {symbol(name)}")
    ax.set_ylabel("local two-sample statistic")
    legend_below(ax, 1, f"{found.count} pairs; over all p = {found.p_overall:.3f}")
    return ax


def plot_misspecification(
    p_values: Mapping[str, Any] | Any, *, bins: int = 20, ax: Axes | None = None
) -> Axes:
    """Histograms of p-values: flat for images like those of training.

    Args:
        p_values: what `p_values` gave, or several of them by name.
        bins: number of bins.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if a value is no probability.
    """
    named = p_values if isinstance(p_values, Mapping) else {"images": p_values}
    ax = axes_or_new(ax)
    palette = palette_of(ax)
    edges = np.linspace(0, 1, bins + 1).tolist()
    for j, (name, one) in enumerate(named.items()):
        p = np.asarray(one, float)
        if p.ndim != 1 or not p.size or not np.all((p >= 0) & (p <= 1)):
            raise ValueError(
                f"`p_values` of {name!r} must be probabilities [n], got shape "
                f"{p.shape}; give what `p_values` returns."
            )
        share = np.mean(p < 0.01)
        ax.hist(
            p,
            bins=edges,
            density=True,
            histtype="step",
            linewidth=1.5,
            color=palette.cycle[j % len(palette.cycle)],
            label=f"{name}: {share:.1%} below 0.01",
        )
    ax.axhline(1, color=palette.ink, linestyle="--", linewidth=1)
    ax.set_xlim(0, 1)
    ax.set_xlabel("p-value")
    ax.set_ylabel("density")
    legend_below(ax, 1, "like training: flat")
    return ax
