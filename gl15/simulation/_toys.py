r"""A toy problem with known posteriors, to test inference and its diagnostics on."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.stats import norm
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.simulation._exact_ratio import ExactRatio
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

    def log_likelihood_of(self, theta: Theta, b: Float[Array, "d"]) -> Float[Array, ""]:
        r"""$b\cdot\theta - \tfrac12 \theta^\top P \theta$ from what `sufficient` gave.

        Args:
            theta: parameter name -> scalar.
            b: the statistics of an observation.

        Returns:
            The log-density, up to what does not depend on theta.
        """
        values = vector(theta, self.names)
        return b @ values - values @ self.precision() @ values / 2

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


def vector(theta: Theta, names: tuple[str, ...]) -> Float[Array, "d"]:
    """The parameters as a vector, in the order of `names`."""
    return jnp.stack([jnp.asarray(theta[name], float) for name in names])
