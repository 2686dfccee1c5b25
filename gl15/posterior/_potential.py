r"""The negative log-posterior as a function of the parameters, for any sampler."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions.transforms import biject_to

from gl15.posterior._embedding import checked, embed_once
from gl15.posterior._protocol import LogRatio
from gl15.simulation import Theta


class Potential(eqx.Module):
    r"""Potential energy of the posterior of one image, up to a constant.

    $$
    U(\theta) = -\log r(\theta, x) - \log p(\theta)
    $$

    Infinite outside the prior's support, where its gradient is zero. If `unconstrained`
    it takes $u \in \mathbb{R}$ for each parameter instead, with $\theta = T(u)$ the
    bijection NumPyro uses for the support, and adds $-\log|dT/du|$.

    A pytree: it may be passed to a compiled function as an argument.

    Attributes:
        estimator: the log-ratio.
        features: the image's features, computed once.
        unconstrained: whether the argument is $u$.
    """

    estimator: LogRatio
    features: Float[Array, " features"]
    unconstrained: bool = eqx.field(static=True, default=False)

    def __call__(self, theta: Theta) -> Float[Array, ""]:
        r"""The potential at one parameter set.

        Args:
            theta: parameter name -> scalar; unconstrained positions $u$ instead if
                `unconstrained`.

        Returns:
            $U$, a scalar.

        Raises:
            ValueError: if `theta` does not name the prior's parameters.
        """
        prior = self.estimator.prior
        prior.check_names(theta)
        log_volume = jnp.zeros(())
        if self.unconstrained:
            position, theta = theta, self.constrain(theta)
            for name, bijection in self._bijections().items():
                u = jnp.asarray(position[name])
                volume = bijection.log_abs_det_jacobian(u, theta[name])
                log_volume = log_volume + volume
        log_ratio = self.estimator.log_ratio(prior.restrict(theta), self.features)
        log_joint = jnp.where(prior.contains(theta), log_ratio, 0)
        return -(log_joint + prior.log_prob(theta) + log_volume)

    def constrain(self, position: Theta) -> dict[str, Float[Array, "..."]]:
        r"""Parameters $\theta = T(u)$ of unconstrained positions.

        Args:
            position: parameter name -> $u$, scalars or arrays.

        Returns:
            Parameter name -> $\theta$, of the same shapes.

        Raises:
            ValueError: if `position` does not name the prior's parameters.
        """
        self.estimator.prior.check_names(position)
        return {
            name: bijection(jnp.asarray(position[name], float))
            for name, bijection in self._bijections().items()
        }

    def unconstrain(self, theta: Theta) -> dict[str, Float[Array, "..."]]:
        r"""Unconstrained positions $u = T^{-1}(\theta)$.

        Args:
            theta: parameter name -> value within the support, scalars or arrays.

        Returns:
            Parameter name -> $u$, of the same shapes.

        Raises:
            ValueError: if `theta` does not name the prior's parameters.
        """
        self.estimator.prior.check_names(theta)
        return {
            name: bijection.inv(jnp.asarray(theta[name], float))
            for name, bijection in self._bijections().items()
        }

    def _bijections(self) -> dict[str, Any]:
        support = self.estimator.prior.support
        return {name: biject_to(constraint) for name, constraint in support.items()}


def potential(estimator: LogRatio, x: Any, *, unconstrained: bool = False) -> Potential:
    r"""Negative log-posterior $U(\theta) = -\log r(\theta, x) - \log p(\theta)$.

    The image is embedded here, once; each call then costs one evaluation of the head.

    NumPyro's `potential_fn` and most samplers move in an unbounded space: give them the
    unconstrained form and map the draws back.

    ```python
    energy = gl15.potential(estimator, x, unconstrained=True)
    start = energy.unconstrain({"eta": 0.7})
    mcmc = MCMC(NUTS(potential_fn=energy), num_warmup=500, num_samples=1000)
    mcmc.run(key, init_params=start)
    eta = energy.constrain(mcmc.get_samples())["eta"]
    ```

    Args:
        estimator: a trained `RatioEstimator`, or any `LogRatio`.
        x: one image, an array or an `Observation`, whose spacing and channels are
            then compared with those of training.
        unconstrained: take unbounded coordinates in place of the parameters.

    Returns:
        A callable on a dictionary name -> scalar.

    Raises:
        ValueError: if the image does not suit the estimator.
    """
    image = checked(estimator, x)
    return Potential(estimator, embed_once(estimator, image), unconstrained)
