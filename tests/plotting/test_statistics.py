"""Figures of structure factors and pairs: means, bands, maps, and power laws."""

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from gl15.observables import PowerLaw, structure_factor_map
from gl15.plotting import (
    plot_pair_correlation,
    plot_power_law,
    plot_structure_factor,
    plot_structure_factor_map,
)


K = np.linspace(0.2, 3.0, 8)


def test_runs_without_a_value_are_left_out_of_the_mean():
    g = np.array([[1.0, np.nan, 2.0], [3.0, np.nan, np.nan]])
    ax = plot_pair_correlation(np.arange(3.0), g, label="band 1")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [2.0, np.nan, 2.0])
    assert list(ax.lines[1].get_ydata()) == [1, 1]
    assert ax.get_ylim()[0] == 0
    ax.figure.canvas.draw()


def test_curves_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="`g` has no finite value among its 3"):
        plot_pair_correlation(np.arange(3.0), np.full(3, np.nan))
    with pytest.raises(ValueError, match="has no finite value"):
        plot_structure_factor(K, np.full((4, 8), np.nan))


def test_wave_numbers_are_cut_and_on_the_scale_asked_for():
    ax = plot_structure_factor(K, np.ones((3, 8)), log_k=True, k_max=1.5)
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), K[K <= 1.5])
    assert ax.get_xscale() == ax.get_yscale() == "log"
    # Another curve, drawn without saying so, must not undo it.
    plot_structure_factor(K, np.ones(8), ax=ax)
    assert ax.get_xscale() == "log" and ax.get_xlim()[0] > 0
    ax.figure.canvas.draw()


def law(**changes):
    values = {
        "exponent": 1.5,
        "exponent_std": 0.2,
        "amplitude": 4.0,
        "amplitude_std": 0.4,
        "pivot": 0.5,
        "ordinates": 100.0,
    }
    return PowerLaw(**{k: jnp.asarray(v) for k, v in (values | changes).items()})


def test_a_power_law_and_its_band():
    ax = plot_power_law(law(), (0.1, 1.0), deviations=2)
    k, S = ax.lines[0].get_data()
    np.testing.assert_allclose(S, 4.0 * (k / 0.5) ** 1.5)
    assert (k[0], k[-1]) == pytest.approx((0.1, 1.0))
    band = ax.collections[0].get_paths()[0].vertices
    at_end = band[np.isclose(band[:, 0], 1.0), 1]
    spread = np.hypot(0.1, 0.2 * np.log(2.0))
    np.testing.assert_allclose(at_end.max(), S[-1] * np.exp(2 * spread))
    np.testing.assert_allclose(at_end.min(), S[-1] * np.exp(-2 * spread))
    assert r"1.50 \pm 0.20" in ax.get_legend().get_texts()[0].get_text()
    ax.figure.canvas.draw()


def test_a_power_law_that_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="`k` must be a range of wave numbers"):
        plot_power_law(law(), (0.0, 1.0))
    with pytest.raises(ValueError, match="`law` is not finite"):
        plot_power_law(law(exponent=jnp.nan), (0.1, 1.0))


def test_a_map_has_its_bragg_peaks_where_they_are_and_no_value_at_the_origin():
    x = np.arange(16) * 0.5
    wave = 2 * np.pi * 3 / 8.0
    rho = np.broadcast_to(1 + np.cos(wave * x)[:, None], (16, 12))
    ax = plot_structure_factor_map(*structure_factor_map(jnp.asarray(rho)), decades=3)
    (image,) = ax.get_images()
    values = np.ma.asarray(image.get_array())
    left, right, bottom, top = image.get_extent()
    rows, columns = np.nonzero(values.filled(0) > 0.5 * values.max())
    k_x = left + (columns + 0.5) / 16 * (right - left)
    k_y = bottom + (rows + 0.5) / 12 * (top - bottom)
    np.testing.assert_allclose(sorted(k_x), [-wave, wave])
    np.testing.assert_allclose(k_y, 0, atol=1e-12)
    assert np.ma.getmaskarray(values)[6, 8]
    np.testing.assert_allclose(image.norm.vmax / image.norm.vmin, 1e3)
    plt.gcf().canvas.draw()


def test_a_map_of_a_cross_spectrum_has_two_signs():
    k = np.linspace(-1, 1, 5)
    S = np.outer(k, k)
    with pytest.raises(ValueError, match="negative at 8 wave vectors"):
        plot_structure_factor_map(k, k, S)
    ax = plot_structure_factor_map(k, k, S, log=False, k_max=0.8)
    assert ax.get_images()[0].get_clim() == (-1.0, 1.0)
    assert ax.get_xlim() == ax.get_ylim() == (-0.8, 0.8)
    with pytest.raises(ValueError, match="`k_max` must be positive"):
        plot_structure_factor_map(k, k, S, log=False, k_max=0.0)
