"""Gaussian blur: positive, conserving, the same at every resolution."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from gl15.instruments._instrument import Image, Parameter


def blur(x: Image, width: Parameter, spacing: float, name: str = "width") -> Image:
    r"""Convolve with a Gaussian of standard deviation `width`, in units of length.

    $$
    x'(r) = \int \frac{e^{-|r - r'|^2/2\sigma^2}}{2\pi\sigma^2}\, x(r')\, \mathrm{d}^2
    r'
    $$

    The image is continued by its mirror images, and the kernel normalised on the
    grid: sums are conserved, positive images stay positive, and the limit of zero
    width is the image itself. One small matrix along each axis.

    Args:
        x: the image.
        width: $\sigma$; may be traced.
        spacing: pixel spacing.
        name: what the caller calls the width, for the message.

    Returns:
        The blurred image.

    Raises:
        ValueError: if the kernel is wider than the image.
    """
    nx, ny = x.shape[:2]
    side = min(nx, ny) * spacing
    if not isinstance(width, Tracer) and float(width) > side:
        raise ValueError(
            f"`{name}`={float(width):g} is wider than the image, whose shorter side "
            f"is {side:g}; lengths are in the units of `spacing`={spacing:g}."
        )
    along_x, along_y = (_matrix(n, width, spacing, x.dtype) for n in (nx, ny))
    # GPUs would otherwise round the products to ten bits.
    return jnp.einsum("ij,jkc,lk->ilc", along_x, x, along_y, precision="highest")


def _matrix(n: int, width: Parameter, spacing: float, dtype) -> Float[Array, "n n"]:
    # Narrower than this the weight of a neighbour, e^-800, is nothing; and 0/0 is
    # avoided, in derivatives too.
    sigma = jnp.maximum(jnp.asarray(width, dtype), 0.025 * spacing) / spacing
    i, j = np.arange(n)[:, None], np.arange(n)
    direct = [i - j + 2 * n * m for m in (-1, 0, 1)]
    mirrored = [i + j + 1 + 2 * n * m for m in (-2, -1, 0, 1)]
    distances = jnp.asarray(np.stack(direct + mirrored), dtype)
    weights = jnp.sum(jnp.exp(-((distances / sigma) ** 2) / 2), axis=0)
    return weights / jnp.sum(weights, axis=0)
