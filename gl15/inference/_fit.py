"""Training: permuted pairs, fixed data, the best epoch kept."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray
from tqdm.auto import tqdm

from gl15.inference._estimator import RatioEstimator
from gl15.inference._losses import AbstractLoss, BinaryCrossEntropy
from gl15.inference._standardize import Standardization
from gl15.simulation import Ensemble


class History(eqx.Module):
    """What happened during training, epoch by epoch.

    Attributes:
        train_loss: mean loss over each epoch's batches.
        validation_loss: loss on the held-out pairs after each epoch.
        learning_rate: learning rate at the end of each epoch.
        best_epoch: index of the epoch whose weights were kept.
        steps: number of optimiser steps taken.
    """

    train_loss: np.ndarray
    validation_loss: np.ndarray
    learning_rate: np.ndarray
    best_epoch: int
    steps: int


def fit(
    estimator: RatioEstimator,
    ensemble: Ensemble,
    *,
    key: PRNGKeyArray,
    loss: AbstractLoss | None = None,
    steps: int = 8_000,
    batch_size: int = 32,
    learning_rate: float | optax.Schedule = 1e-3,
    weight_decay: float = 1e-4,
    gradient_clip: float | None = 1.0,
    averaging: float = 0.0,
    validation: float | Ensemble = 0.1,
    patience: int | None = None,
    progress: bool = True,
) -> tuple[RatioEstimator, History]:
    """Train a ratio estimator on joint against permuted pairs (section IV.A).

    The summaries of all observations are computed and standardised first. At every
    epoch the pairs are shuffled anew; within a batch observation i meets the thetas
    of i+1, ..., i+K, so that no pair is its own contrast. The weights of the epoch
    with the lowest validation loss are returned.

    Args:
        estimator: the estimator to train; its prior must name the ensemble's theta.
        ensemble: training pairs.
        key: JAX random key: the split, the shuffling.
        loss: the loss; binary cross-entropy with one permuted pair by default.
        steps: number of optimiser steps, rounded up to whole epochs; the paper's 8,000.
        batch_size: pairs per step; the paper's 32.
        learning_rate: the highest rate of a warm-up over 5% of the steps and a cosine
            decay to 0; or an optax schedule of the step.
        weight_decay: decoupled weight decay of the weight matrices; the paper's 1e-4.
        gradient_clip: largest norm of the gradient, or None.
        averaging: decay per step of an exponential average of the weights, such as
            0.999, which is then what is validated and returned: calmer than the
            weights of any one step, and so better calibrated. 0 for none.
        validation: fraction of the ensemble held out, or an ensemble of its own.
        patience: epochs without a better validation loss after which to stop.
        progress: show a progress bar where there is a terminal.

    Returns:
        The trained estimator, with the ensemble's spacing and channels, and the
        history of the training.

    Raises:
        ValueError: if names, shapes or sizes do not fit.
        FloatingPointError: if the loss is no longer finite.
    """
    for name, count in (("steps", steps), ("batch_size", batch_size)):
        if count < 1:
            raise ValueError(f"`{name}` must be positive, got {count}.")
    if not 0 <= averaging < 1:
        raise ValueError(f"`averaging` must be in [0, 1), got {averaging}.")
    loss = BinaryCrossEntropy() if loss is None else loss
    split_key, key = jax.random.split(key)
    train, held_out = _split(ensemble, validation, split_key)
    _check(estimator, train, held_out, batch_size, loss)
    estimator, (z, theta), held_out_data = _prepare(estimator, train, held_out)

    batches = len(train) // batch_size
    epochs = -(-steps // batches)
    rate = learning_rate
    if not callable(rate):
        total = epochs * batches
        warm_up = min(max(1, total // 20), total - 1)
        rate = optax.warmup_cosine_decay_schedule(0.0, rate, warm_up, total)
    optimizer = optax.chain(
        optax.identity()
        if gradient_clip is None
        else optax.clip_by_global_norm(gradient_clip),
        optax.adamw(rate, weight_decay=weight_decay, mask=_is_matrix),
    )
    weights, frozen = eqx.partition(estimator, trainable(estimator))
    state = optimizer.init(weights)

    @eqx.filter_jit
    def run_epoch(weights, average, state, frozen, z, theta, key):
        order = jax.random.permutation(key, z.shape[0])[: batches * batch_size]

        def step(carry, rows):
            weights, average, state = carry
            one = {name: value[rows] for name, value in theta.items()}
            value, gradient = jax.value_and_grad(_loss)(
                weights, frozen, one, z[rows], loss
            )
            updates, state = optimizer.update(gradient, state, weights)
            weights = optax.apply_updates(weights, updates)
            average = optax.incremental_update(weights, average, 1 - averaging)
            return (weights, average, state), value

        rows = order.reshape(batches, batch_size)
        carry, values = jax.lax.scan(step, (weights, average, state), rows)
        return *carry, values.mean()

    validate = eqx.filter_jit(_loss_in_batches)
    average, best, best_epoch = weights, weights, -1
    train_losses, validation_losses, rates = [], [], []
    bar = tqdm(
        range(epochs), unit="epoch", desc="train", disable=None if progress else True
    )
    for epoch in bar:
        epoch_key = jax.random.fold_in(key, epoch)
        weights, average, state, value = run_epoch(
            weights, average, state, frozen, z, theta, epoch_key
        )
        score = validate(average, frozen, *held_out_data, loss, batch_size)
        train_losses.append(float(value))
        validation_losses.append(float(score))
        rates.append(np.asarray(rate((epoch + 1) * batches)).item())
        bar.set_postfix(loss=f"{value:.4f}", validation=f"{score:.4f}")
        if not np.isfinite(train_losses[-1] + validation_losses[-1]):
            raise FloatingPointError(
                f"the loss became {train_losses[-1]} (validation "
                f"{validation_losses[-1]}) in epoch {epoch}; lower `learning_rate` or "
                "set `gradient_clip`."
            )
        if best_epoch < 0 or score < validation_losses[best_epoch]:
            best, best_epoch = average, epoch
        elif patience is not None and epoch - best_epoch >= patience:
            break
    bar.close()
    history = History(
        np.asarray(train_losses),
        np.asarray(validation_losses),
        np.asarray(rates),
        best_epoch,
        len(train_losses) * batches,
    )
    return eqx.combine(best, frozen), history


def trainable(estimator: RatioEstimator) -> Any:
    """Which leaves training may change: the weights, not the standardisation.

    Args:
        estimator: an estimator.

    Returns:
        The estimator's tree with a bool in place of every leaf.
    """
    spec = jax.tree.map(eqx.is_inexact_array, estimator)
    still = jax.tree.map(lambda _: False, estimator.standardization)
    return eqx.tree_at(lambda e: e.standardization, spec, still)


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


def _prepare(estimator: RatioEstimator, train: Ensemble, held_out: Ensemble):
    summarise = eqx.filter_jit(summaries)
    z, z_held_out = summarise(estimator, train.x), summarise(estimator, held_out.x)
    standardization = Standardization.fit(z)
    z, z_held_out = standardization(z), standardization(z_held_out)
    estimator = eqx.tree_at(lambda e: e.standardization, estimator, standardization)
    estimator = estimator.trained_on(train.spacing, train.channels)
    return estimator, (z, train.theta), (z_held_out, held_out.theta)


def _loss(weights, frozen, theta: Mapping, z, loss: AbstractLoss) -> Float[Array, ""]:
    estimator = eqx.combine(weights, frozen)
    h = jax.vmap(estimator.encoder)(z)

    def logits(shift: Array) -> Float[Array, " b"]:
        rolled = {name: jnp.roll(value, -shift) for name, value in theta.items()}
        return jax.vmap(estimator.log_ratio)(rolled, h)

    shifts = jnp.arange(loss.contrasts + 1)
    table = jax.vmap(logits)(shifts)
    return loss(table[0], table[1:].T)


def _loss_in_batches(weights, frozen, z, theta, loss, batch_size: int):
    """Mean loss over whole batches in the order given: the same contrasts always."""
    batches = max(1, len(z) // batch_size)
    size = min(batch_size, len(z))

    def one(rows: Array) -> Float[Array, ""]:
        batch = {name: value[rows] for name, value in theta.items()}
        return _loss(weights, frozen, batch, z[rows], loss)

    return jax.lax.map(one, jnp.arange(batches * size).reshape(batches, size)).mean()


def _split(
    ensemble: Ensemble, validation: float | Ensemble, key: PRNGKeyArray
) -> tuple[Ensemble, Ensemble]:
    if isinstance(validation, Ensemble):
        return ensemble, validation
    if not 0 < validation < 1:
        raise ValueError(
            f"`validation` must be a fraction between 0 and 1, got {validation}."
        )
    order = jax.random.permutation(key, len(ensemble))
    held_out = max(1, round(validation * len(ensemble)))
    return ensemble[order[held_out:]], ensemble[order[:held_out]]


def _check(estimator, train: Ensemble, held_out: Ensemble, batch_size: int, loss):
    for part in (train, held_out):
        estimator.prior.check_names(part.theta)
        _check_observations(estimator, part.x)
    if (held_out.spacing, held_out.channels) != (train.spacing, train.channels):
        raise ValueError(
            f"`validation` holds images of spacing {held_out.spacing} and channels "
            f"{held_out.channels}, but `ensemble` of {train.spacing} and "
            f"{train.channels}."
        )
    smallest = min(len(train), len(held_out))
    if smallest < min(batch_size, loss.contrasts + 1) or len(train) < batch_size:
        raise ValueError(
            f"`batch_size`={batch_size} with {loss.contrasts} contrasts needs more "
            f"pairs than {len(train)} for training and {len(held_out)} for validation."
        )
    if loss.contrasts >= batch_size:
        raise ValueError(
            f"`loss` has {loss.contrasts} contrasts, but a batch of `batch_size`="
            f"{batch_size} holds {batch_size - 1} other thetas at most."
        )


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


def _is_matrix(weights: Any) -> Any:
    """Biases are left alone by weight decay; a convolution's has three axes."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf.ndim > 1 and getattr(path[-1], "name", "") != "bias",
        weights,
    )
