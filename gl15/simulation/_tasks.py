r"""Three tasks of the sbibm benchmark, with their likelihoods.

Reference: Lueckmann et al., Benchmarking simulation-based inference, AISTATS 2021,
arXiv 2101.04653.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.stats import norm
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.simulation._prior import Prior, Theta
from gl15.simulation._toys import vector


class TwoMoons(eqx.Module):
    r"""Two moons: a crescent whose place depends on $|\theta_1 + \theta_2|$.

    $$
    x = (r\cos a + \tfrac14,\; r\sin a)
        + (-|\theta_1 + \theta_2|,\; -\theta_1 + \theta_2)/\sqrt2
    $$

    with $a \sim U(-\pi/2, \pi/2)$ and $r \sim \mathcal{N}(0.1, 0.01^2)$. The posterior
    has two crescents of equal weight.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters."""
        return ("theta1", "theta2")

    @property
    def prior(self) -> Prior:
        """The benchmark's prior, $U(-1, 1)^2$."""
        return _box(self.names, 1.0)

    def __call__(self, theta: Theta, key: PRNGKeyArray) -> Float[Array, "2"]:
        """One point of the crescent.

        Args:
            theta: parameter name -> scalar.
            key: JAX random key.

        Returns:
            An observation `[2]`.
        """
        key_a, key_r = jax.random.split(key)
        a = jax.random.uniform(key_a, minval=-math.pi / 2, maxval=math.pi / 2)
        r = 0.1 + 0.01 * jax.random.normal(key_r)
        crescent = jnp.stack([r * jnp.cos(a) + 0.25, r * jnp.sin(a)])
        return crescent + self._shift(theta)

    def log_likelihood(self, theta: Theta, x: Float[Array, "2"]) -> Float[Array, ""]:
        r"""$\log p(x \mid \theta)$.

        Args:
            theta: parameter name -> scalar.
            x: an observation `[2]`.

        Returns:
            The log-density of `x` at `theta`.
        """
        p = x - self._shift(theta) - jnp.asarray([0.25, 0.0])
        r = jnp.hypot(p[0], p[1])
        log_prob = norm.logpdf(r, 0.1, 0.01) - jnp.log(math.pi * r)
        return jnp.where(p[0] > 0, log_prob, -jnp.inf)

    def _shift(self, theta: Theta) -> Float[Array, "2"]:
        one, two = vector(theta, self.names)
        return jnp.stack([-jnp.abs(one + two), two - one]) / math.sqrt(2)


class GaussianLinearUniform(eqx.Module):
    r"""Ten unknown means: $x \sim \mathcal{N}(\theta, 0.1\,I)$."""

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters."""
        return tuple(f"theta{j}" for j in range(1, 11))

    @property
    def prior(self) -> Prior:
        """The benchmark's prior, $U(-1, 1)^{10}$."""
        return _box(self.names, 1.0)

    def __call__(self, theta: Theta, key: PRNGKeyArray) -> Float[Array, "10"]:
        """One noisy reading of every mean.

        Args:
            theta: parameter name -> scalar.
            key: JAX random key.

        Returns:
            An observation `[10]`.
        """
        noise = jax.random.normal(key, (10,))
        return vector(theta, self.names) + math.sqrt(0.1) * noise

    def log_likelihood(self, theta: Theta, x: Float[Array, "10"]) -> Float[Array, ""]:
        r"""$\log p(x \mid \theta)$.

        Args:
            theta: parameter name -> scalar.
            x: an observation `[10]`.

        Returns:
            The log-density of `x` at `theta`.
        """
        return norm.logpdf(x, vector(theta, self.names), math.sqrt(0.1)).sum()


class SLCP(eqx.Module):
    r"""Simple likelihood, complex posterior: four draws of a normal in the plane.

    $$
    x_k \sim \mathcal{N}\left((\theta_1, \theta_2),
    \begin{pmatrix} s_1^2 & \rho s_1 s_2 \\ \rho s_1 s_2 & s_2^2 \end{pmatrix}\right),
    \quad s_1 = \theta_3^2,\; s_2 = \theta_4^2,\; \rho = \tanh\theta_5
    $$

    The squares give the posterior four modes.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters."""
        return tuple(f"theta{j}" for j in range(1, 6))

    @property
    def prior(self) -> Prior:
        """The benchmark's prior, $U(-3, 3)^5$."""
        return _box(self.names, 3.0)

    def __call__(self, theta: Theta, key: PRNGKeyArray) -> Float[Array, "8"]:
        """The four draws, one after another.

        Args:
            theta: parameter name -> scalar.
            key: JAX random key.

        Returns:
            An observation `[8]`.
        """
        mean, scale, rho = self._moments(theta)
        z = jax.random.normal(key, (4, 2))
        second = rho * z[:, 0] + jnp.sqrt(1 - rho**2) * z[:, 1]
        draws = mean + scale * jnp.stack([z[:, 0], second], -1)
        return draws.reshape(-1)

    def log_likelihood(self, theta: Theta, x: Float[Array, "8"]) -> Float[Array, ""]:
        r"""$\log p(x \mid \theta)$.

        Args:
            theta: parameter name -> scalar.
            x: an observation `[8]`.

        Returns:
            The log-density of `x` at `theta`.
        """
        mean, scale, rho = self._moments(theta)
        z = (x.reshape(4, 2) - mean) / scale
        # The second component given the first is normal again.
        rest = norm.logpdf(z[:, 1], rho * z[:, 0], jnp.sqrt(1 - rho**2))
        return jnp.sum(norm.logpdf(z[:, 0]) + rest - jnp.log(scale).sum())

    def _moments(
        self, theta: Theta
    ) -> tuple[Float[Array, "2"], Float[Array, "2"], Float[Array, ""]]:
        values = vector(theta, self.names)
        return values[:2], values[2:4] ** 2, jnp.tanh(values[4])


def _box(names: tuple[str, ...], half_width: float) -> Prior:
    return Prior({name: dist.Uniform(-half_width, half_width) for name in names})
