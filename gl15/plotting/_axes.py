"""Axes to draw on."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes


def axes_or_new(ax: Axes | None, size: tuple[float, float] = (4.6, 3.6)) -> Axes:
    """The axes given, or those of a new figure of `size` inches."""
    if ax is not None:
        return ax
    return plt.subplots(figsize=size, layout="constrained")[1]
