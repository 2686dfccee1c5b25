"""Standardisation of inputs, fitted on training data and kept with the network."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class Standardization(eqx.Module):
    r"""Shift and scale of each entry of the last axis: $z \mapsto (z - m)/s$.

    Attributes:
        mean: $m$.
        scale: $s$.
    """

    mean: Float[Array, " size"]
    scale: Float[Array, " size"]

    @staticmethod
    def identity(size: int) -> "Standardization":
        """The one that changes nothing.

        Args:
            size: number of entries.

        Returns:
            Shift 0 and scale 1.
        """
        return Standardization(jnp.zeros(size), jnp.ones(size))

    @staticmethod
    def fit(z: Float[Array, "*n size"]) -> "Standardization":
        """The one that brings each entry to mean 0 and standard deviation 1.

        Args:
            z: data, entries on the last axis.

        Returns:
            The standardisation; entries that do not vary are only shifted.
        """
        axes = tuple(range(z.ndim - 1))
        mean, std = z.mean(axes), z.std(axes)
        noise = 10 * jnp.finfo(z.dtype).eps * jnp.abs(mean)
        return Standardization(mean, jnp.where(std > noise, std, 1.0))

    def __call__(self, z: Float[Array, "*n size"]) -> Float[Array, "*n size"]:
        """The standardised data.

        Args:
            z: data, entries on the last axis.

        Returns:
            Data of the same shape.
        """
        return (z - self.mean) / self.scale
