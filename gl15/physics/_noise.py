"""Thermal noise, drawn simulation by simulation so that batching changes nothing."""

import math

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt32

from gl15.physics._lanes import pack, Packed


class LaneNoise(diffrax.AbstractPath):
    """Increments of independent Brownian motions, one per real degree of freedom.

    Time is counted in integrator steps. The increment of step n of a simulation
    depends on that simulation's key and on n alone.

    Attributes:
        keys: one key per simulation.
        t0: first step.
        t1: last step.
        shape: number of sites `(nx, ny)`.
        dtype: real type of the increments.
    """

    keys: Key[Array, " lanes"] | UInt32[Array, "lanes 2"]
    # Diffrax shows its abstract fields to type checkers as class variables.
    t0: float  # pyright: ignore[reportIncompatibleVariableOverride]
    t1: float  # pyright: ignore[reportIncompatibleVariableOverride]
    shape: tuple[int, int] = eqx.field(static=True)
    dtype: jnp.dtype = eqx.field(static=True)

    def evaluate(self, t0, t1=None, left: bool = True, use_jump=None) -> Packed:
        """Increment between the step boundaries `t0` and `t1`."""
        del left, use_jump
        step = jnp.round(t0).astype(jnp.uint32)

        def draw(key) -> Float[Array, "2 2 nx ny"]:
            noise_key = jax.random.fold_in(key, step)
            size = 4 * math.prod(self.shape)
            flat = jax.random.normal(noise_key, (size,), self.dtype)
            return flat.reshape(2, 2, *self.shape)

        parts = jax.vmap(draw)(self.keys) * jnp.sqrt(t1 - t0).astype(self.dtype)
        return pack(jax.lax.complex(parts[:, :, 0], parts[:, :, 1]))
