"""Tests of joint posteriors: TARP, and highest-density regions."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.diagnostics._posteriors import HeldOut, map_posteriors
from gl15.posterior import GridPosterior, LogRatio, Points
from gl15.simulation import Prior
from gl15.simulation._arguments import random_key, whole_number


DRAWS = 512  # from each posterior, by default


@dataclasses.dataclass(frozen=True)
class Tarp:
    r"""Expected coverage of regions around random points.

    Attributes:
        levels: credibility levels $\alpha$, from 0 to 1.
        coverage: share of the truths in their region at each level; equal to `levels`
            if the posteriors are right.
        atc: area to the curve, $\int_{1/2}^1 (\mathrm{coverage} - \alpha)\,d\alpha$.
            Positive: posteriors too wide. Negative: too narrow, or off the mark.
        atc_standard_error: spread of `atc` under exact calibration.
        fractions: for each image the level at which its region reaches the truth,
            `[n]`: uniform if the posteriors are right, so `check_ranks` applies.
    """

    levels: Float[np.ndarray, " levels"]
    coverage: Float[np.ndarray, " levels"]
    atc: float
    atc_standard_error: float
    fractions: Float[np.ndarray, " n"]


def tarp(
    estimator: LogRatio,
    ensemble: HeldOut,
    *,
    key: PRNGKeyArray,
    draws: int = DRAWS,
    points: Points = None,
    batch_size: int = 64,
    features: Float[Array, "n features"] | None = None,
) -> Tarp:
    r"""Test of accuracy with random points (TARP) of the joint posteriors.

    For each image a point is drawn at random within the prior's bounds. The posterior
    draws nearer to it than the truth is, as a fraction of all, must be uniform if the
    posterior is right; a posterior that is too narrow, too wide or shifted in any
    direction fails, also where every marginal passes. What it cannot see is a posterior
    that ignores its image: the prior itself passes. Look at `Summary.log_prob` too.

    Distances are taken between standardised parameters. The fraction is
    $(k + v)/(\mathrm{draws} + 1)$ for $k$ nearer draws and uniform $v$, which is
    exactly uniform under exact calibration.

    Args:
        estimator: a trained `RatioEstimator`, or any `LogRatio`, of one to three
            parameters.
        ensemble: held-out pairs, their parameters drawn from the estimator's prior.
        key: random key.
        draws: posterior draws per image.
        points: nodes of each posterior, as in `grid_posterior`.
        batch_size: images embedded at once.
        features: what `embed_ensemble` gave for `ensemble.x`, to save computing it.

    Returns:
        A `Tarp`.

    Raises:
        ValueError: if the ensemble does not suit the estimator: wrong, missing or
            non-finite parameters or images, or another pixel spacing or channels.

    Reference:
        Lemos et al., Sampling-based accuracy testing of posterior estimators for
        general inference, ICML 2023, arXiv 2302.03026.
    """
    random_key("key", key)
    keys = jax.random.split(key, _count(ensemble))
    fractions = map_posteriors(
        Fraction(estimator.prior, whole_number("draws", draws)),
        estimator,
        ensemble,
        keys,
        points=points,
        batch_size=batch_size,
        features=features,
    )
    return tarp_of(fractions)


def tarp_of(fractions: Any) -> Tarp:
    """The test from the level at which each region reaches its truth.

    Args:
        fractions: what `Fraction` gives, `[n]`.

    Returns:
        A `Tarp`.
    """
    fractions = np.asarray(fractions, float)
    levels = np.linspace(0, 1, 101)
    # The upper half of each step function, integrated exactly.
    reached = 1 - np.maximum(fractions, 0.5)
    return Tarp(
        levels=levels,
        coverage=(fractions[:, None] <= levels).mean(axis=0),
        atc=float(reached.mean() - 3 / 8),
        atc_standard_error=float(np.sqrt(5 / 192 / len(fractions))),
        fractions=fractions,
    )


def hpd_ranks(
    estimator: LogRatio,
    ensemble: HeldOut,
    *,
    key: PRNGKeyArray,
    draws: int = DRAWS,
    points: Points = None,
    batch_size: int = 64,
    features: Float[Array, "n features"] | None = None,
) -> Float[Array, " n"]:
    """Level of the smallest joint highest-density region that holds each truth.

    The share of posterior draws more probable than the truth; uniform if the posteriors
    are right. `coverage(ranks, kind="credibility")` reads it as coverage.

    Args:
        estimator: a trained `RatioEstimator`, or any `LogRatio`, of one to three
            parameters.
        ensemble: held-out pairs, their parameters drawn from the estimator's prior.
        key: random key.
        draws: posterior draws per image.
        points: nodes of each posterior, as in `grid_posterior`.
        batch_size: images embedded at once.
        features: what `embed_ensemble` gave for `ensemble.x`, to save computing it.

    Returns:
        The levels, `[n]`.

    Raises:
        ValueError: if the ensemble does not suit the estimator: wrong, missing or
            non-finite parameters or images, or another pixel spacing or channels.

    Reference:
        Hermans et al., A trust crisis in simulation-based inference?, TMLR 2022,
        arXiv 2110.06581.
    """
    random_key("key", key)
    keys = jax.random.split(key, _count(ensemble))
    return map_posteriors(
        Credibility(whole_number("draws", draws)),
        estimator,
        ensemble,
        keys,
        points=points,
        batch_size=batch_size,
        features=features,
    )


class Fraction(eqx.Module):
    """Share of draws that are nearer than the truth to a random point.

    Attributes:
        prior: the prior.
        draws: posterior draws per image.
    """

    prior: Prior
    draws: int = eqx.field(static=True)

    def __call__(
        self,
        posterior: GridPosterior,
        theta: dict[str, Float[Array, ""]],
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        """The share, of one image."""
        key_point, key_draws, key_tie = jax.random.split(key, 3)
        ends = [
            self.prior.standardize(dict(zip(self.prior.names, side, strict=True)))
            for side in zip(*self.prior.bounds.values(), strict=True)
        ]
        uniform = jax.random.uniform(key_point, ends[0].shape)
        point = ends[0] + uniform * (ends[1] - ends[0])
        drawn = self.prior.standardize(posterior.sample(key_draws, (self.draws,)))
        distance = jnp.linalg.norm(drawn - point[None], axis=-1)
        truth = jnp.linalg.norm(self.prior.standardize(theta) - point)
        return _spread_rank(jnp.sum(distance < truth), self.draws, key_tie)


class Credibility(eqx.Module):
    """Share of draws that are more probable than the truth.

    Attributes:
        draws: posterior draws per image.
    """

    draws: int = eqx.field(static=True)

    def __call__(
        self,
        posterior: GridPosterior,
        theta: dict[str, Float[Array, ""]],
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        """The share, of one image."""
        key_draws, key_tie = jax.random.split(key)
        drawn = posterior.log_prob(posterior.sample(key_draws, (self.draws,)))
        higher = jnp.sum(drawn > posterior.log_prob(theta))
        return _spread_rank(higher, self.draws, key_tie)


def _spread_rank(count: Array, draws: int, key: PRNGKeyArray) -> Float[Array, ""]:
    return (count + jax.random.uniform(key)) / (draws + 1)


def _count(ensemble: HeldOut) -> int:
    return len(next(iter(ensemble.theta.values())))
