"""The exact log-ratio, where the likelihood is known."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from gl15.simulation._observation import image_of, Observation
from gl15.simulation._prior import Prior, Theta
from gl15.simulation._quadrature import log_integral, where_high


class ExactRatio(eqx.Module):
    r"""The exact log-ratio of a known likelihood, with a trained estimator's interface.

    $$
    \log r(\theta, x) = \log p(x \mid \theta) - \log
    \int p(x \mid \theta')\, p(\theta')\, d\theta'
    $$

    What it feeds must come out right, so that a posterior, a sampler or a calibration
    test can itself be tested. The integral is Gauss-Legendre quadrature over the part
    of the prior's bounds that matters. Of a `LinearGaussian`, in up to three
    parameters, that is within ten standard deviations of the likelihood's peak: exact
    to rounding for smooth priors. Of other likelihoods, in one or two parameters, it is
    searched for on ever finer grids.

    Attributes:
        simulator: a `LinearGaussian`, or any simulator with `log_likelihood(theta, x)`,
            such as `LinearQuench` or `SLCP`.
        prior: any prior over the same names; over some of them where the simulator
            knows the others without.
        nodes: quadrature nodes per parameter.
    """

    simulator: Any
    prior: Prior
    nodes: int = eqx.field(static=True, default=64)

    def __check_init__(self):
        """The simulator and the prior must speak of the same parameters."""
        names = self.prior.names
        known = tuple(getattr(self.simulator, "names", None) or names)
        strange = not set(names) <= set(known)
        if strange or (self._linear and len(known) != len(names)):
            raise ValueError(
                f"`simulator` knows {list(known)} but `prior` {list(names)}; they must "
                "be the same parameters."
            )
        if not hasattr(self.simulator, "log_likelihood"):
            raise ValueError(
                f"`simulator` is {type(self.simulator).__name__}, which has no "
                "`log_likelihood(theta, x)`: its ratio is not known, train one."
            )
        if not self._linear and len(names) > 2:
            raise ValueError(
                f"`prior` has {len(names)} parameters {list(names)}; the evidence of a "
                "likelihood that is not linear is tabulated in one or two."
            )
        if hasattr(self.simulator, "check"):
            ends = self.prior.bounds.items()
            self.simulator.check({name: np.asarray(pair) for name, pair in ends})

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        if self._linear:
            return self.simulator.matrix.shape[:1]
        middle = {name: sum(ends) / 2 for name, ends in self.prior.bounds.items()}
        return jax.eval_shape(self.simulator, middle, jax.random.key(0)).shape

    def __call__(self, theta: Theta, x: Any) -> Float[Array, ""]:
        r"""$\log r(\theta, x)$.

        Args:
            theta: parameter name -> scalar.
            x: an observation.

        Returns:
            The log-ratio.
        """
        return self.log_ratio(theta, self.embed(x))

    def embed(self, x: Any) -> Float[Array, "features"]:
        """What the likelihood takes of `x`, and its log-evidence.

        Args:
            x: an observation.

        Returns:
            The sufficient statistics of a `LinearGaussian`, else all numbers of `x`.
        """
        image, _ = image_of(x)
        data = self.simulator.sufficient(image) if self._linear else image.reshape(-1)
        return jnp.append(data, self._log_evidence(data))

    def log_ratio(self, theta: Theta, h: Float[Array, "features"]) -> Float[Array, ""]:
        r"""$\log r$ from the features of an observation.

        Args:
            theta: parameter name -> scalar.
            h: features from `embed`.

        Returns:
            The log-ratio.
        """
        return self._log_likelihood(theta, h[:-1]) - h[-1]

    def check_image(
        self,
        x: Any,
        *,
        spacing: float | None = None,
        channel_names: tuple[str, ...] = (),
    ) -> None:
        """Refuse what is not one finite observation.

        Args:
            x: an observation, or what a caller believes to be one.
            spacing: unused; the likelihood knows its own.
            channel_names: unused.

        Raises:
            ValueError: for another shape, or values that are not finite.
        """
        del spacing, channel_names
        x = x.x if isinstance(x, Observation) else x
        if jnp.shape(x) != self.image_shape:
            raise ValueError(
                f"`x` has shape {jnp.shape(x)}; one observation has "
                f"{self.image_shape}. Use jax.vmap for a batch."
            )
        if not isinstance(x, Tracer) and not jnp.all(jnp.isfinite(x)):
            raise ValueError("`x` holds NaN or infinite values; mend the image first.")

    @property
    def _linear(self) -> bool:
        return hasattr(self.simulator, "sufficient")

    def _log_likelihood(
        self, theta: Theta, data: Float[Array, " _"]
    ) -> Float[Array, ""]:
        """Up to what does not depend on theta."""
        if not self._linear:
            x = data.reshape(self.image_shape)
            return self.simulator.log_likelihood(theta, x)
        return self.simulator.log_likelihood_of(theta, data)

    def _log_evidence(self, data: Float[Array, " _"]) -> Float[Array, ""]:
        def log_joint(points: Float[Array, "n d"]) -> Float[Array, " n"]:
            theta = dict(zip(self.prior.names, points.T, strict=True))
            each = jax.vmap(lambda one: self._log_likelihood(one, data))(theta)
            return each + self.prior.log_prob(theta)

        box = [self.prior.bounds[name] for name in self.prior.names]
        if self._linear:
            box = self._near_peak(data)
        else:
            box = where_high(log_joint, box, self.nodes)
        return log_integral(log_joint, box, self.nodes)

    def _near_peak(self, b: Float[Array, " d"]) -> list[tuple[Array, Array]]:
        covariance = jnp.linalg.inv(self.simulator.precision())
        each = (covariance @ b, jnp.sqrt(jnp.diag(covariance)))
        box = {}
        for name, peak, std in zip(self.simulator.names, *each, strict=True):
            low, high = self.prior.bounds[name]
            # A peak beyond the bounds still leaves its tail at the nearest edge.
            near = jnp.clip(peak, low, high)
            box[name] = (
                jnp.maximum(near - 10 * std, low),
                jnp.minimum(near + 10 * std, high),
            )
        return [box[name] for name in self.prior.names]
