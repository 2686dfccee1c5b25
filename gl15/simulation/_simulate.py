"""Ensembles: many simulations, on all cores, each with its own key."""

import os
import warnings
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import as_completed, ThreadPoolExecutor
from contextlib import closing
from typing import Any, cast, Literal, Protocol, runtime_checkable, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray, UInt32
from tqdm.auto import tqdm

from gl15.physics._compile import compiled
from gl15.simulation._ensemble import Ensemble
from gl15.simulation._plan import describe_plan
from gl15.simulation._prior import Prior, Theta
from gl15.simulation._store import Memory, Store


Keys: TypeAlias = Key[Array, " n"] | UInt32[Array, "n 2"]
"""A random key each."""


@runtime_checkable
class Simulator(Protocol):
    """Anything that turns parameters and a key into an observation.

    Optional attributes are used where there are any: `names`, the parameters it
    knows; `check(theta)`, which refuses a theta before time is spent on it;
    `batch(theta, keys)`, faster than `jax.vmap` of a call; `batch_size`, how many of
    them suit the machine; `spacing` and `channels`, which describe its images.
    """

    def __call__(self, theta: Theta, key: PRNGKeyArray, /) -> Float[Array, "..."]:
        """Draw an observation."""
        ...


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
        NonFiniteSimulationError: if a simulation was not finite.
        ModuleNotFoundError: if `path` is given and zarr is not installed.
    """
    theta, keys = _draw(prior, n, key)
    total = keys.shape[0]
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"`batch_size` must be positive, got {batch_size}.")
    asked = None if batch_size is None else min(batch_size, total)
    size = asked or min(getattr(simulator, "batch_size", 256), total)
    if path is None:
        results = Memory(theta, size)
    else:
        plan = describe_plan(simulator, prior, total, key)
        results = Store(path, plan, theta, batch_size=asked, default_batch_size=size)
        theta = results.theta
    x = _run_all(simulator, results, keys, workers, progress)
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


def _draw(
    prior: Prior | Mapping[str, Any], n: int | None, key: PRNGKeyArray
) -> tuple[dict[str, np.ndarray], Keys]:
    """Parameters of every simulation, and the key it has left for itself."""
    columns = None if isinstance(prior, Prior) else _given(prior, n)
    if columns is not None:
        n = len(next(iter(columns.values())))
    if n is None or n < 1:
        raise ValueError(f"`n` must be a positive number of simulations, got {n}.")
    drawn, keys = _keys(prior if isinstance(prior, Prior) else None, n, key)
    theta = drawn if columns is None else columns
    return {name: np.asarray(value) for name, value in theta.items()}, keys


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


def _check(simulator: Simulator, theta: dict[str, np.ndarray]) -> None:
    names = getattr(simulator, "names", None)
    if names is not None and (unknown := sorted(set(theta) - set(names))):
        raise ValueError(
            f"the prior names {unknown}, which the simulator does not know; it knows "
            f"{list(names)}."
        )
    if (check := getattr(simulator, "check", None)) is not None:
        check(theta)


def _batch(simulator: Simulator, theta: Theta, keys: Keys):
    batch = getattr(simulator, "batch", None) or jax.vmap(simulator)
    return batch(theta, keys)


def _run_all(
    simulator: Simulator,
    results: Memory | Store,
    keys: Keys,
    workers: int | None,
    progress: bool,
) -> np.ndarray:
    """Run what the results still miss.

    Returns:
        All observations.
    """
    starts, total = results.starts(), keys.shape[0]
    if not starts:
        return cast(np.ndarray, results.x)
    _check(simulator, results.theta)
    batches = _batches(simulator, results, keys, starts, workers or _default_workers())
    bar = tqdm(
        total=total,
        initial=total - sum(min(results.size, total - start) for start in starts),
        unit="sim",
        desc="simulate",
        disable=None if progress else True,
    )
    with closing(batches), bar:
        for rows, images in batches:
            results.put(rows, images)
            bar.update(len(images))
    return cast(np.ndarray, results.x)


def _batches(
    simulator: Simulator,
    results: Memory | Store,
    keys: Keys,
    starts: Sequence[int],
    workers: int,
) -> Generator[tuple[slice, np.ndarray], None, None]:
    """Which simulations, and their observations, batch by batch as they are done."""
    theta, size, total = results.theta, results.size, keys.shape[0]
    # Compiled once for each simulator and batch size.
    run = compiled(_batch)

    def one(start: int) -> tuple[slice, np.ndarray]:
        # The last batch is filled up with simulations already done: one shape, and so
        # one compiled program.
        first = min(start, total - size)
        rows = slice(first, first + size)
        batch = {name: jnp.asarray(value[rows]) for name, value in theta.items()}
        images = np.asarray(run(simulator, batch, keys[rows]))
        return slice(start, first + size), images[start - first :]

    # The first batch compiles; started together, all threads would.
    yield one(starts[0])
    with ThreadPoolExecutor(workers) as pool:
        try:
            # No list of the futures is kept: each would keep its images alive.
            for future in as_completed({pool.submit(one, s) for s in starts[1:]}):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _default_workers() -> int:
    if jax.default_backend() != "cpu":
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _report(index: np.ndarray, theta: dict[str, np.ndarray]) -> str:
    first = {name: float(value[0]) for name, value in theta.items()}
    return (
        f"{index.size} simulations were not finite; the first is number {index[0]} at "
        f"theta {first}."
    )
