r"""Lowest modes and mode counts of a Hessian, from its sparse factors.

Lanczos on $(H - \sigma)^{-1}$ with $\sigma$ below the spectrum turns the softest modes
into the most prominent ones: some hundred solves, whatever the range of the spectrum.
"""

import numpy as np

from gl15.spectra._error import NotConvergedError
from gl15.spectra._lanczos import arpack, Effort, Pairs
from gl15.spectra._operator import Hessian
from gl15.spectra._sparse import elimination_order, Factors, lowest_local


class ShiftInvert:
    """The sparse matrix of a Hessian, factorised at one shift after the other."""

    def __init__(self, H: Hessian):
        """Write the matrix."""
        self.matrix = H.as_sparse()
        self.bound = lowest_local(H.tdgl, np.asarray(H.psi))
        self.order = elimination_order(H.tdgl)
        self.size = len(self.order)
        self.scale = float(abs(self.matrix).sum(1).max())

    def count_below(self, threshold: float) -> int:
        """Number of eigenvalues below a threshold, exactly."""
        # At an eigenvalue there are no factors: a few roundings further there are.
        for nudge in (0.0, 1e-13, -1e-13, 1e-11, -1e-11, 1e-9, -1e-9):
            factors = self._factors(threshold + nudge * self.scale)
            if factors is not None:
                return factors.negative()
        raise RuntimeError(
            f"no stable factors of the Hessian near `threshold`={threshold:g}; choose "
            "another one close by."
        )

    def lowest(self, k: int, effort: Effort) -> Pairs:
        """The k lowest modes, ascending, none of them missed.

        The number of modes found below a gap is held against the number of negative
        pivots there; copies that Lanczos missed are sought among what is left.
        """
        factors, shift = self._below_the_spectrum()
        vectors = np.zeros((self.size, 0))
        values = np.zeros(0)
        wanted, missing, edge = min(k + 3, self.size - 1), 0, 0.0
        for _ in range(8):
            factors = self._positive(shift) if factors is None else factors
            new = self._next(factors, shift, vectors, wanted, effort)
            # Large samples have no room for two.
            factors = None
            values = np.append(values, new[0])
            order = np.argsort(values)
            vectors = np.concatenate([vectors, new[1]], 1)[:, order]
            values = values[order]
            edge, found = self._gap(values, k)
            missing = self.count_below(edge) - found
            if missing == 0:
                return values[:k], vectors[:, :k]
            wanted = max(missing, 1) + 2
        residuals = np.linalg.norm(self.matrix @ vectors - values * vectors, axis=0)
        raise NotConvergedError(
            f"{missing} modes below {edge:.6g} are missing", k, values, residuals
        )

    def _next(self, factors, shift, found, k, effort) -> Pairs:
        def project(vector):
            return vector - found @ (found.T @ vector)

        # Modes already found are sent to zero: the far end of the inverse's spectrum.
        return arpack(
            lambda v: self.matrix @ v,
            self.size,
            float,
            k,
            "LM",
            effort,
            sigma=shift,
            OPinv=lambda v: project(factors.solve(project(v))),
        )

    def _gap(self, values, k) -> tuple[float, int]:
        """A number between two of the values, k of them below it if possible."""
        resolved = 1e-8 * self.scale
        middle = (values[1:] + values[:-1]) / 2
        open_ = np.flatnonzero(np.diff(values) > resolved)
        above = open_[open_ >= k - 1]
        if above.size:
            return float(middle[above[0]]), int(above[0]) + 1
        # The last modes are copies of one another; all below them must be there.
        below = open_[open_ < k - 1]
        if below.size:
            return float(middle[below[-1]]), int(below[-1]) + 1
        return float(values[0] - resolved), 0

    def _below_the_spectrum(self) -> tuple[Factors, float]:
        # Where the state is stable the lowest mode is the common phase, at zero. A
        # shift this close makes few iterations, and leaves five digits for rounding.
        close = 1e-5 * self.scale
        factors = self._factors(-close)
        if factors is not None and factors.negative() == 0:
            return factors, -close
        # -Laplacian is positive: the local parts bound the spectrum from below.
        shift = self.bound - 1e-3 * self.scale
        factors = self._positive(shift)
        nothing = np.zeros((self.size, 0))
        values, _ = self._next(factors, shift, nothing, 4, Effort(1e-6, None, 1000))
        low, spread = np.min(values), np.ptp(values)
        margin = max(spread, close)
        for _ in range(30):
            nearer = self._factors(low - margin)
            if nearer is not None and nearer.negative() == 0:
                return nearer, low - margin
            margin *= 4
        return factors, shift

    def _positive(self, shift: float) -> Factors:
        factors = self._factors(shift)
        if factors is None:
            raise RuntimeError("the Hessian could not be factorised; is it finite?")
        return factors

    def _factors(self, shift: float) -> Factors | None:
        try:
            factors = Factors(self.matrix, shift, self.order)
        except RuntimeError:  # a pivot is exactly zero
            return None
        return factors if factors.accurate() else None
