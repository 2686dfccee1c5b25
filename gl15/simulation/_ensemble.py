"""Pairs (theta, x): what a simulator produced and an estimator learns from."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Ensemble(eqx.Module):
    """Independent pairs of parameters and observations.

    `len(ensemble)` is their number; `ensemble[:100]`, `ensemble[mask]` and
    `ensemble[indices]` are ensembles too.

    Attributes:
        theta: parameter name -> `[n]`.
        x: observations `[n, ...]`, images `[n, nx, ny, channels]`.
        spacing: pixel spacing of the images, if they are any.
        channels: names of the channels, if known.
    """

    theta: dict[str, Float[Array, " _"]]
    x: Float[Array, "_ ..."]
    spacing: float | None = eqx.field(static=True, default=None)
    channels: tuple[str, ...] = eqx.field(static=True, default=())

    def __check_init__(self):
        sizes = {name: value.shape for name, value in self.theta.items()}
        if any(shape != (len(self),) for shape in sizes.values()):
            raise ValueError(
                f"`theta` must hold one value for each of the {len(self)} "
                f"observations, got shapes {sizes}."
            )

    def __len__(self) -> int:
        """Number of pairs."""
        return self.x.shape[0]

    def __getitem__(
        self, index: slice | Sequence[int] | np.ndarray | Array
    ) -> "Ensemble":
        """Some of the pairs."""
        if isinstance(index, Sequence):
            index = np.asarray(index)
        theta = {name: value[index] for name, value in self.theta.items()}
        return Ensemble(theta, self.x[index], self.spacing, self.channels)

    def __add__(self, other: "Ensemble") -> "Ensemble":
        """The pairs of both."""
        if (self.spacing, self.channels) != (other.spacing, other.channels):
            raise ValueError(
                "ensembles of different images cannot be joined: spacing and channels "
                f"are {self.spacing}, {self.channels} and {other.spacing}, "
                f"{other.channels}."
            )
        theta = {
            name: jnp.concatenate([value, other.theta[name]])
            for name, value in self.theta.items()
        }
        x = jnp.concatenate([self.x, other.x])
        return Ensemble(theta, x, self.spacing, self.channels)
