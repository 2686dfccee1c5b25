"""Where batches come from: whatever gives one after the other, perhaps endlessly."""

from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from gl15.inference._training import data as training_data
from gl15.inference._training.prefetch import prefetch
from gl15.inference._training.sharding import Placement
from gl15.inference._training.sources import AbstractSource, Block, block_length, Redraw
from gl15.inference._training.stream import cut, Pairs
from gl15.simulation import Ensemble


class Endless(AbstractSource):
    """Pairs as they come, each used once."""

    def __init__(
        self,
        estimator: Any,
        data: Iterable[Any],
        *,
        key: PRNGKeyArray,
        steps: int,
        batch_size: int,
        placement: Placement,
        redraw: Redraw | None,
        summary: jax.ShapeDtypeStruct,
    ):
        """Prepare it.

        Args:
            estimator: whose encoder summarises, standardised already.
            data: ensembles or `(theta, x)`, of any size; begun anew where it ends, if
                it can be.
            key: JAX random key for `redraw`.
            steps: number of steps that will be taken.
            batch_size: pairs per step.
            placement: where batches go.
            redraw: makes other pairs of every one of them.
            summary: shape and type of a summary.
        """
        # Looked at forty times, but often enough where steps are many.
        self.batches = int(np.clip(-(-steps // 40), 1, 1_000))
        self.longest = block_length(summary.shape, summary.dtype, batch_size)
        self._estimator, self._data, self._key = estimator, data, key
        self._redraw, self.batch_size = redraw, batch_size
        self._placement = placement
        self._pairs: Generator[Pairs, None, None] | None = None
        self._rest: list[Pairs] = []
        self._taken = 0

    def blocks(self, epoch: int, start: int) -> Generator[Block, None, None]:
        """The next batches; see `AbstractSource`."""
        first = (epoch * self.batches + start) * self.batch_size
        if self._pairs is None or self._taken != first:
            self.close()
            self._pairs, self._rest = prefetch(self._made(first), ahead=2), []
            self._taken = first
        lengths = [
            min(self.longest, self.batches - begun)
            for begun in range(start, self.batches, self.longest)
        ]
        for block in cut(
            self._pairs, self.batch_size, lengths, self._placement, self._rest
        ):
            self._taken += block.z.shape[0] * self.batch_size
            yield block

    def close(self) -> None:
        """End the thread that makes the pairs."""
        if self._pairs is not None:
            self._pairs.close()
            self._pairs = None

    def _made(self, skip: int) -> Generator[Pairs, None, None]:
        """Standardised pairs, but for the first `skip`."""
        starting_at = getattr(self._data, "starting_at", None)
        if starting_at is not None:
            number, items = starting_at(skip)
        else:
            number, items = 0, _again_and_again(self._data)
        done = number
        for item in items:
            pairs = as_ensemble(item)
            done += len(pairs)
            if done <= skip:
                continue
            if self._redraw is not None:
                own = jax.random.fold_in(self._key, done - len(pairs))
                pairs = self._redraw(pairs, own)
            training_data.check_observations(self._estimator, pairs.x)
            z = np.asarray(training_data.standardised(self._estimator, pairs))
            theta = {name: np.asarray(value) for name, value in pairs.theta.items()}
            late = max(0, skip - (done - len(pairs)))
            yield {name: value[late:] for name, value in theta.items()}, z[late:]


def as_ensemble(item: Any) -> Ensemble:
    """An ensemble from one or from `(theta, x)`.

    Args:
        item: what an iterable gave.

    Returns:
        The ensemble.

    Raises:
        TypeError: if it is neither.
    """
    if isinstance(item, Ensemble):
        return item
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], Mapping):
        columns = {name: jnp.asarray(value) for name, value in item[0].items()}
        return Ensemble(columns, jnp.asarray(item[1]))
    raise TypeError(
        f"`data` gave a {type(item).__name__}; an iterable must give ensembles or "
        "pairs (theta, x), theta a dictionary name -> [n] and x [n, ...]."
    )


def _again_and_again(data: Iterable[Any]) -> Iterator[Any]:
    """The items, from the first again where they end, if there is a first again."""
    while True:
        count = 0
        for item in data:
            count += 1
            yield item
        if not count or iter(data) is data:
            return
