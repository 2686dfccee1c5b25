"""What estimators learn from images, in nats."""

from collections.abc import Mapping

from matplotlib.axes import Axes

from gl15.diagnostics import Information
from gl15.plotting._axes import axes_or_new, legend_below
from gl15.plotting._palette import palette_of


def plot_information(
    found: Mapping[str, Information] | Information, *, ax: Axes | None = None
) -> Axes:
    r"""Bounds on the information in images, estimator by estimator.

    Of each the gain over the prior, the mean log-ratio and the contrastive bound, with
    standard errors, and the ceiling $\log(K + 1)$ of the last. A log-ratio beside the
    gain is normalised; a contrastive bound at its ceiling wants more contrasts.

    Args:
        found: what `information` gave, or several of them by name.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if there is nothing to draw.
    """
    named = found if isinstance(found, Mapping) else {"estimator": found}
    if not named:
        raise ValueError("`found` is empty; give what `information` returned.")
    ax = axes_or_new(ax)
    palette = palette_of(ax)
    bounds = {
        "gain": "gain over the prior",
        "log_ratio": "mean log-ratio",
        "contrastive": "contrastive bound",
    }
    for j, (bound, label) in enumerate(bounds.items()):
        ax.errorbar(
            [getattr(one, bound) for one in named.values()],
            [row + 0.2 * (j - 1) for row in range(len(named))],
            xerr=[getattr(one, f"{bound}_error") for one in named.values()],
            fmt="o",
            markersize=4,
            color=palette.cycle[j],
            label=label,
        )
    ax.vlines(
        [one.ceiling for one in named.values()],
        [row - 0.4 for row in range(len(named))],
        [row + 0.4 for row in range(len(named))],
        color=palette.ink,
        linestyle="--",
        linewidth=1,
        label="ceiling of the contrastive bound",
    )
    ax.set_yticks(range(len(named)), labels=list(named))
    ax.set_ylim(len(named) - 0.5, -0.5)
    ax.set_xlabel("nats")
    legend_below(
        ax, 2, " and ".join(sorted({f"{o.count} pairs" for o in named.values()}))
    )
    return ax
