"""Lowest modes of any symmetric operator, by products alone."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float
from scipy.sparse.linalg import ArpackNoConvergence, eigsh, LinearOperator

from gl15.spectra._error import NotConvergedError, residual_norms


#: Values, vectors in columns.
Pairs: TypeAlias = tuple[Float[np.ndarray, " k"], Float[np.ndarray, "dof k"]]


class Effort(NamedTuple):
    """How hard ARPACK tries."""

    tolerance: float
    subspace: int | None
    max_restarts: int


def arpack(
    product: Callable, size: int, dtype, k: int, which: str, effort: Effort, **options
) -> Pairs:
    """`eigsh` with a fixed start, so that the result is fixed too.

    Args:
        product: the operator on flat vectors.
        size: its dimension.
        dtype: its type.
        k: number of modes.
        which: which of them, in ARPACK's words.
        effort: relative accuracy; number of Lanczos vectors, by default max(4 k, 80);
            when to give up.
        options: passed to `eigsh`.

    Returns:
        Eigenvalues and eigenvectors, in no order.

    Raises:
        NotConvergedError: with what did converge.
    """

    def operator(function: Callable) -> LinearOperator:
        return LinearOperator(  # pyright: ignore[reportCallIssue]
            (size, size),
            matvec=function,  # pyright: ignore[reportCallIssue]
            dtype=dtype,  # pyright: ignore[reportCallIssue]
        )

    tolerance, subspace, max_restarts = effort
    subspace = max(4 * k, 80) if subspace is None else subspace
    if "OPinv" in options:
        options["OPinv"] = operator(options["OPinv"])
    try:
        values, vectors = eigsh(
            operator(product),
            k=k,
            which=which,
            tol=tolerance,  # pyright: ignore[reportArgumentType]
            ncv=min(size - 1, subspace),
            maxiter=max_restarts,
            v0=np.random.default_rng(0).normal(size=size).astype(dtype),
            **options,
        )
        return np.asarray(values), np.asarray(vectors)
    except ArpackNoConvergence as error:
        values, vectors = error.eigenvalues, error.eigenvectors
        residuals = residual_norms(product, values, vectors)
        raise NotConvergedError(
            "Lanczos did not converge", k, values, residuals
        ) from error


class Lanczos:
    """ARPACK on a shifted operator, with modes projected out on demand.

    It differs from `eigsh(H, which="SA")` in that

    1. the spectrum is shifted below zero: ARPACK holds a residual against the size of
       its eigenvalue, and that of a zero mode is out of reach;
    2. the starting vector is fixed, so that the result is;
    3. the k modes are checked for missing copies.
    """

    def __init__(self, product: Callable, size: int, dtype, effort: Effort):
        """Measure the spectrum's scale, of which the tolerance is a fraction."""
        self.product = product
        self.size, self.dtype, self.effort = size, dtype, effort
        rough = effort._replace(tolerance=1e-2)
        (top,), _ = arpack(product, size, dtype, 1, "LM", rough)
        self.scale = 1.05 * abs(float(top))

    def lowest(self, k) -> Pairs:
        """The k lowest modes, all copies of them, ascending."""
        values, vectors = self.below(np.zeros((self.size, 0), self.dtype), k)
        while True:
            value, vector = self.below(vectors, 1)
            order = np.argsort(np.append(values, value))
            missed = value[0] < values[k - 1] - self.effort.tolerance * self.scale
            if not missed:
                return values[:k], vectors[:, :k]
            values = np.append(values, value)[order]
            vectors = np.concatenate([vectors, vector], 1)[:, order]

    def below(self, found, k) -> Pairs:
        """The k lowest modes orthogonal to those found."""

        def shifted(vector):
            overlap = found.T @ vector
            lifted = 2 * self.scale * (found @ overlap)
            return self.product(vector) - self.scale * vector + lifted

        values, vectors = arpack(shifted, self.size, self.dtype, k, "SA", self.effort)
        order = np.argsort(values)
        return values[order] + self.scale, vectors[:, order]
