"""The random start: a sudden quench from the normal phase."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, UInt32

from gl15.physics._lattice import Lattice
from gl15.physics._types import Psi


def quench(
    lattice: Lattice,
    *,
    key: Key[Array, ""] | UInt32[Array, "2"],
    amplitude: float | int = 0.5,
    dtype=None,
) -> Psi:
    r"""Order parameters right after a quench from the normal phase (section III).

    Real and imaginary part of each band at each site are independent and uniform in
    $[-a, a]$, so that $\langle|\psi_i|^2\rangle = 2a^2/3$.

    Args:
        lattice: the lattice.
        key: JAX random key.
        amplitude: half-width $a$ of the uniform distribution.
        dtype: complex type; by default complex64, or complex128 where x64 is enabled.

    Returns:
        Complex order parameters `[2, nx, ny]`.

    Raises:
        ValueError: if `amplitude` is negative or not finite.
    """
    if not 0 <= amplitude < float("inf"):
        raise ValueError(
            f"`amplitude` must be a finite number of at least 0, got {amplitude}."
        )
    dtype = jnp.result_type(complex) if dtype is None else jnp.dtype(dtype)
    real = jnp.finfo(dtype).dtype
    # Drawn flat: the same numbers, and XLA compiles the draw ten times faster.
    shape = (2, 2, *lattice.shape)
    flat = jax.random.uniform(
        key, (math.prod(shape),), real, minval=-amplitude, maxval=amplitude
    )
    parts = flat.reshape(shape)
    return jax.lax.complex(parts[:, 0], parts[:, 1])
