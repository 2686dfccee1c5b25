"""Ensembles on disk as they are read: whole, in parts, or shard by shard."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from gl15.simulation._arguments import local_path, one_of, whole_number
from gl15.simulation._ensemble import Ensemble
from gl15.simulation._header import read_header
from gl15.simulation._layout import (
    chunk_file,
    damage,
    digest,
    open_arrays,
    read_column,
    read_marks,
)
from gl15.simulation._nonfinite import finite_rows, NonFiniteSimulationError
from gl15.simulation._verify import broken_shards, shards_without_marks


_AGAIN = "the `gl15.simulate` that made it mends it, if called again."
_THREADS = 4  # shards read at the same time


class StoredEnsemble:
    """An ensemble that stays on disk, and may be larger than memory.

    `len(stored)` is the number of pairs. What is read is held against the checksum of
    its shard. Nothing is written: any number of processes may read, also while others
    simulate. Made by `gl15.open_ensemble` and by `gl15.simulate(..., load=False)`.

    Attributes:
        path: the folder.
        theta: parameter name -> `[n]`, in memory.
        spacing: pixel spacing of the images, if they are any.
        channels: names of the channels, if known.
        x_shape: shape of one observation.
        dtype: type of the observations.
        plan: what the ensemble was made from, as plain data.
        header: all that the store says of itself: plan, versions, units, ...
    """

    def __init__(
        self,
        path: str | os.PathLike,
        n: int | None = None,
        *,
        on_nonfinite: Literal["raise", "drop"] = "raise",
        partial: bool = False,
    ):
        """Open a store; see `open_ensemble`."""
        one_of("on_nonfinite", on_nonfinite, ("raise", "drop"))
        self.path = local_path(path)
        self._name = f"`path`={str(self.path)!r}"
        self.header: dict[str, Any] = read_header(self.path)
        with damage(self._name):
            group = open_arrays(self.path, mode="r")
        self.plan: dict[str, Any] = self.header["plan"]
        total, self._rows = self.plan["n"], self.plan["shard_size"]
        self._n = total if n is None else whole_number("n", n)
        if self._n > total:
            raise ValueError(f"`n`={n}, but {self._name} holds {total} simulations.")
        with damage(self._name, _AGAIN):
            self._x, self._arrays = group["x"], group
            theta = {
                name: read_column(self.path, group[f"theta/{name}"], self._n)
                for name in self.header["parameters"]
            }
        self.x_shape: tuple[int, ...] = tuple(self.header["observation"]["shape"])
        self.dtype = np.dtype(self.header["observation"]["dtype"])
        self.spacing: float | None = self.header["spacing"]
        self.channels: tuple[str, ...] = tuple(self.header["channels"])
        self._drop = on_nonfinite == "drop"
        # Rows of the store that are seen; None where all are.
        self._kept = self._view(partial)
        self.theta: dict[str, np.ndarray] = {
            name: value if self._kept is None else value[self._kept]
            for name, value in theta.items()
        }

    def __len__(self) -> int:
        """Number of pairs."""
        return self._n if self._kept is None else len(self._kept)

    def __repr__(self) -> str:
        """Where it is and what it holds."""
        shape = "x".join(map(str, self.x_shape))
        return (
            f"StoredEnsemble({str(self.path)!r}, {len(self)} pairs of "
            f"{{{', '.join(self.theta)}}} and {shape} {self.dtype})"
        )

    @property
    def shards(self) -> list[slice]:
        """What is quickest to read together: the pairs of each file, in order."""
        return self._seen(np.arange(-(-self._n // self._rows)))

    @property
    def missing(self) -> list[slice]:
        """The pairs that no process has simulated yet, as of now."""
        return self._seen(np.flatnonzero(~self._finished()))

    @property
    def complete(self) -> bool:
        """Whether every pair is there."""
        return not self.missing

    def read(self, rows: slice) -> Ensemble:
        """Some of the pairs, in memory.

        Args:
            rows: which, with a step of 1. Whole `shards` are quickest.

        Returns:
            The ensemble.

        Raises:
            ValueError: if a shard is missing or damaged; another call of
                `gl15.simulate` simulates it.
            NonFiniteSimulationError: if one of them is not finite, unless the store
                was opened to drop those.
        """
        x = self.observations(rows)
        theta = {name: jnp.asarray(value[rows]) for name, value in self.theta.items()}
        ensemble = Ensemble(theta, jnp.asarray(x), self.spacing, self.channels)
        finite = finite_rows(x)
        if not finite.all():
            bad = np.flatnonzero(~finite)
            failed = {name: np.asarray(value)[bad] for name, value in theta.items()}
            index = self._index(rows)[bad]
            raise NonFiniteSimulationError(ensemble[finite], index, failed)
        return ensemble

    def load(self) -> Ensemble:
        """All pairs, in memory; see `read`."""
        return self.read(slice(0, len(self)))

    def observations(self, rows: slice) -> np.ndarray:
        """Some of the observations alone, finite or not.

        Args:
            rows: which, with a step of 1.

        Returns:
            `[rows, ...]`.

        Raises:
            ValueError: if a shard is missing or damaged.
        """
        index = self._index(rows)
        x = np.empty((len(index), *self.x_shape), self.dtype)
        if not len(index):
            return x
        shards = np.arange(index[0] // self._rows, index[-1] // self._rows + 1)
        ends = np.searchsorted(index, np.append(shards, shards[-1] + 1) * self._rows)
        with ThreadPoolExecutor(_THREADS) as pool:
            jobs = [
                pool.submit(self._fill, x[a:b], index[a:b], int(shard))
                for shard, a, b in zip(shards, ends[:-1], ends[1:], strict=True)
                if b > a
            ]
            for job in jobs:
                job.result()
        return x

    def finite(self) -> np.ndarray:
        """Which of the pairs were finite when they were stored, without reading x.

        Returns:
            Bool `[n]`; those that are missing count as finite.
        """
        # First what is finished, then its mask: a writer goes the other way, and a
        # shard that appears in between must not look like one of failures.
        shards = self._finished()
        store, found = (self.path, self._arrays, self._rows), np.flatnonzero(shards)
        if unknown := shards_without_marks(*store, found.tolist()):
            lost = f"{self._name} lost the mask `finite` of shard {min(unknown)}"
            raise ValueError(f"{lost}: it is damaged; {_AGAIN}")
        finished = np.repeat(shards, self._rows)[: self._n]
        mask = read_marks(self._arrays["finite"], self._rows)[0][: self._n] | ~finished
        return mask if self._kept is None else mask[self._kept]

    def damaged(self) -> list[slice]:
        """Finished shards that do not match their checksums; reads every file.

        Returns:
            The pairs of each.
        """
        finished = np.flatnonzero(self._finished()).tolist()
        bad = broken_shards(self.path, self._arrays, self._rows, finished)
        return self._seen(np.asarray(sorted(bad), int))

    def wait(self, timeout: float | None = None, poll: float = 5.0) -> "StoredEnsemble":
        """Sleep until other processes have finished what is missing.

        Args:
            timeout: seconds after which to give up; None waits as long as it takes.
            poll: seconds between two looks.

        Returns:
            This ensemble.

        Raises:
            TimeoutError: if it takes longer.
        """
        until = time.monotonic() + (float("inf") if timeout is None else timeout)
        while missing := self.missing:
            if time.monotonic() >= until:
                raise TimeoutError(f"{self._name}: {self._lacks(missing)}")
            time.sleep(min(poll, max(0.0, until - time.monotonic())))
        return self

    def _seen(self, shards: np.ndarray) -> list[slice]:
        """The pairs in some shards."""
        starts, stops = shards * self._rows, (shards + 1) * self._rows
        if self._kept is not None:
            starts, stops = (np.searchsorted(self._kept, at) for at in (starts, stops))
        pairs = zip(starts.tolist(), stops.clip(max=len(self)).tolist(), strict=True)
        return [slice(start, stop) for start, stop in pairs if stop > start]

    def _index(self, rows: slice) -> np.ndarray:
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            raise ValueError(f"`rows`={rows} must be a slice with a step of 1.")
        start, stop, _ = rows.indices(len(self))
        index = np.arange(start, max(start, stop))
        return index if self._kept is None else self._kept[index]

    def _fill(self, x: np.ndarray, index: np.ndarray, shard: int) -> None:
        first, last = int(index[0]), int(index[-1]) + 1
        what = f"{self._name}: the shard of simulations {shard * self._rows}, ..."
        with damage(what, _AGAIN):
            count, expected = int(self._arrays["done"][shard]), None
            if count:
                expected = self._arrays["sha256"][shard].tobytes()
        if count < last - shard * self._rows:
            # What was missing a moment ago may be there by now.
            missing = self.missing or self._seen(np.asarray([shard]))
            raise ValueError(f"{self._name}: {self._lacks(missing)}")
        if digest(chunk_file(self.path, self._x, shard)) != expected:
            raise ValueError(f"{what} does not match its checksum; {_AGAIN}")
        with damage(what, _AGAIN):
            values = self._x[first:last]
        x[...] = values if len(values) == len(index) else values[index - first]

    def _finished(self) -> np.ndarray:
        """Which shards hold all of the simulations asked for."""
        firsts = np.arange(0, self._n, self._rows)
        done, _ = read_marks(self._arrays["done"])
        return done[: len(firsts)] >= np.minimum(self._rows, self._n - firsts)

    def _view(self, partial: bool) -> np.ndarray | None:
        self._kept = None
        kept = np.ones(self._n, bool)
        if partial:
            kept &= np.repeat(self._finished(), self._rows)[: self._n]
        if self._drop:
            kept &= self.finite()
        return None if kept.all() else np.flatnonzero(kept)

    def _lacks(self, missing: list[slice]) -> str:
        count = sum(rows.stop - rows.start for rows in missing)
        return (
            f"{count} of {self._n} simulations are missing, the first is number "
            f"{missing[0].start}. The `gl15.simulate` that made it goes on where it "
            "was interrupted; its other processes may still be at work."
        )


def open_ensemble(
    path: str | os.PathLike,
    n: int | None = None,
    *,
    on_nonfinite: Literal["raise", "drop"] = "raise",
    partial: bool = False,
) -> StoredEnsemble:
    """Open an ensemble that `gl15.simulate(..., path=...)` wrote, to read it.

    Args:
        path: the folder.
        n: only the first so many simulations; by default all.
        on_nonfinite: what to do with simulations that are not finite: raise an error
            where they are read, or leave them out from the start.
        partial: see only what is finished by now, of an ensemble that others are
            still at work on.

    Returns:
        The ensemble, on disk.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if the folder holds no ensemble, or a damaged one.
        ModuleNotFoundError: if zarr is not installed.
    """
    return StoredEnsemble(path, n, on_nonfinite=on_nonfinite, partial=partial)
