"""How an ensemble lies on disk: a zarr group, one file per shard, a mark for each."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gl15.simulation._header import read_root, REMEDY, sync, write_json, write_root


_CHUNK = 64  # simulations read together
_COLUMN = 2**16  # values of a parameter in one file


def create_group(
    folder: Path,
    header: Mapping[str, Any],
    theta: Mapping[str, np.ndarray],
    image: tuple[tuple[int, ...], Any],
) -> None:
    """Write an empty store into a folder.

    Args:
        folder: where; it does not exist yet.
        header: the attributes.
        theta: parameter name -> `[n]`.
        image: shape and type of an observation.
    """
    zarr = import_zarr()
    shape, dtype = image
    plan = header["plan"]
    n, rows = plan["n"], plan["shard_size"]
    counted = -(-n // rows)
    names = _image_dimensions(len(shape))
    dtype = np.dtype(dtype)
    group = zarr.create_group(folder)
    for name, value in theta.items():
        column = _create(group, f"theta/{name}", (n,), value.dtype, (_COLUMN,))
        column[:] = value
    group.create_array(
        "x",
        shape=(n, *shape),
        dtype=dtype,
        chunks=(_chunk(rows), *shape),
        shards=(rows, *shape),
        fill_value=np.nan if dtype.kind == "f" else 0,
        compressors=zarr.codecs.BloscCodec(
            cname="zstd", clevel=3, shuffle="bitshuffle"
        ),
        chunk_key_encoding=_KEYS,
        dimension_names=("sample", *names),
        attributes={name: header[name] for name in ("channels", "spacing", "units")},
    )
    # The mark of a shard: how many simulations it holds, 0 before it is written.
    _create(group, "done", (counted,), np.int32, (1,), "shard")
    _create(group, "sha256", (counted, 32), np.uint8, (1, 32), "shard", "byte")
    _create(group, "finite", (n,), bool, (rows,), "sample")
    arrays = {
        name: json.loads((folder / name / "zarr.json").read_text())
        for name in ("theta", *(f"theta/{one}" for one in theta), *_ARRAYS)
    }
    for file in folder.rglob("*"):
        sync(file)
    write_root(folder, header, arrays)


def extend_group(folder: Path, n: int, theta: Mapping[str, np.ndarray]) -> None:
    """Make room for more simulations; what is there stays as it is.

    Args:
        folder: the store.
        n: how many simulations it is to hold.
        theta: parameter name -> `[n]`.
    """
    header, arrays = read_root(folder)
    rows = header["plan"]["shard_size"]
    sizes = {"x": n, "finite": n, "done": -(-n // rows), "sha256": -(-n // rows)}
    sizes |= {f"theta/{name}": n for name in theta}
    for name, size in sizes.items():
        arrays[name]["shape"][0] = size
        write_json(folder / name / "zarr.json", arrays[name])
    group = open_arrays(folder, each=True)
    for name, value in theta.items():
        first = header["plan"]["n"] // _COLUMN * _COLUMN
        column = group[f"theta/{name}"].with_config({"write_empty_chunks": True})
        column[first:] = value[first:]
    for file in (folder / "theta").rglob("*"):
        sync(file)
    # Readers go by this file, which comes last.
    write_root(folder, {**header, "plan": {**header["plan"], "n": n}}, arrays)


def open_arrays(folder: Path, mode: str = "r+", *, each: bool = False) -> Any:
    """The group and its arrays.

    Args:
        folder: the store.
        mode: zarr's mode.
        each: ask every array's own metadata, not those gathered in one file.

    Returns:
        The zarr group.
    """
    gathered = None if not each else False
    return import_zarr().open_group(folder, mode=mode, use_consolidated=gathered)


def chunk_file(folder: Path, array: Any, shard: int) -> Path:
    """The file that holds a shard, or what belongs to it.

    Args:
        folder: the store.
        array: one of its arrays with a file per shard.
        shard: which.

    Returns:
        The path.
    """
    corner = (shard, *(0 for _ in array.shape[1:]))
    return folder / array.path / array.metadata.encode_chunk_key(corner)


def read_column(folder: Path, array: Any, stop: int) -> np.ndarray:
    """The first values of an array; zarr itself takes a lost file for zeros.

    Args:
        folder: the store.
        array: one of its arrays of one dimension.
        stop: how many values.

    Returns:
        The values.

    Raises:
        FileNotFoundError: if one of its files is lost.
    """
    files = -(-stop // array.chunks[0])
    lost = sorted(set(range(files)) - present(folder, array))
    if lost:
        raise FileNotFoundError(f"{chunk_file(folder, array, lost[0])} is lost")
    return array[:stop]


def present(folder: Path, array: Any) -> set[int]:
    """The files of an array, by number along its first axis.

    Args:
        folder: the store.
        array: one of its arrays.

    Returns:
        The numbers.
    """
    names = (file.name.split(".") for file in (folder / array.path).iterdir())
    return {int(name[1]) for name in names if name[0] == "c" and name[-1].isdigit()}


def digest(file: Path) -> bytes:
    """SHA-256 of a file.

    Args:
        file: which.

    Returns:
        The 32 bytes; none where there is no such file.
    """
    try:
        with open(file, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError:
        return b""


def read_marks(array: Any, rows: int = 1) -> tuple[np.ndarray, list[int]]:
    """A small array with a chunk for each shard, as far as it can be read.

    Args:
        array: which.
        rows: its entries per shard.

    Returns:
        Its values, zero where they cannot be read, and the shards where that is so.
    """
    try:
        return array[...], []
    except (OSError, RuntimeError, ValueError):
        values, bad = np.zeros(array.shape, array.dtype), []
    for shard, first in enumerate(range(0, array.shape[0], rows)):
        one = slice(first, first + rows)
        try:
            values[one] = array[one]
        except (OSError, RuntimeError, ValueError):
            bad.append(shard)
    return values, bad


@contextmanager
def damage(name: str, remedy: str = REMEDY) -> Iterator[None]:
    """Say of a store that it is damaged where it cannot be read.

    Args:
        name: what to call it.
        remedy: what to do.

    Raises:
        ValueError: in place of what zarr raises.
    """
    try:
        yield
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{name} is damaged ({error}); {remedy}") from error


def import_zarr() -> Any:
    """Zarr, imported late: it takes a while, and many ensembles stay in memory.

    Returns:
        The module.

    Raises:
        ModuleNotFoundError: if it is not installed.
    """
    try:
        import zarr
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "`path` keeps the ensemble in a zarr store, but zarr is not installed: "
            '`pip install "gl15[data]"`, or leave `path` out.'
        ) from error
    return zarr


_ARRAYS = ("x", "done", "sha256", "finite")
_KEYS = {"name": "default", "separator": "."}  # one folder, not one per shard


def _create(group: Any, name: str, shape, dtype, chunks, *dimensions: str) -> Any:
    codecs = import_zarr().codecs
    # A file for zeros too: one that is not there is lost, and not zeros.
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        compressors=[codecs.ZstdCodec(level=3), codecs.Crc32cCodec()],
        chunk_key_encoding=_KEYS,
        dimension_names=dimensions or ("sample",),
        config={"write_empty_chunks": True},
    )


def _chunk(rows: int) -> int:
    """The largest chunk of at most so many simulations that divides a shard."""
    return next(c for c in range(min(rows, _CHUNK), 0, -1) if rows % c == 0)


def _image_dimensions(number: int) -> tuple[str, ...]:
    if number == 3:
        return ("row", "column", "channel")
    return tuple(f"axis_{i}" for i in range(number))
