"""Simulations that came out as NaN or infinity, and how that is said."""

from typing import Any

import numpy as np


class NonFiniteSimulationError(RuntimeError):
    """Some simulations were not finite; the others are kept in `ensemble`.

    Attributes:
        ensemble: the finite simulations: an `Ensemble`, or the part of a
            `StoredEnsemble` that is finite.
        index: which of those asked for were not finite.
        theta: their parameters, name -> values.
    """

    def __init__(self, ensemble: Any, index: np.ndarray, theta: dict):
        """Collect what is known of the failures."""
        self.ensemble = ensemble
        self.index = index
        self.theta = theta
        super().__init__(
            f"{report(index, theta)} The {len(ensemble)} finite simulations are in "
            "this error's `.ensemble`. Leaving any out biases an estimator where they "
            "fail: narrow the prior or shorten the step, or pass "
            '`on_nonfinite="drop"` if that is what you want.'
        )


def finite_rows(x: np.ndarray) -> np.ndarray:
    """Which observations are finite.

    Args:
        x: observations `[n, ...]`.

    Returns:
        Bool `[n]`.
    """
    return np.asarray(np.isfinite(x).all(axis=tuple(range(1, x.ndim))))


def report(index: np.ndarray, theta: dict[str, np.ndarray]) -> str:
    """How many were not finite, and the first of them.

    Args:
        index: which.
        theta: their parameters, name -> values.

    Returns:
        A sentence.
    """
    first = {name: float(value[0]) for name, value in theta.items()}
    return (
        f"{index.size} simulations were not finite; the first is number {index[0]} at "
        f"theta {first}."
    )
