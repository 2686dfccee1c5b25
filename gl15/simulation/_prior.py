r"""Independent priors over named parameters.

A prior is a dictionary of scalar NumPyro distributions. It is stored as *static* data:
its numbers are no leaves of the pytree. Three traps end there: an optimiser with weight
decay cannot move a bound of the prior, a network ensemble under `vmap` does not grow a
batch of priors, and the order of NumPyro's own leaves (which changes from process to
process, as it follows a set of strings) cannot reach a file.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from gl15.simulation._description import describe, Fixed, rebuild
from gl15.simulation._distributions import check_distribution, check_draws
from gl15.simulation._support import affine, inside, limits, safe_log_prob


ThetaValue: TypeAlias = (
    Num[Array, "..."] | Num[np.ndarray, "..."] | np.number | float | int
)
Theta: TypeAlias = Mapping[str, ThetaValue]
"""Parameters by name: a scalar each, or an array each for a batch."""


class Prior(eqx.Module):
    r"""Independent prior over named scalar parameters.

    $$
    p(\theta) = \prod_j p_j(\theta_j),
    \qquad \theta = \{\eta, B, \nu, \dots\}
    $$

    Example:
        ```python
        prior = Prior({"eta": dist.Uniform(0.0, 1.5), "B": dist.Uniform(0.0, 0.1)})
        theta = prior.sample(jax.random.key(0), (8,))  # {"eta": [8], "B": [8]}
        ```

    Attributes:
        names: the parameter names in the order given, which is also the order of the
            components of `standardize`. (JAX sorts dictionary keys whenever it
            flattens one: never read an order off a dictionary of parameters.)
    """

    names: tuple[str, ...] = eqx.field(static=True)
    _fixed: tuple[Fixed, ...] = eqx.field(static=True)
    _bounds: tuple[tuple[float, float] | None, ...] = eqx.field(static=True)
    _affine: tuple[tuple[float, float], ...] = eqx.field(static=True)

    def __init__(self, distributions: Mapping[str, Any]):
        """Build the prior.

        Args:
            distributions: parameter name -> NumPyro distribution of one scalar.

        Raises:
            ValueError: if there is no parameter, or a distribution is not scalar,
                discrete, traced or none at all, such as Uniform(1.5, 0).
            TypeError: if a name is no string or a value no NumPyro distribution.
        """
        if len(distributions) == 0:
            raise ValueError(
                "`distributions` is empty: a prior needs at least one parameter, such "
                'as Prior({"eta": dist.Uniform(0.0, 1.5)}).'
            )
        for name, value in distributions.items():
            check_distribution(name, value)
        self.names = tuple(distributions)
        with jax.ensure_compile_time_eval():
            for name, value in distributions.items():
                check_draws(name, value)
            self._fixed = tuple(Fixed(value) for value in distributions.values())
            values = tuple(fixed.distribution for fixed in self._fixed)
            self._bounds = tuple(limits(value) for value in values)
            self._affine = tuple(affine(value) for value in values)

    @property
    def distributions(self) -> dict[str, Any]:
        """The NumPyro distribution of each parameter."""
        fixed = (one.distribution for one in self._fixed)
        return dict(zip(self.names, fixed, strict=True))

    @property
    def support(self) -> dict[str, Any]:
        """The NumPyro constraint that each parameter obeys."""
        return {name: value.support for name, value in self.distributions.items()}

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        r"""Lowest and highest value of each parameter.

        The limits of the support; where a side is unbounded (or the density diverges
        there) the $10^{-6}$ or $1 - 10^{-6}$ quantile.

        Raises:
            ValueError: if a quantile is needed that NumPyro cannot compute.
        """
        found = {}
        for name, ends in zip(self.names, self._bounds, strict=True):
            if ends is None:
                kind = type(self.distributions[name]).__name__
                raise ValueError(
                    f"`{name}` has an unbounded prior ({kind}) whose quantiles NumPyro "
                    "cannot compute here; truncate it (dist.TruncatedDistribution) or "
                    "give `bounds` explicitly."
                )
            found[name] = ends
        return found

    def sample(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = ()
    ) -> dict[str, Float[Array, "..."]]:
        """Independent draws, each of shape `shape`, by name.

        Args:
            key: JAX random key.
            shape: shape of the draws.

        Returns:
            Parameter name -> draws of that shape.
        """
        keys = jax.random.split(key, len(self.names))
        return {
            name: value.sample(one, shape)
            for one, (name, value) in zip(keys, self.distributions.items(), strict=True)
        }

    def log_prob(self, theta: Theta) -> Float[Array, "*batch"]:
        r"""Log-density $\sum_j \log p_j(\theta_j)$; $-\infty$ outside the support.

        Never NaN, and its gradient is finite everywhere (zero outside).

        Args:
            theta: parameter name -> scalar, or arrays that broadcast together.

        Returns:
            The log-density, of the parameters' common shape.

        Raises:
            ValueError: for other names than the prior's.
        """
        self.check_names(theta)
        total = jnp.zeros(())
        for name, value in self.distributions.items():
            total = total + safe_log_prob(value, jnp.asarray(theta[name]))
        return total

    def contains(self, theta: Theta) -> Bool[Array, "*batch"]:
        """Whether every parameter lies in its support (NaN does not).

        Args:
            theta: parameter name -> scalar, or arrays that broadcast together.

        Returns:
            True inside, of the parameters' common shape.

        Raises:
            ValueError: for other names than the prior's.
        """
        self.check_names(theta)
        contained = jnp.ones((), bool)
        for name, constraint in self.support.items():
            contained = contained & constraint(jnp.asarray(theta[name]))
        return contained

    def restrict(self, theta: Theta) -> dict[str, Num[Array, "..."]]:
        """`theta` where it lies in the support, some fixed inner point elsewhere.

        What is computed from it is finite and has finite gradients, so that a `where`
        on `contains` may throw it away.

        Args:
            theta: parameter name -> scalar or array.

        Returns:
            Parameter name -> value inside the support.
        """
        self.check_names(theta)
        return {
            name: inside(constraint, jnp.asarray(theta[name]))
            for name, constraint in self.support.items()
        }

    def standardize(self, theta: Theta) -> Float[Array, "*batch d"]:
        r"""Parameters as one vector of order one, in the order of `names`.

        $(\theta - \mathrm{low})/(\mathrm{high} - \mathrm{low})$ if it is bounded, which
        for $U(0, \theta_{\max})$ is $\theta/\theta_{\max}$; if not,
        $(\theta - \mathrm{mean})/\mathrm{std}$ (median and interquartile range where
        these moments do not exist; those of some draws where NumPyro knows neither).

        Args:
            theta: parameter name -> scalar, or arrays that broadcast together.

        Returns:
            The vector, parameters on the last axis.

        Raises:
            ValueError: for other names than the prior's.
        """
        self.check_names(theta)
        parts = [
            (jnp.asarray(theta[name]) - shift) / scale
            for name, (shift, scale) in zip(self.names, self._affine, strict=True)
        ]
        return jnp.stack(jnp.broadcast_arrays(*parts), axis=-1)

    def unstandardize(self, u: Float[Array, "*batch d"]) -> dict[str, Array]:
        """The inverse of `standardize`.

        Args:
            u: the vector, parameters on the last axis.

        Returns:
            Parameter name -> value, of the shape of the leading axes.
        """
        parts = zip(self.names, self._affine, jnp.moveaxis(u, -1, 0), strict=True)
        return {name: shift + scale * one for name, (shift, scale), one in parts}

    def standard_log_prob(self, theta: Theta) -> Float[Array, "*batch"]:
        """Log-density of the vector of `standardize`.

        Args:
            theta: parameter name -> scalar, or arrays that broadcast together.

        Returns:
            The log-density; outside the support that of some point inside.
        """
        volume = sum(math.log(scale) for _, scale in self._affine)
        return self.log_prob(self.restrict(theta)) + volume

    def check_names(self, theta: Mapping[str, Any]) -> None:
        """Raise `ValueError` unless `theta` holds exactly this prior's parameters."""
        unknown = sorted(set(theta) - set(self.names))
        missing = [name for name in self.names if name not in theta]
        if unknown or missing:
            problems = [f"unknown {unknown}"] if unknown else []
            problems += [f"missing {missing}"] if missing else []
            raise ValueError(
                f"`theta` does not match the prior: {' and '.join(problems)}; "
                f"the parameters are {list(self.names)}."
            )

    def describe(self) -> dict[str, Any]:
        """The prior as plain data (dictionaries, numbers, strings) for a JSON file.

        Returns:
            Parameter name -> description of its distribution.

        Raises:
            TypeError: if a distribution is not rebuilt from numbers alone.
        """
        return {name: describe(value) for name, value in self.distributions.items()}

    @staticmethod
    def from_description(description: Mapping[str, Any]) -> "Prior":
        """The prior that `describe` described.

        Args:
            description: what `describe` gave.

        Returns:
            An equal prior.

        Raises:
            ValueError: if a distribution is not one of NumPyro's.
        """
        return Prior({name: rebuild(value) for name, value in description.items()})
