"""The shards of a stored ensemble that one process writes: checked, resumed, marked."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gl15.simulation._header import sync
from gl15.simulation._layout import chunk_file, digest, read_marks
from gl15.simulation._nonfinite import finite_rows
from gl15.simulation._verify import broken_shards


class Shards:
    """One process's part of the shards of x.

    A shard is one file. It is counted in `done` once it and its checksum are on the
    disk: what is counted is whole, whenever a process or a machine dies, and what has
    changed since is found by its checksum.

    Attributes:
        damaged: simulations of finished shards that did not stand the check.
    """

    def __init__(
        self,
        path: Path,
        group: Any,
        size: tuple[int, int, int],
        process: tuple[int, int],
    ):
        """Prepare to write; nothing is read yet.

        Args:
            path: the folder.
            group: its zarr group.
            size: simulations in all, per shard and per batch.
            process: this process's number, how many share the work; shard s belongs to
                number s % how many.
        """
        self._path, self._group = path, group
        self._n, self._rows, self._size = size
        part, parts = process
        self._mine = range(part, -(-self._n // self._rows), parts)
        self._held: dict[int, int] = {}  # checked: how many simulations a shard holds
        self._broken: list[int] = []
        self._filling: dict[int, tuple[np.ndarray, int]] = {}

    @property
    def total(self) -> int:
        """Simulations of this part."""
        return sum(self._end(shard) - shard * self._rows for shard in self._mine)

    @property
    def counted(self) -> bool:
        """Whether all of this part is on record as finished; nothing is checked."""
        done, _ = read_marks(self._group["done"])
        return all(s * self._rows + done[s] >= self._end(s) for s in self._mine)

    @property
    def damaged(self) -> list[slice]:
        """Simulations of finished shards that did not stand the check."""
        return [slice(s * self._rows, self._end(s)) for s in self._broken]

    def missing(self) -> list[int]:
        """First simulation of every batch that is to be run.

        Every finished shard of this part is held against its checksum, once.

        Returns:
            The simulations.
        """
        done, lost_done = read_marks(self._group["done"])
        finished = np.flatnonzero(done).tolist()
        check = [s for s in finished if s in self._mine and s not in self._held]
        bad = broken_shards(self._path, self._group, self._rows, check)
        bad |= set(lost_done) - self._held.keys()
        self._held |= {s: int(done[s]) for s in check if s not in bad}
        self._broken = sorted(bad.intersection(self._mine))
        return [start for shard in self._mine for start in self._starts(shard)]

    def forget(self) -> None:
        """Take damaged shards off the record, before they are simulated again."""
        for shard in self._broken:
            self._mark(shard, 0)
        self._broken = []

    def put(self, rows: slice, images: np.ndarray) -> bool:
        """Take the observations of a batch; write its shard if that is now whole.

        Args:
            rows: which simulations they are.
            images: the observations.

        Returns:
            Whether a shard was written.
        """
        shard = rows.start // self._rows
        first, end = shard * self._rows, self._end(shard)
        if shard not in self._filling:
            kept = self._kept(shard)
            x = np.empty((end - first, *images.shape[1:]), images.dtype)
            x[:kept] = self._group["x"][first : first + kept]
            self._filling[shard] = x, end - first - kept
        x, left = self._filling[shard]
        x[rows.start - first : rows.stop - first] = images
        if left > len(images):
            self._filling[shard] = x, left - len(images)
            return False
        del self._filling[shard]
        self._write(shard, x)
        return True

    def _end(self, shard: int) -> int:
        return min((shard + 1) * self._rows, self._n)

    def _kept(self, shard: int) -> int:
        """Of a shard that was the last of fewer simulations, those in whole batches."""
        return self._held.get(shard, 0) // self._size * self._size

    def _starts(self, shard: int) -> Iterable[int]:
        first, end = shard * self._rows, self._end(shard)
        if first + self._held.get(shard, 0) >= end:
            return ()
        return range(first + self._kept(shard), end, self._size)

    def _write(self, shard: int, x: np.ndarray) -> None:
        first, stop = shard * self._rows, shard * self._rows + len(x)
        if shard in self._held:
            self._mark(shard, 0)
        file = chunk_file(self._path, self._group["x"], shard)
        # zarr would read what is there, to fill the shard up with it.
        file.unlink(missing_ok=True)
        # Of processes that were killed as they wrote.
        for left in file.parent.glob(f"c.{shard}.*.partial"):
            left.unlink(missing_ok=True)
        self._set("x", shard, slice(first, stop), x)
        self._set("sha256", shard, shard, np.frombuffer(digest(file), np.uint8))
        self._set("finite", shard, slice(first, stop), finite_rows(x))
        self._mark(shard, len(x))
        self._held[shard] = len(x)

    def _mark(self, shard: int, count: int) -> None:
        self._set("done", shard, shard, count)

    def _set(self, name: str, shard: int, where: slice | int, value: Any) -> None:
        """Write what one file holds, and have it on the disk."""
        # A file for zeros and NaN too: its being there is part of the record.
        array = self._group[name].with_config({"write_empty_chunks": True})
        file = chunk_file(self._path, array, shard)
        if name == "finite":
            file.unlink(missing_ok=True)  # zarr reads what is there, damaged or not
        array[where] = value
        sync(file)
