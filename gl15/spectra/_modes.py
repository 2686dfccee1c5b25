"""The lowest modes of a symmetric operator, converged or not at all."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float, PyTree

from gl15.spectra._error import NotConvergedError, residual_norms
from gl15.spectra._flat import flatten
from gl15.spectra._lanczos import Effort, Lanczos
from gl15.spectra._operator import Hessian, warn_unless_stationary
from gl15.spectra._shift_invert import ShiftInvert


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
        gradient_norm: that of the state H was taken at; NaN where H has no state.
    """

    eigenvalues: Float[Array, " k"]
    eigenvectors: PyTree[Float[Array, "k ..."]]
    residuals: Float[Array, " k"]
    gradient_norm: Float[Array, ""]


def lowest_modes(
    H: lx.AbstractLinearOperator,
    k: int = 20,
    *,
    tolerance: float = 1e-10,
    method: str = "auto",
    subspace: int | None = None,
    max_restarts: int = 1000,
) -> Modes:
    r"""The k lowest eigenvalues of a symmetric operator and their eigenvectors.

    A Hessian is factorised as a sparse matrix just below its spectrum, $(H -
    \sigma)^{-1}$, whose most prominent modes Lanczos (ARPACK) then finds in some
    hundred solves; of any other operator it needs products alone, and many. Small
    operators are diagonalised in full.

    The answer is checked, and refused if it fails. Every residual, taken with products
    of H itself, must be small. And no mode may have been missed, as Lanczos can miss
    copies of a degenerate eigenvalue: the modes found below a gap of the spectrum must
    be as many as the factors of $H$ minus that gap have negative pivots (Sylvester's
    law of inertia); without factors, the operator with the modes found projected out
    must have nothing below them.

    Args:
        H: a symmetric operator with values, from `hessian` for one.
        k: number of modes.
        tolerance: largest residual, as a fraction of the largest eigenvalue; not
            better than the precision of H allows.
        method: "shift-invert" needs a `Hessian` and memory (4 GB for 256 x 256
            sites); "lanczos" needs products; "dense" is the reference for small
            samples. "auto" takes the best of them.
        subspace: number of Lanczos vectors held, more than k; by default
            max(4 k, 80). More of them take fewer products.
        max_restarts: when to give up.

    Returns:
        The modes.

    Raises:
        ValueError: if there are no k modes, or if H is not symmetric and real.
        NotConvergedError: if the modes did not converge, with the residuals.

    Warns:
        NotStationaryWarning: if H is the Hessian at a state that is not stationary.

    Reference:
        R. B. Lehoucq, D. C. Sorensen and C. Yang, ARPACK Users' Guide (1998).
    """
    zero, product, unflatten = flatten(H)
    if k != int(k) or not 1 <= k <= zero.size:
        raise ValueError(
            f"`k`={k}, but `H` has {zero.size} modes; ask for a whole number of them, "
            f"1 to {zero.size}."
        )
    if subspace is not None and subspace <= k:
        raise ValueError(f"`subspace`={subspace} must exceed `k`={k}.")
    chosen = _chosen(method, H, zero.size, k)
    warn_unless_stationary(H)
    compiled = _compile(product, zero)
    attainable = max(tolerance, 16 * float(np.finfo(zero.dtype).eps))
    effort = Effort(attainable, subspace, max_restarts)
    if chosen == "dense":
        values, vectors = _dense(product, zero)
        scale = float(np.max(np.abs(values)))
        values, vectors = values[:k], vectors[:, :k]
    elif chosen == "shift-invert" and isinstance(H, Hessian):
        solver = ShiftInvert(H)
        exact = effort._replace(tolerance=min(tolerance, 1e-12))
        values, vectors, scale = *solver.lowest(k, exact), solver.scale
    else:
        solver = Lanczos(compiled, zero.size, zero.dtype, effort)
        values, vectors, scale = *solver.lowest(k), solver.scale
    residuals = residual_norms(compiled, values, vectors)
    if not np.max(residuals) <= 10 * attainable * scale:
        raise NotConvergedError("the modes are not accurate", k, values, residuals)
    return Modes(
        jnp.asarray(values, zero.dtype),
        jax.vmap(unflatten)(jnp.asarray(vectors.T, zero.dtype)),
        jnp.asarray(residuals, zero.dtype),
        H.gradient_norm if isinstance(H, Hessian) else jnp.asarray(jnp.nan, zero.dtype),
    )


def _chosen(method: str, H: lx.AbstractLinearOperator, size: int, k: int) -> str:
    methods = ("auto", "dense", "shift-invert", "lanczos")
    if method not in methods:
        raise ValueError(f"`method` must be one of {methods}, got {method!r}.")
    # ARPACK itself needs room beyond the modes.
    if method == "dense" or 2 * k > size or (method == "auto" and size <= _DENSE):
        return "dense"
    if isinstance(H, Hessian):
        return "shift-invert" if method == "auto" else method
    if method == "shift-invert":
        raise ValueError(
            '`method`="shift-invert" needs the sparse matrix that `gl15.hessian` '
            f'operators know; `H` is a {type(H).__name__}: use "lanczos".'
        )
    return "lanczos"


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
