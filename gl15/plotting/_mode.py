"""One mode in space: where it moves the state, and which way the vortices."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from gl15.observables import Vortices
from gl15.plotting._axes import axes_or_new, kept_view, legend_below
from gl15.plotting._colormaps import weight
from gl15.plotting._fields import finish, largest, show, SIZE
from gl15.plotting._palette import palette_of
from gl15.plotting._torus import into_view
from gl15.plotting._vortices import check_one_frame, TALL
from gl15.spectra import ModeCharacter, Modes


def plot_mode(
    modes: Modes,
    index: int,
    *,
    vortices: Vortices | None = None,
    character: ModeCharacter | None = None,
    spacing: float = 0.5,
    longest: float | None = None,
    colorbar: bool = True,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    r"""A mode: its squared norm per site, and how it displaces the vortices.

    The squared norm $|\delta\psi_1|^2 + |\delta\psi_2|^2$ is 1 on average. With the
    vortices and the character of the modes, arrows show which way each band's vortices
    go. A mode has no size of its own: the longest arrow is drawn `longest` times the
    root of the share of the mode that is vortex motion, so that a mode of another kind
    has short ones or none.

    Args:
        modes: from `gl15.spectra.lowest_modes`, of the Hessian of a state.
        index: which of them, from 0.
        vortices: those of the state, from `gl15.observables.vortices`.
        character: from `gl15.spectra.classify_modes`, with the positions of these
            vortices.
        spacing: pixel spacing.
        longest: length of an arrow of a mode that is vortex motion alone; by default a
            ninth of the side.
        colorbar: whether to draw a colour bar.
        legend: whether to explain the arrows below the axes.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes, entitled with the eigenvalue, and the name and the share of vortex
        motion if the character is given.

    Raises:
        ValueError: if there is no such mode, if the modes are not those of a Hessian,
            or if the character is of other modes or vortices.
    """
    vectors = modes.eigenvectors
    if not hasattr(vectors, "ndim") or vectors.ndim != 5:
        raise ValueError(
            "`modes` must be those of `gl15.hessian(tdgl, psi)`, with eigenvectors of "
            f"shape (k, 2, 2, nx, ny), got {getattr(vectors, 'shape', type(vectors))}."
        )
    if not 0 <= index < vectors.shape[0]:
        raise ValueError(
            f"`index`={index}, but there are {vectors.shape[0]} modes, numbered from 0."
        )
    _check(modes, vortices, character)
    vector = np.asarray(vectors[index])
    norms = np.sum(vector**2, axis=(0, 1))
    ax = axes_or_new(ax, SIZE if character is None else TALL)
    options = {"cmap": weight(palette_of(ax)), "vmin": 0, "vmax": None}
    values = norms / (np.mean(norms) or 1.0)
    options["vmax"] = largest(values)
    picture = show(ax, values, spacing, **options)
    finish(ax, picture, r"$|\delta\psi|^2$ / mean" if colorbar else None)
    title = rf"$\lambda = {_number(float(modes.eigenvalues[index]))}$"
    if character is not None:
        share = float(character.vortex[index])
        if character.names[index] != "vortex":
            title += f", {character.names[index]}"
        title += f", {share:.0%} vortex motion"
        if vortices is not None:
            reach = max(vortices.box.lengths) / 9 if longest is None else longest
            moves = np.asarray(character.displacements[index])
            if share > 0.002:
                with kept_view(ax):
                    _arrows(ax, vortices, moves, reach * np.sqrt(share))
            if legend:
                legend_below(ax)
    ax.set_title(title)
    return ax


def _arrows(ax: Axes, vortices: Vortices, moves: np.ndarray, reach: float) -> None:
    palette = palette_of(ax)
    longest = np.max(np.nan_to_num(np.hypot(moves[..., 0], moves[..., 1])))
    # Not to be seen against the sharpest contrast alone: a rim of the ground's colour.
    rim = [withStroke(linewidth=1.6, foreground=palette.ground)]
    for band, color in enumerate((palette.blue, palette.vermilion)):
        mask = np.asarray(vortices.mask[band])
        if not np.any(mask) or longest == 0:
            continue
        places = into_view(ax, vortices.box, np.asarray(vortices.positions[band])[mask])
        ax.quiver(
            *places.T,
            *(moves[band][mask] / longest * reach).T,
            color=color,
            angles="xy",
            scale_units="xy",
            scale=1,
            # Cores lie upon each other: both arrows are to be seen.
            width=(0.019, 0.007)[band],
            headwidth=(2.0, 3.4)[band],
            headlength=(1.8, 3.6)[band],
            headaxislength=(1.8, 3.3)[band],
            minlength=0.6,
            path_effects=rim if band == 0 else [],
            zorder=2 + band / 10,
        )
        # The key of an arrow is a patch without a head: a line says the same.
        ax.plot([], [], color=color, linewidth=2, label=f"vortices of band {band + 1}")


def _check(
    modes: Modes, vortices: Vortices | None, character: ModeCharacter | None
) -> None:
    if vortices is not None:
        check_one_frame(vortices)
    if character is None:
        return
    if len(character.names) != modes.eigenvalues.shape[0]:
        raise ValueError(
            f"`character` is of {len(character.names)} modes, but `modes` are "
            f"{modes.eigenvalues.shape[0]}; classify these."
        )
    slots = character.displacements.shape[1:3]
    if vortices is not None and slots != vortices.mask.shape:
        raise ValueError(
            f"`character` is of {slots} vortex slots, but `vortices` have "
            f"{vortices.mask.shape}; give `classify_modes` the positions of these: "
            "`classify_modes(H, modes, vortices.positions)`."
        )


def _number(value: float) -> str:
    # Zero modes are zero to round-off: its digits say nothing.
    if abs(value) < 1e-6:
        return "0"
    return (
        f"{value:.4g}" if abs(value) >= 1e-3 else f"{value * 1e4:.3g}\\times10^{{-4}}"
    )
