"""Images of another pixel spacing, brought to the one of training."""

import jax.numpy as jnp
import numpy as np

from gl15.instruments import Detector
from gl15.simulation._observation import Observation


def resample(observation: Observation, spacing: float) -> Observation:
    r"""A finer image on the pixels of another one.

    $$
    x'_i = \frac{1}{|A_i|} \int_{A_i} x \, \mathrm{d}^2 r
    $$

    Every channel is averaged over the area $A_i$ of each new pixel, whatever the ratio
    of the spacings: a density becomes the density of what is in the pixel, and the curl
    of a current its circulation around the pixel per area (Stokes). As many pixels as
    fit, in the middle of the image. Behind a simulator,
    `gl15.instruments.Detector(pixel_size=spacing)` does the same.

    The image then has the pixels that an estimator was trained on, but not quite the
    contents: a simulation at that spacing would have been coarser in its dynamics, too.
    See the guide for what is lost.

    Args:
        observation: an image.
        spacing: the spacing of the new pixels, not below the image's own.

    Returns:
        The image on the new pixels.

    Raises:
        TypeError: if it is a bare array.
        ValueError: if the new pixels are finer than the old, or none fits.
    """
    if not isinstance(observation, Observation):
        raise TypeError(
            f"`observation` must be an Observation, got {type(observation).__name__}; "
            "give `Observation(x, spacing)`: the pixels of an array are not known."
        )
    if spacing < observation.spacing * (1 - 1e-6):
        raise ValueError(
            f"`spacing`={spacing:g} is finer than the image's own, "
            f"{observation.spacing:g}: no resampling shows what it does not; use an "
            "estimator trained at its spacing, or a coarser one."
        )
    detector = Detector(pixel_size=spacing)
    x = detector(jnp.asarray(observation.x), spacing=observation.spacing)
    return Observation(np.asarray(x), spacing, observation.channels)
