"""Holding the shards of a store against what was written down of them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gl15.simulation._layout import chunk_file, digest, present, read_marks


_THREADS = 4  # files read at the same time


def broken_shards(
    folder: Path, group: Any, rows: int, shards: Sequence[int]
) -> set[int]:
    """Finished shards that are not what they were; reads their files.

    Args:
        folder: the store.
        group: its zarr group.
        rows: simulations per shard.
        shards: which to look at.

    Returns:
        Those whose file does not match its checksum, or of which it is not known any
        more which simulations are finite.
    """
    sums, lost = read_marks(group["sha256"])

    def same(shard: int) -> bool:
        return digest(chunk_file(folder, group["x"], shard)) == sums[shard].tobytes()

    with ThreadPoolExecutor(_THREADS) as pool:
        good = pool.map(same, shards)
        bad = {shard for shard, one in zip(shards, good, strict=True) if not one}
    unknown = shards_without_marks(folder, group, rows, shards)
    return bad | set(lost).intersection(shards) | unknown


def shards_without_marks(
    folder: Path, group: Any, rows: int, shards: Sequence[int]
) -> set[int]:
    """Finished shards of which it is not known any more which simulations are finite.

    Args:
        folder: the store.
        group: its zarr group.
        rows: simulations per shard.
        shards: which to look at.

    Returns:
        The shards.
    """
    array = group["finite"]
    _, spoiled = read_marks(array, rows)
    return set(shards) - present(folder, array).difference(spoiled)
