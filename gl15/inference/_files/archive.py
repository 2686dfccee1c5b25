"""One `.npz` of plain arrays with a JSON header in it, written whole or not at all."""

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gl15.simulation._arguments import local_path


def write_archive(
    path: str | os.PathLike,
    header: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    *,
    kind: str,
    format_version: int,
) -> str:
    """Write, flush to the disk, then rename, so that no crash leaves half a file.

    Args:
        path: where to write.
        header: what JSON can hold, and NumPy numbers.
        arrays: plain arrays by name.
        kind: what the file is, which `read_archive` asks for.
        format_version: version of its format.

    Returns:
        The SHA-256 of what the file holds.

    Raises:
        TypeError: if JSON cannot hold the header, or an array holds objects.
    """
    # Not every NumPy from 2.0 on can be told not to pickle them.
    if objects := [name for name, value in arrays.items() if value.dtype.hasobject]:
        raise TypeError(
            f"`arrays` {objects} hold objects; a file of plain arrays takes numbers."
        )
    full = {
        "format": kind,
        "format_version": format_version,
        "gl15": version("gl15"),
        **header,
    }
    # Through JSON and back: what is hashed here is what a reader will hash.
    full = json.loads(json.dumps(full, default=_as_python))
    digest = digest_of(full, arrays)
    text = np.asarray(json.dumps({**full, "sha256": digest}))
    entries: dict[str, Any] = {"header": text, **arrays}
    path = local_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            np.savez(file, **entries)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)  # of a full disk
    _sync_folder(path.parent)
    return digest


def read_archive(
    path: Any,
    *,
    kind: str,
    format_version: int,
    noun: str = "estimator",
    writer: str = "gl15.save",
    name: str | None = None,
    with_arrays: bool = True,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what `write_archive` wrote. Nothing is unpickled and no code is run.

    Args:
        path: the file, or its content, open for reading.
        kind: what it must be.
        format_version: the newest format that can be read.
        noun: what it holds, for messages.
        writer: what writes such files, for messages.
        name: what to call it in messages; its path by default.
        with_arrays: whether to read the arrays too, and check them.

    Returns:
        The header, and the arrays by name.

    Raises:
        FileNotFoundError: if there is no file.
        ValueError: if the file is something else, damaged, or newer.
    """
    name = f"`path`={(name or os.fspath(path))!r}"
    try:
        # NumPy leaves a damaged archive open that it opened itself.
        is_file = hasattr(path, "read")
        with path if is_file else open(local_path(path), "rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("it is no .npz archive")
            file.seek(0)
            loaded = np.load(file, allow_pickle=False)
            header = json.loads(str(loaded["header"]))
            names = [one for one in loaded.files if one != "header" and with_arrays]
            arrays = {one: loaded[one] for one in names}
    except FileNotFoundError:
        raise
    # A flipped byte may claim another compression or spoil a compressed stream.
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f"{name} is not {_a(noun)} that `{writer}` wrote, or it is damaged "
            f"({error})."
        ) from error
    if not isinstance(header, dict) or header.get("format") != kind:
        raise ValueError(f"{name} does not hold {_a(noun)}.")
    found = header.get("format_version")
    if not isinstance(found, int):
        raise ValueError(f"{name} is damaged: it does not say which format it has.")
    if found > format_version:
        raise ValueError(
            f"{name} has format {found}, newer than this gl15 {version('gl15')} reads "
            f"({format_version}); it was written by gl15 {header.get('gl15')}: upgrade."
        )
    if with_arrays:
        bare = {key: value for key, value in header.items() if key != "sha256"}
        if digest_of(bare, arrays) != header.get("sha256"):
            raise ValueError(
                f"{name} is damaged or was edited: it does not match its checksum."
            )
    return header, arrays


def _as_python(value: Any) -> Any:
    """What JSON can hold of a number or an array."""
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        return np.asarray(value).tolist()
    raise TypeError(f"a file cannot hold {value!r}, a {type(value).__name__}.")


def digest_of(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of a header and of arrays, with their names, types and shapes.

    Args:
        header: what JSON can hold.
        arrays: plain arrays by name.

    Returns:
        The digest in hexadecimal.
    """
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {value.dtype} {value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _sync_folder(folder: Path) -> None:
    """Flush the renaming too, where folders can be flushed."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
