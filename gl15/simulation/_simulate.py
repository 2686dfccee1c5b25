"""Ensembles: many simulations, on all cores, each with its own key."""

import os
import warnings
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any, cast, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from tqdm.auto import tqdm

from gl15.simulation._batches import Batches, default_workers
from gl15.simulation._ensemble import Ensemble
from gl15.simulation._memory import device_of, refuse_batch, refuse_result
from gl15.simulation._plan import describe_plan
from gl15.simulation._prior import Prior
from gl15.simulation._simulator import Keys as Keys, Simulator as Simulator
from gl15.simulation._store import Memory, Store


class NonFiniteSimulationError(RuntimeError):
    """Some simulations were not finite; the others are kept in `ensemble`.

    Attributes:
        ensemble: the finite simulations.
        index: which of those asked for were not finite.
        theta: their parameters, name -> values.
    """

    def __init__(self, ensemble: Ensemble, index: np.ndarray, theta: dict):
        """Collect what is known of the failures."""
        self.ensemble = ensemble
        self.index = index
        self.theta = theta
        super().__init__(
            f"{_report(index, theta)} The {len(ensemble)} finite simulations are in "
            "this error's `.ensemble`. Leaving any out biases an estimator where they "
            "fail: narrow the prior or shorten the step, or pass "
            '`on_nonfinite="drop"` if that is what you want.'
        )


def simulate(
    simulator: Simulator,
    prior: Prior | Mapping[str, Any],
    n: int | None = None,
    *,
    key: PRNGKeyArray,
    path: str | os.PathLike | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    on_nonfinite: Literal["raise", "drop"] = "raise",
    progress: bool = True,
) -> Ensemble:
    r"""Draw pairs from the joint distribution $p(\theta)\,p(x \mid \theta)$.

    Simulation i uses the key `fold_in(key, i)` whatever the batch size and the number
    of workers: the same to the last bit in the same batches, to rounding in others.

    With `path`, finished simulations are kept there. The same call goes on where it
    was interrupted, in whatever way, to the same bits as if it had not been; once all
    are done it reads them. `zarr.open(path)` reads them too.

    A batch that runs out of memory is run again as two halves, with a warning, and
    those after it are as small from the start.

    Args:
        simulator: draws an observation at theta; see `Simulator`.
        prior: what theta is drawn from; or the theta to simulate at, name -> `[n]`.
        n: number of simulations; may be left out where theta is given.
        key: JAX random key.
        path: folder of a zarr store, such as `runs/eta.zarr`; None for none. It holds
            one ensemble: what decides it (the simulator's parameters, the prior, `n`,
            the key) may not change. Of a function only the name is known.
        batch_size: simulations per call; by default the simulator's own choice, or
            what `path` was begun with.
        workers: threads that run batches at the same time; by default one per core
            the process may use, or one on an accelerator.
        on_nonfinite: what to do if a simulation is not finite: raise an error that
            holds the others, or drop it with a warning.
        progress: show a progress bar where there is a terminal.

    Returns:
        The ensemble, in memory.

    Raises:
        ValueError: if the simulator does not know a parameter or cannot run it, or if
            `path` holds another ensemble.
        MemoryError: if the ensemble or its batches cannot fit in memory, before any is
            taken, with what would fit; or if one simulation alone does not.
        NonFiniteSimulationError: if a simulation was not finite.
        ModuleNotFoundError: if `path` is given and zarr is not installed.
    """
    columns = None if isinstance(prior, Prior) else _given(prior, n)
    total = n if columns is None else len(next(iter(columns.values())))
    if total is None or total < 1:
        raise ValueError(f"`n` must be a positive number of simulations, got {total}.")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"`batch_size` must be positive, got {batch_size}.")
    names = tuple(prior.names if isinstance(prior, Prior) else prior)
    _check_names(simulator, names)
    image = refuse_result(simulator, names, total, key)
    drawn, keys = _keys(prior if isinstance(prior, Prior) else None, total, key)
    theta = {k: np.asarray(v) for k, v in (columns or drawn).items()}
    asked = None if batch_size is None else min(batch_size, total)
    size = asked or _even(getattr(simulator, "batch_size", 256), total)
    if path is None:
        results = Memory(theta, size)
    else:
        plan = describe_plan(simulator, prior, total, key)
        results = Store(path, plan, theta, batch_size=asked, default_batch_size=size)
        theta = results.theta
    x = _run_all(simulator, results, keys, workers, progress, image)
    finite = np.isfinite(x).reshape(total, -1).all(1)
    kept = slice(None) if finite.all() else np.flatnonzero(finite)
    ensemble = Ensemble(
        {name: jnp.asarray(value[kept]) for name, value in theta.items()},
        jnp.asarray(x[kept]),
        getattr(simulator, "spacing", None),
        tuple(getattr(simulator, "channels", ())),
    )
    if not finite.all():
        index = np.flatnonzero(~finite)
        failed = {name: np.asarray(value)[index] for name, value in theta.items()}
        if on_nonfinite == "raise":
            raise NonFiniteSimulationError(ensemble, index, failed)
        warnings.warn(f"{_report(index, failed)} Dropped.", stacklevel=2)
    return ensemble


def _even(size: int, total: int) -> int:
    """As many batches of about one size: a last one is filled up, and costs as much."""
    batches = -(-total // size)
    return -(-total // batches)


@eqx.filter_jit
def _keys(prior: Prior | None, n: int, key: PRNGKeyArray):
    """Theta, if there is a prior to draw it from, and the key of every simulation."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(n))
    theta_keys, keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    return {} if prior is None else jax.vmap(prior.sample)(theta_keys), keys


def _given(theta: Mapping[str, Any], n: int | None) -> dict[str, Array]:
    columns = {k: jnp.atleast_1d(jnp.asarray(v, float)) for k, v in theta.items()}
    shapes = {name: value.shape for name, value in columns.items()}
    if len(set(shapes.values())) != 1 or len(next(iter(shapes.values()))) != 1:
        raise ValueError(
            f"`prior` gives theta of shapes {shapes}; give each parameter as many "
            "values, in one dimension."
        )
    (given,) = next(iter(shapes.values()))
    if n is not None and n != given:
        raise ValueError(f"`n`={n}, but theta holds {given} values; leave `n` out.")
    return columns


def _check_names(simulator: Simulator, given: Iterable[str]) -> None:
    names = getattr(simulator, "names", None)
    if names is not None and (unknown := sorted(set(given) - set(names))):
        raise ValueError(
            f"the prior names {unknown}, which the simulator does not know; it knows "
            f"{list(names)}."
        )


def _run_all(
    simulator: Simulator,
    results: Memory | Store,
    keys: Keys,
    workers: int | None,
    progress: bool,
    image: int,
) -> np.ndarray:
    """Run what the results still miss.

    Returns:
        All observations.
    """
    starts, size, total = results.starts(), results.size, keys.shape[0]
    if not starts:
        return cast(np.ndarray, results.x)
    workers = min(workers or default_workers(), len(starts))
    batches = Batches(simulator, results.theta, keys, size, workers)
    missing = total * image if results.x is None else 0
    refuse_batch(batches.memory(), size, workers, missing, device_of(keys))
    if (check := getattr(simulator, "check", None)) is not None:
        check(results.theta)
    bar = tqdm(
        total=total,
        initial=total - sum(min(size, total - start) for start in starts),
        unit="sim",
        desc="simulate",
        disable=None if progress else True,
    )
    said = False
    with closing(batches.run(starts)) as done, bar:
        for rows, images in done:
            results.put(rows, images)
            bar.update(len(images))
            if batches.settled < size and not said:
                said = True
                warnings.warn(
                    f"a batch of {size} simulations ran out of memory; going on with "
                    f"batches of {batches.settled}. Nothing is lost; `batch_size`="
                    f"{batches.settled} would save the attempt.",
                    stacklevel=3,
                )
    return cast(np.ndarray, results.x)


def _report(index: np.ndarray, theta: dict[str, np.ndarray]) -> str:
    first = {name: float(value[0]) for name, value in theta.items()}
    return (
        f"{index.size} simulations were not finite; the first is number {index[0]} at "
        f"theta {first}."
    )
