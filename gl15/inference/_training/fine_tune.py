"""Transfer learning: a trained estimator, a few data of another kind."""

from collections.abc import Iterable
from typing import Any, TypeVar

from jaxtyping import PRNGKeyArray

from gl15.inference._estimators.wrapper import bare
from gl15.inference._losses.losses import AbstractLoss, Contrastive
from gl15.inference._training.fit import fit, History
from gl15.simulation import Ensemble, StoredEnsemble


_Estimator = TypeVar("_Estimator")


def fine_tune(
    estimator: _Estimator,
    data: Ensemble | StoredEnsemble | Iterable[Any],
    *,
    key: PRNGKeyArray,
    loss: AbstractLoss | None = None,
    steps: int = 500,
    batch_size: int = 32,
    learning_rate: float = 2e-4,
    weight_decay: float = 1e-3,
    validation: float | Ensemble | StoredEnsemble = 0.2,
    patience: int | None = 10,
    freeze_encoder: bool = False,
    **options: Any,
) -> tuple[_Estimator, History]:
    """Adapt a trained estimator to images of another kind, from a few of them.

    Another noise level, another instrument, a slightly different sample: what the
    network has learned mostly holds. It keeps its standardisation, takes small steps
    with many contrasts, and stops when the held-out pairs no longer gain. With very
    few pairs freeze the encoder: then only what reads the features adapts.

    Of an estimator that is calibrated or guarded, such as `load_pretrained` gives, what
    is inside is adapted and returned: calibration and guard were those of the old kind
    of image. `calibrate` and `misspecification` make new ones.

    Args:
        estimator: a trained estimator; its prior must be the data's.
        data: pairs of the new kind, see `fit`; of the spacing and channels that the
            estimator knows.
        key: JAX random key.
        loss: the loss; `Contrastive` with 15 contrasts, or as many as a batch and the
            held-out pairs have, by default.
        steps: number of optimiser steps at most.
        batch_size: pairs per step; all of them where there are fewer.
        learning_rate: the highest rate; a fifth of that of `fit`.
        weight_decay: decoupled weight decay of the weight matrices.
        validation: fraction of the pairs held out, or an ensemble of its own.
        patience: epochs without a better validation loss after which to stop.
        freeze_encoder: whether to leave the encoder as it is.
        options: whatever else `fit` takes.

    Returns:
        The adapted estimator and the history.

    Raises:
        ValueError: as `fit` does.
        FloatingPointError: if the loss is no longer finite.
    """
    estimator = bare(estimator)
    if isinstance(validation, Ensemble | StoredEnsemble):
        held_out, share = len(validation), 0.0
    else:
        held_out, share = batch_size, float(validation)
    if isinstance(data, Ensemble | StoredEnsemble):
        held_out = round(share * len(data)) if share else held_out
        left = len(data) - (held_out if share else 0)
        batch_size = max(2, min(batch_size, left))
    if loss is None:
        loss = Contrastive(max(1, min(15, batch_size - 1, held_out - 1)))
    return fit(
        estimator,
        data,
        key=key,
        loss=loss,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        validation=validation,
        patience=patience,
        freeze_encoder=freeze_encoder,
        **{"standardize": False, **options},
    )
