"""Vortices over whatever is drawn, each band alone or both together."""

import numpy as np
from jaxtyping import Array, Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patheffects import withStroke

from gl15.observables import BandMatching, Vortices
from gl15.plotting._axes import axes_or_new, field, kept_view, legend_below
from gl15.plotting._fields import SIZE
from gl15.plotting._palette import Palette, palette_over
from gl15.plotting._torus import copies, frame_points, into_view


#: Of a new figure with a legend below, in inches.
TALL = (4.4, 4.3)


def signs(palette: Palette) -> tuple[tuple[int, str, str, str], ...]:
    """Charge, marker, colour and name of a vortex and of an antivortex.

    Args:
        palette: the colours of marks.

    Returns:
        Them, the vortex first.
    """
    return (
        (1, "o", palette.vermilion, "vortex"),
        (-1, "s", palette.blue, "antivortex"),
    )


def plot_windings(
    winding: Int[Array | np.ndarray, "px py"],
    *,
    spacing: float = 0.5,
    ax: Axes | None = None,
) -> Axes:
    """Vortices marked at the centres of their plaquettes, over whatever is drawn.

    Args:
        winding: windings of one band, from `gl15.observables.windings`.
        spacing: pixel spacing.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes; where nothing winds, with nothing on them.

    Raises:
        ValueError: if `winding` is not of one band.
    """
    values = field("winding", winding, hint="draw one band at a time, `winding[0]`")
    cells = np.argwhere(values)
    ax = axes_or_new(ax, SIZE)
    if not ax.images:
        ax.set_xlim(0, values.shape[0] * spacing)
        ax.set_ylim(0, values.shape[1] * spacing)
        ax.set_aspect("equal")
    mark(ax, (cells + 0.5) * spacing, values[tuple(cells.T)])
    return ax


def plot_vortices(vortices: Vortices, band: int, *, ax: Axes | None = None) -> Axes:
    """Vortices marked where the order parameter vanishes, over whatever is drawn.

    Args:
        vortices: from `gl15.observables.vortices`.
        band: 0 or 1.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes; without vortices, with nothing on them.

    Raises:
        ValueError: if there is an axis of frames, or no such band.
    """
    check_one_frame(vortices)
    check_band(band)
    mask = np.asarray(vortices.mask[band])
    ax = axes_or_new(ax, SIZE)
    frame_points(ax, vortices.box)
    positions = into_view(ax, vortices.box, np.asarray(vortices.positions[band])[mask])
    mark(ax, positions, np.asarray(vortices.charges[band])[mask])
    return ax


def plot_matching(
    vortices: Vortices,
    matching: BandMatching,
    *,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """The vortices of both bands: the cores of composite ones joined by a line.

    Fractional vortices, which wind in one band alone, are filled. Antivortices are
    square.

    Args:
        vortices: from `gl15.observables.vortices`.
        matching: from `gl15.observables.match_bands`.
        legend: whether to explain the marks below the axes.
        ax: axes to draw on, over whatever is drawn; by default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if there is an axis of frames, or if the matching is of others.
    """
    check_one_frame(vortices)
    if matching.composite.shape != vortices.mask.shape:
        raise ValueError(
            f"`matching` is of {matching.composite.shape} slots, `vortices` have "
            f"{vortices.mask.shape}; match these vortices: `match_bands(vortices)`."
        )
    ax = axes_or_new(ax, TALL)
    frame_points(ax, vortices.box)
    palette = palette_over(ax)
    start = np.asarray(vortices.positions[0])
    ways = np.asarray(matching.displacement)
    lines = []
    for slot in np.flatnonzero(np.asarray(matching.composite[0])):
        line = np.stack([start[slot], start[slot] + ways[slot]])
        lines += copies(ax, vortices.box, line)
    rim = [withStroke(linewidth=3.4, foreground=palette.ground)]
    look = {"linewidth": 1.4, "color": palette.ink, "path_effects": rim}
    with kept_view(ax):
        if lines:
            # Copies beyond the seam must not widen the frame.
            join = LineCollection(lines, zorder=2.4, **look)
            ax.add_collection(join, autolim=False)
            # Of a collection, a legend would leave the rim out.
            ax.plot([], [], label="composite", **look)
        for band, colour in enumerate((palette.blue, palette.vermilion)):
            mask = np.asarray(vortices.mask[band])
            alone = np.asarray(matching.fractional[band])
            charges = np.asarray(vortices.charges[band])
            places = np.asarray(vortices.positions[band])
            for chosen, face in ((mask & ~alone, palette.ground), (alone, colour)):
                for sign, marker in ((1, "o"), (-1, "s")):
                    some = chosen & (np.sign(charges) == sign)
                    if not np.any(some):
                        continue
                    ax.scatter(
                        *into_view(ax, vortices.box, places[some]).T,
                        s=22,
                        marker=marker,
                        facecolors=face,
                        edgecolors=palette.ground if chosen is alone else colour,
                        linewidths=0.8 if chosen is alone else 1.3,
                        zorder=2.6,
                        label=_name(band, sign, chosen is alone),
                    )
    if legend:
        legend_below(ax)
    return ax


def mark(
    ax: Axes, positions: Float[np.ndarray, "n 2"], charges: Int[np.ndarray, " n"]
) -> None:
    """Rings around vortices and squares around antivortices.

    Args:
        ax: the axes.
        positions: where they are.
        charges: their windings.
    """
    ring = {"s": 30, "facecolors": "none"}
    palette = palette_over(ax)
    with kept_view(ax):
        for sign, marker, colour, label in signs(palette):
            some = positions[np.sign(charges) == sign]
            if not len(some):
                continue
            ring["marker"] = marker
            # A rim, so that the mark is seen on any background.
            ax.scatter(*some.T, **ring, edgecolors=palette.ground, linewidths=2.6)
            ax.scatter(*some.T, **ring, edgecolors=colour, linewidths=1.3, label=label)


def check_one_frame(vortices: Vortices) -> None:
    """Refuse a film where one frame is drawn.

    Args:
        vortices: the vortices.

    Raises:
        ValueError: if there is an axis of frames.
    """
    if vortices.mask.ndim != 2:
        raise ValueError(
            f"`vortices` have {vortices.mask.ndim - 2} axes of frames; draw one frame, "
            "`jax.tree.map(lambda leaf: leaf[0], vortices)`, or all of them with "
            "`plot_tracks`."
        )


def check_band(band: int) -> None:
    """Refuse a band that there is not.

    Args:
        band: its number.

    Raises:
        ValueError: if it is not 0 or 1.
    """
    if band not in (0, 1):
        raise ValueError(f"`band` must be 0 or 1, got {band}.")


def _name(band: int, sign: int, alone: bool) -> str:
    what = "fractional" if alone else "core"
    return f"{what}, band {band + 1}" + ("" if sign > 0 else " (anti)")
