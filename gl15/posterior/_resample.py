"""Many independent draws of a posterior at once, by weighting and resampling."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.inference._estimators.candidates import candidates, log_joint, resampled
from gl15.posterior._embedding import checked, embed_once
from gl15.posterior._protocol import LogRatio
from gl15.simulation._arguments import random_key


class Draws(eqx.Module):
    r"""Draws of a posterior, and how far to trust them.

    Attributes:
        theta: parameter name -> draws `[n]`.
        effective: number of candidates that carry the weight, $1/\sum w^2$. A few
            hundred or less means that candidates hardly met the posterior: take more,
            or `sample_posterior`.
        normalisation: mean of the ratio over the prior, 1 for an exact one.
        accepted: share of the moves that were taken; NaN if there were none.
    """

    theta: dict[str, Float[Array, " n"]]
    effective: Float[Array, ""]
    normalisation: Float[Array, ""]
    accepted: Float[Array, ""]


def resample_posterior(
    estimator: LogRatio,
    x: Any,
    *,
    key: PRNGKeyArray,
    num_samples: int = 10_000,
    num_candidates: int = 100_000,
    moves: int = 0,
) -> Draws:
    r"""Draw from $p(\theta \mid x)$ by sampling, importance and resampling.

    Candidates are drawn from the prior and, where the estimator has the quadratic head,
    from its peaks, weighted by $r\,p$ over their density, and resampled. Peaks of any
    number are found and weighted against each other, which chains do not do. Some
    Metropolis moves then tell apart the draws that were chosen more than once.

    Serves where the candidates meet the posterior: a posterior not much narrower than
    the prior in few parameters, or the quadratic head in more. `effective` says.

    Args:
        estimator: a trained `RatioEstimator`, or any `LogRatio`.
        x: one image, an array or an `Observation`, whose spacing and channels are
            then compared with those of training.
        key: JAX random key.
        num_samples: number of draws.
        num_candidates: number of candidates.
        moves: Metropolis moves of every draw after resampling. Steps are differences
            of other draws, so they know scales, correlations and separate peaks.

    Returns:
        The draws.

    Raises:
        ValueError: if the image does not suit the estimator, or a number is no count.
    """
    random_key("key", key)
    if num_samples < 1 or num_candidates < num_samples or moves < 0:
        raise ValueError(
            f"`num_samples`={num_samples} must be positive and no more than "
            f"`num_candidates`={num_candidates}, and `moves`={moves} not negative."
        )
    image = checked(estimator, x)
    features = embed_once(estimator, image)
    return _resample(estimator, features, key, num_samples, num_candidates, moves)


@eqx.filter_jit
def _resample(
    estimator: LogRatio, h: Array, key: PRNGKeyArray, count: int, pool: int, moves: int
) -> Draws:
    draw_key, choice_key, move_key = jax.random.split(key, 3)
    u, log_weight = candidates(estimator, h, draw_key, pool)
    log_total = jax.nn.logsumexp(log_weight)
    weight = jnp.exp(log_weight - log_total)
    drawn = resampled(u, log_weight, choice_key, count)
    accepted = jnp.asarray(jnp.nan)
    if moves:
        drawn, accepted = _move(estimator, h, drawn, move_key, moves)
    return Draws(
        estimator.prior.unstandardize(drawn),
        1 / (weight**2).sum(),
        jnp.exp(log_total) / pool,
        accepted,
    )


def _move(
    estimator: LogRatio,
    h: Array,
    u: Float[Array, "n d"],
    key: PRNGKeyArray,
    moves: int,
) -> tuple[Float[Array, "n d"], Float[Array, ""]]:
    """Metropolis steps along differences of other draws (differential evolution)."""
    count, d = u.shape
    scale = 1.7 / jnp.sqrt(2.0 * d)

    def move(state: Any, key: PRNGKeyArray) -> tuple[Any, Array]:
        u, value = state
        pair_key, size_key, jitter_key, accept_key = jax.random.split(key, 4)
        first, second = jax.random.randint(pair_key, (2, count), 0, count)
        # Steps of several lengths, now and then whole: from one peak to another.
        size = scale * jax.random.exponential(size_key, (count, 1), u.dtype)
        step = size * (u[first] - u[second])
        jitter = 1e-5 * jax.random.normal(jitter_key, u.shape, u.dtype)
        proposed = u + step + jitter
        new = log_joint(estimator, h, proposed)
        take = jnp.log(jax.random.uniform(accept_key, (count,))) < new - value
        u = jnp.where(take[:, None], proposed, u)
        return (u, jnp.where(take, new, value)), take.mean()

    start = (u, log_joint(estimator, h, u))
    (u, _), accepted = jax.lax.scan(move, start, jax.random.split(key, moves))
    return u, accepted.mean()
