"""Normals cut off at limits: how much of one lies between them, and draws of it."""

import math
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from gl15.simulation import Prior


Limits: TypeAlias = tuple[tuple[float, float], ...]
"""Lowest and highest value of every parameter, infinite where there is none."""

_FAR = 1e6  # a limit that is none, in units of the prior
_REACH = 12.0  # standard deviations beyond which float32 has no mass left


def limits_of(prior: Prior) -> Limits | None:
    """Ends of the support of standardised parameters.

    Args:
        prior: the prior.

    Returns:
        The limits; None if there are none at all.
    """
    # Also where weights are drawn under `vmap`: the prior's numbers are no tracers.
    with jax.ensure_compile_time_eval():
        ends = [
            {
                name: float(getattr(value, f"{side}_bound", sign * math.inf))
                for name, value in prior.support.items()
            }
            for side, sign in (("lower", -1), ("upper", 1))
        ]
        low, high = (np.asarray(prior.standardize(one)).tolist() for one in ends)
    if not np.isfinite([*low, *high]).any():
        return None
    return tuple(zip(low, high, strict=True))


def ends_of(
    limits: Limits, dtype: Any
) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
    """Lower and upper limits; finite, for gradients without NaN.

    Args:
        limits: of every parameter.
        dtype: of the result.

    Returns:
        The lower ones `[d]` and the upper ones `[d]`.
    """
    ends = np.clip(np.asarray(limits).T, -_FAR, _FAR)
    return jnp.asarray(ends[0], dtype), jnp.asarray(ends[1], dtype)


def log_mass(a: Float[Array, "*n"], b: Float[Array, "*n"]) -> Float[Array, "*n"]:
    r"""Logarithm of a standard normal's mass, $\log(\Phi(b) - \Phi(a))$.

    Args:
        a: lower end.
        b: upper end.

    Returns:
        The logarithm; no less than -85.
    """
    _, lowest, highest = _lower_tail(a, b)
    return jnp.log(jnp.maximum(highest - lowest, 1e-37))


def normal_within(
    level: Float[Array, "*n"], a: Float[Array, "*n"], b: Float[Array, "*n"]
) -> Float[Array, "*n"]:
    """Standard normal draws between a and b, from uniform ones.

    Args:
        level: uniform draws from 0 to 1.
        a: lower end.
        b: upper end.

    Returns:
        The draws.
    """
    mirrored, lowest, highest = _lower_tail(a, b)
    mass = jnp.maximum(lowest + level * (highest - lowest), 1e-37)
    drawn = jax.scipy.special.ndtri(mass)
    return jnp.where(mirrored, -drawn, drawn)


def _lower_tail(
    a: Float[Array, "*n"], b: Float[Array, "*n"]
) -> tuple[Bool[Array, "*n"], Float[Array, "*n"], Float[Array, "*n"]]:
    """Whether the interval was mirrored, and the normal's mass below either end.

    Mirrored to where most of it is negative: there small masses keep their digits.
    """
    mirrored = a + b > 0
    a, b = jnp.where(mirrored, -b, a), jnp.where(mirrored, -a, b)
    # An interval farther out than numbers reach counts as one at the end of them.
    b = jnp.maximum(b, -_REACH)
    below = lambda z: jax.lax.erfc(-z / math.sqrt(2)) / 2  # noqa: E731
    return mirrored, below(a), below(b)
