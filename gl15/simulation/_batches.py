"""Running an ensemble: batch by batch, on several threads, in what memory there is."""

import itertools
import os
import threading
import time
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gl15.physics._compile import compiled
from gl15.simulation._draw import Draws
from gl15.simulation._memory import is_out_of_memory, program_memory, refuse_one
from gl15.simulation._simulator import run_batch, Simulator


class Batch(NamedTuple):
    """Simulations that were run side by side."""

    rows: slice
    """Which they are."""
    images: np.ndarray
    """Their observations `[rows, ...]`."""
    seconds: float
    """How long they took."""


class Batches:
    """An ensemble's simulations, run in batches.

    Batch b holds the simulations from `b * size`, whatever their number: the last one
    is filled up with those that a larger ensemble would have there.

    Attributes:
        size: simulations per call. Halved when so many run out of memory, for the
            batches after that one too.
        settled: the smallest that has been run to its end.
    """

    def __init__(
        self, simulator: Simulator, draws: Draws, n: int, size: int, workers: int
    ):
        """Prepare to run them.

        Args:
            simulator: the simulator.
            draws: theta and keys.
            n: number of simulations.
            size: simulations per batch.
            workers: batches that run at the same time.
        """
        self.size = self.settled = size
        self._whole, self._workers, self._n = size, workers, n
        self._simulator, self._draws = simulator, draws
        # Compiled once for each simulator and batch size.
        self._run: Any = compiled(run_batch)
        self._halving = threading.Lock()

    def memory(self) -> int | None:
        """Bytes one batch takes on the device; compiles it, which `run` then need not.

        Returns:
            The bytes; None where JAX does not tell.
        """
        arguments = self._arguments(0, self.size)
        return program_memory(lambda: self._run.lower(*arguments).compile().compiled)

    def run(self, starts: Iterable[int]) -> Generator[Batch, None, None]:
        """Run the batches that begin at `starts`.

        Args:
            starts: first simulation of each.

        Yields:
            The batches, as they are done.

        Raises:
            MemoryError: if one simulation alone runs out of memory.
        """
        starts = iter(starts)
        # The first batch compiles; started together, all threads would.
        for start in itertools.islice(starts, 1):
            yield self._one(start)
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                # A few are kept waiting: a million futures take memory, and so do
                # images that come faster than they are taken.
                first = itertools.islice(starts, 2 * self._workers)
                running = {pool.submit(self._one, start) for start in first}
                while running:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for start in itertools.islice(starts, len(done)):
                        running.add(pool.submit(self._one, start))
                    while done:
                        yield done.pop().result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _one(self, start: int) -> Batch:
        began = time.perf_counter()
        stop = min(start + self._whole, self._n)
        rows, pieces = slice(start, stop), []
        while start < stop:
            size = self.size
            try:
                images = np.asarray(self._run(*self._arguments(start, start + size)))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(size, error)
                continue
            pieces.append(images[: stop - start])
            start += size
            with self._halving:
                self.settled = min(self.settled, size)
        images = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return Batch(rows, images, time.perf_counter() - began)

    def _halve(self, size: int, error: Exception) -> None:
        if size == 1:
            raise MemoryError(refuse_one(self._workers)) from error
        with self._halving:
            # Unless another thread has done so while this one ran.
            if self.size == size:
                self.size = (size + 1) // 2

    def _arguments(self, start: int, stop: int):
        theta = self._draws.theta(start, stop)
        columns = {name: jnp.asarray(value) for name, value in theta.items()}
        return self._simulator, columns, self._draws.keys(start, stop)


def default_workers() -> int:
    """Batches at the same time that suit the machine.

    Returns:
        One per core that the process may use, or one on an accelerator.
    """
    if jax.default_backend() != "cpu":
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
