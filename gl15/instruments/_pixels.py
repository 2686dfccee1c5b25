"""Pixels of a detector's own: the mean of the image over each."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


# A pixel that ends a rounding error beyond the image is still inside it.
_SLACK = 1e-6


def bin_pixels(x: Float[Array, "nx ny c"], b: int) -> Float[Array, "px py c"]:
    """The mean over squares of b by b pixels.

    Args:
        x: the image.
        b: pixels along each side.

    Returns:
        The image on larger pixels.

    Raises:
        ValueError: if b does not divide the image.
    """
    nx, ny, channels = x.shape
    if nx % b or ny % b:
        raise ValueError(
            f"`binning`={b} does not divide the image of {nx} x {ny} pixels; crop "
            f"it to {nx // b * b} x {ny // b * b}, choose another `binning`, or give "
            "`pixel_size`."
        )
    return x.reshape(nx // b, b, ny // b, b, channels).mean((1, 3))


def resample(
    x: Float[Array, "nx ny c"], size: float, spacing: float
) -> Float[Array, "px py c"]:
    """The mean over square pixels of any size, by the areas they share.

    As many pixels as fit, in the middle of the image.

    Args:
        x: the image.
        size: side of a new pixel.
        spacing: that of an old one.

    Returns:
        The image on the new pixels.

    Raises:
        ValueError: if they are finer than the image's, or none fits.
    """
    if size < spacing * (1 - _SLACK):
        raise ValueError(
            f"`pixel_size`={size:g} is finer than the image's own pixels, `spacing`="
            f"{spacing:g}, and cannot show more than they do; simulate with a smaller "
            "spacing or choose larger pixels."
        )
    side = min(x.shape[:2]) * spacing
    if size > side * (1 + _SLACK):
        raise ValueError(
            f"`pixel_size`={size:g} is larger than the image, whose shorter side is "
            f"{side:g}; choose smaller pixels or a larger image."
        )
    along_x, along_y = (_shares(n, size / spacing, x.dtype) for n in x.shape[:2])
    return jnp.einsum("ij,jkc,lk->ilc", along_x, x, along_y, precision="highest")


def _shares(n: int, size: float, dtype: jnp.dtype) -> Float[Array, "p n"]:
    count = math.floor(n / size + _SLACK)
    start = (n - count * size) / 2 + size * np.arange(count)[:, None]
    left = np.arange(n)
    shared = np.minimum(start + size, left + 1) - np.maximum(start, left)
    shared = np.maximum(shared, 0)
    return jnp.asarray(shared / shared.sum(1, keepdims=True), dtype)
