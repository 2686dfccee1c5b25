"""The one style of all figures."""

from contextlib import AbstractContextManager
from typing import Any

import matplotlib.pyplot as plt
from cycler import cycler

from gl15.plotting._palette import DARK, LIGHT


def style(
    *, dark: bool = False, width: float | int = 3.4
) -> AbstractContextManager[None]:
    """The style of figures made, and saved, inside a `with` block.

    ```python
    with gl15.plotting.style(dark=True):
        ax = gl15.plotting.plot_density(rho)
        ax.figure.savefig("density.png")
    ```

    Text is 8 points high at the width of a journal's column, so that nothing needs to
    be scaled. Colours of curves differ for every kind of sight. After the block all is
    as it was. Functions of this package also draw in what style you have, and choose
    their colours by the ground of the axes given.

    Args:
        dark: light on dark, for screens; by default black on white.
        width: width in inches of figures that are made without a size; rows of panels
            are up to twice as wide.

    Returns:
        A context manager.

    Raises:
        ValueError: if `width` is not positive.
    """
    if not width > 0:
        raise ValueError(f"`width` must be a positive number of inches, got {width}.")
    palette = DARK if dark else LIGHT
    ink = ("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor")
    ticks = [f"{axis}tick" for axis in "xy"]
    settings: Any = {
        "figure.figsize": (width, 0.78 * width),
        "figure.dpi": 200,
        "figure.constrained_layout.use": True,
        "savefig.dpi": 300,
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "figure.titlesize": 8,
        "legend.fontsize": 7,
        "legend.title_fontsize": 7,
        "legend.frameon": False,
        "legend.handlelength": 1.6,
        "axes.linewidth": 0.6,
        "lines.linewidth": 1.2,
        "image.cmap": "magma",
        "pdf.fonttype": 42,
        "axes.prop_cycle": cycler(color=palette.cycle),
        "figure.facecolor": palette.ground,
        "axes.facecolor": palette.ground,
        "savefig.facecolor": "auto",
        "legend.facecolor": palette.ground,
        "grid.color": palette.grey,
        **dict.fromkeys(ink, palette.ink),
        **dict.fromkeys([f"{tick}.color" for tick in ticks], palette.ink),
        **dict.fromkeys([f"{tick}.labelsize" for tick in ticks], 7),
        **dict.fromkeys([f"{tick}.major.width" for tick in ticks], 0.6),
        **dict.fromkeys([f"{tick}.minor.width" for tick in ticks], 0.4),
    }
    return plt.rc_context(settings)
