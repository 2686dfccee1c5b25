"""Films of fields and of quenches."""

from collections.abc import Iterable, Sequence
from typing import Literal

import diffrax
import jax
import numpy as np
from jaxtyping import Array, Float, Int
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes

from gl15.observables import current_curl, windings
from gl15.physics import TDGL
from gl15.plotting._axes import axes_or_new, row_of_axes
from gl15.plotting._fields import largest, SIZE
from gl15.plotting._film import Frames, Kind, Panel


Times = Sequence[float] | Float[Array | np.ndarray, " frames"]


def animate_fields(
    fields: Frames,
    times: Times | None = None,
    *,
    kind: Kind = "density",
    windings: Int[Array | np.ndarray, "frames px py"] | None = None,
    spacing: float = 0.5,
    vmax: float | None = None,
    fps: float | int = 12,
    colorbar: bool = True,
    ax: Axes | None = None,
) -> FuncAnimation:
    """A film of one field, on one scale of colours throughout.

    Args:
        fields: one picture per frame: densities, curls, or the complex order
            parameters of one band.
        times: time of each frame, written above; by default nothing is.
        kind: `"density"`, `"curl"` or `"phase"`: as `plot_density`, `plot_curl` or
            `plot_phase` draw it.
        windings: windings of each frame, to be marked where they are not too many.
        spacing: pixel spacing.
        vmax: end of the scale of colours; by default the largest value of all frames.
        fps: frames per second.
        colorbar: whether to draw a colour bar.
        ax: axes to draw on; by default new ones.

    Returns:
        The animation: keep it, and `save_animation` it.

    Raises:
        ValueError: if shapes do not fit, or if `kind` is unknown.
    """
    own = ax is None
    ax = axes_or_new(ax, SIZE)
    options = {"spacing": spacing, "vmax": vmax, "colorbar": colorbar}
    panel = Panel(ax, fields, kind, winding=windings, **options)
    return _film([panel], [ax], len(panel.values), times, fps, own)


def animate_quench(
    tdgl: TDGL,
    solution: diffrax.Solution,
    *,
    show: Literal["density", "phase"] = "density",
    curl: bool = True,
    vortices: bool = True,
    every: int = 1,
    fps: float | int = 12,
    axes: Iterable[Axes] | None = None,
) -> FuncAnimation:
    """A film of a quench: both bands, and the curl of the current.

    Args:
        tdgl: the sample.
        solution: from `gl15.evolve(..., ts=...)` with several times.
        show: what is drawn of the bands: `"density"`, or `"phase"` for the phase by
            hue and the modulus by brightness, relative to the largest of the frame.
        curl: whether to draw the curl of the current as a third panel. Its colours end
            at the largest size of the last frame: the noise at the start would outshine
            all that follows.
        vortices: whether to mark vortices and antivortices of each band, in frames
            where fewer than 3% of the plaquettes hold one: in the noise at the start
            they would hide the picture.
        every: draw every so many of the times alone, the first and then on.
        fps: frames per second.
        axes: two axes to draw on, three with the curl; by default new ones.

    Returns:
        The animation: keep it, and `save_animation` it.

    Raises:
        ValueError: if the solution has one time alone or is of another sample, if
            there are not as many axes as panels, or if `show` is unknown.
    """
    if show not in ("density", "phase"):
        raise ValueError(f'`show` must be "density" or "phase", got {show!r}.')
    psi = solution.ys
    if psi is None or psi.ndim != 4 or len(psi) < 2:
        raise ValueError(
            "`solution` must hold the states of several times, `ys` of shape (frames, "
            f"2, nx, ny), got {None if psi is None else psi.shape}; save them with "
            "`gl15.evolve(..., ts=...)`."
        )
    if every < 1:
        raise ValueError(f"`every` must be at least 1, got {every}.")
    tdgl.check_psi(psi[0])
    psi = psi[::every]
    count = 3 if curl else 2
    own = axes is None
    if axes is None:
        size = (3.7 * count, 3.3)
        axes = row_of_axes(count, size, sharex=True, sharey=True)
    axes = list(axes)
    if len(axes) != count:
        raise ValueError(f"`axes` must be {count}, one per panel, got {len(axes)}.")
    winding = np.asarray(jax.lax.map(lambda p: windings(tdgl, p), psi))
    bands = np.asarray(psi)
    fields = np.abs(bands) ** 2 if show == "density" else bands
    spacing = tdgl.lattice.spacing
    panels = []
    for band in (0, 1):
        marked = winding[:, band] if vortices else None
        panel = Panel(
            axes[band], fields[:, band], show, spacing=spacing, winding=marked
        )
        panels.append(panel)
        axes[band].set_title(f"band {band + 1}")
    limits = {"xlim": axes[0].get_xlim(), "ylim": axes[0].get_ylim()}
    if curl:
        curls = np.asarray(jax.lax.map(lambda p: current_curl(tdgl, p), psi))
        top = largest(np.abs(curls[-1]))
        panels.append(Panel(axes[2], curls, "curl", spacing=spacing, vmax=top))
        axes[2].set(**limits)
    for ax in axes[1:]:
        ax.set_ylabel("")
    assert solution.ts is not None
    return _film(panels, axes, len(bands), np.asarray(solution.ts)[::every], fps, own)


def _film(
    panels: list[Panel],
    axes: list[Axes],
    frames: int,
    times: Times | None,
    fps: float | int,
    own: bool,
) -> FuncAnimation:
    if not fps > 0:
        raise ValueError(f"`fps` must be positive, got {fps}.")
    when = None if times is None else np.asarray(times)
    if when is not None and when.shape != (frames,):
        raise ValueError(
            f"`times` must be one for each of {frames} frames, got shape {when.shape}."
        )
    title = axes[0].get_title()

    def update(frame: int):
        for panel in panels:
            panel.show(frame)
        if when is not None:
            clock = f"$t = {when[frame]:.2f}$"
            axes[0].set_title(f"{title}, {clock}" if title else clock)
        return []

    update(0)
    figure = axes[0].get_figure(root=True)
    assert figure is not None
    if own:
        # Nothing moves from here on: arranged once, frames are drawn much faster.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return FuncAnimation(
        figure, update, frames=frames, interval=1000 / fps, cache_frame_data=False
    )
