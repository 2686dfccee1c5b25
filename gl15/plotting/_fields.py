"""Fields in space: densities, images and phases.

The first axis of a field is x and runs to the right, the second is y and runs up.
Site (j, k) lies at (j, k) times the spacing; plaquettes half a spacing further.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Array, Complex, Float, Shaped
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.image import AxesImage

from gl15.plotting._axes import axes_or_new, field, row_of_axes, scale_beside
from gl15.plotting._colormaps import balance, hues, intensity, phases
from gl15.plotting._palette import MISSING, palette_of


SIZE = (4.4, 3.6)  # of a new figure, in inches


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
        rho: the density; pixels that are not finite are drawn grey.
        spacing: pixel spacing.
        label: what the colour bar says.
        vmax: density of the brightest colour; by default the largest there is.
        colorbar: whether to draw a colour bar.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if `rho` is not a picture, or has no finite value.
    """
    values = field("rho", rho, hint="draw one band at a time, `rho[0]`")
    ax = axes_or_new(ax, SIZE)
    top = largest(values) if vmax is None else vmax
    picture = show(ax, values, spacing, cmap=intensity(), vmin=0, vmax=top)
    return finish(ax, picture, label if colorbar else None)


def plot_curl(
    curl: Float[Array | np.ndarray, "nx ny"],
    *,
    spacing: float = 0.5,
    label: str = r"$(\nabla\times J)_z$",
    vmax: float | None = None,
    colorbar: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """A field on plaquettes of both signs, the colour of the ground where it is zero.

    Args:
        curl: the curl of the current, as the third channel of an image has it.
        spacing: pixel spacing.
        label: what the colour bar says.
        vmax: size at which the colours end; by default the largest there is.
        colorbar: whether to draw a colour bar.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if `curl` is not a picture, or has no finite value.
    """
    values = field("curl", curl, hint="the third channel is `x[..., 2]`")
    ax = axes_or_new(ax, SIZE)
    top = largest(np.abs(values)) if vmax is None else vmax
    options = {"vmin": -top, "vmax": top, "cmap": balance(palette_of(ax))}
    picture = show(ax, values, spacing, shift=0.5, **options)
    return finish(ax, picture, label if colorbar else None)


def plot_image(
    x: Float[Array | np.ndarray, "nx ny 3"],
    *,
    spacing: float = 0.5,
    vmax: tuple[float, float] | None = None,
    axes: Iterable[Axes] | None = None,
) -> list[Axes]:
    """The three channels of an image side by side, the densities on one scale.

    Args:
        x: the image that `gl15.observables.observe` makes.
        spacing: pixel spacing.
        vmax: where the colours of the densities and those of the curl end; by default
            at the largest there is.
        axes: three axes to draw on; by default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if there are not three channels or not three axes.
    """
    values = field("x", x, axes="nx, ny, 3", hint="channels come last")
    if values.shape[2] != 3:
        raise ValueError(
            f"`x` must have three channels, got {values.shape[2]}; draw others one by "
            "one with `plot_density`."
        )
    if axes is None:
        axes = row_of_axes(3, (11, 3.2), sharex=True, sharey=True)
    axes = list(axes)
    if len(axes) != 3:
        raise ValueError(f"`axes` must be three, one per channel, got {len(axes)}.")
    top, steepest = (largest(values[..., :2]), None) if vmax is None else vmax
    titles = (r"$|\psi_1|^2$", r"$|\psi_2|^2$", r"$(\nabla\times J)_z$")
    for band in (0, 1):
        plot_density(
            values[..., band],
            spacing=spacing,
            label="",
            vmax=top,
            ax=axes[band],
        )
    # Plaquettes lie half a pixel beside the sites: one frame for all three. The limits
    # are taken before, as axes may be shared.
    limits = {"xlim": axes[0].get_xlim(), "ylim": axes[0].get_ylim()}
    plot_curl(values[..., 2], spacing=spacing, label="", vmax=steepest, ax=axes[2])
    axes[2].set(**limits)
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

    Raises:
        ValueError: if `psi` is not a picture, or has no finite value.
    """
    values = field("psi", psi, hint="draw one band at a time, `psi[0]`")
    ax = axes_or_new(ax, SIZE)
    show(ax, domain_colours(values), spacing)
    scale = ScalarMappable(Normalize(-np.pi, np.pi), phases())
    ticks = {-np.pi: r"$-\pi$", 0.0: "0", np.pi: r"$\pi$"}
    return finish(ax, scale, r"$\arg\psi$" if colorbar else None, ticks)


def domain_colours(
    psi: Complex[np.ndarray, "nx ny"], top: float | None = None
) -> Float[np.ndarray, "nx ny 3"]:
    """Hue for the phase, brightness for the modulus.

    Args:
        psi: the order parameter of one band.
        top: modulus of full brightness; by default the largest there is.

    Returns:
        RGB; grey where the order parameter is not finite.
    """
    there = np.isfinite(psi)
    modulus = np.abs(np.where(there, psi, 0))
    brightness = np.clip(modulus / (largest(modulus) if top is None else top), 0, 1)
    colours = hues(np.angle(np.where(there, psi, 0))) * brightness[..., None]
    return np.where(there[..., None], colours, to_rgb(MISSING))


def largest(values: Float[np.ndarray, "..."]) -> float:
    """The largest finite value, where a scale ends; 1 where that would be no scale.

    Args:
        values: what is drawn.

    Returns:
        The end of the scale.
    """
    top = float(np.max(values, where=np.isfinite(values), initial=0.0))
    return top if top > 0 else 1.0


def show(
    ax: Axes,
    values: Shaped[np.ndarray, "nx ny *rgb"],
    spacing: float,
    shift: float = 0.0,
    **options,
) -> AxesImage:
    """Draw a picture where it is.

    Args:
        ax: the axes.
        values: the picture.
        spacing: pixel spacing.
        shift: in pixels, 0.5 for plaquettes.
        **options: for `imshow`.

    Returns:
        The artist.
    """
    if not spacing > 0:
        raise ValueError(f"`spacing` must be a positive length, got {spacing}.")
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


def finish(
    ax: Axes,
    picture: ScalarMappable,
    label: str | None,
    ticks: dict[float, str] | None = None,
) -> Axes:
    """Name the axes and draw the scale.

    Args:
        ax: the axes.
        picture: whose scale it is.
        label: what the colour bar says; none for no bar.
        ticks: numbers of the bar, and how they are written.

    Returns:
        The axes.
    """
    ax.set_xlabel("x")
    ax.set_ylabel("y")
    if label is not None:
        bar = scale_beside(ax, picture, label)
        if ticks is not None:
            bar.set_ticks(list(ticks), labels=list(ticks.values()))
    return ax
