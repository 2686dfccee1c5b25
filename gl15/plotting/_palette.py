"""Colours that differ for every kind of sight, on paper and on a dark screen."""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb, to_rgba


class Palette(NamedTuple):
    """Colours for one kind of ground."""

    blue: str
    vermilion: str
    green: str
    purple: str
    orange: str
    ink: str
    grey: str
    ground: str

    @property
    def cycle(self) -> tuple[str, ...]:
        """The colours of curves, in order."""
        return self[:6]


# Okabe and Ito's palette.
LIGHT = Palette(
    blue="#0072B2",
    vermilion="#D55E00",
    green="#009E73",
    purple="#CC79A7",
    orange="#E69F00",
    ink="#000000",
    grey="#7F7F7F",
    ground="#FFFFFF",
)
# About the same hues: each has a contrast of 4.5 at least with the ground, and the
# nearest two are as far apart as can be for those who see them nearest.
DARK = Palette(
    blue="#1E81FD",
    vermilion="#EA5819",
    green="#72C9AE",
    purple="#B574A5",
    orange="#DDBA36",
    ink="#E8E8E8",
    grey="#8C8F96",
    ground="#16181D",
)

#: Where there is no value; between the ends of every scale here, on either ground.
MISSING = "#7F7F7F"


def palette_of(ax: Axes) -> Palette:
    """The colours that are seen on given axes, whatever style these were made in.

    Args:
        ax: the axes.

    Returns:
        The palette for a dark ground or for a light one.
    """
    grounds = (ax.get_facecolor(), ax.figure.get_facecolor())
    for ground in map(to_rgba, grounds):
        if ground[3] > 0.5:
            return DARK if luminance(ground[:3]) < 0.18 else LIGHT
    # See-through: the writing was chosen for what lies behind.
    return DARK if luminance(ax.xaxis.label.get_color()) > 0.5 else LIGHT


def palette_over(ax: Axes) -> Palette:
    """The colours of marks: with a white rim over a picture, which has all colours.

    Args:
        ax: the axes.

    Returns:
        That for a light ground if there is a picture, else that of the axes. Its
        ground is the colour of the rim.
    """
    return LIGHT if ax.images else palette_of(ax)


def luminance(color) -> float:
    """Relative luminance: 0 for black, 1 for white.

    Args:
        color: any colour that matplotlib knows.

    Returns:
        The luminance.
    """
    values = np.asarray(to_rgb(color))
    linear = np.where(
        values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4
    )
    return float(linear @ [0.2126, 0.7152, 0.0722])
