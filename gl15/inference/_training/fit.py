"""Training a ratio estimator: what the user calls."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import equinox as eqx
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray

from gl15.inference._estimators.wrapper import AbstractWrapper
from gl15.inference._losses.losses import AbstractLoss, BinaryCrossEntropy
from gl15.inference._training import data as training_data
from gl15.inference._training.checkpoint import Checkpoint, State
from gl15.inference._training.loop import train
from gl15.inference._training.opening import open_data
from gl15.inference._training.plan import training_plan
from gl15.inference._training.sharding import Placement
from gl15.inference._training.trainer import (
    optimizer,
    schedule,
    steps_taken,
    trainable,
    Trainer,
)
from gl15.inference._training.wanted import Wanted
from gl15.simulation import Ensemble, StoredEnsemble
from gl15.simulation._arguments import random_key, whole_number


# A `RatioEstimator`, or anything that is trained like one.
_Estimator = TypeVar("_Estimator")


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
    estimator: _Estimator,
    data: Ensemble | StoredEnsemble | Iterable[Any],
    *,
    key: PRNGKeyArray,
    loss: AbstractLoss | None = None,
    steps: int = 8_000,
    batch_size: int = 32,
    learning_rate: float | optax.Schedule = 1e-3,
    weight_decay: float = 1e-4,
    gradient_clip: float | None = 1.0,
    averaging: float = 0.0,
    validation: float | Ensemble | StoredEnsemble = 0.1,
    patience: int | None = None,
    redraw: Callable[[Ensemble, PRNGKeyArray], Ensemble] | None = None,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int = 1_000,
    devices: Sequence[Any] | Mesh | None = None,
    cache: int = 2**32,
    scratch: str | os.PathLike | None = None,
    standardize: bool = True,
    whiten: bool = False,
    freeze_encoder: bool = False,
    progress: bool = True,
) -> tuple[_Estimator, History]:
    """Train a ratio estimator on joint against permuted pairs (section IV.A).

    The summaries of all observations are computed and standardised first, once unless
    `redraw` is given. At every epoch the pairs are shuffled anew; within a batch
    observation i meets the thetas of i+1, ..., i+K, so that no pair is its own
    contrast. The weights of the epoch with the lowest validation loss are returned.

    A store is passed over once if its summaries fit in `cache`, or else in `scratch`,
    from where they are read at every epoch in the background: whole shards in random
    order, groups of them shuffled together. With `redraw`, or without room there, the
    store itself is read and summarised at every epoch. An iterable gives ensembles or
    `(theta, x)` of any size, each used once, such as those of `fresh`; an epoch is then
    a fortieth of the steps, or 1,000 of them if that is fewer, and the standardisation
    is that of `validation`.

    Args:
        estimator: the estimator to train; its prior must name the data's theta.
        data: training pairs: an ensemble in memory, a store that `open_ensemble`
            opened, or an iterable.
        key: JAX random key: the split, the shuffling.
        loss: the loss; binary cross-entropy with one permuted pair by default.
        steps: number of optimiser steps, rounded up to whole epochs; the paper's 8,000.
        batch_size: pairs per step, over all devices; the paper's 32.
        learning_rate: the highest rate of a warm-up over 5% of the steps and a cosine
            decay to 0; or an optax schedule of the step.
        weight_decay: decoupled weight decay of the weight matrices; the paper's 1e-4.
        gradient_clip: largest norm of the gradient, or None.
        averaging: decay per step of an exponential average of the weights, such as
            0.999, which is then what is validated and returned: calmer than the
            weights of any one step. It is t / (9 + t) after t steps where that is less:
            the untrained weights are soon forgotten. 0 for none.
        validation: fraction of the pairs held out, or an ensemble of its own. Of a
            store that is read at every epoch no more is held out than fills an eighth
            of `cache`, with a warning.
        patience: epochs without a better validation loss after which to stop.
        redraw: what makes of the pairs those that are trained on, given a key, anew at
            every epoch: the noise of an instrument, as in `lambda pairs, key:
            observe_with(pairs, instrument, key=key)`. Held-out pairs are drawn once.
            Of a store it is given a shard at a time.
        checkpoint: folder where the state of training is kept, the last and the best,
            and a line for every epoch in `log.jsonl`. The same call goes on from
            there, to the same bits as if it had not been interrupted.
        checkpoint_every: steps after which the state is written, at the next end of a
            block of steps.
        devices: what to train on, a list or a mesh: batches are split over them. By
            default one device, or all of them where `jax.distributed` joins several
            processes, which then all make the same call; the first one writes.
        cache: bytes of summaries that may be kept in memory of a store.
        scratch: folder for a temporary file of the summaries that do not fit there, of
            which no more than half is taken of what is free; by default the system's
            (`TMPDIR`). The file has no name and is gone with the process.
        standardize: whether to fit the standardisation to the data; if not, the
            estimator's own is kept.
        whiten: whether to train on summaries rotated until no two of them are alike:
            what tells the parameters may be in small differences between summaries of
            great variance. The rotation ends up in the network's first layer.
        freeze_encoder: whether to leave the encoder as it is.
        progress: show a progress bar where there is a terminal.

    Returns:
        The trained estimator, with the data's spacing and channels, and the history
        of the training.

    Raises:
        TypeError: if `data`, `loss`, `key` or a count is something else.
        ValueError: if names, shapes or sizes do not fit, or `checkpoint` holds another
            training or is damaged.
        FloatingPointError: if the loss is no longer finite.
        RuntimeError: if another process of the training was lost.
    """
    random_key("key", key)
    counts = {
        "steps": steps,
        "batch_size": batch_size,
        "patience": patience,
        "checkpoint_every": checkpoint_every,
        "cache": cache,
    }
    for name, count in counts.items():
        if count is not None:
            whole_number(name, count)
    _check_rates(learning_rate, weight_decay, gradient_clip, averaging)
    loss = BinaryCrossEntropy() if loss is None else loss
    if not isinstance(loss, AbstractLoss):
        raise TypeError(
            f"`loss` must be a loss, such as Contrastive(31), got {loss!r}."
        )
    if isinstance(estimator, AbstractWrapper):
        raise TypeError(
            f"`estimator` is a {type(estimator).__name__} around another, which "
            "training would make wrong; train what is inside, as `fine_tune` does: "
            "`gl15.inference.bare(estimator)`."
        )
    encoder: Any = getattr(estimator, "encoder")  # noqa: B009
    if whiten and not standardize:
        raise ValueError(
            "`whiten` is part of the standardisation, which `standardize=False` keeps "
            "as it is; leave one of the two out."
        )
    if whiten and not encoder.begins_linear:
        raise ValueError(
            "`whiten` ends up in the linear layer that an encoder begins with, but "
            f"{type(encoder).__name__} does not begin with one; leave `whiten` out."
        )
    placement = Placement(devices, batch_size)
    wanted = Wanted(
        validation,
        key,
        batch_size,
        loss.contrasts,
        steps,
        redraw,
        cache,
        scratch,
        standardize,
        whiten,
        placement,
    )
    untrained, kept = estimator, None

    def remedy() -> str:
        # Read where it is needed: there is none yet while the data are opened.
        if kept is not None:
            return kept.remedy()
        if checkpoint is not None:
            return "Start all processes again with the same call."
        return "Give `checkpoint` a folder to be able to go on."

    with placement.watched(remedy):
        estimator, source, held_out = open_data(estimator, data, wanted)
        epochs = -(-steps // source.batches)
        total = epochs * source.batches
        rate = schedule(learning_rate, total)
        if checkpoint is not None:
            plan = training_plan(
                untrained,
                data,
                validation,
                key=key,
                parts={"loss": loss, "redraw": redraw},
                numbers={
                    "steps": total,
                    "steps_per_epoch": source.batches,
                    "steps_per_block": source.longest,
                    "batch_size": batch_size,
                    "learning_rate": [
                        np.asarray(rate(total * i // 4)).item() for i in range(5)
                    ],
                    "weight_decay": weight_decay,
                    "gradient_clip": gradient_clip,
                    "averaging": averaging,
                    "patience": patience,
                    "standardize": standardize,
                    "whiten": whiten,
                    "freeze_encoder": freeze_encoder,
                    "cache": None if isinstance(data, Ensemble) else cache,
                },
            )
            kept = Checkpoint(checkpoint, plan, placement, checkpoint_every)
        trainer = Trainer(
            optimizer(learning_rate, total, weight_decay, gradient_clip),
            loss,
            averaging,
            placement,
        )
        weights, frozen = eqx.partition(
            estimator, trainable(estimator, freeze_encoder=freeze_encoder)
        )
        progressed = trainer.start(weights)
        state = State(progressed, progressed[1])
        if kept is not None:
            state = kept.resume(state)
        state = train(
            trainer,
            source,
            placement.whole(frozen),
            state,
            held_out,
            rate=rate,
            epochs=epochs,
            patience=patience,
            checkpoint=kept,
            progress=progress,
        )
        best = placement.home(state.best)
    history = History(
        np.asarray(state.train_loss),
        np.asarray(state.validation_loss),
        np.asarray(state.rates),
        state.best_epoch,
        steps_taken(state.progressed[2]),
    )
    return training_data.folded(eqx.combine(best, frozen)), history


def _check_rates(learning_rate, weight_decay, gradient_clip, averaging) -> None:
    if not callable(learning_rate) and not 0 < learning_rate < np.inf:
        raise ValueError(
            f"`learning_rate` must be positive, or a schedule, got {learning_rate}."
        )
    if not 0 <= weight_decay < np.inf:
        raise ValueError(f"`weight_decay` must not be negative, got {weight_decay}.")
    if gradient_clip is not None and not gradient_clip > 0:
        raise ValueError(
            "`gradient_clip` must be positive, or None for no limit, got "
            f"{gradient_clip}."
        )
    if not 0 <= averaging < 1:
        raise ValueError(f"`averaging` must be in [0, 1), got {averaging}.")
