"""Ensembles on disk as they are created, extended and taken up again."""

import os
import re
import shutil
import uuid
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from gl15.simulation._arguments import local_path
from gl15.simulation._draw import Draws
from gl15.simulation._header import (
    describe_versions,
    FORMAT,
    FORMAT_VERSION,
    read_header,
    REMEDY,
    sync,
)
from gl15.simulation._layout import (
    create_group,
    damage,
    extend_group,
    import_zarr,
    open_arrays,
    read_column,
)
from gl15.simulation._lock import exclusive
from gl15.simulation._plan import differences
from gl15.simulation._shards import Shards


_SHARD = 128  # simulations per file, and so what a kill may cost
_BYTES = 2**26  # and about what a file may measure


class Store:
    """An ensemble on disk that fills up shard by shard.

    A zarr group (format 3) with the arrays `theta/<name>` `[n]`, `x` `[n, ...]` and,
    for every shard of x, `done` (how many simulations it holds), its file's `sha256`,
    and `finite` `[n]`. It appears under its path with every theta in it, or not at
    all. Shards are written by `Shards`.

    Attributes:
        path: the folder.
        exists: whether there is anything at that path yet.
        size: simulations per batch; resumed in the same batches, the same bits.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        plan: Mapping[str, Any],
        draws: Draws,
        *,
        batch_size: int | None,
        default_batch_size: int,
    ):
        """Look at what is there.

        Args:
            path: the folder.
            plan: what decides the ensemble, see `describe_plan`.
            draws: its theta; those that are stored take their place.
            batch_size: what the caller asks for; None goes on with what is stored.
            default_batch_size: what a new store uses then.

        Raises:
            ModuleNotFoundError: if zarr is not installed.
            ValueError: if the folder holds something else, another plan or damage.
        """
        import_zarr()
        self.path, self._draws = local_path(path), draws
        self._plan, self._n = dict(plan), int(plan["n"])
        self._asked, self.size = batch_size, batch_size or default_batch_size
        self._group: Any = None
        self.exists = self.path.exists() and not _is_empty_folder(self.path)
        if self.exists:
            self._adopt()

    def create(self, shape: tuple[int, ...], dtype: Any) -> None:
        """Have the store on disk, with room for this plan.

        Of several processes that create it at the same time one wins, and the others
        go on with what it made.

        Args:
            shape: shape of an observation.
            dtype: their type.

        Raises:
            ValueError: if observations of another kind, or another plan, are stored.
        """
        if not self.exists:
            self._create(shape, dtype)
            self.exists = True
            self._adopt()
        # Of processes that died as they created it; and nothing else of such a name.
        unfinished = re.compile(
            rf"{re.escape(self.path.name)}\.[0-9a-f]{{32}}\.partial"
        )
        for left in self.path.parent.iterdir():
            if unfinished.fullmatch(left.name):
                shutil.rmtree(left, ignore_errors=True)
        stored = self._header["observation"]
        found = f"{tuple(shape)} of {np.dtype(dtype)}"
        held = f"{tuple(stored['shape'])} of {stored['dtype']}"
        if found != held:
            raise ValueError(
                f"`simulator` gives observations {found}, but {self._name} holds "
                f"{held}; {REMEDY}"
            )
        if self._header["plan"]["n"] < self._n:
            with exclusive(self.path, "extend"):
                if read_header(self.path)["plan"]["n"] < self._n:
                    extend_group(self.path, self._n, self._draws.columns)
            self._adopt()

    def holds(self, n: int) -> bool:
        """Whether there is room for so many simulations.

        Args:
            n: how many.

        Returns:
            Whether the store need not be extended.
        """
        return n <= self._header["plan"]["n"]

    def warn_damaged(self, rows: Sequence[slice]) -> None:
        """Say what is about to be simulated again.

        Args:
            rows: simulations of damaged shards.
        """
        if rows:
            which = ", ".join(f"{one.start} to {one.stop - 1}" for one in rows)
            warnings.warn(
                f"{self._name} is damaged: what is stored of the simulations {which} "
                "does not match its checksum. They are simulated again.",
                stacklevel=5,
            )

    def check_versions(self) -> None:
        """Warn where the store was begun with other versions: other bits may follow."""
        stored, present = self._header["versions"], describe_versions()
        changed = [
            f"{name} {stored[name]} and goes on with {present.get(name)}"
            for name in ("gl15", "jax", "jaxlib", "diffrax")
            if stored.get(name, present.get(name)) != present.get(name)
        ]
        if changed:
            warnings.warn(
                f"{self._name} was begun with {', with '.join(changed)}.", stacklevel=5
            )

    def shards(self, process: tuple[int, int]) -> Shards:
        """What one process writes of it.

        Args:
            process: this process's number, how many share the work.

        Returns:
            Its shards.
        """
        rows = self._header["plan"]["shard_size"]
        return Shards(self.path, self._group, (self._n, rows, self.size), process)

    @property
    def _name(self) -> str:
        return f"`path`={str(self.path)!r}"

    def _create(self, shape: tuple[int, ...], dtype: Any) -> None:
        each = int(np.prod(shape, dtype=float)) * np.dtype(dtype).itemsize
        rows = max(1, min(_SHARD, _BYTES // max(1, each)))
        plan = {
            **self._plan,
            "batch_size": self.size,
            "shard_size": max(1, rows // self.size) * self.size,
        }
        header = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "gl15": version("gl15"),
            "versions": describe_versions(),
            "plan": plan,
            "parameters": list(self._draws.columns),
            "observation": {"shape": list(shape), "dtype": str(np.dtype(dtype))},
            "spacing": plan["spacing"],
            "channels": plan["channels"],
            "units": plan["units"],
        }
        # Unlike a name that all processes share, one that none of them can meet.
        partial = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}.partial")
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            create_group(partial, header, self._draws.columns, (shape, dtype))
            # Refused where there is a folder with anything in it: the others' store.
            os.rename(partial, self.path)
            sync(self.path)
        except Exception:
            # Lost to another, which may have tidied up after this one already.
            if not self.path.exists() or _is_empty_folder(self.path):
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _adopt(self) -> None:
        """Go on with what is stored, if it is this plan's."""
        self._header = read_header(self.path)
        with damage(self._name):
            self._group = open_arrays(self.path)
        plan = self._header["plan"]
        self.size = plan["batch_size"]
        given = {**self._plan, "batch_size": self._asked or self.size, "n": plan["n"]}
        self._refuse(differences(given, {name: plan.get(name) for name in given}))
        self._read_theta(plan["n"])

    def _read_theta(self, held: int) -> None:
        """Go on with the theta that are stored: another machine rounds otherwise."""
        drawn, overlap = self._draws.columns, min(self._n, held)
        stored = {}
        for name, values in drawn.items():
            with damage(self._name):
                column = self._group[f"theta/{name}"]
            try:
                stored[name] = read_column(self.path, column, held)[:overlap]
            except (OSError, RuntimeError, ValueError):
                warnings.warn(
                    f"{self._name} is damaged: `theta/{name}` is lost or does not "
                    "match its checksum, and is drawn again.",
                    stacklevel=4,
                )
                column = column.with_config({"write_empty_chunks": True})
                column[:] = self._draws.theta(0, held)[name]
                stored[name] = values[:overlap]
        self._refuse(_other_draws(drawn, stored))
        self._draws.columns = {
            name: np.append(stored[name], drawn[name][overlap:]) for name in drawn
        }

    def _refuse(self, changes: Iterable[tuple[str, Any, Any]]) -> None:
        texts = [
            f"`{name}` is {one} here but {other} there" for name, one, other in changes
        ]
        if texts:
            raise ValueError(
                f"{self._name} holds another ensemble: {'; '.join(texts)}. Ask for "
                f"what it holds, or {REMEDY}"
            )


def _other_draws(given: Mapping[str, np.ndarray], stored: Mapping[str, np.ndarray]):
    """The first theta of each name that is another one, past rounding."""
    for name, held in stored.items():
        values = given[name][: len(held)]
        same = np.isclose(values, held, rtol=1e-5, atol=0, equal_nan=True)
        if not same.all():
            first = int(np.argmin(same))
            yield f"theta.{name}[{first}]", values[first], held[first]


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
