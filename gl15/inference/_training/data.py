"""What training is given: split, checked, summarised and standardised."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.inference._estimators.standardization import Standardization
from gl15.simulation import Ensemble


def split(n: int, fraction: float, key: PRNGKeyArray) -> tuple[Array, Array]:
    """Which pairs to train on, and which to hold out.

    Args:
        n: number of pairs.
        fraction: how many of them to hold out.
        key: JAX random key of the split.

    Returns:
        Indices of both.

    Raises:
        ValueError: if `fraction` is none, or leaves nothing to train on.
    """
    if not 0 < fraction < 1:
        raise ValueError(
            f"`validation` must be a fraction between 0 and 1, got {fraction}."
        )
    held_out = max(1, round(fraction * n))
    if held_out >= n:
        raise ValueError(
            f"`data` holds {n} pairs: too few to hold out {fraction:g} of them and "
            "train on the rest."
        )
    order = jax.random.permutation(key, n)
    return order[held_out:], order[:held_out]


def check(estimator: Any, *parts: Ensemble) -> None:
    """Refuse pairs that this estimator cannot be trained on.

    Args:
        estimator: what is to be trained.
        parts: pairs; all must be of the same kind as the first.

    Raises:
        ValueError: saying what does not fit, and what to do.
    """
    for part in parts:
        estimator.prior.check_names(part.theta)
        check_observations(estimator, part.x)
        check_values(estimator, part)
        check_kind(part, parts[0])


def check_kind(held_out: Any, train: Any) -> None:
    """Refuse held-out images of another kind than those trained on.

    Args:
        held_out: has `spacing` and `channels`.
        train: has them too.

    Raises:
        ValueError: if they differ.
    """
    if (held_out.spacing, held_out.channels) != (train.spacing, train.channels):
        raise ValueError(
            f"`validation` holds images of spacing {held_out.spacing} and channels "
            f"{held_out.channels}, but `data` of {train.spacing} and {train.channels}."
        )


def check_sizes(
    train: int | None, held_out: int, batch_size: int, contrasts: int
) -> None:
    """Refuse too few pairs for the batches asked for.

    Args:
        train: number of training pairs; None where there is no end to them.
        held_out: number of held-out pairs.
        batch_size: pairs per step.
        contrasts: mismatched thetas per observation.

    Raises:
        ValueError: if they are too few, or a batch is too small for its contrasts.
    """
    smallest = held_out if train is None else min(train, held_out)
    needed = min(batch_size, contrasts + 1)
    if smallest < needed or (train is not None and train < batch_size):
        given = "those given" if train is None else str(train)
        raise ValueError(
            f"`batch_size`={batch_size} with {contrasts} contrasts needs at least "
            f"{batch_size} pairs for training and {needed} for "
            f"validation, got {given} and {held_out}; simulate more, raise "
            "`validation`, or lower both."
        )
    if contrasts >= batch_size:
        raise ValueError(
            f"`loss` has {contrasts} contrasts, but a batch of `batch_size`="
            f"{batch_size} holds {batch_size - 1} other thetas at most."
        )


def standardised(estimator: Any, ensemble: Ensemble, *, checked: bool = False) -> Array:
    """Summaries of observations, standardised as the estimator does it.

    Args:
        estimator: whose encoder summarises.
        ensemble: the observations.
        checked: whether they were looked at before.

    Returns:
        The standardised summaries.

    Raises:
        ValueError: if some are not finite, or their theta not the prior's.
    """
    if not checked:
        check_values(estimator, ensemble)
    return standardise(estimator, summarise(estimator, ensemble.x))


def standardise(estimator: Any, z: Array) -> Array:
    """Summaries as the estimator standardises them.

    Args:
        estimator: the estimator.
        z: summaries.

    Returns:
        The standardised summaries.
    """
    return _standardise(estimator.standardization, z)


def summaries(
    estimator: Any, x: Float[Array, "n ..."], chunk: int = 256
) -> Float[Array, "n ..."]:
    """Parameter-free summaries of many observations, a chunk at a time.

    What are summaries already, as those of `Summarised`, stay as they are.

    Args:
        estimator: whose encoder summarises.
        x: observations.
        chunk: how many at a time.

    Returns:
        Their summaries.
    """
    if are_summaries(estimator.encoder, x):
        return x
    return jax.lax.map(estimator.encoder.summarise, x, batch_size=min(chunk, len(x)))


def are_summaries(encoder: Any, x: Any) -> bool:
    """Whether they are vectors as long as a summary where the encoder takes images.

    Args:
        encoder: the encoder.
        x: observations, or what has their `ndim` and `shape`.

    Returns:
        Whether they are.
    """
    return encoder.ndim > 1 and x.ndim == 2 and x.shape[1] == encoder.size


@eqx.filter_jit
def summarise(estimator: Any, x: Float[Array, "n ..."]) -> Array:
    """`summaries`, compiled."""
    return summaries(estimator, x)


@eqx.filter_jit
def _standardise(standardization: Standardization, z: Array) -> Array:
    return standardization(z)


def folded(estimator: Any) -> Any:
    """The same estimator with the rotation of its summaries inside its first layer.

    Args:
        estimator: an estimator that was trained on whitened summaries, or not.

    Returns:
        The estimator without a rotation.
    """
    if (rotation := estimator.standardization.rotation) is None:
        return estimator
    where = lambda e: e.encoder.mlp.layers[0].weight  # noqa: E731
    estimator = eqx.tree_at(where, estimator, where(estimator) @ rotation)
    return eqx.tree_at(lambda e: e.standardization.rotation, estimator, None)


def noted(estimator: Any, data: Any) -> Any:
    """The estimator, saying which images it is trained on.

    Args:
        estimator: the estimator.
        data: what has the `spacing` and `channels` of the training images.

    Returns:
        The estimator.
    """
    return estimator.trained_on(
        estimator.spacing if data.spacing is None else data.spacing,
        data.channels or estimator.channel_names,
    )


def check_observations(estimator: Any, x: Array) -> None:
    """Observations of the shape that the encoder takes."""
    encoder = estimator.encoder
    if are_summaries(encoder, x):
        return
    if x.ndim != encoder.ndim + 1:
        raise ValueError(
            f"`data` holds observations of shape {x.shape[1:]}, but the encoder "
            f"takes {encoder.ndim} axes."
        )
    if x.shape[-1] != encoder.channels:
        raise ValueError(
            f"`data` holds observations with {x.shape[-1]} channels, but the "
            f"encoder was made for {encoder.channels}."
        )


def check_values(estimator: Any, ensemble: Ensemble) -> None:
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
                f"`data` has {bad.size} {what}, of {count}, the first at index "
                f"{bad[0]}; take them out, or mend what made them."
            )
    known = (estimator.spacing, estimator.channel_names)
    given = (ensemble.spacing, ensemble.channels)
    for name, one, other in zip(("spacing", "channels"), known, given, strict=True):
        if one and other and one != other:
            raise ValueError(
                f"`data` has {name} {other}, but the estimator is for {one}; build "
                "a new estimator for such images."
            )
