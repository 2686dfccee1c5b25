r"""A toy problem with known posteriors, to test inference and its diagnostics on."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.core import Tracer
from jax.scipy.stats import norm
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.simulation._prior import Prior, Theta


class LinearGaussian(eqx.Module):
    r"""Linear map of the parameters plus white noise.

    $$
    x = A\theta + \sigma\xi, \qquad \xi \sim \mathcal{N}(0, 1)
    $$

    Attributes:
        matrix: $A$, of shape `[dim, d]` and full column rank.
        sigma: noise standard deviation $\sigma$.
        names: the parameter that each column of $A$ multiplies.
    """

    matrix: Float[Array, "dim d"]
    sigma: Float[Array, ""] | float
    names: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        matrix: Any = ((1.0,),),
        sigma: Float[Array, ""] | float = 1.0,
        names: tuple[str, ...] = ("theta",),
    ):
        """Build the simulator; `matrix` is anything `[dim, d]` that makes an array."""
        self.matrix = jnp.asarray(matrix, float)
        self.sigma = sigma
        self.names = tuple(names)

    def __check_init__(self):
        """The columns must match the names."""
        if self.matrix.shape[1] != len(self.names):
            raise ValueError(
                f"`matrix` has {self.matrix.shape[1]} columns but `names` lists "
                f"{len(self.names)} parameters; give one column for each."
            )

    def __call__(self, theta: Theta, key: PRNGKeyArray) -> Float[Array, "dim"]:
        """One noisy observation.

        Args:
            theta: parameter name -> scalar.
            key: JAX random key of the noise.

        Returns:
            An observation `[dim]`.
        """
        mean = self.matrix @ vector(theta, self.names)
        return mean + self.sigma * jax.random.normal(key, mean.shape)

    def log_likelihood(self, theta: Theta, x: Float[Array, "dim"]) -> Float[Array, ""]:
        r"""$\log p(x \mid \theta)$.

        Args:
            theta: parameter name -> scalar.
            x: an observation `[dim]`.

        Returns:
            The log-density of `x` at `theta`.
        """
        residual = x - self.matrix @ vector(theta, self.names)
        return norm.logpdf(residual, scale=self.sigma).sum()

    def sufficient(self, x: Float[Array, "dim"]) -> Float[Array, "d"]:
        r"""$b = A^\top x/\sigma^2$, all that the likelihood keeps of an observation.

        Args:
            x: an observation `[dim]`.

        Returns:
            The statistics.
        """
        return self.matrix.T @ x / self.sigma**2

    def precision(self) -> Float[Array, "d d"]:
        r"""$P = A^\top A/\sigma^2$, the precision of the likelihood in $\theta$.

        Returns:
            The matrix, components in the order of `names`.
        """
        return self.matrix.T @ self.matrix / self.sigma**2

    def posterior(
        self, x: Float[Array, "dim"], prior: Prior
    ) -> tuple[Float[Array, "d"], Float[Array, "d d"]]:
        r"""Exact mean and covariance of the posterior under a Gaussian prior.

        $$
        \Sigma = (P + \Lambda)^{-1}, \qquad \mu = \Sigma (b + \Lambda m)
        $$

        with $\Lambda = \mathrm{diag}(s^{-2})$ for $\theta_j \sim
        \mathcal{N}(m_j, s_j^2)$. Components in the order of `names`.

        Args:
            x: an observation `[dim]`.
            prior: a prior of normal distributions.

        Returns:
            Mean `[d]` and covariance `[d, d]`.

        Raises:
            ValueError: if a prior is not Gaussian.
        """
        mean, std = self._gaussian(prior)
        weight = std**-2
        covariance = jnp.linalg.inv(self.precision() + jnp.diag(weight))
        return covariance @ (self.sufficient(x) + weight * mean), covariance

    def exact_log_ratio(
        self, theta: Theta, x: Float[Array, "dim"], prior: Prior
    ) -> Float[Array, ""]:
        r"""$\log p(x \mid \theta) - \log p(x)$; see `ExactRatio` for how."""
        ratio = ExactRatio(self, prior)
        return ratio(theta, x)

    def _gaussian(self, prior: Prior) -> tuple[Float[Array, "d"], Float[Array, "d"]]:
        distributions = [prior.distributions[name] for name in self.names]
        for name, value in zip(self.names, distributions, strict=True):
            if not isinstance(value, dist.Normal):
                raise ValueError(
                    f"`prior` of `{name}` is {type(value).__name__}; the closed form "
                    "needs dist.Normal. For other priors use `ExactRatio` on a grid."
                )
        locs = jnp.asarray([value.loc for value in distributions], float)
        return locs, jnp.asarray([value.scale for value in distributions], float)


class ExactRatio(eqx.Module):
    r"""The exact log-ratio of a `LinearGaussian`, with a trained estimator's interface.

    $$
    \log r(\theta, x) = b\cdot\theta - \tfrac12 \theta^\top P \theta - \log
    \int e^{b\cdot\theta' - \theta'^\top P\theta'/2}\, p(\theta')\, d\theta'
    $$

    What it feeds must come out right, so that a posterior, a sampler or a calibration
    test can itself be tested. The integral is Gauss-Legendre quadrature over the part
    of the prior's bounds that lies within ten standard deviations of the likelihood's
    peak: exact to rounding for smooth priors, in up to three parameters.

    Attributes:
        simulator: the `LinearGaussian`.
        prior: any prior over the same names.
        nodes: quadrature nodes per parameter.
    """

    simulator: LinearGaussian
    prior: Prior
    nodes: int = eqx.field(static=True, default=64)

    def __check_init__(self):
        """The simulator and the prior must speak of the same parameters."""
        if sorted(self.simulator.names) != sorted(self.prior.names):
            raise ValueError(
                f"`simulator` knows {list(self.simulator.names)} but `prior` "
                f"{list(self.prior.names)}; they must be the same parameters."
            )

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return self.simulator.matrix.shape[:1]

    def __call__(self, theta: Theta, x: Float[Array, "dim"]) -> Float[Array, ""]:
        r"""$\log r(\theta, x)$.

        Args:
            theta: parameter name -> scalar.
            x: an observation `[dim]`.

        Returns:
            The log-ratio.
        """
        return self.log_ratio(theta, self.embed(x))

    def embed(self, x: Float[Array, "dim"]) -> Float[Array, "features"]:
        """The sufficient statistics of `x` and its log-evidence.

        Args:
            x: an observation `[dim]`.

        Returns:
            The statistics.
        """
        b = self.simulator.sufficient(x)
        return jnp.append(b, self._log_evidence(b))

    def log_ratio(self, theta: Theta, h: Float[Array, "features"]) -> Float[Array, ""]:
        r"""$\log r$ from the features of an observation.

        Args:
            theta: parameter name -> scalar.
            h: features from `embed`.

        Returns:
            The log-ratio.
        """
        values = vector(theta, self.simulator.names)
        quadratic = values @ self.simulator.precision() @ values
        return h[:-1] @ values - quadratic / 2 - h[-1]

    def check_image(
        self,
        x: Float[Array, "..."],
        *,
        spacing: float | None = None,
        channel_names: tuple[str, ...] = (),
    ) -> None:
        """Refuse what is not one finite observation.

        Args:
            x: an observation, or what a caller believes to be one.
            spacing: unused; a vector has no pixels.
            channel_names: unused.

        Raises:
            ValueError: for another shape, or values that are not finite.
        """
        del spacing, channel_names
        if jnp.shape(x) != self.image_shape:
            raise ValueError(
                f"`x` has shape {jnp.shape(x)}; one observation has "
                f"{self.image_shape}. Use jax.vmap for a batch."
            )
        if not isinstance(x, Tracer) and not jnp.all(jnp.isfinite(x)):
            raise ValueError("`x` holds NaN or infinite values; mend the image first.")

    def _log_evidence(self, b: Float[Array, "d"]) -> Float[Array, ""]:
        precision = self.simulator.precision()
        covariance = jnp.linalg.inv(precision)
        peak, std = covariance @ b, jnp.sqrt(jnp.diag(covariance))
        unit, weight = np.polynomial.legendre.leggauss(self.nodes)
        axes, log_weights = [], []
        for j, name in enumerate(self.simulator.names):
            low, high = self.prior.bounds[name]
            # A peak beyond the bounds still leaves its tail at the nearest edge.
            near = jnp.clip(peak[j], low, high)
            first = jnp.maximum(near - 10 * std[j], low)
            half = (jnp.minimum(near + 10 * std[j], high) - first) / 2
            axes.append(first + half * (1 + unit))
            log_weights.append(jnp.log(half * weight))
        grid = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), -1)
        points = grid.reshape(-1, len(axes))
        log_weight = jnp.stack(jnp.meshgrid(*log_weights, indexing="ij")).sum(0).ravel()
        quadratic = jnp.einsum("ni,ij,nj->n", points, precision, points)
        theta = {name: points[:, j] for j, name in enumerate(self.simulator.names)}
        log_integrand = points @ b - quadratic / 2 + self.prior.log_prob(theta)
        return jax.nn.logsumexp(log_integrand + log_weight)


def vector(theta: Theta, names: tuple[str, ...]) -> Float[Array, "d"]:
    """The parameters as a vector, in the order of `names`."""
    return jnp.stack([jnp.asarray(theta[name], float) for name in names])
