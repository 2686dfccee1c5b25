"""What NumPyro's distributions say of their supports, made safe to differentiate."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num


_TAIL = 1e-6  # probability left out on each side of an unbounded prior


def safe_log_prob(value: Any, theta: Num[Array, "*n"]) -> Float[Array, "*n"]:
    """Log-density, minus infinity outside the support, with finite gradients."""
    log_prob = value.log_prob(inside(value.support, theta))
    usable = value.support(theta) & ~jnp.isnan(log_prob)
    return jnp.where(usable, log_prob, -jnp.inf)


def inside(constraint: Any, theta: Num[Array, "*n"]) -> Num[Array, "*n"]:
    """`theta` where it obeys the constraint, some point that does elsewhere."""
    # A `where` on a result alone would leave 0 * inf = NaN in its gradient.
    inner = jax.lax.stop_gradient(constraint.feasible_like(theta))
    return jnp.where(constraint(theta), theta, inner)


def limits(value: Any) -> tuple[float, float] | None:
    """Finite limits of the support, or quantiles; None where neither can be had."""
    found = []
    for side, tail in (("lower_bound", _TAIL), ("upper_bound", 1 - _TAIL)):
        limit = getattr(value.support, side, None)
        if limit is not None and _usable_limit(value, limit):
            found.append(float(limit))
            continue
        try:
            quantile = float(value.icdf(tail))
        except (ImportError, NotImplementedError):
            return None
        found.append(quantile)
    low, high = found
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _usable_limit(value: Any, limit: Any) -> bool:
    if not math.isfinite(float(limit)) or not bool(value.support(limit)):
        return False
    log_prob = float(value.log_prob(limit))
    return not math.isnan(log_prob) and log_prob < math.inf


def affine(value: Any) -> tuple[float, float]:
    """Shift and scale that bring a parameter to order one."""
    low = getattr(value.support, "lower_bound", None)
    high = getattr(value.support, "upper_bound", None)
    if low is not None and high is not None:
        low, high = float(low), float(high)
        if math.isfinite(low) and math.isfinite(high):
            return low, high - low
    try:
        mean, std = float(value.mean), math.sqrt(float(value.variance))
        if math.isfinite(mean) and math.isfinite(std):
            return mean, std
        low, middle, high = (float(value.icdf(q)) for q in (0.25, 0.5, 0.75))
        return middle, high - low
    except (ImportError, NotImplementedError):
        # Only a scale is needed, the same for ever: no key of the caller's is spent.
        draws = value.sample(jax.random.key(0), (1000,))
        return float(draws.mean()), float(draws.std())
