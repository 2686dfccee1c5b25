r"""The lane layout: how many simulations lie side by side in memory.

The flow runs on real arrays `[nx, ny * lanes]`: column `y * lanes + lane` holds site
y of simulation `lane`. Neighbours along y are then `lanes` columns away, each row is
one contiguous run, and all that XLA makes of the stencil is vector loads, fused
multiply-adds and stores. Complex arithmetic and a batch axis of its own, inside or
outside, defeat its vectoriser and are several times slower.
"""

from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float


#: Real and imaginary part of one band `[nx, ny * lanes]`, of some rows of it, or of
#: links in a shape that broadcasts against it.
Pair: TypeAlias = tuple[Float[Array, "..."], Float[Array, "..."]]

#: The state that Diffrax integrates: one pair per band.
Packed: TypeAlias = tuple[Pair, Pair]


def pack(psi: Complex[Array, "lanes 2 nx ny"]) -> Packed:
    """Order parameters of several simulations in the lane layout."""

    def lay(band: Float[Array, "lanes nx ny"]) -> Float[Array, "nx width"]:
        return jnp.moveaxis(band, 0, -1).reshape(band.shape[1], -1)

    first, second = psi[:, 0], psi[:, 1]
    return (
        (lay(first.real), lay(first.imag)),
        (lay(second.real), lay(second.imag)),
    )


def unpack(state: Packed, lanes: int) -> Complex[Array, "lanes 2 nx ny"]:
    """The inverse of `pack`."""

    def lift(band: Float[Array, "nx width"]) -> Float[Array, "lanes nx ny"]:
        return jnp.moveaxis(band.reshape(band.shape[0], -1, lanes), -1, 0)

    return jnp.stack([jax.lax.complex(lift(re), lift(im)) for re, im in state], axis=1)


def spread(coefficient, lanes: int, ny: int):
    """A coefficient in a shape that broadcasts against the lane layout.

    Args:
        coefficient: one number `[]`, one per simulation `[lanes]`, a map `[rows, ny]`
            or `[rows, 1]` that all share, or one map per simulation `[lanes, rows, ny]`
            or `[lanes, rows, 1]`.
        lanes: number of simulations.
        ny: number of sites along y.

    Returns:
        An array of shape `[]`, `[1, ny * lanes]`, `[rows, 1]` or `[rows, ny * lanes]`.
    """
    c = jnp.asarray(coefficient)
    if c.ndim == 0:
        return c
    if c.ndim == 1:
        return jnp.tile(c, ny)[None]
    if c.ndim == 2:
        return c if c.shape[1] == 1 else jnp.repeat(c, lanes, axis=1)
    c = jnp.broadcast_to(c, (*c.shape[:2], ny))
    return jnp.moveaxis(c, 0, -1).reshape(c.shape[1], -1)
