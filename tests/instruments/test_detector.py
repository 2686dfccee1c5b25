"""The detector: its pixels, its drifts and their exact limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gl15.instruments import Detector


SPACING = 0.5


def measure(detector, x, key=None):
    return detector(x, spacing=SPACING, key=key)


def test_detector_bins_and_saturates(x):
    seen = measure(Detector(binning=4, saturation=0.45), x)
    assert seen.shape == (4, 3, 3)
    mean = np.asarray(x)[4:8, :4].mean((0, 1))
    np.testing.assert_allclose(seen[1, 0], np.clip(mean, -0.45, 0.45), rtol=1e-13)
    assert np.max(seen) == 0.45 > np.min(seen)


def test_pixels_of_any_size_show_the_mean_over_their_area(x):
    binned = measure(Detector(binning=2), x)
    np.testing.assert_allclose(measure(Detector(pixel_size=1.0), x), binned, rtol=1e-13)
    np.testing.assert_array_equal(measure(Detector(pixel_size=SPACING), x), x)
    # Pixels of 1.5 image pixels: the second one begins in the middle of the second.
    detector = Detector(pixel_size=0.75)
    assert detector.output_spacing(SPACING) == 0.75
    line = np.zeros((6, 6, 1))
    line[:, :, 0] = np.array([0.0, 3.0, 0.0, 0.0, 0.0, 6.0])[:, None]
    seen = measure(detector, jnp.asarray(line))
    np.testing.assert_allclose(seen[:, 0, 0], [1.0, 1.0, 0.0, 4.0], atol=1e-14)
    # As 8 pixels tile 12, the signal is conserved; 16 leave two halves out.
    square = x[:12]
    total = measure(detector, square).sum((0, 1)) * 0.75**2
    np.testing.assert_allclose(total, square.sum((0, 1)) * SPACING**2, rtol=1e-12)
    assert measure(detector, x).shape == (10, 8, 3)


def test_a_moving_wave_fades_by_the_sinc_of_its_way():
    n, drift = 64, (5.0, -1.5)
    kx, ky = 2 * np.pi * np.array([3, 2]) / (n * SPACING)
    r = np.arange(n) * SPACING
    wave = jnp.asarray(np.cos(kx * r[:, None] + ky * r + 0.4))[..., None]
    seen = measure(Detector(drift=drift, boundary="periodic"), wave)
    fading = np.sinc((kx * drift[0] + ky * drift[1]) / (2 * np.pi))
    # Linear interpolation between pixels takes (k dx)^2 / 12 or so on top.
    np.testing.assert_allclose(seen, fading * wave, atol=0.02)
    assert fading < 0.85


@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_motion_conserves_the_signal(boundary, x):
    detector = Detector(drift=(2.0, -3.1), boundary=boundary)
    seen = measure(detector, x)
    np.testing.assert_allclose(seen.sum((0, 1)), x.sum((0, 1)), rtol=1e-12)
    np.testing.assert_array_equal(measure(Detector(drift=(0.0, 0)), x), x)
    traced = jax.jit(lambda d: measure(Detector(drift=(d, d)), x))(0.0)
    np.testing.assert_allclose(traced, x, rtol=1e-14)


def test_the_zero_level_wanders_from_row_to_row():
    flat = jnp.zeros((16, 5, 1))
    detector = Detector(baseline_drift=0.4)
    keys = jax.random.split(jax.random.key(8), 2000)
    seen = np.asarray(jax.vmap(lambda key: measure(detector, flat, key))(keys))[..., 0]
    np.testing.assert_array_equal(seen, np.broadcast_to(seen[:, :, :1], seen.shape))
    expected = 0.4**2 * np.arange(1, 17) / 16
    np.testing.assert_allclose(seen[:, :, 0].var(0), expected, rtol=4 * np.sqrt(2e-3))


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: Detector(binning=2, pixel_size=1.0), "choose one"),
        (lambda: Detector(pixel_size=-1.0), "`pixel_size` must be positive"),
        (lambda: Detector(drift=(1.0, float("nan"))), "`drift` must be two finite"),
        (lambda: Detector(baseline_drift=-1.0), "`baseline_drift` must not be"),
    ],
)
def test_detectors_that_cannot_be_are_refused(build, match):
    with pytest.raises(ValueError, match=match):
        build()


@pytest.mark.parametrize(
    ("detector", "match"),
    [
        (Detector(pixel_size=0.4), "`pixel_size`=0.4 is finer than the image's own"),
        (Detector(pixel_size=6.5), "`pixel_size`=6.5 is larger than the image"),
        (Detector(drift=(0.0, -7.0)), "`drift`=-7 is wider than the image"),
        (Detector(baseline_drift=1.0), "Detector has `baseline_drift`, so it needs"),
    ],
)
def test_measurements_that_cannot_be_are_refused(detector, match, x):
    with pytest.raises(ValueError, match=match):
        measure(detector, x)
