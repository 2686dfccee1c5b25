"""From what `fit` is given to batches: held out, standardised, in memory or not."""

import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from gl15.inference._estimators.standardization import Standardization
from gl15.inference._training import data as training_data
from gl15.inference._training.endless import Endless
from gl15.inference._training.moments import Moments
from gl15.inference._training.sharding import Placement
from gl15.inference._training.sources import (
    AbstractSource,
    held_out_batches,
    Redraw,
    renewal,
    Resident,
)
from gl15.inference._training.stream import Streamed, summary_shape
from gl15.simulation import concatenate, Ensemble, StoredEnsemble


class Wanted(NamedTuple):
    """How the data shall be used.

    Attributes:
        validation: fraction of the pairs to hold out, or pairs of their own.
        key: JAX random key: the split, the shuffling.
        batch_size: pairs per step.
        contrasts: mismatched thetas per observation.
        steps: number of steps.
        redraw: makes other pairs of the pairs.
        cache: bytes of summaries to keep in memory.
        standardize: whether to fit the standardisation, or keep the estimator's.
        whiten: whether to rotate the standardised summaries until no two are alike.
        placement: where batches go.
    """

    validation: Any
    key: PRNGKeyArray
    batch_size: int
    contrasts: int
    steps: int
    redraw: Redraw | None
    cache: int
    standardize: bool
    whiten: bool
    placement: Placement


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
        held_out = _read_held_out(estimator, wanted.validation, wanted)
        wanted = wanted._replace(validation=held_out)
    split_key, key = jax.random.split(wanted.key)
    draw_keys = jax.random.split(jax.random.fold_in(split_key, 1))
    if isinstance(data, Ensemble):
        opened = _open_ensemble(estimator, data, wanted, split_key, key, draw_keys)
    elif isinstance(data, StoredEnsemble):
        opened = _open_store(estimator, data, wanted, split_key, key, draw_keys)
    elif hasattr(data, "__iter__") and not isinstance(data, (str, bytes, Mapping)):
        opened = _open_iterable(estimator, data, wanted, key, draw_keys)
    else:
        raise TypeError(
            f"`data` is a {type(data).__name__}; give an Ensemble, what "
            "`open_ensemble(path)` opens, or an iterable of ensembles or of pairs "
            "(theta, x)."
        )
    estimator, source, (theta, z) = opened
    batches = held_out_batches(theta, z, wanted.batch_size, wanted.placement)
    return estimator, source, batches


def _open_ensemble(estimator, data: Ensemble, wanted: Wanted, split_key, key, draws):
    train, held_out = data, wanted.validation
    if not isinstance(held_out, Ensemble):
        if wanted.redraw is None:
            training_data.check(estimator, data)  # by the caller's numbers
        rows = training_data.split(len(data), held_out, split_key)
        train, held_out = (data[one] for one in rows)
    pristine, redraw = train, wanted.redraw
    if redraw is not None:
        train, held_out = redraw(train, draws[0]), redraw(held_out, draws[1])
    training_data.check(estimator, train, held_out)
    _check_sizes(len(train), held_out, wanted)
    estimator = training_data.noted(estimator, train)
    z = training_data.summarise(estimator, train.x)
    estimator, z = _standardised(estimator, z, wanted)
    renew = None if redraw is None else renewal(estimator, pristine, redraw)
    source = Resident(train.theta, z, renew=renew, **_common(wanted, key))
    return estimator, source, _pairs(estimator, held_out)


def _open_store(estimator, data: StoredEnsemble, wanted: Wanted, split_key, key, draws):
    """In memory if the summaries fit there; else shard by shard at every epoch."""
    estimator.prior.check_names(data.theta)
    shape, redraw = summary_shape(estimator, data), wanted.redraw
    each = math.prod(shape.shape) * shape.dtype.itemsize
    resident = redraw is None and len(data) * each <= wanted.cache
    rows, held_out = np.arange(len(data)), wanted.validation
    own = isinstance(held_out, Ensemble)
    chosen = rows[:0]
    if not own:
        split = training_data.split(len(data), held_out, split_key)
        rows, chosen = map(np.asarray, split)
    if not resident:
        # What is held out stays in memory: no more than an eighth of the cache.
        if not _stays_brief(estimator, data, wanted):
            each = math.prod(data.x_shape) * data.dtype.itemsize
        room = max(wanted.batch_size, wanted.cache // 8 // each)
        if room < len(chosen):
            warnings.warn(
                f"`validation`={held_out:g} would hold out {len(chosen)} pairs, but an "
                f"eighth of `cache`={wanted.cache} bytes is room for {room}: so many "
                "are held out.",
                stacklevel=4,
            )
        chosen = chosen[:room]
        rows = np.setdiff1d(np.arange(len(data)), chosen)
    found = _pass_over(estimator, data, rows, chosen, wanted, draws[0], resident)
    estimator = training_data.noted(estimator, found.like)
    if resident:
        z = jnp.asarray(found.z[rows])
        estimator, z = _standardised(estimator, z, wanted)
        theta = {name: value[rows] for name, value in data.theta.items()}
        source: AbstractSource = Resident(theta, z, **_common(wanted, key))
    else:
        if wanted.standardize:
            _refuse_whitening(wanted)
            fitted = found.moments.standardization(estimator.encoder.limit)
            estimator = eqx.tree_at(lambda e: e.standardization, estimator, fitted)
        source = Streamed(
            estimator,
            data,
            rows,
            redraw=redraw,
            # One group trained on, one ready, and one being read.
            group_bytes=wanted.cache // 4,
            **_common(wanted, key),
        )
    if resident and not own:
        training_data.check_sizes(
            len(rows), len(chosen), wanted.batch_size, wanted.contrasts
        )
        theta = {name: value[chosen] for name, value in data.theta.items()}
        z = estimator.standardization(jnp.asarray(found.z[chosen]))
        return estimator, source, (theta, z)
    held_out = held_out if own else found.held_out
    training_data.check_kind(held_out, data)
    if redraw is not None:
        held_out = redraw(held_out, draws[1])
    training_data.check(estimator, held_out)
    _check_sizes(len(rows), held_out, wanted)
    return estimator, source, _pairs(estimator, held_out)


def _open_iterable(estimator, data, wanted: Wanted, key, draws):
    held_out = wanted.validation
    if not isinstance(held_out, Ensemble):
        raise ValueError(
            "`validation` must be an ensemble where `data` is an iterable: nothing can "
            f"be held out of what comes only once, got {held_out!r}."
        )
    if wanted.redraw is not None:
        held_out = wanted.redraw(held_out, draws[1])
    training_data.check(estimator, held_out)
    _check_sizes(None, held_out, wanted)
    estimator = training_data.noted(estimator, held_out)
    _refuse_whitening(wanted)
    z = training_data.summarise(estimator, held_out.x)
    # The same distribution as what will come, and here already.
    estimator, _ = _standardised(estimator, z, wanted)
    source = Endless(
        estimator,
        data,
        steps=wanted.steps,
        redraw=wanted.redraw,
        summary=jax.ShapeDtypeStruct(z.shape[1:], z.dtype),
        **_common(wanted, key),
    )
    return estimator, source, _pairs(estimator, held_out)


def _stays_brief(estimator, data: StoredEnsemble, wanted: Wanted) -> bool:
    """Whether summaries do for held-out observations: images are longer."""
    z = jax.ShapeDtypeStruct((1, *summary_shape(estimator, data).shape), float)
    return wanted.redraw is None and training_data.are_summaries(estimator.encoder, z)


def _read_held_out(estimator, data: StoredEnsemble, wanted: Wanted) -> Ensemble:
    """All pairs of a store; not their images where their summaries do."""
    estimator.prior.check_names(data.theta)
    if not _stays_brief(estimator, data, wanted):
        return data.load()
    parts = []
    for shard in data.shards:
        pairs = data.read(shard)
        training_data.check(estimator, pairs)
        parts.append(_summarised(estimator, pairs))
    return concatenate(parts)


def _summarised(estimator, pairs: Ensemble) -> Ensemble:
    z = training_data.summarise(estimator, pairs.x)
    return Ensemble(pairs.theta, z, pairs.spacing, pairs.channels)


def _pairs(estimator, held_out: Ensemble):
    return held_out.theta, training_data.standardised(estimator, held_out)


def _common(wanted: Wanted, key: PRNGKeyArray) -> dict[str, Any]:
    return {
        "key": key,
        "batch_size": wanted.batch_size,
        "placement": wanted.placement,
    }


def _check_sizes(train: int | None, held_out: Ensemble, wanted: Wanted) -> None:
    training_data.check_sizes(train, len(held_out), wanted.batch_size, wanted.contrasts)


def _standardised(estimator, z, wanted: Wanted):
    if wanted.standardize:
        fitted = Standardization.fit(z, estimator.encoder.limit)
        if wanted.whiten:
            fitted = fitted.whitening(z)
        estimator = eqx.tree_at(lambda e: e.standardization, estimator, fitted)
    return estimator, estimator.standardization(z)


def _refuse_whitening(wanted: Wanted) -> None:
    if wanted.whiten:
        raise ValueError(
            "`whiten` needs the summaries of all training pairs in memory: give an "
            "ensemble, or a store whose summaries fit in `cache`."
        )


class _Found(NamedTuple):
    """What one pass over a store gave."""

    z: Any
    moments: Moments
    held_out: Any
    like: Any


def _pass_over(
    estimator, data: StoredEnsemble, rows, chosen, wanted: Wanted, key, resident: bool
) -> _Found:
    """Read and summarise every shard once, in order."""
    moments, held, like, z = Moments(), [], data, None
    shape = summary_shape(estimator, data)
    if resident:
        z = np.empty((len(data), *shape.shape), shape.dtype)
    chosen, brief = np.sort(chosen), _stays_brief(estimator, data, wanted)
    for index, shard in enumerate(data.shards):
        pairs = data.read(shard)
        training_data.check(estimator, pairs)
        inside = chosen[np.searchsorted(chosen, shard.start) :]
        inside = inside[: np.searchsorted(inside, shard.stop)] - shard.start
        if len(inside) and not resident:
            one = pairs[inside]
            held.append(_summarised(estimator, one) if brief else one)
        if wanted.redraw is not None:
            pairs = wanted.redraw(pairs, jax.random.fold_in(key, index))
            training_data.check(estimator, pairs)
        like = pairs
        one = np.asarray(training_data.summarise(estimator, pairs.x))
        if z is not None:
            z[shard] = one
        elif wanted.standardize:
            a, b = np.searchsorted(rows, (shard.start, shard.stop))
            moments.add(one[rows[a:b] - shard.start])
    return _Found(z, moments, concatenate(held) if held else None, like)
