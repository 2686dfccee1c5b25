"""From what `fit` is given to batches: held out, standardised, in memory or not."""

from collections.abc import Mapping
from typing import Any

import jax

from gl15.inference._training import data as training_data
from gl15.inference._training.endless import Endless
from gl15.inference._training.opening_store import open_store, read_held_out
from gl15.inference._training.sources import (
    AbstractSource,
    held_out_batches,
    renewal,
    Resident,
)
from gl15.inference._training.wanted import held_out_pairs, Wanted
from gl15.simulation import Ensemble, StoredEnsemble


def open_data(
    estimator: Any, data: Any, wanted: Wanted
) -> tuple[Any, AbstractSource, Any]:
    """The estimator, standardised; what it is trained on; and held-out batches.

    Args:
        estimator: what is to be trained.
        data: an ensemble, a store, or an iterable of pairs.
        wanted: how to use them.

    Returns:
        The estimator, the source, and theta and summaries of the held-out batches.

    Raises:
        ValueError: if something does not fit.
        TypeError: if `data` is none of these.
    """
    if isinstance(wanted.validation, StoredEnsemble):
        held_out = read_held_out(estimator, wanted.validation, wanted)
        wanted = wanted._replace(validation=held_out)
    if isinstance(data, Ensemble):
        opened = _open_ensemble(estimator, data, wanted)
    elif isinstance(data, StoredEnsemble):
        opened = open_store(estimator, data, wanted)
    elif hasattr(data, "__iter__") and not isinstance(data, (str, bytes, Mapping)):
        opened = _open_iterable(estimator, data, wanted)
    else:
        raise TypeError(
            f"`data` is a {type(data).__name__}; give an Ensemble, what "
            "`open_ensemble(path)` opens, or an iterable of ensembles or of pairs "
            "(theta, x)."
        )
    estimator, source, (theta, z) = opened
    batches = held_out_batches(theta, z, wanted.batch_size, wanted.placement)
    return estimator, source, batches


def _open_ensemble(estimator, data: Ensemble, wanted: Wanted):
    train, held_out = data, wanted.validation
    if not isinstance(held_out, Ensemble):
        if wanted.redraw is None:
            training_data.check(estimator, data)  # by the caller's numbers
        rows = training_data.split(len(data), held_out, wanted.keys.split)
        train, held_out = (data[one] for one in rows)
    pristine, redraw = train, wanted.redraw
    if redraw is not None:
        train, held_out = (
            redraw(train, wanted.keys.train),
            redraw(held_out, wanted.keys.held_out),
        )
    training_data.check(estimator, train, held_out)
    wanted.check_sizes(len(train), len(held_out))
    estimator = training_data.noted(estimator, train)
    z = training_data.summarise(estimator, train.x)
    estimator, z = wanted.standardised(estimator, z)
    renew = None if redraw is None else renewal(estimator, pristine, redraw)
    source = Resident(train.theta, z, renew=renew, **wanted.of_source)
    return estimator, source, held_out_pairs(estimator, held_out)


def _open_iterable(estimator, data, wanted: Wanted):
    held_out = wanted.validation
    if not isinstance(held_out, Ensemble):
        raise ValueError(
            "`validation` must be an ensemble where `data` is an iterable: nothing can "
            f"be held out of what comes only once, got {held_out!r}."
        )
    if wanted.redraw is not None:
        held_out = wanted.redraw(held_out, wanted.keys.held_out)
    training_data.check(estimator, held_out)
    wanted.check_sizes(None, len(held_out))
    estimator = training_data.noted(estimator, held_out)
    wanted.refuse_whitening()
    z = training_data.summarise(estimator, held_out.x)
    # The same distribution as what will come, and here already.
    estimator, _ = wanted.standardised(estimator, z)
    source = Endless(
        estimator,
        data,
        steps=wanted.steps,
        redraw=wanted.redraw,
        summary=jax.ShapeDtypeStruct(z.shape[1:], z.dtype),
        **wanted.of_source,
    )
    return estimator, source, held_out_pairs(estimator, held_out)
