"""Axes to draw on, and what can be drawn."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Shaped
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.layout_engine import ConstrainedLayoutEngine


def axes_or_new(ax: Axes | None, size: tuple[float, float] = (4.6, 3.6)) -> Axes:
    """The axes given, or those of a new figure.

    Args:
        ax: axes, or none.
        size: of a new figure in inches; smaller in a style of smaller figures.

    Returns:
        The axes.
    """
    if ax is not None:
        return ax
    return plt.subplots(figsize=fitted(size, 1), layout="compressed")[1]


def row_of_axes(
    count: int, size: tuple[float | int, float | int], **options: Any
) -> list[Axes]:
    """A new figure with axes side by side.

    Args:
        count: how many.
        size: of the figure in inches; smaller in a style of smaller figures.
        **options: for `plt.subplots`.

    Returns:
        The axes.
    """
    layout = ConstrainedLayoutEngine(wspace=0.06, compress=True)
    options = {"figsize": fitted(size, 2), "layout": layout, **options}
    return list(plt.subplots(1, count, squeeze=False, **options)[1][0])


def fitted(size: tuple[float | int, float | int], columns: int) -> tuple[float, float]:
    """A size of a figure, smaller in a style of smaller figures.

    Args:
        size: in inches.
        columns: how many figures of the style may stand beside each other in it.

    Returns:
        The size.
    """
    scale = min(1.0, columns * plt.rcParams["figure.figsize"][0] / size[0])
    return scale * size[0], scale * size[1]


@contextmanager
def kept_view(ax: Axes) -> Iterator[None]:
    """What is drawn inside does not move the frame around a picture.

    Args:
        ax: the axes.

    Yields:
        Nothing.
    """
    limits = (ax.get_xlim(), ax.get_ylim()) if ax.images else None
    yield
    if limits is not None:
        ax.set_xlim(limits[0])
        ax.set_ylim(limits[1])


def field(
    name: str, values: Any, *, hint: str = "", axes: str = "nx, ny"
) -> Shaped[np.ndarray, "..."]:
    """An array to be drawn as a picture.

    Args:
        name: what the caller calls it.
        values: the array.
        hint: remedy where the shape is wrong.
        axes: what its axes are.

    Returns:
        The array on the host.

    Raises:
        ValueError: if it has another number of axes, is empty, or has no finite value.
    """
    array = np.asarray(values)
    if array.ndim != len(axes.split(",")) or not array.size:
        raise ValueError(
            f"`{name}` must have shape ({axes}), got {array.shape}"
            + (f"; {hint}." if hint else ".")
        )
    if not np.any(np.isfinite(array)):
        raise ValueError(
            f"`{name}` has no finite value among its {array.size}, so that there is "
            "nothing to draw; did the simulation diverge? Redo it with a shorter `dt`."
        )
    return array


def scale_beside(ax: Axes, picture: ScalarMappable, label: str) -> Colorbar:
    """A colour bar as high as the picture, whatever happens to the figure.

    Args:
        ax: the axes.
        picture: whose scale it is.
        label: what the bar says.

    Returns:
        The bar.
    """
    beside = ax.inset_axes((1.03, 0.0, 0.046, 1.0))
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure.colorbar(picture, cax=beside, label=label)


def legend_below(ax: Axes, columns: int = 2, title: str | None = None) -> None:
    """A legend under the axes, where it hides nothing.

    Args:
        ax: the axes.
        columns: number of columns.
        title: what stands above it.
    """
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        ax.legend(
            handles,
            labels,
            loc="upper center",
            bbox_to_anchor=(0.5, 0.0),
            # In heights of a letter: below the numbers and the name of the axis.
            borderaxespad=4.2,
            ncols=min(columns, len(handles)),
            frameon=False,
            fontsize="small" if title else None,
            title_fontsize="small" if title else None,
            title=title,
            columnspacing=1.2,
            handletextpad=0.5,
        )
