"""Structure factors: curves, maps, and the power law through one."""

from typing import Any

import numpy as np
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from gl15.observables import PowerLaw
from gl15.plotting._axes import axes_or_new, field, scale_beside
from gl15.plotting._colormaps import balance, intensity
from gl15.plotting._curves import logarithmic, logarithmic_y, mean_and_error
from gl15.plotting._fields import largest
from gl15.plotting._palette import palette_of


def plot_structure_factor(
    k: Float[Array | np.ndarray, " rings"],
    S: Float[Array | np.ndarray, "*runs rings"],
    *,
    label: str | None = None,
    color: str | None = None,
    log_k: bool = False,
    k_max: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A structure factor; of several runs, their mean and its standard error.

    Args:
        k: wave numbers, from `gl15.observables.structure_factor`.
        S: structure factor of one run, or of each run.
        label: name of the curve in a legend.
        color: its colour; by default blue.
        log_k: whether the wave numbers are on a logarithmic scale too, on which a
            power law is a line: see `plot_power_law`.
        k_max: largest wave number drawn; by default all.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if there is not one value of S for each wave number, or none is
            finite.
    """
    ax = axes_or_new(ax)
    k, S = np.asarray(k), np.asarray(S)
    if k_max is not None and k.ndim == 1 and S.shape[-1:] == k.shape:
        k, S = k[k <= k_max], S[..., k <= k_max]
    mean_and_error(ax, "k", k, "S", S, label=label, color=color)
    logarithmic_y(ax)
    if log_k:
        logarithmic(ax)
    elif ax.get_xscale() == "linear":
        ax.set_xlim(left=0)
    ax.set_xlabel("$k$")
    ax.set_ylabel("$S(k)$")
    if label is not None:
        ax.legend(frameon=False)
    return ax


def plot_power_law(
    law: PowerLaw,
    k: tuple[float, float],
    *,
    deviations: float | int = 2,
    label: str | None = None,
    color: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    r"""A power law and the band of what is not known of it, on two logarithmic scales.

    The logarithm of $S_0 (k/k_0)^\alpha$ has the standard error
    $\sqrt{(\sigma_S/S_0)^2 + \sigma_\alpha^2 \log^2(k/k_0)}$: the band is narrowest at
    the pivot $k_0$.

    Args:
        law: from `gl15.observables.hyperuniformity` or `fit_power_law`.
        k: the range it was fitted over.
        deviations: half width of the band in standard errors.
        label: name in the legend; by default the exponent.
        color: its colour; by default vermilion.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if `k` is no range above zero, or the law is not finite.
    """
    low, high = (float(end) for end in k)
    if not 0 < low < high < np.inf:
        raise ValueError(
            f"`k` must be a range of wave numbers above zero, got {tuple(k)}."
        )
    exponent, error = float(law.exponent), float(law.exponent_std)
    if not np.isfinite(float(law.amplitude)) or not np.isfinite(exponent):
        raise ValueError(
            f"`law` is not finite: exponent {exponent:g}, amplitude "
            f"{float(law.amplitude):g}; there is nothing to draw."
        )
    ax = axes_or_new(ax)
    color = palette_of(ax).vermilion if color is None else color
    where = np.geomspace(low, high, 64)
    along = float(law.amplitude) * (where / float(law.pivot)) ** exponent
    spread = np.hypot(
        float(law.amplitude_std) / float(law.amplitude),
        error * np.log(where / float(law.pivot)),
    )
    width = np.exp(deviations * spread)
    if label is None:
        label = rf"$\alpha = {exponent:.2f} \pm {error:.2f}$"
    band = {"color": color, "alpha": 0.25, "linewidth": 0}
    ax.fill_between(where, along / width, along * width, **band)
    ax.plot(where, along, color=color, linewidth=1.6, linestyle="--", label=label)
    logarithmic(ax)
    logarithmic_y(ax)
    ax.set_xlabel("$k$")
    ax.set_ylabel("$S(k)$")
    ax.legend(frameon=False)
    return ax


def plot_structure_factor_map(
    k_x: Float[Array | np.ndarray, " nx"],
    k_y: Float[Array | np.ndarray, " ny"],
    S: Float[Array | np.ndarray, "nx ny"],
    *,
    log: bool = True,
    decades: float | int = 4,
    k_max: float | None = None,
    label: str | None = None,
    colorbar: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """A structure factor at every wave vector; Bragg peaks and anisotropy show here.

    Where a power vanishes, as at the origin, the pixel is grey.

    Args:
        k_x: wave numbers, rising by equal steps, from `structure_factor_map`.
        k_y: likewise.
        S: structure factor; the mean over runs, if there are several.
        log: whether the colours are logarithmic. A cross spectrum, which may be
            negative, wants `log=False`.
        decades: how many powers of ten below the largest the logarithmic scale ends.
        k_max: largest wave number shown; by default all.
        label: what the colour bar says; by default what `S` is.
        colorbar: whether to draw a colour bar.
        ax: axes to draw on; by default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if the shapes do not fit, if no value is finite, or if negative
            ones are to have a logarithm.
    """
    values = field("S", S, hint="average over runs, or draw one")
    k_x, k_y = np.asarray(k_x), np.asarray(k_y)
    if values.shape != (k_x.size, k_y.size) or min(values.shape) < 2:
        raise ValueError(
            f"`S` must have shape {(k_x.size, k_y.size)} of `k_x` and `k_y`, at least "
            f"2 each, got {values.shape}."
        )
    if log and np.any(values < 0):
        raise ValueError(
            f"`S` is negative at {int(np.sum(values < 0))} wave vectors and has no "
            "logarithm there; draw a cross spectrum with `log=False`."
        )
    ax = axes_or_new(ax, (4.4, 3.6))
    top = largest(np.abs(values))
    if log:
        # Of nothing there is no logarithm. At the origin the mean was taken off, and
        # what is left of it is rounding.
        origin = np.hypot(k_x[:, None], k_y) == 0
        floor = np.where(origin, 10.0**-decades * top, 0)
        values = np.ma.masked_where(~(values > floor), values)
        scale: dict[str, Any] = {"norm": LogNorm(top * 10.0**-decades, top, clip=True)}
        scale["cmap"] = intensity()
    elif np.any(values < 0):
        scale = {"vmin": -top, "vmax": top, "cmap": balance(palette_of(ax))}
    else:
        scale = {"vmin": 0, "vmax": top, "cmap": intensity()}
    (left, right), (bottom, upper) = (
        (one[0] - (one[1] - one[0]) / 2, one[-1] + (one[1] - one[0]) / 2)
        for one in (k_x, k_y)
    )
    picture = ax.imshow(
        values.T,
        origin="lower",
        extent=(left, right, bottom, upper),
        interpolation="nearest",
        **scale,
    )
    if k_max is not None:
        if not k_max > 0:
            raise ValueError(f"`k_max` must be positive, got {k_max}.")
        ax.set_xlim(max(-k_max, left), min(k_max, right))
        ax.set_ylim(max(-k_max, bottom), min(k_max, upper))
    ax.set_xlabel("$k_x$")
    ax.set_ylabel("$k_y$")
    if colorbar:
        name = r"$S(\mathbf{k})$" if label is None else label
        scale_beside(ax, picture, name)
    return ax
