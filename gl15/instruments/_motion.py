"""A sample that moves while it is exposed."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gl15.instruments._blur import check_fits, spread
from gl15.instruments._checks import is_known
from gl15.instruments._instrument import Boundary, Parameter


#: Moments of the exposure that are averaged.
_MOMENTS = 32


def smear(
    x: Float[Array, "nx ny c"],
    drift: tuple[Parameter, Parameter],
    spacing: float,
    boundary: Boundary,
) -> Float[Array, "nx ny c"]:
    r"""Average over a steady motion by `drift` during the exposure.

    $$
    x'(r) = \int_{-1/2}^{1/2} x(r - u\,\Delta)\, \mathrm{d}u
    $$

    The middle of the exposure shows the image in its place. Between pixels each moment
    is interpolated linearly. Sums are conserved: at a mirrored edge what would leave
    the image is thrown back.

    Args:
        x: the image.
        drift: $\Delta$, in units of length.
        spacing: pixel spacing.
        boundary: mirrored or periodic.

    Returns:
        The smeared image.

    Raises:
        ValueError: if it moves further than the image is wide.
    """
    if all(is_known(one) and float(one) == 0 for one in drift):
        return x
    nx, ny = x.shape[:2]
    for one in drift:
        check_fits("drift", one, (nx, ny), spacing)
    moments = jnp.asarray((np.arange(_MOMENTS) + 0.5) / _MOMENTS - 0.5, x.dtype)
    pixels = [jnp.asarray(one, x.dtype) / spacing for one in drift]

    def moment(u: Float[Array, ""]) -> Float[Array, "nx ny c"]:
        along_x, along_y = (
            spread(_hat, n, boundary, x.dtype, shift=u * far)
            for n, far in zip((nx, ny), pixels, strict=True)
        )
        return jnp.einsum("ij,jkc,lk->ilc", along_x, x, along_y, precision="highest")

    return jnp.mean(jax.lax.map(moment, moments), axis=0)


def _hat(distances: Float[Array, "n n"]) -> Float[Array, "n n"]:
    return jnp.maximum(1 - jnp.abs(distances), 0)
