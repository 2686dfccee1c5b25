"""Weighted draws of a posterior, from wherever the estimator says that it is."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


_PRIOR_SHARE = 0.25  # draws from the prior where there are peaks: what these may miss
_CHUNK = 4096  # parameter sets evaluated at once


def candidates(
    estimator: Any, h: Float[Array, " features"], key: PRNGKeyArray, count: int
) -> tuple[Float[Array, "count d"], Float[Array, " count"]]:
    r"""Standardised draws u and log-weights that make the posterior of them.

    $$
    w = \frac{r(\theta, x)\, p(u)}{m(u)}
    $$

    The draws are from m: the prior, or for the greater part the peaks of the quadratic
    head. The mean weight is the integral of $r\,p$, which is 1 for an exact ratio.

    Args:
        estimator: any log-ratio; its peaks are used if it has some.
        h: features of one observation.
        key: JAX random key.
        count: number of draws.

    Returns:
        The draws `[count, d]` and their log-weights, minus infinity outside the
        prior's support.
    """
    prior = estimator.prior
    prior_key, peak_key = jax.random.split(key)
    peaks = estimator.peaks(h) if hasattr(estimator, "peaks") else None
    if peaks is None:
        u = prior.standardize(prior.sample(prior_key, (count,))).astype(h.dtype)
        return u, log_joint(estimator, h, u) - _log_prior(prior, u)
    from_prior = max(1, round(_PRIOR_SHARE * count))
    wide = prior.standardize(prior.sample(prior_key, (from_prior,)))
    near = peaks.sample(peak_key, count - from_prior)
    u = jnp.concatenate([wide.astype(h.dtype), near])
    share = from_prior / count
    log_mixture = jnp.logaddexp(
        math.log(share) + _log_prior(prior, u),
        math.log1p(-share) + jax.vmap(peaks.log_prob)(u),
    )
    return u, log_joint(estimator, h, u) - log_mixture


def resampled(
    u: Float[Array, "n d"],
    log_weight: Float[Array, " n"],
    key: PRNGKeyArray,
    count: int,
) -> Float[Array, "count d"]:
    """Draws in proportion to their weights, each its expected number of times to one.

    Args:
        u: draws.
        log_weight: their log-weights.
        key: JAX random key.
        count: how many to take.

    Returns:
        Those taken, in random order.
    """
    level_key, order_key = jax.random.split(key)
    total = jnp.cumsum(jnp.exp(log_weight - log_weight.max()))
    levels = (jnp.arange(count) + jax.random.uniform(level_key)) / count
    chosen = jnp.searchsorted(total, levels.astype(total.dtype) * total[-1])
    drawn = u[jnp.minimum(chosen, len(u) - 1)]
    return jax.random.permutation(order_key, drawn)


def log_joint(
    estimator: Any, h: Float[Array, " features"], u: Float[Array, "n d"]
) -> Float[Array, " n"]:
    r"""$\log r + \log p(u)$, the unnormalised log-posterior of standardised parameters.

    Args:
        estimator: any log-ratio.
        h: features of one observation.
        u: standardised parameters.

    Returns:
        The values, minus infinity outside the prior's support.
    """
    prior = estimator.prior

    def at(one: Float[Array, " d"]) -> Float[Array, ""]:
        theta = prior.unstandardize(one)
        log_ratio = estimator.log_ratio(prior.restrict(theta), h)
        return jnp.where(prior.contains(theta), log_ratio, -jnp.inf)

    log_ratio = jax.lax.map(at, u, batch_size=min(_CHUNK, len(u)))
    return log_ratio + _log_prior(prior, u)


def _log_prior(prior: Any, u: Float[Array, "n d"]) -> Float[Array, " n"]:
    return prior.standard_log_prob(prior.unstandardize(u)).astype(u.dtype)
