"""A stabilised explicit method: long steps where diffusion is stiff."""

import functools
import math
from collections.abc import Callable
from typing import ClassVar

import diffrax
import equinox as eqx
import jax
import numpy as np
from numpy.polynomial import chebyshev


class RungeKuttaChebyshev(diffrax.AbstractSolver):
    r"""Runge-Kutta-Chebyshev method of second order, fixed steps.

    $$
    \psi_{j+1} = \psi_0 + w_j\, \mathrm{d}t\, f(\psi_j), \qquad
    R(z) = 1 - b\,T_s(\omega_0) + b\,T_s(\omega_0 + \omega_1 z)
    $$

    with $b = T_s''/T_s'^2$ and $\omega_1 = T_s'/T_s''$ at $\omega_0 = 1 +
    \varepsilon/s^2$: the shifted Chebyshev polynomial that agrees with $e^z$ to second
    order. Its stable interval on the negative axis grows as $s^2$ where that of $s$
    Euler steps grows as $s$. The weights $w_j$ are the ratios of its Taylor
    coefficients, so a step needs the memory of two states.

    It differs from the RKC code in two ways. That code's recurrence between stages
    keeps rounding errors small for hundreds of stages, at the cost of five states; few
    are needed here. And its damping, $\varepsilon = 2/13$, leaves two thirds of the
    roughest modes after every step, and so much of the roughness of a quench for ten
    and more steps, which the cubic term turns into an error of the smooth modes.

    Good values: 5 stages with `dt=0.05` at the default spacing, see the guide. It is
    a solver for any `diffrax.diffeqsolve` with constant steps too; without an error
    estimate, and without noise.

    Reference: J. G. Verwer, Appl. Numer. Math. 22, 359 (1996); B. P. Sommeijer, L. F.
    Shampine and J. G. Verwer, J. Comput. Appl. Math. 88, 315 (1998). The stages are
    in the form of P. J. van der Houwen, Construction of Integration Formulas for
    Initial Value Problems (1977).

    Attributes:
        stages: number of right-hand sides in a step, 2 to 12.
        damping: $\varepsilon$; larger values damp rough modes more and shorten the
            stable interval.
    """

    stages: int = eqx.field(default=5, static=True)
    damping: float = eqx.field(default=4.0, static=True)

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar[Callable[..., diffrax.LocalLinearInterpolation]] = (
        diffrax.LocalLinearInterpolation
    )

    def __check_init__(self):
        """Refuse what rounding would spoil."""
        if not 2 <= self.stages <= 12:
            raise ValueError(
                f"`stages` must be 2 to 12, got {self.stages}: one is explicit Euler, "
                "and rounding errors grow with many."
            )
        if not 0 < self.damping < math.inf:
            raise ValueError(f"`damping` must be positive, got {self.damping}.")

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights $w_j$ of the stages; the last is 1."""
        return _coefficients(self.stages, self.damping)[0]

    @property
    def stable_interval(self) -> float:
        r"""How far modes are damped, $(1 + \omega_0)/\omega_1$; Euler's limit is 2.

        A little beyond they still are, but less and less.
        """
        return _coefficients(self.stages, self.damping)[1]

    def order(self, terms):
        """Order of convergence."""
        del terms
        return 2

    def init(self, terms, t0, t1, y0, args):
        """There is no state beyond that of the equation."""
        del terms, t0, t1, y0, args

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        """One step of all stages; see `diffrax.AbstractSolver.step`."""
        del solver_state, made_jump
        control = terms.contr(t0, t1)
        y, t = y0, t0
        for weight in self.weights:
            gained = terms.vf_prod(t, y, args, control)
            y = jax.tree.map(lambda a, b, w=weight: a + w * b, y0, gained)
            t = t0 + weight * (t1 - t0)
        dense_info = dict(y0=y0, y1=y)
        return y, None, dense_info, None, diffrax.RESULTS.successful

    def func(self, terms, t0, y0, args):
        """The vector field."""
        return terms.vf(t0, y0, args)


@functools.cache
def _coefficients(stages: int, damping: float) -> tuple[tuple[float, ...], float]:
    """The weights of the stages and the stable interval."""
    w0 = 1 + damping / stages**2
    unit = np.eye(stages + 1)[stages]
    slopes = [
        float(chebyshev.chebval(w0, chebyshev.chebder(unit, k)))
        for k in range(stages + 1)
    ]
    w1, b = slopes[1] / slopes[2], slopes[2] / slopes[1] ** 2
    taylor = [b * w1**k * slopes[k] / math.factorial(k) for k in range(stages + 1)]
    taylor[0] = 1.0  # with the constant 1 - b T_s(w0)
    weights = tuple(taylor[k] / taylor[k - 1] for k in range(stages, 0, -1))
    return weights, (1 + w0) / w1
