"""The loop over epochs: steps, validation, the best weights, states on disk."""

import time
import warnings
from contextlib import closing
from typing import Any

import numpy as np
import optax
from tqdm.auto import tqdm

from gl15.inference._training.checkpoint import Checkpoint, State
from gl15.inference._training.sources import AbstractSource
from gl15.inference._training.trainer import Trainer


def train(
    trainer: Trainer,
    source: AbstractSource,
    frozen: Any,
    state: State,
    held_out: tuple[Any, Any],
    *,
    rate: optax.Schedule,
    epochs: int,
    patience: int | None,
    checkpoint: Checkpoint | None,
    progress: bool,
) -> State:
    """Train to the end.

    Args:
        trainer: takes the steps.
        source: where batches come from.
        frozen: what of the estimator is not trained.
        state: where to begin.
        held_out: batches of held-out pairs, theta and summaries.
        rate: learning rate at every step.
        epochs: how many.
        patience: epochs without a better validation loss after which to stop.
        checkpoint: where states are written; None for nowhere.
        progress: show a progress bar where there is a terminal.

    Returns:
        The last state.

    Raises:
        ValueError: if there is nothing to train on.
        FloatingPointError: if the loss is no longer finite.
    """
    if state.finished:
        return state
    best = state
    hidden = None if progress and trainer.placement.writes else True
    bar = tqdm(
        total=epochs, initial=state.epoch, unit="epoch", desc="train", disable=hidden
    )
    with closing(source), bar:
        for epoch in range(state.epoch, epochs):
            began, before = time.perf_counter(), state.step
            state = _epoch(trainer, source, frozen, state, best, checkpoint)
            done = state.step
            ended = done < source.batches
            if not done and not epoch:
                raise ValueError(
                    f"`data` ended before the first batch of {source.batch_size} pairs."
                )
            if ended:
                warnings.warn(
                    f"`data` ended after {epoch * source.batches + done} of "
                    f"{epochs * source.batches} steps; training ends there.",
                    stacklevel=3,
                )
            if not done:
                state = state._replace(finished=True)
                break
            score = float(trainer.score(state.progressed[1], frozen, *held_out))
            state = _judged(
                state, score, np.asarray(rate((epoch + 1) * source.batches)).item()
            )
            if state.best_epoch == epoch:
                best = state
            waited = epoch - state.best_epoch
            over = ended or epoch + 1 == epochs
            if over or (patience is not None and waited >= patience):
                state = state._replace(finished=True)
            seconds = time.perf_counter() - began
            bar.update()
            bar.set_postfix(
                loss=f"{state.train_loss[-1]:.4f}", validation=f"{score:.4f}"
            )
            if checkpoint is not None:
                checkpoint.log(state, seconds, (done - before) * source.batch_size)
                if checkpoint.due(state):
                    checkpoint.write(state, best)
            if state.finished:
                break
    if checkpoint is not None and checkpoint.due(state):
        checkpoint.write(state, best)
    return state


def _epoch(
    trainer: Trainer,
    source: AbstractSource,
    frozen: Any,
    state: State,
    best: State,
    checkpoint: Checkpoint | None,
) -> State:
    """The steps of an epoch that are left."""
    pending: list[Any] = []
    with closing(source.blocks(state.epoch, state.step)) as blocks:
        for block in blocks:
            progressed, values = trainer.steps(state.progressed, frozen, *block)
            if pending:
                # Or blocks that wait to be run would pile up in memory.
                pending[-1].block_until_ready()
            pending.append(values)
            step = state.step + len(values)
            state = state._replace(progressed=progressed, step=step)
            if checkpoint is not None and checkpoint.due(state):
                state, pending = _settled(state, pending), []
                checkpoint.write(state, best)
    return _settled(state, pending)


def _settled(state: State, pending: list[Any]) -> State:
    """The state with the losses of steps that may still be running."""
    losses = [loss for values in pending for loss in np.asarray(values).tolist()]
    state = state._replace(losses=(*state.losses, *losses))
    _refuse_nonfinite(state, float(np.mean(state.losses)) if state.losses else 0.0)
    return state


def _judged(state: State, score: float, rate: float) -> State:
    """The state at the end of its epoch."""
    average = state.progressed[1]
    mean = float(np.mean(state.losses))
    _refuse_nonfinite(state, mean, score)
    best, best_epoch = state.best, state.best_epoch
    if best_epoch < 0 or score < state.validation_loss[best_epoch]:
        best, best_epoch = average, state.epoch
    return state._replace(
        best=best,
        best_epoch=best_epoch,
        epoch=state.epoch + 1,
        step=0,
        losses=(),
        train_loss=(*state.train_loss, mean),
        validation_loss=(*state.validation_loss, score),
        rates=(*state.rates, rate),
    )


def _refuse_nonfinite(state: State, loss: float, score: float = 0.0) -> None:
    if not np.isfinite(loss + score):
        raise FloatingPointError(
            f"the loss became {loss} (validation {score}) in epoch {state.epoch}; "
            "lower `learning_rate` or set `gradient_clip`."
        )
