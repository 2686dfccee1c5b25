"""How long a step of an explicit method may be before it amplifies rough modes."""

from typing import Any

import diffrax
import numpy as np

from gl15.physics._chebyshev import RungeKuttaChebyshev


def reach(solver: diffrax.AbstractSolver | None) -> float:
    """How many times longer than explicit Euler's a stable step of `solver` may be.

    The relaxation rates are real, so what counts is the stable interval on the
    negative axis, which follows from the Butcher tableau of an explicit method.

    Args:
        solver: a Diffrax solver; None for explicit Euler.

    Returns:
        A factor; infinite for other kinds of solvers, of which nothing is known.
    """
    if solver is None or isinstance(solver, diffrax.Euler):
        return 1.0
    if isinstance(solver, RungeKuttaChebyshev):
        return solver.stable_interval / 2
    if not isinstance(solver, diffrax.AbstractERK):
        return np.inf
    tableau: Any = solver.tableau
    b = np.asarray(tableau.b_sol, float)
    a = np.zeros((b.size, b.size))
    for row, below in enumerate(tableau.a_lower, start=1):
        a[row, :row] = below
    # R(z) = 1 + sum_k z^(k+1) b a^k 1, a polynomial since a is strictly lower.
    taylor, column = [1.0], np.ones(b.size)
    for _ in range(b.size):
        taylor.append(float(b @ column))
        column = a @ column
    z = np.linspace(0, -20, 200_001)
    unstable = np.abs(np.polynomial.polynomial.polyval(z, taylor)) > 1 + 1e-9
    return float(-z[np.argmax(unstable)] / 2)
