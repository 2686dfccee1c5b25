"""Running an ensemble: batch by batch, on several threads, in what memory there is."""

import os
import threading
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import as_completed, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gl15.physics._compile import compiled
from gl15.simulation._memory import is_out_of_memory, program_memory, refuse_one
from gl15.simulation._simulator import Keys, run_batch, Simulator


class Batches:
    """An ensemble's simulations, run in batches.

    Attributes:
        size: simulations per call. Halved when so many run out of memory, for the
            batches after that one too.
        settled: the smallest that has been run to its end.
    """

    def __init__(
        self,
        simulator: Simulator,
        theta: Mapping[str, np.ndarray],
        keys: Keys,
        size: int,
        workers: int,
    ):
        """Prepare to run them.

        Args:
            simulator: the simulator.
            theta: parameter name -> `[n]`.
            keys: a key for each simulation.
            size: simulations per batch, at most n.
            workers: batches that run at the same time.
        """
        self.size = self.settled = size
        self._whole, self._workers = size, workers
        self._simulator, self._theta, self._keys = simulator, theta, keys
        # Compiled once for each simulator and batch size.
        self._run: Any = compiled(run_batch)
        self._halving = threading.Lock()

    def memory(self) -> int | None:
        """Bytes one batch takes on the device; compiles it, which `run` then need not.

        Returns:
            The bytes; None where JAX does not tell.
        """
        arguments = self._arguments(slice(0, self.size))
        return program_memory(lambda: self._run.lower(*arguments).compile().compiled)

    def run(
        self, starts: Sequence[int]
    ) -> Generator[tuple[slice, np.ndarray], None, None]:
        """Run the batches that begin at `starts`.

        Args:
            starts: first simulation of each.

        Yields:
            Which simulations, and their observations, as they are done.

        Raises:
            MemoryError: if one simulation alone runs out of memory.
        """
        # The first batch compiles; started together, all threads would.
        yield self._one(starts[0])
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                # No list of the futures is kept: each would keep its images alive.
                for future in as_completed(
                    {pool.submit(self._one, start) for start in starts[1:]}
                ):
                    yield future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _one(self, start: int) -> tuple[slice, np.ndarray]:
        stop = min(start + self._whole, self._keys.shape[0])
        rows, pieces = slice(start, stop), []
        while start < stop:
            size = self.size
            end = min(start + size, stop)
            # The last one is filled up with simulations already done: one shape, and
            # so one compiled program.
            first = end - size
            try:
                images = np.asarray(self._run(*self._arguments(slice(first, end))))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(size, error)
                continue
            pieces.append(images[start - first :])
            start = end
            with self._halving:
                self.settled = min(self.settled, size)
        return rows, pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _halve(self, size: int, error: Exception) -> None:
        if size == 1:
            raise MemoryError(refuse_one(self._workers)) from error
        with self._halving:
            # Unless another thread has done so while this one ran.
            if self.size == size:
                self.size = (size + 1) // 2

    def _arguments(self, rows: slice):
        theta = {name: jnp.asarray(value[rows]) for name, value in self._theta.items()}
        return self._simulator, theta, self._keys[rows]


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
