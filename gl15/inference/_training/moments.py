"""Standardisation of more data than memory holds."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from gl15.inference._estimators.standardization import Standardization


class Moments:
    """Mean and variance of each entry of the last axis, a chunk at a time."""

    def __init__(self):
        self.count, self.mean, self.squares = 0, np.zeros(()), np.zeros(())
        self.dtype: Any = None

    def add(self, z: np.ndarray) -> None:
        """Chan's update, in double precision.

        Args:
            z: data, entries on the last axis.
        """
        if not z.size:
            return
        self.dtype = z.dtype
        flat = z.reshape(-1, z.shape[-1]).astype(np.float64)
        mean = flat.mean(0)
        squares = ((flat - mean) ** 2).sum(0)
        total, step = self.count + len(flat), mean - self.mean
        self.squares = (
            self.squares + squares + step**2 * (self.count * len(flat) / total)
        )
        self.mean = self.mean + step * (len(flat) / total)
        self.count = total

    def standardization(self, limit: float) -> Standardization:
        """As `Standardization.fit` makes it of the whole.

        Args:
            limit: standard deviations beyond which nothing counts.

        Returns:
            The standardisation, in the precision of the data.
        """
        std = np.sqrt(self.squares / self.count)
        noise = 10 * np.finfo(self.dtype).eps * np.abs(self.mean)
        scale = np.where(std > noise, std, 1.0)
        return Standardization(
            jnp.asarray(self.mean, self.dtype),
            jnp.asarray(scale, self.dtype),
            limit=limit,
        )
