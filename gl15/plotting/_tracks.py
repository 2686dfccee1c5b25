"""Paths of vortices through time, and where they come and go."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patheffects import withStroke

from gl15.observables import Tracks
from gl15.plotting._axes import axes_or_new, kept_view, legend_below
from gl15.plotting._palette import palette_over
from gl15.plotting._torus import copies, frame_points, into_view
from gl15.plotting._vortices import check_band, signs, TALL


def plot_tracks(
    tracks: Tracks,
    band: int,
    *,
    events: bool = True,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """The ways of one band's vortices, over whatever is drawn.

    A dot ends the way of those that are there in the last frame. A pair that is
    created or annihilates is marked midway between the two.

    Args:
        tracks: from `gl15.observables.track`.
        band: 0 or 1.
        events: whether to mark where vortices come and go.
        legend: whether to explain the marks below the axes.
        ax: axes to draw on, of a density at the last time for one; by default new ones.

    Returns:
        The axes; without vortices, with nothing on them.

    Raises:
        ValueError: if there is no such band.
    """
    check_band(band)
    ax = axes_or_new(ax, TALL)
    vortices = tracks.vortices
    frame_points(ax, vortices.box)
    identity = np.asarray(tracks.identity)[:, band]
    charges = np.asarray(vortices.charges)[:, band]
    last = np.asarray(vortices.positions)[-1, band]
    palette = palette_over(ax)
    rim = [withStroke(linewidth=2.2, foreground=palette.ground)]
    with kept_view(ax):
        for sign, marker, colour, label in signs(palette):
            numbers = np.unique(identity[(np.sign(charges) == sign) & (identity >= 0)])
            lines = [
                piece
                for number in numbers
                for piece in copies(
                    ax, vortices.box, tracks.trajectory(band, int(number))[1]
                )
            ]
            if not lines:
                continue
            look = {"linewidth": 1.1, "color": colour, "path_effects": rim}
            # Copies beyond the seam must not widen the frame.
            ax.add_collection(LineCollection(lines, **look), autolim=False)
            # Of a collection, a legend would leave the rim out.
            ax.plot([], [], label=label, **look)
            here = into_view(ax, vortices.box, last[np.sign(charges[-1]) == sign])
            ax.scatter(
                *here.T,
                s=22,
                marker=marker,
                color=colour,
                edgecolors=palette.ground,
                linewidths=0.8,
                zorder=2.5,
            )
        if events:
            _events(ax, tracks, band)
    if legend:
        legend_below(ax, 3)
    return ax


def _events(ax: Axes, tracks: Tracks, band: int) -> None:
    born, lost, born_with, lost_with = (
        np.asarray(a)[:, band]
        for a in (tracks.born, tracks.lost, tracks.born_with, tracks.lost_with)
    )
    places = (
        _midways(tracks, band, born_with),
        _midways(tracks, band, lost_with),
        _singles(tracks, band, born & (born_with < 0)),
        _singles(tracks, band, lost & (lost_with < 0)),
    )
    palette = palette_over(ax)
    kinds = (
        ("P", palette.green, "pair created"),
        ("X", palette.ink, "pair annihilated"),
        ("^", palette.green, "entered"),
        ("v", palette.ink, "left"),
    )
    for (marker, colour, label), where in zip(kinds, places, strict=True):
        if len(where):
            ax.scatter(
                *into_view(ax, tracks.vortices.box, where).T,
                s=34,
                marker=marker,
                color=colour,
                edgecolors=palette.ground,
                linewidths=0.8,
                zorder=2.6,
                label=label,
            )


def _midways(
    tracks: Tracks, band: int, partner: Int[np.ndarray, "frames slots"]
) -> Float[np.ndarray, "n 2"]:
    """Midway between the partners of each pair, once."""
    positions = np.asarray(tracks.vortices.positions)[:, band]
    frames, slots = np.nonzero(partner > np.arange(partner.shape[1]))
    start, end = positions[frames, slots], positions[frames, partner[frames, slots]]
    box = tracks.vortices.box
    return (
        start + np.asarray(box.displacements(jnp.asarray(start), jnp.asarray(end))) / 2
    )


def _singles(
    tracks: Tracks, band: int, chosen: Bool[np.ndarray, "frames slots"]
) -> Float[np.ndarray, "n 2"]:
    return np.asarray(tracks.vortices.positions)[:, band][chosen]
