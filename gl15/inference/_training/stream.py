"""Where batches come from: a store larger than memory."""

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from gl15.inference._training import data as training_data
from gl15.inference._training.prefetch import prefetch
from gl15.inference._training.scratch import Scratch
from gl15.inference._training.sharding import Placement
from gl15.inference._training.sources import AbstractSource, Block, block_length, Redraw
from gl15.simulation import StoredEnsemble


Pairs = tuple[dict[str, np.ndarray], np.ndarray]


class Streamed(AbstractSource):
    """A store read shard by shard, in the background, in an order of its own.

    At every epoch the shards are shuffled and gathered in groups, and the pairs of
    each group are shuffled together. A group is being trained on while the next one
    is read, and summarised unless its summaries were kept.
    """

    def __init__(
        self,
        estimator: Any,
        store: StoredEnsemble,
        rows: np.ndarray,
        *,
        key: PRNGKeyArray,
        batch_size: int,
        placement: Placement,
        redraw: Redraw | None,
        scratch: Scratch | None,
        group_bytes: int,
    ):
        """Prepare it.

        Args:
            estimator: whose encoder summarises, standardised already.
            store: the pairs.
            rows: those to be trained on, sorted.
            key: JAX random key of the shuffling.
            batch_size: pairs per step.
            placement: where batches go.
            redraw: makes other pairs of those of a shard, anew at every epoch.
            scratch: the standardised summaries of all pairs, if they were kept.
            group_bytes: size of the summaries that are shuffled together.
        """
        shape = summary_shape(estimator, store)
        self.batches = len(rows) // batch_size
        self.longest = block_length(shape.shape, shape.dtype, batch_size)
        self._estimator, self._store, self._shape = estimator, store, shape
        self._key, self._redraw, self._scratch = key, redraw, scratch
        self.batch_size, self._placement = batch_size, placement
        # Rows to be trained on in each shard, counted from its first.
        edges = [np.searchsorted(rows, (s.start, s.stop)) for s in store.shards]
        self._members = [
            rows[a:b] - shard.start
            for (a, b), shard in zip(edges, store.shards, strict=True)
        ]
        largest = max(s.stop - s.start for s in store.shards)
        each = largest * int(np.prod(shape.shape)) * shape.dtype.itemsize
        self._shards_a_group = max(1, int(group_bytes // max(each, 1)))

    def blocks(self, epoch: int, start: int) -> Generator[Block, None, None]:
        """The batches of an epoch; see `AbstractSource`. Nothing before is read."""
        groups = prefetch(self._groups(epoch, start * self.batch_size), ahead=1)
        with closing(groups):
            yield from cut(
                groups,
                self.batch_size,
                [
                    min(self.longest, self.batches - first)
                    for first in range(start, self.batches, self.longest)
                ],
                self._placement,
            )

    def _groups(self, epoch: int, skip: int) -> Generator[Pairs, None, None]:
        key = jax.random.fold_in(self._key, epoch)
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        words = np.ravel(jax.random.key_data(key) if typed else key)
        generator = np.random.default_rng(words.tolist())
        shards = generator.permutation(len(self._members))
        wanted = self.batches * self.batch_size
        for first in range(0, len(shards), self._shards_a_group):
            group = shards[first : first + self._shards_a_group]
            order = generator.permutation(sum(len(self._members[s]) for s in group))
            if skip >= len(order):
                skip, wanted = skip - len(order), wanted - len(order)
                continue
            if wanted <= 0:
                return
            theta, z = self._read(group, order, key)
            yield {k: v[skip:] for k, v in theta.items()}, z[skip:]
            wanted, skip = wanted - len(order), 0

    def _read(self, group: np.ndarray, order: np.ndarray, key: PRNGKeyArray) -> Pairs:
        """The pairs of some shards, in an order."""
        place = np.argsort(order)
        z = np.empty((len(order), *self._shape.shape), self._shape.dtype)
        columns: dict[str, np.ndarray] = {}
        done = 0
        for shard in group.tolist():
            members = self._members[shard]
            if not len(members):
                continue
            theta, found = self._summaries(shard, key)
            at = place[done : done + len(members)]
            z[at] = found[members]
            for name, value in theta.items():
                column = columns.setdefault(name, np.empty(len(order), value.dtype))
                column[at] = value[members]
            done += len(members)
        return columns, z

    def _summaries(self, shard: int, key: PRNGKeyArray) -> Pairs:
        """All pairs of a shard."""
        rows = self._store.shards[shard]
        if self._scratch is not None:
            theta = {name: value[rows] for name, value in self._store.theta.items()}
            return theta, self._scratch.read(rows)
        pairs = self._store.read(rows)
        if self._redraw is not None:
            pairs = self._redraw(pairs, jax.random.fold_in(key, shard))
        # As the store holds them they were looked at when it was passed over.
        found = training_data.standardised(
            self._estimator, pairs, checked=self._redraw is None
        )
        theta = {name: np.asarray(value) for name, value in pairs.theta.items()}
        return theta, np.asarray(found)


def cut(
    pairs: Iterator[Pairs],
    batch_size: int,
    lengths: list[int],
    placement: Placement,
    rest: list[Pairs] | None = None,
) -> Generator[Block, None, None]:
    """Blocks of batches from pairs in pieces of any size.

    Args:
        pairs: the pieces.
        batch_size: pairs per batch.
        lengths: batches in each block.
        placement: where they go.
        rest: what was left over before, and what will be left over.

    Yields:
        The blocks; fewer, and a shorter one at last, if the pieces end.
    """
    rest = [] if rest is None else rest
    for length in lengths:
        wanted, taken, ended = length * batch_size, [], False
        while wanted:
            if not rest:
                piece = next(pairs, None)
                if piece is None:
                    ended = True
                    break
                rest.append(piece)
                del piece
            theta, z = rest.pop()
            if len(z) > wanted:
                rest.append(({k: v[wanted:] for k, v in theta.items()}, z[wanted:]))
                theta, z = {k: v[:wanted] for k, v in theta.items()}, z[:wanted]
            taken.append((theta, z))
            wanted -= len(z)
        shape = (length - -(-wanted // batch_size), batch_size)
        if not shape[0]:
            return
        count = shape[0] * batch_size
        z = np.concatenate([z for _, z in taken])[:count]
        columns = {
            name: np.concatenate([theta[name] for theta, _ in taken])[:count]
            for name in taken[0][0]
        }
        columns = {name: column.reshape(shape) for name, column in columns.items()}
        del taken
        z = placement.batches(z.reshape(*shape, *z.shape[1:]))
        if placement.mesh is None:
            columns = {name: jnp.asarray(value) for name, value in columns.items()}
        yield Block(placement.whole(columns), z, None)
        if ended:
            return


def summary_shape(estimator: Any, data: Any) -> jax.ShapeDtypeStruct:
    """Shape and type of the summary of one observation.

    Args:
        estimator: whose encoder summarises.
        data: a store, or an ensemble.

    Returns:
        The shape and type.
    """
    if isinstance(data, StoredEnsemble):
        shape, dtype = data.x_shape, data.dtype
    else:
        shape, dtype = data.x.shape[1:], data.x.dtype
    x = jax.ShapeDtypeStruct((1, *shape), dtype)
    # What are summaries already stay as they are.
    z = jax.eval_shape(lambda x: training_data.summaries(estimator, x), x)
    return jax.ShapeDtypeStruct(z.shape[1:], z.dtype)
