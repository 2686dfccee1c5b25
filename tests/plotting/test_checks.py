"""Figures of checks show the numbers that the checks gave."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gl15
from gl15.diagnostics import (
    BinnedCoverage,
    Information,
    LocalC2ST,
    PredictiveCheck,
    Tarp,
)
from gl15.plotting import (
    plot_binned_coverage,
    plot_information,
    plot_local_c2st,
    plot_misspecification,
    plot_predicted_images,
    plot_predictive_check,
    plot_tarp,
)


def texts(ax):
    legend = ax.get_legend()
    found = [one.get_text() for one in legend.get_texts()]
    return " ".join([*found, legend.get_title().get_text()])


def test_bins_out_of_their_range_are_open():
    table = BinnedCoverage(
        name="eta",
        by="true",
        levels=(0.68,),
        edges=np.array([0.0, 0.5, 1.0]),
        count=np.array([100, 100, 200]),
        covered=np.array([[0.67], [0.40], [0.535]]),
        low=np.array([[0.55], [0.55], [0.6]]),
        high=np.array([[0.80], [0.80], [0.76]]),
        confidence=0.99,
    )
    ax = plot_binned_coverage(table)
    points = [line for line in ax.lines if line.get_marker() == "o"]
    assert [float(line.get_ydata()[0]) for line in points] == [0.67, 0.40]
    assert points[0].get_markerfacecolor() != "none"
    assert points[1].get_markerfacecolor() == "none"
    assert "53.5%" in texts(ax) and "200 images" in texts(ax)
    ax.figure.canvas.draw()


def test_tarp_names_its_area():
    fractions = (np.arange(200) + 0.5) / 200
    found = Tarp(np.linspace(0, 1, 3), np.linspace(0, 1, 3), 0.012, 0.011, fractions)
    ax = plot_tarp(found, key=jax.random.key(0))
    assert "+0.0120" in texts(ax) and "0.0110" in texts(ax)
    ax.figure.canvas.draw()


def test_local_tests_are_ordered_over_the_mean():
    mean = np.array([0.9, 0.1, 0.5])
    values = np.array([0.3, 0.1, 0.2])
    found = LocalC2ST(
        mean={"eta": mean},
        statistic=values,
        null_quantile=values / 2,
        p=np.array([0.01, 0.5, 0.6]),
        p_overall=0.03,
        width=np.ones(3),
        shift=np.zeros(3),
        count=77,
    )
    ax = plot_local_c2st(found)
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [0.1, 0.5, 0.9])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0.1, 0.2, 0.3])
    assert "33%" in texts(ax) and "p = 0.030" in texts(ax)
    with pytest.raises(ValueError, match="`name` must be in"):
        plot_local_c2st(found, "B")
    ax.figure.canvas.draw()


def test_the_worst_statistics_are_shown_first_and_weights_count():
    rng = np.random.default_rng(0)
    weight = np.zeros(100)
    weight[:50] = 0.02
    check = PredictiveCheck(
        names=("a", "b", "c"),
        observed=np.array([0.0, 3.0, 1.0]),
        predicted=rng.normal(size=(100, 3)),
        weight=weight,
        p=np.array([0.9, 0.01, 0.3]),
        calibrated_p=np.array([np.nan, 0.02, 0.4]),
        effective=50.0,
    )
    first, second = plot_predictive_check(check, columns=2)
    assert (first.get_xlabel(), second.get_xlabel()) == ("b", "c")
    assert first.get_title() == "p = 0.020"
    assert first.lines[0].get_xdata()[0] == 3.0
    (one,) = plot_predictive_check(check, ("a",))
    assert one.get_title() == "p = 0.900"
    area = sum(bar.get_height() * bar.get_width() for bar in one.patches)
    np.testing.assert_allclose(area, 1)
    edges = [bar.get_x() for bar in one.patches]
    assert min(edges) >= check.predicted[:50, 0].min() - 1e-9
    with pytest.raises(ValueError, match="`names` must be in"):
        plot_predictive_check(check, ("d",))
    one.figure.canvas.draw()


def test_p_values_of_several_kinds_share_an_axis():
    ax = plot_misspecification({"fresh": np.linspace(0, 1, 50), "noise": np.zeros(9)})
    assert "noise: 100.0% below 0.01" in texts(ax)
    with pytest.raises(ValueError, match="must be probabilities"):
        plot_misspecification(np.array([2.0]))
    ax.figure.canvas.draw()


def test_predicted_images_share_their_scales_and_name_their_parameters():
    rng = np.random.default_rng(3)
    images = rng.uniform(0.1, 1.0, (4, 8, 8, 3)).astype(np.float32)
    images[2, 0, 0] = 5.0, 0.5, -7.0  # of the images shown, the extremes
    observed = gl15.Observation(images[0], 0.25)
    theta = {"eta": jnp.array([0.1, 0.2, 0.3])}
    predicted = gl15.Ensemble(theta, jnp.asarray(images[1:]), 0.25)
    grid = plot_predicted_images(observed, predicted, count=2)
    assert [row[0].get_ylabel() for row in grid[1:]] == [
        r"$\eta$ = 0.1",
        r"$\eta$ = 0.2",
    ]
    for row, image in zip(grid, images[:3], strict=True):
        for channel, ax in enumerate(row):
            (picture,) = ax.images
            np.testing.assert_array_equal(picture.get_array(), image[..., channel].T)
            assert picture.get_clim() == ((0, 5) if channel < 2 else (-7, 7))
    left, right, *_ = grid[0][0].images[0].get_extent()
    assert right - left == 8 * 0.25  # the observation's own spacing
    with pytest.raises(ValueError, match="`count` must be 1 to 3"):
        plot_predicted_images(observed, predicted, count=4)
    grid[0][0].figure.canvas.draw()


def test_information_stands_beside_its_ceiling():
    one = Information(3.5, 3.4, 3.3, 6.9, 0.03, 0.02, 0.01, 400)
    two = Information(2.5, 2.4, 2.3, 4.2, 0.03, 0.02, 0.01, 400)
    ax = plot_information({"jets": one, "spectra": two})
    shown = [container.lines[0].get_xdata() for container in ax.containers]
    np.testing.assert_array_equal(shown, [[3.5, 2.5], [3.4, 2.4], [3.3, 2.3]])
    (ceilings,) = (c for c in ax.collections if "ceiling" in str(c.get_label()))
    assert [segment[0, 0] for segment in ceilings.get_segments()] == [6.9, 4.2]
    assert "400 pairs" in texts(ax)
    with pytest.raises(ValueError, match="`found` is empty"):
        plot_information({})
    ax.figure.canvas.draw()
