"""Pairs without end, simulated as they are asked for."""

from collections.abc import Iterator
from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from gl15.simulation._arguments import random_key, whole_number
from gl15.simulation._ensemble import Ensemble
from gl15.simulation._plan import describe_plan
from gl15.simulation._prior import Prior
from gl15.simulation._simulate import simulate
from gl15.simulation._simulator import Simulator


class Fresh:
    """Ensembles that are simulated when they are asked for, without end; see `fresh`.

    Every loop over it begins with the first ensemble. Ensemble j is
    `simulate(simulator, prior, size, key=fold_in(key, j))`.

    Attributes:
        size: pairs in each ensemble.
        plan: what they are made from, as plain data.
    """

    def __init__(
        self,
        simulator: Simulator,
        prior: Prior,
        *,
        key: PRNGKeyArray,
        size: int,
        workers: int | None,
    ):
        """Prepare it; nothing is simulated yet."""
        random_key("key", key)
        self.size = size = whole_number("size", size)
        self.plan: dict[str, Any] = describe_plan(simulator, prior, size, key)
        self._simulator, self._prior = simulator, prior
        self._key, self._workers = key, workers

    def __iter__(self) -> Iterator[Ensemble]:
        """The ensembles, from the first."""
        return self._from(0)

    def starting_at(self, pair: int) -> tuple[int, Iterator[Ensemble]]:
        """The ensembles from the one that holds a pair, for training that goes on.

        Args:
            pair: number of the pair.

        Returns:
            How many pairs are left out, and the ensembles.
        """
        first = pair // self.size
        return first * self.size, self._from(first)

    def _from(self, number: int) -> Iterator[Ensemble]:
        while True:
            yield simulate(
                self._simulator,
                self._prior,
                self.size,
                key=jax.random.fold_in(self._key, number),
                workers=self._workers,
                progress=False,
            )
            number += 1


def fresh(
    simulator: Simulator,
    prior: Prior,
    *,
    key: PRNGKeyArray,
    size: int = 1_024,
    workers: int | None = None,
) -> Fresh:
    """Pairs drawn anew for as long as somebody asks, so that none is seen twice.

    `gl15.fit(estimator, fresh(simulator, prior, key=key), validation=held_out, ...)`
    trains on them; they are simulated in the background while it takes its steps, and
    training that was interrupted goes on with the ensemble it had come to. The key must
    be another one than that of `held_out`.

    Args:
        simulator: draws an observation at theta.
        prior: what theta is drawn from.
        key: JAX random key.
        size: pairs simulated at a time.
        workers: threads that simulate, see `simulate`; fewer leave cores to training.

    Returns:
        An iterable of ensembles.

    Raises:
        TypeError: if `key` is no JAX key, or `size` no integer.
        ValueError: if `size` is not positive.
    """
    return Fresh(simulator, prior, key=key, size=size, workers=workers)
