"""Ensembles: many simulations, on all cores, each with its own key."""

import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, cast, Literal, overload

import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from gl15.simulation._arguments import (
    local_path,
    one_of,
    random_key,
    whole_number,
)
from gl15.simulation._batches import default_workers
from gl15.simulation._draw import Draws, given
from gl15.simulation._ensemble import Ensemble
from gl15.simulation._memory import refuse_result
from gl15.simulation._nonfinite import (
    finite_rows,
    NonFiniteSimulationError,
    report,
)
from gl15.simulation._plan import describe_plan
from gl15.simulation._prior import Prior
from gl15.simulation._process import find_process
from gl15.simulation._run import run_in_memory, run_on_disk, Work
from gl15.simulation._simulator import Keys as Keys, Simulator as Simulator
from gl15.simulation._store import Store
from gl15.simulation._stored import StoredEnsemble


class UnfinishedEnsembleError(RuntimeError):
    """Other processes have not finished their part of an ensemble yet.

    Attributes:
        ensemble: what there is, on disk.
    """

    def __init__(self, ensemble: StoredEnsemble, process: tuple[int, int]):
        """Collect what is known.

        Args:
            ensemble: what there is.
            process: which one has finished.
        """
        self.ensemble = ensemble
        left = sum(rows.stop - rows.start for rows in ensemble.missing)
        super().__init__(
            f"process {process[0]} of {process[1]} has finished its part of "
            f"`path`={str(ensemble.path)!r}, but {left} of {len(ensemble)} simulations "
            "of the others are missing. Call again when they are done, or pass "
            "`load=False` and `.wait()` for them."
        )


@overload
def simulate(
    simulator: Simulator,
    prior: Prior | Mapping[str, Any],
    n: int | None = None,
    *,
    key: PRNGKeyArray,
    path: str | os.PathLike,
    load: Literal[False],
    process: tuple[int, int] | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    on_nonfinite: Literal["raise", "drop"] = "raise",
    progress: bool = True,
) -> StoredEnsemble: ...


@overload
def simulate(
    simulator: Simulator,
    prior: Prior | Mapping[str, Any],
    n: int | None = None,
    *,
    key: PRNGKeyArray,
    path: str | os.PathLike | None = None,
    load: Literal[True] | None = None,
    process: tuple[int, int] | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    on_nonfinite: Literal["raise", "drop"] = "raise",
    progress: bool = True,
) -> Ensemble: ...


def simulate(
    simulator: Simulator,
    prior: Prior | Mapping[str, Any],
    n: int | None = None,
    *,
    key: PRNGKeyArray,
    path: str | os.PathLike | None = None,
    load: bool | None = None,
    process: tuple[int, int] | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    on_nonfinite: Literal["raise", "drop"] = "raise",
    progress: bool = True,
) -> Ensemble | StoredEnsemble:
    r"""Draw pairs from the joint distribution $p(\theta)\,p(x \mid \theta)$.

    Simulation i uses the key `fold_in(key, i)`, and the batches begin at the multiples
    of the batch size, whatever `n` and however many threads and processes share the
    work: the same to the last bit in batches of the same size, to rounding in others.

    With `path`, finished simulations are kept there. The same call goes on where it
    was interrupted, in whatever way, to the same bits as if it had not been; with a
    larger `n` it adds to what is there, with a smaller one it reads the first `n`.
    What was damaged since is found by its checksum and simulated again, with a
    warning. `open_ensemble(path)` reads it, and `zarr.open(path)` does.

    Several processes that make the same call share the work, on one host or many, as
    long as all see the folder: each writes shards of its own. Which part is whose is
    said by `process`, or by the variable `GL15_PROCESS` such as `0/8`, or found: tasks
    of an `srun` step, of a SLURM job array, or processes of `jax.distributed`. None
    waits for another.

    A batch that runs out of memory is run again as two halves, with a warning, and
    those after it are as small from the start.

    Args:
        simulator: draws an observation at theta; see `Simulator`.
        prior: what theta is drawn from; or the theta to simulate at, name -> `[n]`.
        n: number of simulations; may be left out where theta is given.
        key: JAX random key.
        path: folder of a zarr store, such as `runs/eta.zarr`; None for none. It holds
            one ensemble: what decides it (the simulator's parameters, the prior, the
            key) may not change. Of a function the code is not known.
        load: whether to return the ensemble in memory. False returns a
            `StoredEnsemble`, and memory does not grow with `n` but for theta. By
            default it is loaded, unless the work is shared by several processes.
        process: this process's number from 0 and how many share the work, with
            `path`; `(0, 1)` does all of it, whatever the environment says.
        batch_size: simulations per call; by default the simulator's own choice, or
            what `path` was begun with.
        workers: threads that run batches at the same time; by default one per core
            the process may use, or one on an accelerator.
        on_nonfinite: what to do if a simulation is not finite: raise an error that
            holds the others, or drop it with a warning.
        progress: show a progress bar where there is a terminal.

    Returns:
        The ensemble, in memory or on disk, see `load`.

    Raises:
        TypeError: if `key` is no JAX key, `prior` neither a prior nor a mapping, or a
            count no integer.
        ValueError: if the simulator does not know a parameter or cannot run it, or if
            `path` holds another ensemble.
        MemoryError: if the ensemble or its batches cannot fit in memory, before any is
            taken, with what would fit; or if one simulation alone does not.
        NonFiniteSimulationError: if a simulation was not finite.
        StoreInUseError: if another process is at work on the same part of `path`.
        UnfinishedEnsembleError: if it was to be loaded, but other processes have not
            finished their part.
        OSError: if `path` cannot be written: what is stored there stays.
        ModuleNotFoundError: if `path` is given and zarr is not installed.
    """
    random_key("key", key)
    one_of("on_nonfinite", on_nonfinite, ("raise", "drop"))
    n, batch_size, workers = (
        None if value is None else whole_number(name, value)
        for name, value in (("n", n), ("batch_size", batch_size), ("workers", workers))
    )
    columns = None if isinstance(prior, Prior) else given(prior, n)
    total = n if columns is None else len(next(iter(columns.values())))
    if total is None:
        raise ValueError("`n` is missing: of a prior, say how many simulations.")
    whole_number("n", total)
    path = None if path is None else local_path(path)
    if path is None and (process is not None or load is False):
        raise ValueError(
            "`process` and `load=False` need a `path`: an ensemble in memory is one "
            "process's."
        )
    names = tuple(prior.names if isinstance(prior, Prior) else prior)
    _check_names(simulator, names)
    part = (0, 1) if path is None else find_process(process)
    load = part[1] == 1 if load is None else load
    size = min(batch_size or getattr(simulator, "batch_size", 256), total)
    # What is not loaded is in memory for a while only.
    passing = min(total, 4 * size * (workers or default_workers()))
    kept = total if load else passing
    image = refuse_result(simulator, names, kept, key, stored=path is not None)
    source = prior if isinstance(prior, Prior) else _numpy(columns)
    draws = Draws(source, key, total)
    work = Work(simulator, draws, total, key, workers, kept * image, progress)
    if path is None:
        x = run_in_memory(work, size)
        return _checked(simulator, draws.columns, x, on_nonfinite)
    plan = describe_plan(simulator, prior, total, key)
    store = Store(path, plan, draws, batch_size=batch_size, default_batch_size=size)
    run_on_disk(work, store, part)
    stored = StoredEnsemble(path, total)
    if stored.complete:
        if load:
            x = stored.observations(slice(None))
            return _checked(simulator, stored.theta, x, on_nonfinite)
        return _checked_on_disk(stored, on_nonfinite)
    if load:
        raise UnfinishedEnsembleError(stored, part)
    return stored


def _checked(
    simulator: Simulator,
    theta: Mapping[str, np.ndarray],
    x: np.ndarray,
    on_nonfinite: str,
) -> Ensemble:
    finite = finite_rows(x)
    kept = slice(None) if finite.all() else np.flatnonzero(finite)
    ensemble = Ensemble(
        {name: jnp.asarray(value[kept]) for name, value in theta.items()},
        jnp.asarray(x[kept]),
        getattr(simulator, "spacing", None),
        tuple(getattr(simulator, "channels", ())),
    )
    _refuse(~finite, theta, ensemble, on_nonfinite)
    return ensemble


def _checked_on_disk(stored: StoredEnsemble, on_nonfinite: str) -> StoredEnsemble:
    finite = stored.finite()
    if finite.all():
        return stored
    kept = StoredEnsemble(stored.path, len(stored), on_nonfinite="drop")
    _refuse(~finite, stored.theta, kept, on_nonfinite)
    return kept


def _refuse(
    bad: np.ndarray,
    theta: Mapping[str, np.ndarray],
    kept: Ensemble | StoredEnsemble,
    on_nonfinite: str,
) -> None:
    if not bad.any():
        return
    index = np.flatnonzero(bad)
    failed = {name: np.asarray(value)[index] for name, value in theta.items()}
    if on_nonfinite == "raise":
        raise NonFiniteSimulationError(kept, index, failed)
    warnings.warn(f"{report(index, failed)} Dropped.", stacklevel=4)


def _numpy(columns: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
    return {k: np.asarray(v) for k, v in cast(Mapping[str, Any], columns).items()}


def _check_names(simulator: Simulator, given: Iterable[str]) -> None:
    names = getattr(simulator, "names", None)
    if names is not None and (unknown := sorted(set(given) - set(names))):
        raise ValueError(
            f"the prior names {unknown}, which the simulator does not know; it knows "
            f"{list(names)}."
        )
