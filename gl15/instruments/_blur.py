"""Smearing along straight axes: conserving, the same at every resolution."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gl15.instruments._checks import is_known
from gl15.instruments._instrument import Boundary, Parameter


def blur(
    x: Float[Array, "nx ny c"],
    width: Parameter,
    spacing: float,
    boundary: Boundary,
    name: str = "width",
) -> Float[Array, "nx ny c"]:
    r"""Convolve with a Gaussian of standard deviation `width`, in units of length.

    $$
    x'(r) = \int \frac{e^{-|r - r'|^2/2\sigma^2}}{2\pi\sigma^2}\, x(r')\, \mathrm{d}^2
    r'
    $$

    The image goes on beyond its edges as `boundary` says, and the kernel is normalised
    on the grid: sums are conserved, flat images stay flat, positive images positive,
    and the limit of zero width is the image itself. One small matrix along each axis.

    Args:
        x: the image.
        width: $\sigma$; may be traced.
        spacing: pixel spacing.
        boundary: mirrored or periodic.
        name: what the caller calls the width, for the message.

    Returns:
        The blurred image.

    Raises:
        ValueError: if the kernel is wider than the image.
    """
    nx, ny = x.shape[:2]
    check_fits(name, width, (nx, ny), spacing)
    # Narrower than this the weight of a neighbour, e^-800, is nothing; and 0/0 is
    # avoided, in derivatives too.
    sigma = jnp.maximum(jnp.asarray(width, x.dtype), 0.025 * spacing) / spacing

    def gaussian(distances: Float[Array, "n n"]) -> Float[Array, "n n"]:
        return jnp.exp(-((distances / sigma) ** 2) / 2)

    along_x, along_y = (
        spread(gaussian, n, boundary, x.dtype, reach=3) for n in (nx, ny)
    )
    # GPUs would otherwise round the products to ten bits.
    return jnp.einsum("ij,jkc,lk->ilc", along_x, x, along_y, precision="highest")


def spread(
    kernel: Callable[[Array], Array],
    n: int,
    boundary: Boundary,
    dtype: jnp.dtype,
    *,
    shift: Float[Array, ""] | float = 0.0,
    reach: int = 1,
) -> Float[Array, "n n"]:
    r"""Where the signal of each pixel along an axis goes, as a matrix.

    Column j holds the kernel centred on $j + s$ and its images beyond the edges,
    normalised: what a pixel gives away arrives somewhere.

    Args:
        kernel: from distances in pixels to weights.
        n: number of pixels.
        boundary: mirrored or periodic.
        dtype: of the matrix.
        shift: $s$, in pixels.
        reach: how many sizes of the image the kernel may extend to either side, twice
            over for a mirrored one.

    Returns:
        The matrix, columns of sum one.
    """
    i, j = np.arange(n)[:, None], np.arange(n)
    period = 2 * n if boundary == "open" else n
    offsets = period * np.arange(-reach - (boundary != "open") * reach, 0)
    offsets = np.concatenate([offsets, [0], -offsets])
    weights = jnp.zeros((n, n), dtype)
    for offset in offsets:
        weights += kernel(jnp.asarray(i - j + offset, dtype) - shift)
        if boundary == "open":
            weights += kernel(jnp.asarray(i + j + 1 + offset, dtype) + shift)
    return weights / jnp.sum(weights, axis=0)


def check_fits(
    name: str, length: Parameter, shape: tuple[int, int], spacing: float
) -> None:
    """Refuse a kernel that is wider than the image, where its width is known.

    Args:
        name: what the caller calls it.
        length: its width.
        shape: number of pixels of the image.
        spacing: pixel spacing.

    Raises:
        ValueError: if it is wider than the shorter side.
    """
    side = min(shape) * spacing
    if is_known(length) and abs(float(length)) > side * (1 + 1e-6):
        raise ValueError(
            f"`{name}`={float(length):g} is wider than the image, whose shorter side "
            f"is {side:g}; lengths are in the units of `spacing`={spacing:g}. Use a "
            "larger image or a narrower kernel; for lengths in nanometres wrap the "
            "instrument in `gl15.instruments.InNanometres`."
        )
