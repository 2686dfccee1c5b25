"""How many modes lie below a threshold, counted and not sampled."""

import math

import lineax as lx

from gl15.spectra._operator import Hessian
from gl15.spectra._shift_invert import ShiftInvert


def count_below(H: lx.AbstractLinearOperator, threshold: float | int) -> int:
    r"""Number of eigenvalues of a Hessian below a threshold, exactly.

    By Sylvester's law of inertia, $H - \lambda = L D L^T$ has as many negative pivots
    as $H$ has eigenvalues below $\lambda$. No eigenvalue is computed: one sparse
    factorisation, at 262,144 degrees of freedom too. `DensityOfStates.fraction_below`
    estimates the same for any operator.

    Args:
        H: from `hessian`, in double precision.
        threshold: $\lambda$. Modes within about 1e-11 of the largest eigenvalue from
            it may be counted on either side.

    Returns:
        The number of modes.

    Raises:
        ValueError: if `threshold` is not finite, or if H is another operator.
    """
    H = _sparse(H)
    if not math.isfinite(threshold):
        raise ValueError(f"`threshold` must be a finite eigenvalue, got {threshold}.")
    return ShiftInvert(H).count_below(threshold)


def soft_fraction(H: lx.AbstractLinearOperator, threshold: float | int) -> float:
    r"""Fraction of the modes of a stationary state that lie below a threshold.

    What counts is how it compares with the uniform state's own at the same couplings
    and size (`gl15.physics.exact.relaxation_rates`): any superconductor has phase modes
    down to $\lambda \sim (2\pi/L)^2$.

    Args:
        H: from `hessian` at a stationary state.
        threshold: $\lambda$ below which a mode is called soft.

    Returns:
        The fraction, zero modes included.

    Raises:
        ValueError: if the state is not stationary, with its gradient norm, or as
            `count_below` does.
    """
    _sparse(H).check_stationary()
    return count_below(H, threshold) / H.in_size()


def _sparse(H: lx.AbstractLinearOperator) -> Hessian:
    if not isinstance(H, Hessian):
        raise ValueError(
            f"`H` is a {type(H).__name__}, and modes are counted on the sparse matrix "
            "that `gl15.hessian` operators know; for others use "
            "`density_of_states(H, key=key).fraction_below(threshold)`."
        )
    return H
