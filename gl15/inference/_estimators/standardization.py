"""Standardisation of summaries, fitted on training data and kept with the network."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


# Of the variance of a standardised summary: what is less is rounding, and stays small.
_FLOOR = 1e-5
_ROWS = 40_000  # as many summaries tell their covariance well enough


class Standardization(eqx.Module):
    r"""Shift and scale of each entry of the last axis, and a rotation or none.

    $$z \mapsto R\, \mathrm{clip}\big((z - m)/s, -l, l\big)$$

    Attributes:
        mean: $m$.
        scale: $s$.
        rotation: $R$; None while there is none, as in every trained estimator.
        limit: $l$, the standard deviations beyond which nothing counts.
    """

    mean: Float[Array, " size"]
    scale: Float[Array, " size"]
    rotation: Float[Array, "size size"] | None = None
    limit: float = eqx.field(static=True, default=np.inf)

    @staticmethod
    def identity(size: int, limit: float = np.inf) -> "Standardization":
        """The one that changes nothing, but for the limit.

        Args:
            size: number of entries.
            limit: $l$.

        Returns:
            Shift 0 and scale 1.
        """
        return Standardization(jnp.zeros(size), jnp.ones(size), limit=limit)

    @staticmethod
    def fit(z: Float[Array, "*n size"], limit: float = np.inf) -> "Standardization":
        """The one that brings each entry to mean 0 and standard deviation 1.

        Args:
            z: data, entries on the last axis.
            limit: $l$.

        Returns:
            The standardisation; entries that do not vary are only shifted.
        """
        axes = tuple(range(z.ndim - 1))
        mean, std = z.mean(axes), z.std(axes)
        noise = 10 * jnp.finfo(z.dtype).eps * jnp.abs(mean)
        return Standardization(mean, jnp.where(std > noise, std, 1.0), limit=limit)

    def whitening(self, z: Float[Array, "n size"]) -> "Standardization":
        r"""The same, followed by a rotation after which no two entries are correlated.

        Summaries may be so alike that what tells the parameters is in differences a
        thousand times smaller than the summaries. Gradient descent hardly finds it
        there; after $R = (\Lambda + \epsilon)^{-1/2} V^\top$, of the eigenvalues
        $\Lambda$ and eigenvectors V of their covariance, all directions are alike.

        Args:
            z: data, not standardised yet.

        Returns:
            The standardisation with a rotation.
        """
        data = np.asarray(self(z[:_ROWS]), np.float64)
        values, vectors = np.linalg.eigh(data.T @ data / len(data))
        scale = 1 / np.sqrt(np.maximum(values, 0) + _FLOOR)
        rotation = jnp.asarray((vectors * scale).T, z.dtype)
        return Standardization(self.mean, self.scale, rotation, self.limit)

    def __call__(self, z: Float[Array, "*n size"]) -> Float[Array, "*n size"]:
        """The standardised data.

        Args:
            z: data, entries on the last axis.

        Returns:
            Data of the same shape.
        """
        z = (z - self.mean) / self.scale
        if np.isfinite(self.limit):
            z = jnp.clip(z, -self.limit, self.limit)
        return z if self.rotation is None else z @ self.rotation.T
