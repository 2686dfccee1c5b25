r"""The lane layout: how many simulations lie side by side in memory.

The flow runs on one real array `[4 * nx, ny * lanes]`. Its rows are those of
$\mathrm{Re}\,\psi_1$, then of $\mathrm{Im}\,\psi_1$, $\mathrm{Re}\,\psi_2$ and
$\mathrm{Im}\,\psi_2$; its column `y * lanes + lane` holds site y of simulation `lane`.
Neighbours along y are then `lanes` columns away, each row is one contiguous run, and
all that XLA makes of the stencil is vector loads, fused multiply-adds and stores.
Complex arithmetic and a batch axis of its own, inside or outside, defeat its
vectoriser and are several times slower; several arrays instead of one are several
times slower to keep for a gradient.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float


#: Real and imaginary part of one band `[nx, ny * lanes]`, of some rows of it, or of
#: links in a shape that broadcasts against it.
Pair: TypeAlias = tuple[Float[Array, "..."], Float[Array, "..."]]

#: The state that Diffrax integrates.
Packed: TypeAlias = Float[Array, "rows width"]

#: A state between ghost columns, see `Stencil.page`.
Page: TypeAlias = Float[Array, "rows page"]


def pack(psi: Complex[Array, "lanes 2 nx ny"]) -> Packed:
    """Order parameters of several simulations in the lane layout."""
    lanes, _, nx, ny = psi.shape
    parts = jnp.stack([psi.real, psi.imag], 2)
    return jnp.moveaxis(parts, 0, -1).reshape(4 * nx, ny * lanes)


def unpack(state: Packed, lanes: int) -> Complex[Array, "lanes 2 nx ny"]:
    """The inverse of `pack`."""
    rows, width = state.shape
    parts = jnp.moveaxis(state.reshape(2, 2, rows // 4, width // lanes, lanes), -1, 0)
    return jax.lax.complex(parts[:, :, 0], parts[:, :, 1])


def split(state: Float[Array, "rows w"]) -> tuple[Pair, Pair]:
    """The four parts of a state, or of one with ghost columns, band by band."""
    nx = state.shape[0] // 4
    parts = [state[i * nx : (i + 1) * nx] for i in range(4)]
    return (parts[0], parts[1]), (parts[2], parts[3])


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


def apart(function: Callable[[Array], Any], state: Float[Array, "rows width"]) -> Any:
    """Call a function of a state, and keep XLA from making it one with its users.

    On a CPU, that is: there the call is a choice, between the same, but XLA does not
    know. On an accelerator a choice costs more than all else.
    """

    def chosen(state: Array) -> Any:
        return jax.lax.cond(state[0, 0] > 0, function, function, state)

    return jax.lax.platform_dependent(state, cpu=chosen, default=function)
