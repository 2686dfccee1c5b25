"""Sources: a store that is larger than memory, and pairs without end."""

import errno
import functools
import gc
import itertools
import os
import pathlib
import shutil
import threading
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from gl15.inference import (
    Contrastive,
    fit,
    MLPEncoder,
    RatioEstimator,
    Standardization,
)
from gl15.inference._training.moments import Moments
from gl15.inference._training.plan import describe_data
from gl15.inference._training.prefetch import prefetch
from gl15.inference._training.sharding import Placement
from gl15.inference._training.stream import Streamed
from gl15.simulation import fresh, LinearGaussian, open_ensemble, Prior, simulate


TOY = LinearGaussian(((1.0,), (0.5,)), 0.5, ("a",))
PRIOR = Prior({"a": dist.Uniform(-1.0, 1.0)})
KEYS = jax.random.split(jax.random.key(0), 4)
START = RatioEstimator(
    PRIOR,
    MLPEncoder(2, features=4, width=4, depth=1, key=KEYS[0]),
    width=4,
    key=KEYS[1],
)
PLACEMENT = Placement(None, 8)
TINY = 16 * 2 * 8 * 4  # four shards, of which one is shuffled at a time

train = functools.partial(
    fit,
    START,
    key=KEYS[3],
    loss=Contrastive(3),
    steps=66,
    batch_size=8,
    progress=False,
)


@pytest.fixture(name="stored", scope="module")
def _stored(tmp_path_factory):
    from gl15.simulation import _store

    path = tmp_path_factory.mktemp("store") / "pairs.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_store, "_SHARD", 16)
        simulate(TOY, PRIOR, 200, key=KEYS[2], path=path, batch_size=16, progress=False)
    stored = open_ensemble(path)
    assert len(stored.shards) == 13
    return stored


def seen(source, epoch, start=0):
    """The pairs of an epoch: theta and the first number of x, standardised."""
    blocks = list(source.blocks(epoch, start))
    theta = np.concatenate([np.ravel(block.theta["a"]) for block in blocks])
    z = np.concatenate([block.z.reshape(-1, 2) for block in blocks])
    return theta, z


def test_a_store_that_fits_is_as_good_as_memory(stored):
    one, first = train(stored.load())
    other, second = train(stored)
    np.testing.assert_allclose(first.train_loss, second.train_loss, rtol=1e-12)
    np.testing.assert_allclose(
        first.validation_loss, second.validation_loss, rtol=1e-12
    )
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if eqx.is_array(a):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)


def test_a_store_larger_than_the_cache_is_streamed(stored):
    with pytest.warns(UserWarning, match="hold out 20 pairs, .* room for 8: so many"):
        _, history = train(stored, cache=TINY, steps=400, learning_rate=1e-2)
    _, resident = train(stored, steps=400, learning_rate=1e-2)
    assert np.isfinite(history.train_loss).all()
    # Another order and other held-out pairs, but the same problem.
    np.testing.assert_allclose(
        history.train_loss[-3:].mean(), resident.train_loss[-3:].mean(), rtol=0.05
    )


@pytest.mark.parametrize("shards", [1, 3, 100])
def test_every_pair_is_seen_once_in_an_epoch_and_in_another_order(stored, shards):
    rows = np.setdiff1d(np.arange(200), np.arange(3, 200, 10))  # 180
    source = Streamed(
        START,
        stored,
        rows,
        key=KEYS[0],
        batch_size=8,
        placement=PLACEMENT,
        redraw=None,
        scratch=None,
        group_bytes=shards * 16 * 2 * 8,
    )
    every = stored.load()
    number = {float(a): i for i, a in enumerate(every.theta["a"])}
    epochs = []
    for epoch in range(2):
        theta, z = seen(source, epoch)
        index = np.asarray([number[float(a)] for a in theta])
        assert len(index) == 22 * 8 and len(set(index)) == len(index)
        assert set(index) <= set(rows)
        # Theta and observation still belong together.
        np.testing.assert_array_equal(z, every.x[index])
        epochs.append(index)
    assert not np.array_equal(*epochs)
    # Shuffled within and across the shards of a group, and the shards as well.
    assert np.abs(np.diff(epochs[0] // 16)).sum() > 30 * min(shards, 4) / 2
    # Any step may be begun at, to the same pairs.
    theta, z = seen(source, 1, start=13)
    np.testing.assert_array_equal(
        [number[float(a)] for a in theta], epochs[1][13 * 8 :]
    )


def test_streaming_reads_a_group_at_a_time_and_nothing_before_its_start(
    stored, monkeypatch
):
    source = Streamed(
        START,
        stored,
        np.arange(200),
        key=KEYS[0],
        batch_size=8,
        placement=PLACEMENT,
        redraw=None,
        scratch=None,
        group_bytes=2 * 16 * 2 * 8,
    )
    source.longest = 2
    read = []
    real = type(stored).read
    monkeypatch.setattr(
        type(stored), "read", lambda self, rows: read.append(rows) or real(self, rows)
    )
    blocks = source.blocks(0, 0)
    next(blocks)
    time.sleep(0.5)
    # The group in hand, the one that is ready, and the one that waits to be.
    assert len(read) <= 6 < len(stored.shards)
    blocks.close()
    assert not [t for t in threading.enumerate() if t.name == "gl15 prefetch"]
    read.clear()
    list(source.blocks(0, 20))
    assert len(read) <= 4


def test_streamed_training_resumes_in_the_middle_of_an_epoch(
    stored, tmp_path, monkeypatch
):
    from gl15.inference._training import sources

    monkeypatch.setattr(sources, "_LONGEST", 3)
    options = {"cache": TINY, "checkpoint_every": 1, "validation": 0.04}
    expected, history = train(stored, **options)
    summaries, count = Streamed._summaries, []

    def failing(self, *arguments):
        count.append(None)
        if len(count) == 20:  # of 13 shards: within the second epoch
            raise OSError("the disk went away")
        return summaries(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Streamed, "_summaries", failing)
        with pytest.raises(OSError, match="the disk went away"):
            train(stored, checkpoint=tmp_path / "kept", **options)
    # Whether summaries are kept on disk or made anew makes no difference.
    nowhere = tmp_path / "nowhere"
    with pytest.warns(UserWarning, match="nowhere' cannot keep the summaries"):
        found, resumed = train(
            stored, checkpoint=tmp_path / "kept", scratch=nowhere, **options
        )
    assert eqx.tree_equal(found, expected)
    np.testing.assert_array_equal(resumed.train_loss, history.train_loss)


def test_summaries_are_kept_on_disk_while_training_lasts(stored, tmp_path, monkeypatch):
    from gl15.inference._training import scratch

    read, reading = [], type(stored).read
    monkeypatch.setattr(
        type(stored),
        "read",
        lambda self, rows: read.append(rows) or reading(self, rows),
    )
    options = {"cache": TINY, "validation": 0.04, "scratch": tmp_path}
    expected, _ = train(stored, **options)
    # Three epochs, and the store was passed over once.
    assert len(read) == 13
    gc.collect()
    assert not list(tmp_path.iterdir())
    opened = [os.path.realpath(f) for f in pathlib.Path("/proc/self/fd").iterdir()]
    assert not [path for path in opened if path.startswith(str(tmp_path))]

    # A disk that fills up on the way.
    writing, written = os.pwrite, []

    def filling(*arguments):
        written.append(None)
        if len(written) == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return writing(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", filling)
        with pytest.warns(UserWarning, match="No space left .* made anew"):
            found, _ = train(stored, **options)
    assert eqx.tree_equal(found, expected)
    # One that has room for less than twice as much.
    usage = shutil.disk_usage(tmp_path)._replace(free=2 * 200 * 2 * 8 - 1)
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda folder: usage)
    with pytest.warns(UserWarning, match="that are free half may be used"):
        found, _ = train(stored, **options)
    assert eqx.tree_equal(found, expected)


def test_noise_is_drawn_anew_for_every_shard_and_epoch(stored):
    keys = []

    def redraw(pairs, key):
        keys.append(tuple(np.ravel(jax.random.key_data(key)).tolist()))
        noise = jax.random.normal(key, pairs.x.shape)
        return eqx.tree_at(lambda e: e.x, pairs, pairs.x + noise)

    _, history = train(stored, redraw=redraw)
    assert len(history.train_loss) == 3
    # 13 shards: once for the standardisation, then in each epoch; and the held-out.
    assert len(keys) == 13 * 4 + 1 and len(set(keys)) == len(keys)


def test_moments_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    z = 1e4 + rng.normal(size=(1000, 5, 3)) * [1.0, 1e-3, 0.0]
    moments = Moments()
    for part in np.array_split(z, [1, 17, 500, 500]):
        moments.add(part)
    found, whole = moments.standardization(8.0), Standardization.fit(jnp.asarray(z))
    np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(found.scale, whole.scale, rtol=1e-8)
    assert found.scale[2] == 1
    assert found.limit == 8.0


def test_any_iterable_of_pairs_is_trained_on():
    held_out = simulate(TOY, PRIOR, 64, key=KEYS[2], progress=False)

    def pieces(sizes):
        rng = np.random.default_rng(0)
        for size in sizes:
            a = rng.uniform(-1, 1, size)
            noise = 0.5 * rng.normal(size=(size, 2))
            x = a[:, None] * [1.0, 0.5] + noise
            yield {"a": a}, x

    options = {"validation": held_out, "steps": 60}
    # The sizes of the pieces make no difference.
    one, first = train(pieces([480]), **options)
    assert first.steps == 60

    class Pieces:
        def __iter__(self):
            whole = next(pieces([480]))
            for i in range(0, 480, 48):
                yield {"a": whole[0]["a"][i : i + 48]}, whole[1][i : i + 48]

    other, second = train(Pieces(), **options)
    np.testing.assert_allclose(first.train_loss, second.train_loss, rtol=1e-12)
    # What can be begun anew is; what cannot ends the training, and says so.
    longer, history = train(Pieces(), **(options | {"steps": 100}))
    assert history.steps == 102
    with pytest.warns(UserWarning, match="`data` ended after 60 of 102 steps"):
        _, history = train(pieces([480]), **(options | {"steps": 100}))
    assert np.isfinite(history.validation_loss).all()


def test_an_iterable_that_ends_is_used_to_its_last_whole_batch(stored):
    whole = stored.load()
    pieces = [whole[:100], whole[100:173]]  # 21 batches of 8, and five pairs
    with pytest.warns(UserWarning, match="`data` ended after 21 of 66 steps"):
        _, history = train(iter(pieces), validation=whole[173:])
    assert history.steps == 21


def test_fresh_pairs_teach_the_posterior():
    held_out = simulate(TOY, PRIOR, 64, key=KEYS[2], progress=False)
    supply = fresh(TOY, PRIOR, key=jax.random.key(7), size=64, workers=1)
    first, second = (next(iter(supply)).theta["a"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    done, later = supply.starting_at(130)
    assert done == 128
    third = next(itertools.islice(supply, 2, None))
    assert eqx.tree_equal(next(later), third)
    _, history = train(supply, validation=held_out, steps=400, learning_rate=1e-2)
    assert history.validation_loss[-1] < history.validation_loss[0] - 0.003
    assert not [t for t in threading.enumerate() if t.name == "gl15 prefetch"]


def test_what_is_no_data_is_refused(stored):
    with pytest.raises(ValueError, match="`validation` must be an ensemble"):
        train(iter([]))
    held_out = stored.read(slice(0, 64))
    with pytest.raises(ValueError, match="ended before the first batch of 8 pairs"):
        train([], validation=held_out)
    with pytest.raises(TypeError, match="`data` gave a list"):
        train(iter([[1, 2]]), validation=held_out)
    with pytest.raises(ValueError, match="NaN or infinite"):
        bad = {"a": np.zeros(8)}, np.full((8, 2), np.nan)
        train(iter([bad]), validation=held_out)
    with pytest.raises(ValueError, match=r"unknown \['b'\]"):
        train(iter([({"b": np.zeros(8)}, np.zeros((8, 2)))]), validation=held_out)
    with pytest.raises(ValueError, match="`size` must be at least 1, got 0"):
        fresh(TOY, PRIOR, key=KEYS[0], size=0)


def test_prefetching_stops_and_passes_errors_on():
    made = []

    def items():
        for i in range(100):
            made.append(i)
            yield i
        raise AssertionError("never here")

    ahead = prefetch(items(), 2)
    assert [next(ahead), next(ahead)] == [0, 1]
    time.sleep(0.3)
    assert len(made) <= 6
    ahead.close()

    def broken():
        yield 1
        raise KeyError("lost")

    found = prefetch(broken(), 2)
    assert next(found) == 1
    with pytest.raises(KeyError, match="lost"):
        next(found)


def test_training_on_the_first_of_a_store_does_not_mind_that_it_grew(tmp_path):
    path = tmp_path / "pairs.zarr"
    grown = functools.partial(simulate, TOY, PRIOR, key=KEYS[2], batch_size=16)
    grown(n=100, path=path, load=False, progress=False)
    before = describe_data(open_ensemble(path))
    grown(n=200, path=path, load=False, progress=False)
    assert describe_data(open_ensemble(path, 100)) == before
    assert describe_data(open_ensemble(path)) != before
