"""Figures of fields and spectra: what is drawn is where and what it should be."""

import jax
import jax.numpy as jnp
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from gl15.observables import vortices, windings
from gl15.physics import Lattice, TDGL, TwoBand
from gl15.plotting import (
    plot_curl,
    plot_current,
    plot_density,
    plot_image,
    plot_modes,
    plot_phase,
    plot_spectrum,
    plot_structure_factor,
    plot_vortices,
    plot_windings,
)
from gl15.plotting._axes import field
from gl15.plotting._colormaps import hues
from gl15.plotting._palette import MISSING
from gl15.spectra import DensityOfStates, Modes


def picture_at(ax, x, y):
    """The value drawn at a point."""
    (image,) = ax.get_images()
    left, right, bottom, top = image.get_extent()
    values = np.asarray(image.get_array())
    row = int((y - bottom) / (top - bottom) * values.shape[0])
    column = int((x - left) / (right - left) * values.shape[1])
    return values[row, column]


def test_a_site_is_drawn_at_its_place():
    # The first axis is x, to the right.
    rho = np.zeros((6, 4))
    rho[4, 1] = 3.0
    ax = plt.subplots()[1]
    assert plot_density(rho, spacing=0.5, ax=ax) is ax
    assert picture_at(ax, 4 * 0.5, 1 * 0.5) == 3.0
    assert ax.get_images()[0].get_extent() == [-0.25, 2.75, -0.25, 1.75]
    # A plaquette lies half a spacing further.
    ax = plot_curl(-rho, spacing=0.5)
    assert picture_at(ax, 4.5 * 0.5, 1.5 * 0.5) == -3.0
    assert ax.get_images()[0].get_clim() == (-3.0, 3.0)


def test_image_panels_share_the_density_scale():
    x = jax.random.uniform(jax.random.key(0), (5, 6, 3))
    axes = plot_image(x)
    assert len(axes) == 3
    limits = [ax.get_images()[0].get_clim() for ax in axes]
    assert limits[0] == limits[1] == (0.0, float(x[..., :2].max()))
    assert limits[2][0] == -limits[2][1]
    plot_image(np.zeros((5, 6, 3)), axes=plt.subplots(1, 3)[1])
    plt.gcf().canvas.draw()
    with pytest.raises(ValueError, match="`axes` must be three"):
        plot_image(x, axes=axes[:2])


def test_hue_is_the_phase_and_brightness_the_modulus():
    psi = np.array([[1.0, 1j, -1.0], [0.0, 0.5, -1j], [0.5j, 0.1, 0.2]])
    ax = plot_phase(psi, spacing=1.0)
    plt.gcf().canvas.draw()
    (bar,) = ax.child_axes
    assert [text.get_text() for text in bar.get_yticklabels()] == [
        r"$-\pi$",
        "0",
        r"$\pi$",
    ]
    np.testing.assert_array_equal(picture_at(ax, 1, 0), 0.0)
    np.testing.assert_allclose(picture_at(ax, 1, 1), picture_at(ax, 0, 0) / 2)
    wheel = hues(np.linspace(-np.pi, np.pi, 100))
    np.testing.assert_allclose(wheel[0], wheel[-1], atol=1e-12)
    assert np.all((wheel > 0) & (wheel < 1))
    # Of equal lightness: the luminance hardly moves around the wheel.
    luminance = wheel**2.2 @ [0.2126, 0.7152, 0.0722]
    assert luminance.std() / luminance.mean() < 0.08


def test_vortices_are_marked_where_they_are():
    lattice = Lattice((8, 8), spacing=0.5)
    tdgl = TDGL(lattice, TwoBand())
    x = np.arange(8) * 0.5
    first = (x[:, None] - 1.6) + 1j * (x - 2.3)
    psi = jnp.asarray(np.stack([first, first.conj()]))
    ax = plot_vortices(vortices(tdgl, psi), 0)
    for marks in ax.collections:
        np.testing.assert_allclose(marks.get_offsets(), [[1.6, 2.3]], rtol=1e-10)
    assert [m.get_label() for m in ax.collections][-1] == "vortex"
    ax = plot_windings(windings(tdgl, psi)[1], spacing=0.5)
    np.testing.assert_allclose(ax.collections[-1].get_offsets(), [[1.75, 2.25]])
    assert ax.collections[-1].get_label() == "antivortex"
    assert not plot_windings(np.zeros((7, 7), int)).collections


def test_structure_factor_shows_mean_and_standard_error():
    k = np.linspace(0.2, 3.0, 8)
    runs = np.exp(-k) * np.random.default_rng(0).uniform(0.5, 1.5, (10, 8))
    ax = plot_structure_factor(k, runs, label="run")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), runs.mean(0))
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    top = runs.mean(0) + runs.std(0, ddof=1) / np.sqrt(10)
    assert np.isclose(band.max(), top.max()) and ax.get_yscale() == "log"
    assert not plot_structure_factor(k, runs[0]).collections


def test_spectra_show_the_density_and_every_mode():
    grid = jnp.linspace(-1, 9, 50)
    rho = jnp.exp(-((grid - 4) ** 2))
    one = jnp.ones((2, 3))
    density = DensityOfStates(grid, rho, 0.1 * rho, jnp.asarray(0.1), one, one / 3)
    nothing = jnp.asarray(0.0)
    modes = Modes(jnp.array([0.0, 0.5, 1.0]), jnp.eye(3), jnp.zeros(3), nothing)
    ax = plot_spectrum(density, modes, label="state")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), rho)
    np.testing.assert_array_equal(ax.lines[-1].get_xdata(), modes.eigenvalues)
    assert ax.get_legend() is not None and ax.get_ylim()[0] == 0
    ax = plot_modes(modes)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), modes.eigenvalues)
    plt.gcf().canvas.draw()


def test_pixels_without_a_value_are_grey_and_leave_the_scale_alone():
    rho = np.full((6, 4), 2.0)
    rho[4, 1] = np.nan
    rho[2, 2] = np.inf
    ax = plot_density(rho, spacing=0.5)
    image = ax.get_images()[0]
    assert image.get_clim() == (0.0, 2.0)
    grey = matplotlib.colors.to_rgba(MISSING)
    drawn = image.to_rgba(image.get_array())
    np.testing.assert_allclose(drawn[1, 4], grey)
    assert plot_curl(rho).get_images()[0].get_clim() == (-2.0, 2.0)
    ax = plot_phase(np.where(np.isnan(rho), np.nan, 1j), spacing=1.0)
    np.testing.assert_allclose(picture_at(ax, 4, 1), grey[:3])
    plt.gcf().canvas.draw()


@pytest.mark.parametrize("plot", [plot_density, plot_curl])
def test_a_diverged_state_is_refused(plot):
    with pytest.raises(ValueError, match="no finite value among its 24"):
        plot(np.full((6, 4), np.nan))


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"`rho` must have shape \(nx, ny\), got \(2,"):
        field("rho", np.ones((2, 6, 4)), hint="draw one band at a time")
    with pytest.raises(ValueError, match=r"got \(0, 4\)"):
        field("rho", np.ones((0, 4)))
    with pytest.raises(ValueError, match="`spacing` must be a positive length"):
        plot_density(np.ones((6, 4)), spacing=0.0)


def test_panels_of_an_image_have_the_frame_of_the_sites():
    axes = plot_image(np.ones((5, 6, 3)), spacing=1.0)
    for ax in axes:
        np.testing.assert_allclose(
            (*ax.get_xlim(), *ax.get_ylim()), (-0.5, 4.5, -0.5, 5.5)
        )


def test_the_scale_is_as_high_as_the_picture():
    ax = plot_density(np.ones((9, 4)))
    plt.gcf().canvas.draw()
    (bar,) = ax.child_axes
    left, right = (one.get_window_extent() for one in (ax, bar))
    np.testing.assert_allclose([left.y0, left.y1], [right.y0, right.y1])
    assert right.x0 > left.x1


def current_of(x, y):
    """Solid rotation about the middle, on the links."""
    return np.broadcast_to(-(y - 2.0), (9, 9)), np.broadcast_to(
        (x - 2.0)[:, None], (9, 9)
    )


def test_a_current_is_drawn_at_the_sites_with_its_direction():
    x = np.arange(9) * 0.5
    j_x, j_y = current_of(x, x)
    ax = plot_current((j_x, j_y), kind="arrows", density=np.ones((9, 9)))
    (arrows,) = (one for one in ax.collections if hasattr(one, "U"))
    at = np.asarray(arrows.get_offsets())
    inside = (at > 0).all(1)
    np.testing.assert_allclose(np.unique(at[:, 0]), x)
    ratio = np.asarray(arrows.U)[inside] * (at[inside, 0] - 2.0)
    np.testing.assert_allclose(
        ratio, -np.asarray(arrows.V)[inside] * (at[inside, 1] - 2.0), atol=1e-12
    )
    ax = plot_current((j_x, j_y), spacing=0.5)
    (lines,) = ax.collections
    radii = [np.hypot(*(one - 2.0).T) for one in lines.get_segments()]
    middle = [r for r in radii if 0.6 < r.max() < 1.4]
    assert middle
    assert all(np.ptp(r) < 0.1 for r in middle)
    plt.gcf().canvas.draw()


def test_a_current_that_cannot_be_drawn():
    nothing = np.zeros((5, 6))
    assert not plot_current((nothing, nothing)).collections
    with pytest.raises(ValueError, match="holds 1 values that are not finite"):
        bad = nothing.copy()
        bad[0, 0] = np.nan
        plot_current((bad, nothing))
    with pytest.raises(ValueError, match="`detail` must be positive"):
        plot_current((nothing, nothing), detail=0)
