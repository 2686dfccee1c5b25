"""The style: readable on either ground, for every sight, and gone afterwards."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from gl15.plotting import plot_curl, plot_density, plot_image, style
from gl15.plotting._colormaps import balance, weight
from gl15.plotting._palette import DARK, LIGHT, luminance, palette_of


# What linear RGB looks like without one kind of cones (Machado et al. 2009).
SIGHTS = {
    "all": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(colours):
    values = np.array([to_rgb(colour) for colour in colours])
    return np.where(
        values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4
    )


def oklab(rgb):
    cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.cbrt(np.clip(rgb, 0, None) @ np.transpose(cones)) @ np.transpose(lab)


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_of_curves_differ_for_every_kind_of_sight(palette, sight):
    seen = oklab(np.clip(linear(palette.cycle) @ np.transpose(SIGHTS[sight]), 0, 1))
    distance = np.linalg.norm(seen[:, None] - seen, axis=-1)
    # A just noticeable difference is about 0.02.
    assert distance[np.triu_indices(len(seen), 1)].min() > 0.07


@pytest.mark.parametrize(
    ("palette", "least"), [(LIGHT, 2.2), (DARK, 4.5)], ids=["light", "dark"]
)
def test_colours_stand_out_from_the_ground(palette, least):
    assert min(contrast(colour, palette.ground) for colour in palette.cycle) > least
    assert contrast(palette.ink, palette.ground) > 12
    assert contrast(palette.grey, palette.ground) > 3.5


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("make", [balance, weight])
def test_equal_steps_of_a_map_are_equal_for_the_eye(make, palette):
    colours = oklab(linear(make(palette)(np.linspace(0, 1, 65))[:, :3]))
    steps = np.linalg.norm(np.diff(colours, axis=0), axis=1)
    assert steps.max() / steps.min() < 1.15
    if make is balance:
        # Neither sign is nearer to the ground than the other.
        lightness = colours[:, 0]
        np.testing.assert_allclose(lightness, lightness[::-1], atol=0.02)
        assert contrast(make(palette)(0.5)[:3], palette.ground) < 1.15


def test_the_style_holds_in_its_block_alone():
    before = dict(plt.rcParams)
    with style(dark=True) as nothing:
        assert nothing is None
        ax = plot_density(np.ones((4, 4)))
        assert plt.rcParams["text.color"] == DARK.ink
    assert dict(plt.rcParams) == before
    assert luminance(ax.figure.get_facecolor()[:3]) < 0.02
    assert contrast(ax.xaxis.label.get_color(), ax.get_facecolor()[:3]) > 12
    assert ax.figure.get_figwidth() == 3.4
    # Text is not scaled down on its way to the page.
    assert ax.xaxis.label.get_fontsize() == 8


def test_rows_are_two_columns_wide_and_the_width_is_free():
    with style(width=3.0):
        assert plot_image(np.ones((4, 4, 3)))[0].figure.get_figwidth() == 6.0
    assert plot_image(np.ones((4, 4, 3)))[0].figure.get_figwidth() == 11
    with pytest.raises(ValueError, match="`width` must be a positive number"):
        style(width=0)


@pytest.mark.parametrize("name", ["dark_background", "default"])
def test_colours_follow_the_ground_of_the_axes_not_the_style(name):
    with plt.style.context(name):
        ax = plt.subplots()[1]
    assert palette_of(ax) is (DARK if name == "dark_background" else LIGHT)
    ax.patch.set_alpha(0.0)
    assert palette_of(ax) is (DARK if name == "dark_background" else LIGHT)
    ax.figure.patch.set_alpha(0.0)
    assert palette_of(ax) is (DARK if name == "dark_background" else LIGHT)
    plot_curl(np.eye(4), ax=ax)
    middle = luminance(ax.images[0].get_cmap()(0.5)[:3])
    assert (middle < 0.1) == (name == "dark_background")
