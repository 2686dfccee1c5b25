"""Training that survives: the last and the best state, and a log, in one folder."""

import io
import json
import os
import time
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gl15.inference._files.archive import read_archive, write_archive
from gl15.inference._training.sharding import Placement
from gl15.simulation._arguments import local_path
from gl15.simulation._plan import differences


_KIND = {"kind": "gl15 training checkpoint", "format_version": 1}


class State(NamedTuple):
    """All of a training at one moment.

    Attributes:
        progressed: weights, their average, and the optimiser's state.
        best: the average after the best epoch; the start before there is one.
        best_epoch: that epoch, or -1.
        epoch: the epoch that is going on, or comes next.
        step: how many of its steps are done.
        losses: of those steps.
        train_loss: mean loss of each epoch before.
        validation_loss: after each.
        rates: learning rate at the end of each.
        finished: whether training is over.
    """

    progressed: Any
    best: Any
    best_epoch: int = -1
    epoch: int = 0
    step: int = 0
    losses: tuple[float, ...] = ()
    train_loss: tuple[float, ...] = ()
    validation_loss: tuple[float, ...] = ()
    rates: tuple[float, ...] = ()
    finished: bool = False


class Checkpoint:
    """A folder with `last.npz`, `best.npz` and `log.jsonl`.

    Each archive holds a whole state, so that either can be gone on from.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        plan: Mapping[str, Any],
        placement: Placement,
        every: int,
    ):
        """Prepare it; nothing is written yet.

        Args:
            folder: where.
            plan: all that decides what training does, as plain data.
            placement: where the arrays lie; one process writes.
            every: steps between two states.

        Raises:
            ValueError: if there is a file in its place.
        """
        self.folder = local_path(folder)
        if self.folder.is_file():
            raise ValueError(f"`checkpoint`={str(folder)!r} is a file; give a folder.")
        self._plan = json.loads(json.dumps(plan))
        self._placement, self._every = placement, every
        self._written = self._written_best = -1

    def resume(self, start: State) -> State:
        """The state to go on from.

        Args:
            start: the state before the first step.

        Returns:
            The last state written, or the best, or the start.

        Raises:
            ValueError: if the folder is of another training, or damaged.
        """
        problem, content = None, None
        if self._placement.writes:
            try:
                content = self._content()
            except ValueError as error:
                problem = str(error)
        # All processes go on from the same state, or none does.
        shared = None if problem is None else problem.encode()
        if (told := self._placement.share(shared)) is not None:
            raise ValueError(told.decode())
        content = self._placement.share(content)
        if content is None:
            return start
        header, arrays = self._read(io.BytesIO(content), "last.npz")
        state = self._unpack(start, header["state"], arrays)
        self._written = self._steps(state)
        return state

    def due(self, state: State) -> bool:
        """Whether enough has happened since the last state was written."""
        return state.finished or self._steps(state) - self._written >= self._every

    def write(self, state: State, best: State) -> None:
        """Write the last state, and the best one if it is a new one.

        Args:
            state: the state now.
            best: a state since the best epoch, which holds its average.
        """
        self._written = self._steps(state)
        if not self._placement.writes:
            return
        self._write_one("last.npz", state)
        if best.best_epoch > self._written_best:
            self._write_one("best.npz", best)
            self._written_best = best.best_epoch

    def log(self, state: State, seconds: float, pairs: int) -> None:
        """Append a line for the epoch that has just ended.

        Args:
            state: the state after it.
            seconds: how long it took.
            pairs: pairs it trained on, while this process ran.
        """
        if not self._placement.writes:
            return
        line = {
            "epoch": state.epoch - 1,
            "train_loss": state.train_loss[-1],
            "validation_loss": state.validation_loss[-1],
            "learning_rate": state.rates[-1],
            "best_epoch": state.best_epoch,
            "seconds": round(seconds, 3),
            "pairs_per_second": round(pairs / max(seconds, 1e-9), 1),
            "time": time.time(),
        }
        path = self.folder / "log.jsonl"
        self.folder.mkdir(parents=True, exist_ok=True)
        if line["epoch"] == 0:
            path.unlink(missing_ok=True)
        elif path.exists():
            # What an interrupted run did after its last state was done again.
            lines = path.read_text().splitlines(keepends=True)
            kept = [one for one in lines if _epoch(one) < line["epoch"]]
            if len(kept) < len(lines):
                partial = path.with_name(f"{path.name}.partial")
                partial.write_text("".join(kept))
                os.replace(partial, path)
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def remedy(self) -> str:
        """How to go on after an interruption."""
        return (
            f"Start all processes again with the same call: it goes on from step "
            f"{max(self._written, 0)}, kept in `checkpoint`={str(self.folder)!r}."
        )

    def _steps(self, state: State) -> int:
        return state.epoch * self._plan["steps_per_epoch"] + state.step

    def _write_one(self, name: str, state: State) -> None:
        arrays = {
            _name(part, path): np.asarray(leaf)
            for part in ("progressed", "best")
            for path, leaf in _leaves(getattr(state, part))
        }
        bare = state._asdict()
        numbers = {k: bare[k] for k in bare if k not in ("progressed", "best")}
        write_archive(
            self.folder / name, {"plan": self._plan, "state": numbers}, arrays, **_KIND
        )

    def _content(self) -> bytes | None:
        """The newest archive that can be read."""
        problems = []
        for name in ("last.npz", "best.npz"):
            path = self.folder / name
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            try:
                header, _ = self._read(io.BytesIO(content), name)
            except ValueError as error:
                problems.append(str(error))
                continue
            self._check_plan(header["plan"])
            if problems:
                warnings.warn(
                    f"{problems[0]} Going on from {name!r} instead.", stacklevel=5
                )
            return content
        if problems:
            raise ValueError(
                f"{' '.join(problems)} There is no state to go on from: remove the "
                "folder to begin anew."
            )
        return None

    def _read(self, file: Any, name: str) -> tuple[dict, dict]:
        return read_archive(
            file,
            **_KIND,
            noun="checkpoint",
            writer="gl15.fit",
            name=str(self.folder / name),
        )

    def _check_plan(self, stored: Any) -> None:
        changed = list(differences(self._plan, stored))
        if changed:
            name, given, before = changed[0]
            others = f" ({len(changed) - 1} more differ)" if len(changed) > 1 else ""
            raise ValueError(
                f"`checkpoint`={str(self.folder)!r} is of another training: {name} was "
                f"{before!r} there and is {given!r} now{others}. Give another folder, "
                "or remove this one."
            )

    def _unpack(self, start: State, numbers: dict, arrays: dict) -> State:
        parts = {}
        for part in ("progressed", "best"):
            tree = getattr(start, part)
            dynamic, static = eqx.partition(tree, eqx.is_array)
            names = [_name(part, path) for path, _ in _leaves(tree)]
            if lost := [name for name in names if name not in arrays]:
                raise ValueError(
                    f"`checkpoint`={str(self.folder)!r} does not hold {lost[0]!r}: "
                    "libraries of other versions wrote it. Go on with those, or remove "
                    "the folder to begin anew."
                )
            leaves = [jnp.asarray(arrays[name]) for name in names]
            filled = jax.tree.unflatten(jax.tree.structure(dynamic), leaves)
            parts[part] = self._placement.whole(eqx.combine(filled, static))
        lists: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in numbers.items()
        }
        return State(**parts, **lists)


def _leaves(tree: Any) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_flatten_with_path(eqx.filter(tree, eqx.is_array))[0]


def _name(part: str, path: Any) -> str:
    return f"{part}{jax.tree_util.keystr(path)}"


def _epoch(line: str) -> float:
    try:
        return float(json.loads(line)["epoch"])
    except (ValueError, KeyError, TypeError):
        # Cut off by what interrupted the run.
        return float("inf")
