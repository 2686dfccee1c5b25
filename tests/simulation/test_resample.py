"""Finer images on the pixels of training."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

import gl15
from gl15.simulation import Observation, resample


def test_pixels_are_means_over_their_area():
    x = np.arange(36.0).reshape(6, 6, 1)
    coarse = resample(Observation(x, 0.25, ("density",)), 0.5)
    expected = x.reshape(3, 2, 3, 2, 1).mean((1, 3))
    np.testing.assert_allclose(coarse.x, expected)
    assert (coarse.spacing, coarse.channels) == (0.5, ("density",))
    uneven = resample(Observation(x, 0.25), 0.375)  # 4 pixels of 1.5
    np.testing.assert_allclose(uneven.x.mean(), x.mean())
    np.testing.assert_allclose(uneven.x[0, 0, 0], (0 + 1 / 2 + 6 / 2 + 7 / 4) / 2.25)


def test_the_curl_of_a_coarse_pixel_is_the_circulation_around_it():
    """Stokes: the currents inside cancel, on a torus down to nothing at all."""
    lattice = gl15.Lattice((8, 8), spacing=0.25, boundary="periodic")
    tdgl = gl15.TDGL(lattice, gl15.TwoBand(), lattice.field_from_quanta(1))
    psi = gl15.quench(lattice, key=jax.random.key(0))
    image = Observation(np.asarray(gl15.observe(tdgl, psi)), 0.25)
    found = resample(image, 1.0).x[1, 0, 2]
    j_x, j_y = tdgl.current(psi)
    around = (
        j_x[4:8, 0].sum() + j_y[0, 0:4].sum() - j_x[4:8, 4].sum() - j_y[4, 0:4].sum()
    )
    np.testing.assert_allclose(found, around * 0.25, rtol=1e-9)
    np.testing.assert_allclose(resample(image, 2.0).x[..., 2], 0, atol=1e-9)


def test_the_remedy_of_a_refused_image_helps(getkey):
    prior = gl15.Prior({"eta": dist.Uniform(0.0, 1.5)})
    encoder = gl15.SpectralEncoder(rings=4, key=getkey())
    estimator = gl15.RatioEstimator(prior, encoder, spacing=0.5, key=getkey())
    image = Observation(np.random.default_rng(0).random((40, 40, 3)), 0.25)
    with pytest.raises(ValueError) as refused:
        estimator.check_image(image.x, spacing=image.spacing)
    assert "`gl15.simulation.resample(observation, 0.5)`" in str(refused.value)
    image = resample(image, 0.5)
    estimator.check_image(image.x, spacing=image.spacing)


def test_no_finer_pixels_are_made_up():
    image = Observation(np.ones((8, 8, 1)), 1.0)
    with pytest.raises(ValueError, match="0.5 is finer than the image's own, 1:"):
        resample(image, 0.5)
    with pytest.raises(ValueError, match="`pixel_size`=9 is larger than the image"):
        resample(image, 9.0)
