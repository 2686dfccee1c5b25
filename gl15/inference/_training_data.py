"""What training is given: split, checked, summarised and standardised."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.inference._estimator import RatioEstimator
from gl15.inference._standardize import Standardization
from gl15.simulation import Ensemble


def split(
    ensemble: Ensemble, validation: float | Ensemble, key: PRNGKeyArray
) -> tuple[Ensemble, Ensemble]:
    """Training and held-out pairs.

    Args:
        ensemble: all pairs.
        validation: fraction to hold out, or an ensemble of its own.
        key: JAX random key of the split.

    Returns:
        Both ensembles.

    Raises:
        ValueError: if `validation` is no such fraction.
    """
    if isinstance(validation, Ensemble):
        return ensemble, validation
    if not 0 < validation < 1:
        raise ValueError(
            f"`validation` must be a fraction between 0 and 1, got {validation}."
        )
    order = jax.random.permutation(key, len(ensemble))
    held_out = max(1, round(validation * len(ensemble)))
    return ensemble[order[held_out:]], ensemble[order[:held_out]]


def check(
    estimator: RatioEstimator,
    train: Ensemble,
    held_out: Ensemble,
    batch_size: int,
    contrasts: int,
) -> None:
    """Refuse pairs that this estimator cannot be trained on.

    Args:
        estimator: what is to be trained.
        train: training pairs.
        held_out: held-out pairs.
        batch_size: pairs per step.
        contrasts: mismatched thetas per observation.

    Raises:
        ValueError: saying what does not fit, and what to do.
    """
    for part in (train, held_out):
        estimator.prior.check_names(part.theta)
        _check_observations(estimator, part.x)
        _check_values(estimator, part)
    if (held_out.spacing, held_out.channels) != (train.spacing, train.channels):
        raise ValueError(
            f"`validation` holds images of spacing {held_out.spacing} and channels "
            f"{held_out.channels}, but `ensemble` of {train.spacing} and "
            f"{train.channels}."
        )
    smallest = min(len(train), len(held_out))
    if smallest < min(batch_size, contrasts + 1) or len(train) < batch_size:
        raise ValueError(
            f"`batch_size`={batch_size} with {contrasts} contrasts needs at least "
            f"{batch_size} pairs for training and {min(batch_size, contrasts + 1)} for "
            f"validation, got {len(train)} and {len(held_out)}; simulate more, raise "
            "`validation`, or lower both."
        )
    if contrasts >= batch_size:
        raise ValueError(
            f"`loss` has {contrasts} contrasts, but a batch of `batch_size`="
            f"{batch_size} holds {batch_size - 1} other thetas at most."
        )


def prepare(
    estimator: RatioEstimator, train: Ensemble, held_out: Ensemble
) -> tuple[RatioEstimator, Any, Any]:
    """Standardise, and note in the estimator what it is trained on.

    Returns:
        The estimator, and (summaries, theta) of the training and the held-out pairs.
    """
    z, z_held_out = (_summarise(estimator, pairs.x) for pairs in (train, held_out))
    standardization = Standardization.fit(z)
    z, z_held_out = standardization(z), standardization(z_held_out)
    estimator = eqx.tree_at(lambda e: e.standardization, estimator, standardization)
    estimator = estimator.trained_on(
        estimator.spacing if train.spacing is None else train.spacing,
        train.channels or estimator.channel_names,
    )
    return estimator, (z, train.theta), (z_held_out, held_out.theta)


def standardised(estimator: RatioEstimator, ensemble: Ensemble) -> Array:
    """Summaries of other observations, standardised as those of the training were."""
    _check_values(estimator, ensemble)
    return estimator.standardization(_summarise(estimator, ensemble.x))


def summaries(
    estimator: RatioEstimator, x: Float[Array, "n ..."], chunk: int = 256
) -> Float[Array, "n ..."]:
    """Parameter-free summaries of many observations, a chunk at a time.

    Args:
        estimator: whose encoder summarises.
        x: observations.
        chunk: how many at a time.

    Returns:
        Their summaries.
    """
    return jax.lax.map(estimator.encoder.summarise, x, batch_size=min(chunk, len(x)))


@eqx.filter_jit
def _summarise(estimator: RatioEstimator, x: Float[Array, "n ..."]) -> Array:
    return summaries(estimator, x)


def _check_observations(estimator: RatioEstimator, x: Array) -> None:
    encoder = estimator.encoder
    if x.ndim != encoder.ndim + 1:
        raise ValueError(
            f"`ensemble` holds observations of shape {x.shape[1:]}, but the encoder "
            f"takes {encoder.ndim} axes."
        )
    if x.shape[-1] != encoder.channels:
        raise ValueError(
            f"`ensemble` holds observations with {x.shape[-1]} channels, but the "
            f"encoder was made for {encoder.channels}."
        )


def _check_values(estimator: RatioEstimator, ensemble: Ensemble) -> None:
    """Finite observations at parameters that the prior can draw, of the known kind."""
    count = len(ensemble)
    finite = jnp.isfinite(ensemble.x).reshape(count, -1).all(1)
    inside = jnp.broadcast_to(estimator.prior.contains(ensemble.theta), (count,))
    for good, what in (
        (finite, "observations that hold NaN or infinite values"),
        (inside, "theta outside the support of the estimator's prior"),
    ):
        if (bad := np.flatnonzero(~np.asarray(good))).size:
            raise ValueError(
                f"`ensemble` has {bad.size} {what}, of {count}, the first at index "
                f"{bad[0]}; take them out, or mend what made them."
            )
    known = (estimator.spacing, estimator.channel_names)
    given = (ensemble.spacing, ensemble.channels)
    for name, one, other in zip(("spacing", "channels"), known, given, strict=True):
        if one and other and one != other:
            raise ValueError(
                f"`ensemble` has {name} {other}, but the estimator is for {one}; build "
                "a new estimator for such images."
            )
