"""Colour maps: equal steps of a value are equal steps for the eye (in OKLab)."""

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.colors import Colormap, ListedColormap

from gl15.plotting._palette import DARK, MISSING, Palette


_TO_CONES = np.array(
    [
        [1, 0.3963377774, 0.2158037573],
        [1, -0.1055613458, -0.0638541728],
        [1, -0.0894841775, -1.2914855480],
    ]
)
_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def intensity() -> Colormap:
    """Of what is not negative: black at zero, on any ground.

    Returns:
        The map.
    """
    return matplotlib.colormaps["magma"].with_extremes(bad=MISSING)


def balance(palette: Palette) -> Colormap:
    """Of both signs: blue below zero, vermilion above, the ground's colour at zero.

    The ends have one lightness and one chroma, the largest that a screen has for both.

    Args:
        palette: the colours of the ground.

    Returns:
        The map.
    """
    if palette is DARK:
        ends, middle = [[0.74, -0.035, -0.130], [0.74, 0.095, 0.095]], [0.17, 0.0, 0.0]
    else:
        ends, middle = [[0.40, -0.034, -0.125], [0.40, 0.105, 0.076]], [0.985, 0.0, 0.0]
    return _path("balance", [ends[0], middle, ends[1]])


def weight(palette: Palette) -> Colormap:
    """Of what is not negative, without a hue: for coloured arrows to lie upon.

    Args:
        palette: the colours of the ground.

    Returns:
        The map, from the ground's colour on.
    """
    if palette is DARK:
        return _path("weight", [[0.17, 0.0, 0.0], [0.92, 0.0, 0.0]])
    return _path("weight", [[0.985, 0.0, 0.0], [0.25, 0.0, 0.0]])


def phases() -> Colormap:
    """All hues, from minus pi to pi.

    Returns:
        The map.
    """
    return ListedColormap(hues(np.linspace(-np.pi, np.pi, 256)), "phase")


def hues(phase: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n 3"]:
    """RGB of equal lightness and chroma around the colour wheel.

    Args:
        phase: angles.

    Returns:
        The colours.
    """
    lightness, chroma = 0.75, 0.125
    a, b = chroma * np.cos(phase), chroma * np.sin(phase)
    return from_oklab(np.stack([np.full_like(a, lightness), a, b], axis=-1))


def from_oklab(lab: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """RGB of OKLab coordinates.

    Args:
        lab: lightness, green to red, blue to yellow.

    Returns:
        The colours, clipped to those a screen has.

    Reference:
        B. Ottosson, A perceptual color space for image processing (2020).
    """
    linear = np.clip((lab @ _TO_CONES.T) ** 3 @ _TO_RGB.T, 0, 1)
    small = 12.92 * linear
    return np.where(linear <= 0.0031308, small, 1.055 * linear ** (1 / 2.4) - 0.055)


def _path(name: str, corners: list) -> Colormap:
    """Straight from corner to corner."""
    at = np.linspace(0, 1, len(corners))
    steps = np.linspace(0, 1, 511)
    lab = [np.interp(steps, at, one) for one in np.transpose(corners)]
    made = ListedColormap(from_oklab(np.stack(lab, axis=-1)), name)
    return made.with_extremes(bad=MISSING)
