"""From a store to batches: in memory where its summaries fit, else streamed."""

import math
import warnings
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gl15.inference._training import data as training_data
from gl15.inference._training.moments import Moments
from gl15.inference._training.scratch import open_scratch
from gl15.inference._training.sources import AbstractSource, Resident
from gl15.inference._training.stream import Streamed, summary_shape
from gl15.inference._training.wanted import held_out_pairs, Wanted
from gl15.simulation import concatenate, Ensemble, StoredEnsemble


def open_store(
    estimator: Any,
    data: StoredEnsemble,
    wanted: Wanted,
) -> tuple[Any, AbstractSource, Any]:
    """In memory if the summaries fit there; else shard by shard at every epoch.

    Args:
        estimator: what is to be trained.
        data: the store.
        wanted: how to use it.

    Returns:
        The estimator, the source, and theta and summaries of the held-out pairs.
    """
    estimator.prior.check_names(data.theta)
    rows, held_out = np.arange(len(data)), wanted.validation
    chosen = rows[:0]
    if not isinstance(held_out, Ensemble):
        split = training_data.split(len(data), held_out, wanted.keys.split)
        rows, chosen = map(np.asarray, split)
    needed = len(data) * _size(summary_shape(estimator, data))
    if wanted.redraw is None and needed <= wanted.cache:
        return _open_resident(estimator, data, wanted, rows, chosen)
    return _open_streamed(estimator, data, wanted, chosen)


def _open_resident(estimator, data, wanted: Wanted, rows, chosen):
    shape = summary_shape(estimator, data)
    kept = np.empty((len(data), *shape.shape), shape.dtype)
    for shard in data.shards:
        pairs = data.read(shard)
        training_data.check(estimator, pairs)
        kept[shard] = training_data.summarise(estimator, pairs.x)
    estimator = training_data.noted(estimator, data)
    estimator, z = wanted.standardised(estimator, jnp.asarray(kept[rows]))
    theta = {name: value[rows] for name, value in data.theta.items()}
    source = Resident(theta, z, **wanted.of_source)
    if isinstance(wanted.validation, Ensemble):
        return (
            estimator,
            source,
            _held_out_pairs(estimator, data, wanted, rows, None),
        )
    wanted.check_sizes(len(rows), len(chosen))
    theta = {name: value[chosen] for name, value in data.theta.items()}
    z = estimator.standardization(jnp.asarray(kept[chosen]))
    return estimator, source, (theta, z)


def _open_streamed(estimator, data, wanted: Wanted, chosen):
    if wanted.standardize:
        wanted.refuse_whitening()
    # What is held out stays in memory: no more than an eighth of the cache.
    shape = summary_shape(estimator, data)
    brief = _stays_brief(estimator, data, wanted)
    each = _size(shape if brief else jax.ShapeDtypeStruct(data.x_shape, data.dtype))
    room = max(wanted.batch_size, wanted.cache // 8 // each)
    if room < len(chosen):
        warnings.warn(
            f"`validation`={wanted.validation:g} would hold out {len(chosen)} pairs, "
            f"but an eighth of `cache`={wanted.cache} bytes is room for {room}: so "
            "many are held out.",
            stacklevel=5,
        )
        chosen = chosen[:room]
    chosen = np.sort(chosen)
    rows = np.setdiff1d(np.arange(len(data)), chosen)
    scratch = None
    if wanted.redraw is None:
        scratch = open_scratch(wanted.scratch, len(data), shape)
    found = _pass_over(estimator, data, rows, chosen, wanted, scratch)
    estimator = training_data.noted(estimator, found.like)
    if wanted.standardize:
        fitted = found.moments.standardization(estimator.encoder.limit)
        estimator = eqx.tree_at(lambda e: e.standardization, estimator, fitted)
    if scratch is not None:
        for shard in data.shards:
            if scratch.usable:
                z = jnp.asarray(scratch.read(shard))
                scratch.write(shard, training_data.standardise(estimator, z))
    source = Streamed(
        estimator,
        data,
        rows,
        redraw=wanted.redraw,
        scratch=scratch if scratch is not None and scratch.usable else None,
        # One group trained on, one ready, and one being read.
        group_bytes=wanted.cache // 4,
        **wanted.of_source,
    )
    pairs = _held_out_pairs(estimator, data, wanted, rows, found.held_out)
    return estimator, source, pairs


def _held_out_pairs(estimator, data, wanted: Wanted, rows, held_out):
    """Of those held out of the store, or those of `validation`."""
    if held_out is None:
        held_out = wanted.validation
    training_data.check_kind(held_out, data)
    if wanted.redraw is not None:
        held_out = wanted.redraw(held_out, wanted.keys.held_out)
    training_data.check(estimator, held_out)
    wanted.check_sizes(len(rows), len(held_out))
    return held_out_pairs(estimator, held_out)


def read_held_out(estimator: Any, data: StoredEnsemble, wanted: Wanted) -> Ensemble:
    """All pairs of a store; not their images where their summaries do.

    Args:
        estimator: what is to be trained.
        data: the store.
        wanted: how its pairs will be used.

    Returns:
        The pairs.
    """
    estimator.prior.check_names(data.theta)
    if not _stays_brief(estimator, data, wanted):
        return data.load()
    parts = []
    for shard in data.shards:
        pairs = data.read(shard)
        training_data.check(estimator, pairs)
        parts.append(_summarised(estimator, pairs))
    return concatenate(parts)


class _Found(NamedTuple):
    """What one pass over a store gave."""

    moments: Moments
    held_out: Any
    like: Any


def _pass_over(
    estimator, data: StoredEnsemble, rows, chosen, wanted: Wanted, scratch
) -> _Found:
    """Read and summarise every shard once, in order."""
    moments, held, like = Moments(), [], data
    brief = _stays_brief(estimator, data, wanted)
    for index, shard in enumerate(data.shards):
        pairs = data.read(shard)
        training_data.check(estimator, pairs)
        a, b = np.searchsorted(chosen, (shard.start, shard.stop))
        if b > a:
            one = pairs[chosen[a:b] - shard.start]
            held.append(_summarised(estimator, one) if brief else one)
        if wanted.redraw is not None:
            own = jax.random.fold_in(wanted.keys.train, index)
            pairs = wanted.redraw(pairs, own)
            training_data.check(estimator, pairs)
        like = pairs
        if scratch is None and not wanted.standardize:
            continue
        z = np.asarray(training_data.summarise(estimator, pairs.x))
        if scratch is not None:
            scratch.write(shard, z)
        a, b = np.searchsorted(rows, (shard.start, shard.stop))
        moments.add(z[rows[a:b] - shard.start])
    return _Found(moments, concatenate(held) if held else None, like)


def _stays_brief(estimator, data: StoredEnsemble, wanted: Wanted) -> bool:
    """Whether summaries do for held-out observations: images are longer."""
    z = jax.ShapeDtypeStruct((1, *summary_shape(estimator, data).shape), float)
    return wanted.redraw is None and training_data.are_summaries(estimator.encoder, z)


def _summarised(estimator, pairs: Ensemble) -> Ensemble:
    z = training_data.summarise(estimator, pairs.x)
    return Ensemble(pairs.theta, z, pairs.spacing, pairs.channels)


def _size(what: jax.ShapeDtypeStruct) -> int:
    return math.prod(what.shape) * what.dtype.itemsize
