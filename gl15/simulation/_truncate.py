"""Priors truncated to a box."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpyro.distributions as dist
from numpyro.distributions import constraints

from gl15.simulation._prior import Prior


def truncated_prior(prior: Prior, box: Mapping[str, tuple[float, float]]) -> Prior:
    """The prior inside a box, normalised again.

    It is a `Prior` like any other: described in files, zero outside, and an estimator
    that is trained on it is refused parameters outside.

    Args:
        prior: the prior.
        box: parameter name -> (low, high); names left out stay as they are. What lies
            beyond the prior's own support is cut off.

    Returns:
        The truncated prior.

    Raises:
        ValueError: for a name that the prior does not know, a box that leaves nothing,
            or a distribution that NumPyro cannot truncate.
    """
    if unknown := sorted(set(box) - set(prior.names)):
        raise ValueError(
            f"`box` names {unknown}; the parameters are {list(prior.names)}."
        )
    with jax.ensure_compile_time_eval():
        inside = {
            name: _truncated(name, value, *map(float, box[name]))
            if name in box
            else value
            for name, value in prior.distributions.items()
        }
    return Prior(inside)


def _truncated(name: str, value: Any, low: float, high: float) -> Any:
    support = value.support
    low = max(low, float(getattr(support, "lower_bound", -math.inf)))
    high = min(high, float(getattr(support, "upper_bound", math.inf)))
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"`box` of `{name}` leaves ({low:g}, {high:g}) of its prior; give finite "
            "limits, low < high, that overlap with it."
        )
    if isinstance(value, (dist.Uniform, dist.LogUniform)):
        return type(value)(low, high)
    if isinstance(value, dist.HalfNormal):
        value = dist.Normal(0.0, value.scale)
    # What is truncated already is so again from its untruncated base.
    base = getattr(value, "base_dist", value)
    if base.support is constraints.real:
        try:
            return dist.TruncatedDistribution(base, low, high)
        except (AssertionError, NotImplementedError):
            pass
    raise ValueError(
        f"`prior` of `{name}` is {type(value).__name__}, which NumPyro cannot truncate "
        "to an interval; use Uniform, LogUniform, Normal, HalfNormal, Laplace, "
        "Logistic, Cauchy or StudentT."
    )
