"""What a store says of itself: one file, replaced at once, with its own checksum."""

import hashlib
import json
import os
import platform
import uuid
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


FORMAT = "gl15 ensemble"
FORMAT_VERSION = 2
_ANOTHER = "give another `path`."  # what is somebody else's is not to be deleted
REMEDY = "give another `path`, or delete that folder to start again."


def read_header(folder: Path) -> dict[str, Any]:
    """The attributes of a store, checked.

    Args:
        folder: the store.

    Returns:
        The attributes.

    Raises:
        FileNotFoundError: if it does not exist.
        ValueError: if it is no ensemble, of another format, or damaged.
    """
    name = f"`path`={str(folder)!r}"
    if not folder.exists():
        raise FileNotFoundError(f"{name} does not exist; `gl15.simulate` makes it.")
    if not folder.is_dir():
        raise ValueError(f"{name} is a file, and no ensemble of gl15; {_ANOTHER}")
    if not (folder / "zarr.json").exists():
        raise ValueError(f"{name} is a folder, but no ensemble of gl15; {_ANOTHER}")
    try:
        header, arrays = read_root(folder)
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{name} is no ensemble of gl15, or damaged: its `zarr.json` cannot be "
            f"read ({error}); {REMEDY}"
        ) from error
    if header.get("format") != FORMAT:
        raise ValueError(f"{name} is no ensemble of gl15; {_ANOTHER}")
    found, writer = header.get("format_version"), header.get("gl15")
    if isinstance(found, int) and found > FORMAT_VERSION:
        raise ValueError(
            f"{name} has format {found}, newer than gl15 {version('gl15')} reads "
            f"({FORMAT_VERSION}); it was written by gl15 {writer}: upgrade."
        )
    if isinstance(found, int) and found < FORMAT_VERSION:
        raise ValueError(
            f"{name} has format {found} of gl15 {writer}, whose shards bear no "
            "checksums, and which is not continued. Its arrays `x` and `theta/<name>` "
            f"can still be read by `zarr.open`; to simulate, {REMEDY}"
        )
    if header.get("checksum") != _checksum(header, arrays):
        raise ValueError(
            f"{name} is damaged: its `zarr.json` does not match its checksum; {REMEDY}"
        )
    return header


def describe_versions() -> dict[str, str]:
    """The versions that decide the bits of a simulation.

    Returns:
        Package name -> version.
    """
    found = {"python": platform.python_version()}
    for name in ("gl15", "jax", "jaxlib", "numpy", "diffrax", "numpyro", "zarr"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def read_root(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is in the file that describes a store.

    Args:
        folder: the store.

    Returns:
        The attributes, and the metadata of every array, which are gathered with them.
    """
    root = json.loads((folder / "zarr.json").read_text())
    gathered = root.get("consolidated_metadata") or {}
    return root.get("attributes", {}), gathered.get("metadata", {})


def write_root(
    folder: Path, header: Mapping[str, Any], arrays: Mapping[str, Any]
) -> None:
    """Replace the file that describes a store, at once.

    Args:
        folder: the store.
        header: the attributes.
        arrays: the metadata of every array. Readers that find them here do not look
            for arrays among the files beside it.
    """
    gathered = {"kind": "inline", "must_understand": False, "metadata": arrays}
    root = {
        "attributes": {**header, "checksum": _checksum(header, arrays)},
        "zarr_format": 3,
        "consolidated_metadata": gathered,
        "node_type": "group",
    }
    write_json(folder / "zarr.json", root)


def write_json(file: Path, content: Any) -> None:
    """Replace a file at once.

    Args:
        file: which.
        content: what it will hold.
    """
    partial = file.with_name(f"{file.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.write_text(json.dumps(content, indent=2))
        sync(partial)
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)  # of a full disk
    sync(file)


def sync(file: Path) -> None:
    """Have a file and its name on the disk itself, not only in the system's cache.

    Args:
        file: which.
    """
    for place in (file, file.parent):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError:
            if place == file:
                raise  # else a file system that has no names to bring to the disk
        finally:
            os.close(descriptor)


def _checksum(header: Mapping[str, Any], arrays: Mapping[str, Any]) -> str:
    body = {name: value for name, value in header.items() if name != "checksum"}
    text = json.dumps([body, arrays], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
