r"""A log-ratio whose posteriors were corrected after training."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gl15.inference._calibration.correction import (
    exponents,
    ORDER,
    polynomials,
    posterior_table,
    statistics,
)
from gl15.inference._estimators.peaks import Peaks
from gl15.inference._estimators.wrapper import AbstractWrapper
from gl15.simulation import Theta


_POINTS = {1: 512, 2: 64, 3: 24}
_SHARPEST = 20.0
_FLATTEST = 1e-3


class Calibrated(AbstractWrapper):
    r"""A log-ratio with width, location and shape corrected on held-out pairs.

    $$
    \log r'(\theta, x) = \frac{\log r}{T(m)} + \sum_j \sum_{k=1}^4 b_{jk}(m)\,
    P_k(v_j) - \log Z(x), \qquad
    v_j = \mathrm{erf}\frac{\theta_j - m_j}{\sqrt 2\, s_j}
    $$

    with $m$ and $s$ the mean and standard deviation of the estimator's own posterior of
    the image, the inverse temperature $1/T$ and the tilts $b_{jk}$ polynomials in $m$,
    $P_k$ Legendre's, and $Z$ such that the mean of $r'$ over the prior is one. The
    temperature widens posteriors with their tails; for a normal posterior $(1 + v)/2$
    is the rank of a parameter, and the four tilts of its density are its location,
    width, skewness and peakedness. They are bounded, so that no tilt outweighs a tail.

    For given $m$ this is an exponential family around the estimator: what `calibrate`
    maximises is concave, and no correction is one of its members. What it cannot mend
    is what $m$ does not tell: a posterior that misses a mode, or is as wide for a clear
    image as for a poor one of the same mean.

    It has an estimator's interface. Features from `embed` carry the correction, so
    `log_ratio` costs what it did.

    Attributes:
        estimator: the log-ratio that is corrected.
        weights: coefficients of the polynomials, zero for no correction.
        degree: total degree of the polynomials.
        points: nodes per parameter of the table that `embed` computes.
        before: mean log posterior density of held-out truths without correction.
        after: the same with it, for truths that the correction was not fitted to
            (cross-validated).
        gain_error: standard error of the difference.
    """

    estimator: Any
    weights: Float[Array, "statistics basis"]
    degree: int = eqx.field(static=True)
    points: int = eqx.field(static=True)
    before: Float[Array, ""]
    after: Float[Array, ""]
    gain_error: Float[Array, ""]

    def __init__(
        self,
        estimator: Any,
        *,
        degree: int | None = None,
        points: int | None = None,
    ):
        """Wrap an estimator, without correction yet; `calibrate` fits one.

        Args:
            estimator: any log-ratio of one to three parameters.
            degree: total degree of the polynomials; by default 4 for one parameter,
                2 for several.
            points: nodes per parameter; by default 512, 64 and 24 for one, two and
                three parameters.

        Raises:
            ValueError: if there are more than three parameters.
        """
        count = len(estimator.prior.names)
        if count > 3:
            raise ValueError(
                f"`estimator` infers {count} parameters, but posteriors are corrected "
                "on a grid, for one to three; calibrate marginal estimators instead."
            )
        self.estimator = estimator
        self.degree = (4 if count == 1 else 2) if degree is None else degree
        self.points = _POINTS[count] if points is None else points
        rows = 1 + ORDER * count
        self.weights = jnp.zeros((rows, len(exponents(count, self.degree))))
        self.before = self.after = self.gain_error = jnp.zeros(())

    def config(self) -> dict[str, Any]:
        """The arguments that build an estimator of this structure.

        Returns:
            The keyword arguments.
        """
        return {
            "estimator": self.estimator,
            "degree": self.degree,
            "points": self.points,
        }

    def embed(self, x: Any) -> Float[Array, " features"]:
        """Features of an observation, and its correction.

        Args:
            x: an observation.

        Returns:
            The features.
        """
        return self.extend(self.estimator.embed(x))

    def extend(self, h: Float[Array, " inner"]) -> Float[Array, " features"]:
        """Features with correction, from those of the estimator within.

        Args:
            h: features that `estimator.embed` gave.

        Returns:
            The features that `embed` gives.
        """
        table = posterior_table(self.estimator, h, self.points)
        tilt = self._tilt(table.mean)
        log_z = jax.nn.logsumexp(table.log_weight + table.statistics @ tilt)
        extra = [table.mean, table.std, tilt, table.log_mean[None], log_z[None]]
        return jnp.concatenate([h, *extra]).astype(h.dtype)

    def peaks(self, h: Float[Array, " features"]) -> Peaks | None:
        """The peaks of the quadratic head within, uncorrected.

        Args:
            h: features of an observation, from `embed`.

        Returns:
            The peaks; None if there is no such head.
        """
        return super().peaks(h[: self._own(h)])

    def log_ratio(self, theta: Theta, h: Float[Array, " features"]) -> Float[Array, ""]:
        """Corrected log-ratio from features: the cheap part.

        Args:
            theta: parameter name -> scalar.
            h: features of an observation, from `embed`.

        Returns:
            The log-ratio.
        """
        d, own = len(self.prior.names), self._own(h)
        mean, std, tilt = jnp.split(h[own:-2], [d, 2 * d])
        inner = self.estimator.log_ratio(theta, h[:own]) - h[-2]
        scaled = self.prior.standardize(theta)
        return tilt @ statistics(inner, scaled, mean, std) - h[-1]

    def temperature(self, theta: Theta) -> Float[Array, ""]:
        """Temperature where the posterior mean is given: above one widens the tails.

        Args:
            theta: posterior means by name, scalars.

        Returns:
            The temperature.
        """
        scaled = self.prior.standardize(theta)
        return 1 / self._tilt(scaled)[0]

    def _own(self, h: Float[Array, " features"]) -> int:
        """How many of the features are those of the estimator within."""
        return len(h) - (2 * len(self.prior.names) + len(self.weights) + 2)

    def _tilt(self, mean: Float[Array, " d"]) -> Float[Array, " statistics"]:
        tilt = self.weights @ polynomials(self.prior, mean, self.degree)
        return tilt.at[0].set(jnp.clip(1 + tilt[0], _FLATTEST, _SHARPEST))
