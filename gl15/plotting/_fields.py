"""Fields in space: densities, images, phases and vortices.

The first axis of a field is x and runs to the right, the second is y and runs up.
Site (j, k) lies at (j, k) times the spacing; plaquettes half a spacing further.
"""

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, Complex, Float, Int
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine

from gl15.observables import Vortices
from gl15.plotting._axes import axes_or_new
from gl15.plotting._palette import BLUE, VERMILION


_SIZE = (4.4, 3.6)  # of a new figure, in inches


def plot_density(
    rho: Float[Array | np.ndarray, "nx ny"],
    *,
    spacing: float = 0.5,
    label: str = r"$|\psi|^2$",
    vmax: float | None = None,
    colorbar: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """A density; dark where there is none, as in the cores of vortices.

    Args:
        rho: the density.
        spacing: pixel spacing.
        label: what the colour bar says.
        vmax: density of the brightest colour; by default the largest there is.
        colorbar: whether to draw a colour bar.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.
    """
    ax = axes_or_new(ax, _SIZE)
    picture = _show(ax, rho, spacing, cmap="magma", vmin=0, vmax=vmax)
    return _finish(ax, picture, label if colorbar else None)


def plot_curl(
    curl: Float[Array | np.ndarray, "nx ny"],
    *,
    spacing: float = 0.5,
    label: str = r"$(\nabla\times J)_z$",
    colorbar: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """A field on plaquettes of both signs, white where it is zero.

    Args:
        curl: the curl of the current, as the third channel of an image has it.
        spacing: pixel spacing.
        label: what the colour bar says.
        colorbar: whether to draw a colour bar.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.
    """
    ax = axes_or_new(ax, _SIZE)
    largest = float(np.max(np.abs(curl))) or 1.0
    limits = {"vmin": -largest, "vmax": largest}
    picture = _show(ax, curl, spacing, shift=0.5, cmap="RdBu_r", **limits)
    return _finish(ax, picture, label if colorbar else None)


def plot_image(
    x: Float[Array | np.ndarray, "nx ny 3"],
    *,
    spacing: float = 0.5,
    axes: Iterable[Axes] | None = None,
) -> list[Axes]:
    """The three channels of an image side by side, the densities on one scale.

    Args:
        x: the image that `gl15.observables.observe` makes.
        spacing: pixel spacing.
        axes: three axes to draw on; by default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if there are not three axes.
    """
    if axes is None:
        layout = ConstrainedLayoutEngine(wspace=0.06)
        options = {"figsize": (11, 3.2), "layout": layout}
        axes = plt.subplots(1, 3, sharex=True, sharey=True, **options)[1]
    axes = list(axes)
    if len(axes) != 3:
        raise ValueError(f"`axes` must be three, one per channel, got {len(axes)}.")
    top = float(np.max(np.asarray(x)[..., :2]))
    titles = (r"$|\psi_1|^2$", r"$|\psi_2|^2$", r"$(\nabla\times J)_z$")
    for band in (0, 1):
        plot_density(
            x[..., band],
            spacing=spacing,
            label="",
            vmax=top,
            ax=axes[band],
        )
    plot_curl(x[..., 2], spacing=spacing, label="", ax=axes[2])
    # Plaquettes lie half a pixel beside the sites: one frame for all three.
    axes[2].set_xlim(axes[0].get_xlim())
    axes[2].set_ylim(axes[0].get_ylim())
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)
    for ax in axes[1:]:
        ax.set_ylabel("")
    return axes


def plot_phase(
    psi: Complex[Array | np.ndarray, "nx ny"],
    *,
    spacing: float = 0.5,
    colorbar: bool = True,
    ax: Axes | None = None,
) -> Axes:
    r"""One band's order parameter: hue is its phase, brightness its modulus.

    The hues have equal lightness, so that none stands out. Around a vortex all of
    them meet in a dark core. The phase depends on the gauge: in the Landau gauge it
    winds along y, the faster the larger x is.

    Args:
        psi: the order parameter of one band.
        spacing: pixel spacing.
        colorbar: whether to draw the scale of hues.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.
    """
    ax = axes_or_new(ax, _SIZE)
    values = np.asarray(psi)
    modulus = np.abs(values)
    brightness = modulus / (modulus.max() or 1.0)
    _show(ax, _hues(np.angle(values)) * brightness[..., None], spacing)
    wheel = ListedColormap(_hues(np.linspace(-np.pi, np.pi, 256)), "phase")
    scale = ScalarMappable(Normalize(-np.pi, np.pi), wheel)
    ticks = {-np.pi: r"$-\pi$", 0.0: "0", np.pi: r"$\pi$"}
    return _finish(ax, scale, r"$\arg\psi$" if colorbar else None, ticks)


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
        The axes.
    """
    cells = np.argwhere(np.asarray(winding))
    charges = np.asarray(winding)[tuple(cells.T)]
    return _mark((cells + 0.5) * spacing, charges, ax)


def plot_vortices(vortices: Vortices, band: int, *, ax: Axes | None = None) -> Axes:
    """Vortices marked where the order parameter vanishes, over whatever is drawn.

    Args:
        vortices: from `gl15.observables.vortices`.
        band: 0 or 1.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.
    """
    mask = np.asarray(vortices.mask[band])
    positions = np.asarray(vortices.positions[band])[mask]
    return _mark(positions, np.asarray(vortices.charges[band])[mask], ax)


def _mark(positions: np.ndarray, charges: np.ndarray, ax: Axes | None) -> Axes:
    ax = axes_or_new(ax, _SIZE)
    kinds = ((1, "o", VERMILION, "vortex"), (-1, "s", BLUE, "antivortex"))
    for sign, marker, colour, label in kinds:
        chosen = positions[np.sign(charges) == sign]
        if len(chosen):
            ring = {"s": 36, "marker": marker, "facecolors": "none"}
            # A white rim, so that the mark is seen on any background.
            ax.scatter(*chosen.T, **ring, edgecolors="white", linewidths=2.6)
            ax.scatter(
                *chosen.T, **ring, edgecolors=colour, linewidths=1.3, label=label
            )
    return ax


def _show(ax: Axes, field, spacing: float, shift: float = 0.0, **options) -> AxesImage:
    values = np.asarray(field)
    left, right, bottom, top = (
        (end - 0.5 + shift) * spacing for n in values.shape[:2] for end in (0, n)
    )
    return ax.imshow(
        np.swapaxes(values, 0, 1),
        origin="lower",
        extent=(left, right, bottom, top),
        interpolation="nearest",
        **options,
    )


def _finish(
    ax: Axes,
    picture: ScalarMappable,
    label: str | None,
    ticks: dict[float, str] | None = None,
) -> Axes:
    ax.set_xlabel("x")
    ax.set_ylabel("y")
    if label is not None:
        # As high as a square picture, and known to the layout of the figure.
        bar = ax.figure.colorbar(picture, ax=ax, label=label, fraction=0.046, pad=0.03)
        if ticks is not None:
            bar.set_ticks(list(ticks), labels=list(ticks.values()))
    return ax


def _hues(phase: np.ndarray) -> np.ndarray:
    """RGB of equal lightness and chroma around the colour wheel (OKLCh)."""
    lightness, chroma = 0.75, 0.125
    a, b = chroma * np.cos(phase), chroma * np.sin(phase)
    to_cones = [
        [1, 0.3963377774, 0.2158037573],
        [1, -0.1055613458, -0.0638541728],
        [1, -0.0894841775, -1.2914855480],
    ]
    to_rgb = [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
    lab = np.stack([np.full_like(a, lightness), a, b], axis=-1)
    linear = np.clip((lab @ np.transpose(to_cones)) ** 3 @ np.transpose(to_rgb), 0, 1)
    small = 12.92 * linear
    return np.where(linear <= 0.0031308, small, 1.055 * linear ** (1 / 2.4) - 0.055)
