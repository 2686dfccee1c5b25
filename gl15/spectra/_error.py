"""What is said, and handed over, when modes did not converge."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float


class NotConvergedError(RuntimeError):
    r"""Modes that were sought and not found to the accuracy asked for.

    Attributes:
        eigenvalues: those that were found.
        residuals: the norm of $Hv - \lambda v$ of each.
    """

    def __init__(self, what: str, k: int, eigenvalues, residuals):
        """Say what went wrong, with the residuals and the remedy."""
        self.eigenvalues = np.asarray(eigenvalues)
        self.residuals = np.asarray(residuals)
        shown = np.array2string(self.residuals, precision=2, threshold=10)
        super().__init__(
            f"{what}: of {k} modes sought, {self.eigenvalues.size} were found, with "
            f"residuals {shown}. Raise `max_restarts` or `subspace`, loosen "
            "`tolerance`, ask for fewer modes, or build `H` in float64."
        )


def residual_norms(
    product: Callable,
    values: Float[np.ndarray, " k"],
    vectors: Float[np.ndarray, "dof k"],
) -> Float[np.ndarray, " k"]:
    r"""Norm of $Hv - \lambda v$ of each pair.

    Args:
        product: the operator on flat vectors.
        values: eigenvalues.
        vectors: eigenvectors, in columns.

    Returns:
        The norms.
    """
    pairs = zip(values, vectors.T, strict=True)
    return np.array([np.linalg.norm(product(v) - value * v) for value, v in pairs])
