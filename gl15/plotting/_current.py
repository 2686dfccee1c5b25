"""Supercurrents in space."""

from typing import Literal

import numpy as np
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from gl15.plotting._axes import axes_or_new, field, kept_view
from gl15.plotting._fields import plot_density, SIZE
from gl15.plotting._palette import palette_over


def plot_current(
    current: tuple[
        Float[Array | np.ndarray, "nx ny"], Float[Array | np.ndarray, "nx ny"]
    ],
    *,
    density: Float[Array | np.ndarray, "nx ny"] | None = None,
    spacing: float = 0.5,
    kind: Literal["streamlines", "arrows"] = "streamlines",
    color: str | None = None,
    detail: float | int = 1.0,
    ax: Axes | None = None,
) -> Axes:
    """A supercurrent as streamlines or arrows, over a density or whatever is drawn.

    The current of a link lies between two sites; at a site, the mean of the two links
    is drawn. Streamlines are the wider, arrows the longer, the larger the current is.

    Args:
        current: what `tdgl.current(psi)` gives.
        density: a density to draw below.
        spacing: pixel spacing.
        kind: `"streamlines"`, which show where the current goes, or `"arrows"`, which
            show how much there is and where.
        color: of the lines; by default that of the text; over a picture, black with
            a white rim.
        detail: how densely to draw.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes; without any current, with no lines.

    Raises:
        ValueError: if the two components are not of one shape or not finite, or if
            `kind` is unknown.
    """
    at_sites = _at_sites(current)
    if kind not in ("streamlines", "arrows"):
        raise ValueError(f'`kind` must be "streamlines" or "arrows", got {kind!r}.')
    if not detail > 0:
        raise ValueError(f"`detail` must be positive, got {detail}.")
    ax = axes_or_new(ax, SIZE)
    if density is not None:
        if np.shape(density) != at_sites[0].shape:
            raise ValueError(
                f"`density` has shape {np.shape(density)}, `current` "
                f"{at_sites[0].shape}; give both of one state."
            )
        plot_density(density, spacing=spacing, ax=ax)
    over_picture = bool(ax.images)
    rim = []
    if color is None:
        palette = palette_over(ax)
        color = palette.ink
        if over_picture:
            width = 2.1 if kind == "streamlines" else 1.0
            rim = [withStroke(linewidth=width, foreground=palette.ground)]
    nx, ny = at_sites[0].shape
    x, y = np.arange(nx) * spacing, np.arange(ny) * spacing
    if not over_picture:
        ax.set_xlim(x[0] - spacing / 2, x[-1] + spacing / 2)
        ax.set_ylim(y[0] - spacing / 2, y[-1] + spacing / 2)
        ax.set_aspect("equal")
        ax.set_xlabel("x")
        ax.set_ylabel("y")
    top = float(np.max(np.hypot(*at_sites)))
    if top == 0:
        return ax
    with kept_view(ax):
        draw = _streamlines if kind == "streamlines" else _arrows
        draw(ax, x, y, [part / top for part in at_sites], color, rim, detail)
    return ax


def _at_sites(current) -> list[Float[np.ndarray, "nx ny"]]:
    hint = "give what `tdgl.current(psi)` gives"
    if len(current) != 2:
        raise ValueError(
            f"`current` must be two components, got {len(current)}; {hint}."
        )
    parts = [field("current", part, hint=hint) for part in current]
    if parts[0].shape != parts[1].shape:
        raise ValueError(
            f"`current` has components of shapes {parts[0].shape} and "
            f"{parts[1].shape}; {hint}."
        )
    bad = sum(int(np.sum(~np.isfinite(part))) for part in parts)
    if bad:
        raise ValueError(
            f"`current` holds {bad} values that are not finite, and lines cannot be "
            "followed through them; did the simulation diverge?"
        )
    # Where there is no link there is no current: right at an edge as well.
    return [(part + np.roll(part, 1, axis)) / 2 for axis, part in enumerate(parts)]


def _streamlines(ax: Axes, x, y, parts, color: str, rim: list, detail: float) -> None:
    size = np.hypot(*parts).T
    drawn = ax.streamplot(
        x,
        y,
        parts[0].T,
        parts[1].T,
        density=1.1 * detail,
        color=color,
        # The root: weak currents are seen as well.
        linewidth=0.25 + 1.15 * np.sqrt(size),
        arrowsize=0.6,
        arrowstyle="-|>",
    )
    drawn.lines.set_path_effects(rim)


def _arrows(ax: Axes, x, y, parts, color: str, rim: list, detail: float) -> None:
    # About so many along the longer side.
    step = max(1, round(max(len(x), len(y)) / (28 * detail)))
    first = (step - 1) // 2
    u, v = (part[first::step, first::step].T for part in parts)
    ax.quiver(
        x[first::step],
        y[first::step],
        u,
        v,
        color=color,
        angles="xy",
        scale_units="xy",
        # The longest reaches a little beyond the next one.
        scale=1 / (1.6 * step * (x[1] - x[0])),
        width=0.0042,
        headwidth=3.6,
        headlength=4,
        headaxislength=3.6,
        minlength=0.3,
        pivot="mid",
        path_effects=rim,
    )
