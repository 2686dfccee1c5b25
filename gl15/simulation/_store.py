"""Ensembles on disk: zarr, one shard at a time, resumed after any interruption."""

import math
import os
import shutil
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from gl15.simulation._plan import differences


_FORMAT = "gl15 ensemble"
_FORMAT_VERSION = 1
_SHARD = 512  # simulations per file, and so what a kill may cost
_CHUNK = 64  # simulations read together
_REMEDY = "give another `path`, or delete that folder to start again."


class Memory:
    """An ensemble in memory alone; see `Store`."""

    def __init__(self, theta: Mapping[str, np.ndarray], size: int):
        """Prepare to hold an observation for every theta."""
        self.theta, self.size = dict(theta), size
        self.x: np.ndarray | None = None
        self._n = len(next(iter(theta.values())))

    def starts(self) -> Sequence[int]:
        """First simulation of every batch."""
        return range(0, self._n, self.size)

    def put(self, rows: slice, images: np.ndarray) -> None:
        """Take the observations of a batch."""
        if self.x is None:
            self.x = np.empty((self._n, *images.shape[1:]), images.dtype)
        self.x[rows] = images


class Store:
    """An ensemble on disk that fills up shard by shard.

    A zarr group (format 3) with the arrays `theta/<name>` `[n]`, `x` `[n, ...]` and
    `done` `[shards]`, and the attributes `format`, `format_version`, `gl15` and
    `plan`. It appears under its path with every theta in it, or not at all. A shard of
    x is a whole number of batches, written as a unit by the one process that writes,
    and marked in `done` afterwards: what is marked is whole, whenever a process dies.

    Attributes:
        theta: parameter name -> `[n]`.
        size: simulations per batch; resumed in the same batches, the same bits.
        x: the observations so far, None before the first is known.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        plan: Mapping[str, Any],
        theta: Mapping[str, np.ndarray],
        *,
        batch_size: int | None,
        default_batch_size: int,
    ):
        """Open the store, or prepare to create it with the first observation.

        Args:
            path: the folder.
            plan: what decides the ensemble, see `describe_plan`.
            theta: the parameters that the plan draws.
            batch_size: what the caller asks for; None goes on with what is stored.
            default_batch_size: what a new store uses then.

        Raises:
            ModuleNotFoundError: if zarr is not installed.
            ValueError: if the folder holds something else, another plan or damage.
        """
        self._zarr = _import_zarr()
        self._path = Path(path)
        self._n = int(plan["n"])
        if not self._path.exists() or _is_empty_folder(self._path):
            self.theta, self.x = dict(theta), None
            self.size = batch_size or default_batch_size
            self._plan = {**plan, "batch_size": self.size}
            batches = min(max(1, _SHARD // self.size), -(-self._n // self.size))
            self._count(rows=self.size * batches)
            return
        self._group, header = self._open()
        self._plan = header["plan"]
        self.size = self._plan["batch_size"]
        given = {**plan, "batch_size": batch_size or self.size}
        self._refuse(differences(given, self._plan))
        self.theta, self.x = self._read(tuple(theta))
        self._refuse(_other_draws(theta, self.theta))
        if self._missing.any() and header["gl15"] != version("gl15"):
            warnings.warn(
                f"{self._name} was begun with gl15 {header['gl15']} and goes on with "
                f"{version('gl15')}.",
                stacklevel=3,
            )

    def starts(self) -> Sequence[int]:
        """First simulation of every batch that is still to be run."""
        starts = range(0, self._n, self.size)
        return [start for start in starts if self._missing[start // self._rows]]

    def put(self, rows: slice, images: np.ndarray) -> None:
        """Take the observations of a batch; write its shard if that is now whole.

        Args:
            rows: which simulations they are.
            images: the observations.

        Raises:
            ValueError: if they are of another kind than those stored.
        """
        if self.x is None:
            self.x = np.empty((self._n, *images.shape[1:]), images.dtype)
            self._group = self._create(self.x)
        found, stored = (f"{a.shape[1:]} of {a.dtype}" for a in (images, self.x))
        if found != stored:
            raise ValueError(
                f"`simulator` gives observations {found}, but {self._name} holds "
                f"{stored}; {_REMEDY}"
            )
        self.x[rows] = images
        shard = rows.start // self._rows
        self._missing[shard] -= len(images)
        if self._missing[shard] == 0:
            whole = slice(shard * self._rows, (shard + 1) * self._rows)
            self._group["x"][whole] = self.x[whole]
            self._group["done"][shard] = True

    @property
    def _name(self) -> str:
        return f"`path`={str(self._path)!r}"

    def _count(self, rows: int) -> None:
        """Shards of so many simulations, all of them missing."""
        firsts = np.arange(0, self._n, rows)
        self._rows, self._missing = rows, np.minimum(rows, self._n - firsts)

    def _create(self, x: np.ndarray) -> Any:
        partial = self._path.with_name(f"{self._path.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        header = {
            "format": _FORMAT,
            "format_version": _FORMAT_VERSION,
            "gl15": version("gl15"),
            "plan": self._plan,
        }
        group = self._zarr.create_group(partial, attributes=header)
        for name, value in self.theta.items():
            group.create_array(f"theta/{name}", data=value, chunks=value.shape)
        chunk = math.gcd(self._rows, _CHUNK)
        group.create_array(
            "x",
            shape=x.shape,
            dtype=x.dtype,
            chunks=(chunk, *x.shape[1:]),
            shards=(self._rows, *x.shape[1:]),
            fill_value=np.nan if x.dtype.kind == "f" else 0,
            compressors=self._zarr.codecs.BloscCodec(
                cname="zstd", clevel=3, shuffle="bitshuffle"
            ),
        )
        shards = self._missing.shape
        group.create_array("done", shape=shards, dtype=bool, chunks=(1,))
        os.replace(partial, self._path)
        return self._zarr.open_group(self._path, mode="r+")

    def _open(self) -> tuple[Any, dict[str, Any]]:
        try:
            group = self._zarr.open_group(self._path, mode="r+")
            header = dict(group.attrs)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{self._name} exists, but not as an ensemble that `gl15.simulate` "
                f"wrote ({error}); {_REMEDY}"
            ) from error
        if header.get("format") != _FORMAT:
            raise ValueError(f"{self._name} is no ensemble of gl15; {_REMEDY}")
        if header["format_version"] > _FORMAT_VERSION:
            raise ValueError(
                f"{self._name} has format {header['format_version']}, newer than gl15 "
                f"{version('gl15')} reads ({_FORMAT_VERSION}); it was written by gl15 "
                f"{header['gl15']}: upgrade."
            )
        return group, header

    def _read(self, names: Iterable[str]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        try:
            theta = {name: self._group[f"theta/{name}"][:] for name in names}
            x, done = self._group["x"][:], self._group["done"][:]
            self._count(rows=self._group["x"].shards[0])
            self._missing[done] = 0
        except (KeyError, OSError, RuntimeError, ValueError) as error:
            raise ValueError(f"{self._name} is damaged ({error}); {_REMEDY}") from error
        return theta, x

    def _refuse(self, changes: Iterable[tuple[str, Any, Any]]) -> None:
        texts = [
            f"`{name}` is {one} here but {other} there" for name, one, other in changes
        ]
        if texts:
            raise ValueError(
                f"{self._name} holds another ensemble: {'; '.join(texts)}. Ask for "
                f"what it holds, or {_REMEDY}"
            )


def _other_draws(given: Mapping[str, np.ndarray], stored: Mapping[str, np.ndarray]):
    """The first theta of each name that is another one, past rounding."""
    for name, values in given.items():
        same = np.isclose(values, stored[name], rtol=1e-5, atol=0, equal_nan=True)
        if not same.all():
            first = int(np.argmin(same))
            yield f"theta.{name}[{first}]", values[first], stored[name][first]


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _import_zarr() -> Any:
    # Late: it takes a while, and many ensembles stay in memory.
    try:
        import zarr
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "`path` keeps the ensemble in a zarr store, but zarr is not installed: "
            '`pip install "gl15[data]"`, or leave `path` out.'
        ) from error
    return zarr
