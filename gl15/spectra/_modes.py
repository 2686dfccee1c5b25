"""The lowest modes of a symmetric operator, converged or not at all."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float, PyTree
from scipy.sparse.linalg import ArpackNoConvergence, eigsh, LinearOperator

from gl15.spectra._flat import flatten


#: Below this many degrees of freedom the whole matrix is written and diagonalised.
_DENSE = 600


class Modes(eqx.Module):
    r"""Lowest eigenvalues of an operator with their eigenvectors.

    Attributes:
        eigenvalues: ascending.
        eigenvectors: orthonormal, each in the shape the operator acts on, with the
            number of the mode as first axis.
        residuals: norm of $Hv - \lambda v$ of each; no eigenvalue is further from
            one of H than this.
    """

    eigenvalues: Float[Array, " k"]
    eigenvectors: PyTree[Float[Array, "k ..."]]
    residuals: Float[Array, " k"]


def lowest_modes(
    H: lx.AbstractLinearOperator,
    k: int = 20,
    *,
    tolerance: float = 1e-10,
    subspace: int | None = None,
    max_restarts: int = 1000,
) -> Modes:
    r"""The k lowest eigenvalues of a symmetric operator and their eigenvectors.

    Implicitly restarted Lanczos (ARPACK) on products with H alone; small operators
    are diagonalised in full. The answer is checked, and refused if it fails: every
    residual must be small, and the operator with the modes found projected out must
    have nothing below them, since Lanczos can miss copies of a degenerate eigenvalue.

    Args:
        H: a symmetric operator with values, from `hessian` for one.
        k: number of modes.
        tolerance: largest residual, as a fraction of the largest eigenvalue; not
            better than the precision of H allows.
        subspace: number of Lanczos vectors held, more than k; by default
            max(4 k, 80). More of them take fewer products.
        max_restarts: when to give up.

    Returns:
        The modes.

    Raises:
        ValueError: if there are no k modes, or if H is not symmetric and real.
        RuntimeError: if the modes did not converge, with the residuals.

    Reference:
        R. B. Lehoucq, D. C. Sorensen and C. Yang, ARPACK Users' Guide (1998).
    """
    zero, product, unflatten = flatten(H)
    if not 1 <= k <= zero.size:
        raise ValueError(f"`k`={k}, but `H` has {zero.size} modes; use 1 <= `k`.")
    if subspace is not None and subspace <= k:
        raise ValueError(f"`subspace`={subspace} must exceed `k`={k}.")
    compiled = _compile(product, zero)
    if zero.size <= _DENSE or 2 * k > zero.size:
        values, vectors = _dense(product, zero)
        scale = float(np.max(np.abs(values)))
    else:
        solver = _Lanczos(compiled, zero, tolerance, subspace, max_restarts)
        values, vectors, scale = *solver.lowest(k), solver.scale
    values, vectors = values[:k], vectors[:, :k]
    residuals = _residuals(compiled, values, vectors)
    if not np.max(residuals) <= 10 * _attainable(tolerance, zero.dtype) * scale:
        raise RuntimeError(_message("the modes are not accurate", k, values, residuals))
    return Modes(
        jnp.asarray(values),
        jax.vmap(unflatten)(jnp.asarray(vectors.T)),
        jnp.asarray(residuals),
    )


class _Lanczos:
    """ARPACK on a shifted operator, with modes projected out on demand.

    It differs from `eigsh(H, which="SA")` in that

    1. the spectrum is shifted below zero: ARPACK holds a residual against the size of
       its eigenvalue, and that of a zero mode is out of reach;
    2. the starting vector is fixed, so that the result is;
    3. the k modes are checked for missing copies.
    """

    def __init__(self, product, zero, tolerance, subspace, max_restarts):
        self.product = product
        self.size, self.dtype = zero.size, zero.dtype
        self.tolerance = _attainable(tolerance, zero.dtype)
        self.subspace, self.max_restarts = subspace, max_restarts
        (top,), _ = self.run(product, 1, "LM", tolerance=1e-2)
        self.scale = 1.05 * abs(float(top))

    def run(self, product, k, which, tolerance):
        subspace = max(4 * k, 80) if self.subspace is None else self.subspace
        operator = LinearOperator(  # pyright: ignore[reportCallIssue]
            (self.size, self.size),
            matvec=product,  # pyright: ignore[reportCallIssue]
            dtype=self.dtype,  # pyright: ignore[reportCallIssue]
        )
        try:
            return eigsh(
                operator,
                k=k,
                which=which,
                tol=tolerance,
                ncv=min(self.size - 1, subspace),
                maxiter=self.max_restarts,
                v0=np.random.default_rng(0).normal(size=self.size).astype(self.dtype),
            )
        except ArpackNoConvergence as error:
            values, vectors = error.eigenvalues, error.eigenvectors
            residuals = _residuals(product, values, vectors)
            raise RuntimeError(
                _message("Lanczos did not converge", k, values, residuals)
            ) from error

    def lowest(self, k):
        values, vectors = self.below(np.zeros((self.size, 0), self.dtype), k)
        while True:
            value, vector = self.below(vectors, 1)
            order = np.argsort(np.append(values, value))
            missed = value[0] < values[k - 1] - self.tolerance * self.scale
            if not missed:
                return values, vectors
            values = np.append(values, value)[order]
            vectors = np.concatenate([vectors, vector], 1)[:, order]

    def below(self, found, k):
        """The k lowest modes orthogonal to those found."""

        def shifted(vector):
            overlap = found.T @ vector
            lifted = 2 * self.scale * (found @ overlap)
            return self.product(vector) - self.scale * vector + lifted

        values, vectors = self.run(shifted, k, "SA", self.tolerance)
        order = np.argsort(values)
        return values[order] + self.scale, vectors[:, order]


def _compile(
    product: Callable, zero: Float[Array, " n"]
) -> Callable[[np.ndarray], np.ndarray]:
    compiled = jax.jit(product).lower(zero).compile()

    def on_host(vector: np.ndarray) -> np.ndarray:
        return np.asarray(compiled(jnp.asarray(vector.reshape(-1), zero.dtype)))

    return on_host


def _dense(product: Callable, zero: Float[Array, " n"]):
    identity = jnp.eye(zero.size, dtype=zero.dtype)
    matrix = np.asarray(jax.jit(jax.vmap(product))(identity))
    if not np.all(np.isfinite(matrix)):
        raise RuntimeError("`H` is not finite; is the state it was built at?")
    return np.linalg.eigh((matrix + matrix.T) / 2)


def _residuals(product: Callable, values, vectors) -> np.ndarray:
    pairs = zip(values, vectors.T, strict=True)
    return np.array([np.linalg.norm(product(v) - value * v) for value, v in pairs])


def _attainable(tolerance: float, dtype) -> float:
    return max(tolerance, 16 * float(np.finfo(dtype).eps))


def _message(what: str, k: int, values, residuals) -> str:
    return (
        f"{what}: of {k} modes sought, {len(values)} were found, with residuals "
        f"{np.array2string(np.asarray(residuals), precision=2, threshold=10)}. Raise "
        "`max_restarts` or `subspace`, loosen `tolerance`, ask for fewer modes, or "
        "build `H` in float64."
    )
