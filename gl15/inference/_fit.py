"""Training: permuted pairs, fixed data, the best epoch kept."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray
from tqdm.auto import tqdm

from gl15.inference import _training_data as training_data
from gl15.inference._estimator import RatioEstimator
from gl15.inference._losses import AbstractLoss, BinaryCrossEntropy
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
    redraw: Callable[[Ensemble, PRNGKeyArray], Ensemble] | None = None,
    progress: bool = True,
) -> tuple[RatioEstimator, History]:
    """Train a ratio estimator on joint against permuted pairs (section IV.A).

    The summaries of all observations are computed and standardised first, once unless
    `redraw` is given. At every
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
            weights of any one step. It starts from the untrained weights and so needs
            many times 1/(1 - averaging) steps. 0 for none.
        validation: fraction of the ensemble held out, or an ensemble of its own.
        patience: epochs without a better validation loss after which to stop.
        redraw: what makes of the pairs those that are trained on, given a key, anew at
            every epoch: the noise of an instrument, as in `lambda pairs, key:
            observe_with(pairs, instrument, key=key)`. Held-out pairs are drawn once.
        progress: show a progress bar where there is a terminal.

    Returns:
        The trained estimator, with the ensemble's spacing and channels, and the
        history of the training.

    Raises:
        ValueError: if names, shapes or sizes do not fit.
        FloatingPointError: if the loss is no longer finite.
    """
    _check_options(steps, batch_size, gradient_clip, averaging, patience)
    loss = BinaryCrossEntropy() if loss is None else loss
    split_key, key = jax.random.split(key)
    train, held_out = training_data.split(ensemble, validation, split_key)
    pristine = train
    if redraw is not None:
        first, second = jax.random.split(jax.random.fold_in(split_key, 1))
        train, held_out = redraw(train, first), redraw(held_out, second)
    training_data.check(estimator, train, held_out, batch_size, loss.contrasts)
    estimator, pairs, held_out = training_data.prepare(estimator, train, held_out)
    (z, theta), (z_held_out, theta_held_out) = pairs, held_out

    batches = len(train) // batch_size
    epochs = -(-steps // batches)
    rate = learning_rate
    if not callable(rate):
        total = epochs * batches
        warm_up = min(max(1, total // 20), total - 1)
        rate = optax.warmup_cosine_decay_schedule(0.0, rate, warm_up, total)
    clip = optax.identity()
    if gradient_clip is not None:
        clip = optax.clip_by_global_norm(gradient_clip)
    adam = optax.adamw(rate, weight_decay=weight_decay, mask=_is_matrix)
    trainer = _Trainer(
        optimizer=optax.chain(clip, adam),
        loss=loss,
        batches=batches,
        batch_size=batch_size,
        averaging=averaging,
    )
    weights, frozen = eqx.partition(estimator, trainable(estimator))
    progressed = (weights, weights, trainer.optimizer.init(weights))

    best, best_epoch = weights, -1
    train_losses, validation_losses, rates = [], [], []
    hidden = None if progress else True
    with tqdm(range(epochs), unit="epoch", desc="train", disable=hidden) as bar:
        for epoch in bar:
            epoch_key = jax.random.fold_in(key, epoch)
            if redraw is not None and epoch > 0:
                epoch_key, draw_key = jax.random.split(epoch_key)
                drawn = redraw(pristine, draw_key)
                z = training_data.standardised(estimator, drawn)
            progressed, value = trainer.epoch(progressed, frozen, z, theta, epoch_key)
            average = progressed[1]
            score = trainer.validate(average, frozen, z_held_out, theta_held_out)
            train_losses.append(float(value))
            validation_losses.append(float(score))
            rates.append(np.asarray(rate((epoch + 1) * batches)).item())
            bar.set_postfix(loss=f"{value:.4f}", validation=f"{score:.4f}")
            if not np.isfinite(train_losses[-1] + validation_losses[-1]):
                raise FloatingPointError(
                    f"the loss became {train_losses[-1]} (validation "
                    f"{validation_losses[-1]}) in epoch {epoch}; lower "
                    "`learning_rate` or set `gradient_clip`."
                )
            if best_epoch < 0 or score < validation_losses[best_epoch]:
                best, best_epoch = average, epoch
            elif patience is not None and epoch - best_epoch >= patience:
                break
    history = History(
        np.asarray(train_losses),
        np.asarray(validation_losses),
        np.asarray(rates),
        best_epoch,
        len(train_losses) * batches,
    )
    return eqx.combine(best, frozen), history


class _Trainer(eqx.Module):
    """What happens in an epoch, compiled once."""

    optimizer: optax.GradientTransformation = eqx.field(static=True)
    loss: AbstractLoss
    batches: int = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    averaging: float = eqx.field(static=True)

    def epoch(self, progressed, frozen, z, theta: Mapping, key: PRNGKeyArray):
        """Weights, their average and the optimiser's state, an epoch further on."""
        order = jax.random.permutation(key, z.shape[0])
        rows = order[: self.batches * self.batch_size].reshape(self.batches, -1)
        # A Python loop: on a CPU XLA runs convolutions inside a compiled loop without
        # its threads, eight times slower than the same step by itself.
        values = []
        for batch in rows:
            progressed, value = self._step(progressed, frozen, z, theta, batch)
            values.append(value)
        return progressed, jnp.stack(values).mean()

    @eqx.filter_jit
    def _step(self, progressed, frozen, z, theta: Mapping, rows: Array):
        weights, average, state = progressed
        one = {name: value[rows] for name, value in theta.items()}
        value, gradient = jax.value_and_grad(_loss)(
            weights, frozen, one, z[rows], self.loss
        )
        updates, state = self.optimizer.update(gradient, state, weights)
        weights = optax.apply_updates(weights, updates)
        average = optax.incremental_update(weights, average, 1 - self.averaging)
        return (weights, average, state), value

    def validate(self, weights, frozen, z, theta: Mapping) -> Float[Array, ""]:
        """Mean loss over whole batches in the order given, so with fixed contrasts."""
        size = min(self.batch_size, len(z))
        rows = jnp.arange(len(z) // size * size).reshape(-1, size)
        values = [self._held_out(weights, frozen, z, theta, batch) for batch in rows]
        return jnp.stack(values).mean()

    @eqx.filter_jit
    def _held_out(self, weights, frozen, z, theta: Mapping, rows: Array):
        batch = {name: value[rows] for name, value in theta.items()}
        return _loss(weights, frozen, batch, z[rows], self.loss)


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


def _loss(weights, frozen, theta: Mapping, z, loss: AbstractLoss) -> Float[Array, ""]:
    estimator = eqx.combine(weights, frozen)
    h = jax.vmap(estimator.encoder)(z)

    def logits(shift: Array) -> Float[Array, " b"]:
        rolled = {name: jnp.roll(value, -shift) for name, value in theta.items()}
        return jax.vmap(estimator.log_ratio)(rolled, h)

    shifts = jnp.arange(loss.contrasts + 1)
    table = jax.vmap(logits)(shifts)
    return loss(table[0], table[1:].T)


def _check_options(steps, batch_size, gradient_clip, averaging, patience) -> None:
    counts = {"steps": steps, "batch_size": batch_size, "patience": patience}
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"`{name}` must be positive, got {count}.")
    if gradient_clip is not None and not gradient_clip > 0:
        raise ValueError(
            "`gradient_clip` must be positive, or None for no limit, got "
            f"{gradient_clip}."
        )
    if not 0 <= averaging < 1:
        raise ValueError(f"`averaging` must be in [0, 1), got {averaging}.")


def _is_matrix(weights: Any) -> Any:
    """Biases are left alone by weight decay; a convolution's has three axes."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf.ndim > 1 and getattr(path[-1], "name", "") != "bias",
        weights,
    )
