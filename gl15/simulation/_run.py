"""Running what is missing of an ensemble, in memory or on disk, with its progress."""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np
from jaxtyping import PRNGKeyArray
from tqdm.auto import tqdm

from gl15.simulation._batches import Batch, Batches, default_workers
from gl15.simulation._draw import Draws
from gl15.simulation._lock import hold
from gl15.simulation._log import Log
from gl15.simulation._memory import device_of, refuse_batch
from gl15.simulation._nonfinite import finite_rows
from gl15.simulation._simulator import Simulator, trace_batch
from gl15.simulation._store import Store


@dataclasses.dataclass(frozen=True)
class Work:
    """An ensemble that is to be simulated.

    Attributes:
        simulator: the simulator.
        draws: theta and keys.
        n: number of simulations.
        key: the key.
        workers: batches at the same time; None for as many as suit the machine.
        result: bytes that the result will take.
        progress: whether to show a bar where there is a terminal.
    """

    simulator: Simulator
    draws: Draws
    n: int
    key: PRNGKeyArray
    workers: int | None
    result: int
    progress: bool

    def batches(self, size: int, count: int) -> Batches:
        """Compile the simulator for batches.

        Args:
            size: simulations per batch.
            count: how many batches there are at most.

        Returns:
            What runs them.

        Raises:
            MemoryError: if they do not fit.
        """
        workers = min(self.workers or default_workers(), count)
        batches = Batches(self.simulator, self.draws, self.n, size, workers)
        device = device_of(self.key)
        refuse_batch(batches.memory(), size, workers, self.result, device)
        return batches

    def check(self) -> None:
        """Have the simulator refuse its theta, if it can."""
        if (check := getattr(self.simulator, "check", None)) is not None:
            check(self.draws.columns)


def run_in_memory(work: Work, size: int) -> np.ndarray:
    """Run an ensemble.

    Args:
        work: what to run.
        size: simulations per batch.

    Returns:
        The observations `[n, ...]`.
    """
    starts = range(0, work.n, size)
    batches = work.batches(size, len(starts))
    work.check()
    found: dict[str, np.ndarray] = {}

    def put(rows: slice, images: np.ndarray) -> None:
        if not found:
            found["x"] = np.empty((work.n, *images.shape[1:]), images.dtype)
        found["x"][rows] = images

    _run(work, batches, starts, work.n, "simulate", lambda b: put(b.rows, b.images))
    return found["x"]


def run_on_disk(work: Work, store: Store, process: tuple[int, int]) -> None:
    """Run what a store misses of this process's part.

    Args:
        work: what to run.
        store: where to write it.
        process: this process's number, how many share the work.

    Raises:
        StoreInUseError: if another process is at work on it.
        OSError: if it cannot be written.
    """
    if store.exists and store.holds(work.n):
        shards = store.shards(process)
        # What is checked is read: once, here or, where there is work, under the lock.
        if shards.counted and not shards.missing():
            return  # without a lock: the folder may be read-only
    # Whatever is refused is refused before there is a store.
    batches = work.batches(store.size, -(-work.n // store.size))
    work.check()
    image = trace_batch(work.simulator, tuple(work.draws.columns), work.key)
    size = store.size
    try:
        store.create(image.shape[1:], image.dtype)
        if store.size != size:  # another process created it just now
            batches = work.batches(store.size, -(-work.n // store.size))
        with hold(store.path, *process):
            _fill(work, batches, store, process)
    except OSError as error:
        kept = "Nothing is stored there yet."
        if store.exists:
            kept = "What was stored there stays, and the same call goes on from it."
        error.add_note(f"`path`={str(store.path)!r} could not be written. {kept}")
        raise


def _fill(work: Work, batches: Batches, store: Store, process: tuple[int, int]) -> None:
    part, parts = process
    shards = store.shards(process)
    if not (starts := shards.missing()):
        return  # finished by another a moment ago
    store.check_versions()
    store.warn_damaged(shards.damaged)
    log = Log(store.path / f"log-{part}-of-{parts}.jsonl")
    damaged = [[one.start, one.stop] for one in shards.damaged]
    log.write("begin", batches=len(starts), damaged=damaged)
    shards.forget()

    def put(batch: Batch) -> None:
        shards.put(batch.rows, batch.images)
        count = len(batch.images)
        log.write(
            "batch",
            rows=[batch.rows.start, batch.rows.stop],
            seconds=round(batch.seconds, 6),
            rate=round(count / batch.seconds, 3),
            nonfinite=int(count - finite_rows(batch.images).sum()),
        )

    name = "simulate" if parts == 1 else f"simulate {part}/{parts}"
    _run(work, batches, starts, shards.total, name, put)
    log.write("end")


def _run(
    work: Work,
    batches: Batches,
    starts: Sequence[int],
    total: int,
    name: str,
    put: Callable[[Batch], None],
) -> None:
    size = batches.size
    left = sum(min(size, work.n - start) for start in starts)
    bar = tqdm(
        total=total,
        initial=total - left,
        unit="sim",
        desc=name,
        disable=None if work.progress else True,
    )
    said = False
    with closing(batches.run(starts)) as done, bar:
        for batch in done:
            put(batch)
            bar.update(len(batch.images))
            if batches.settled < size and not said:
                said = True
                warnings.warn(
                    f"a batch of {size} simulations ran out of memory; going on with "
                    f"batches of {batches.settled}. Nothing is lost; `batch_size`="
                    f"{batches.settled} would save the attempt.",
                    stacklevel=5,
                )
