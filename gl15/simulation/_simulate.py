"""Ensembles: many simulations, on all cores, each with its own key."""

import os
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import as_completed, ThreadPoolExecutor
from typing import Any, Literal, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from tqdm.auto import tqdm

from gl15.simulation._ensemble import Ensemble
from gl15.simulation._prior import Prior, Theta


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
    batch_size: int | None = None,
    workers: int | None = None,
    on_nonfinite: Literal["raise", "drop"] = "raise",
    progress: bool = True,
) -> Ensemble:
    r"""Draw pairs from the joint distribution $p(\theta)\,p(x \mid \theta)$.

    Simulation i uses the key `fold_in(key, i)` whatever the batch size and the number
    of workers: the same to the last bit in the same batches, to rounding in others.

    Args:
        simulator: draws an observation at theta; see `Simulator`.
        prior: what theta is drawn from; or the theta to simulate at, name -> `[n]`.
        n: number of simulations; may be left out where theta is given.
        key: JAX random key.
        batch_size: simulations per call; by default the simulator's own choice.
        workers: threads that run batches at the same time; by default one per core
            the process may use, or one on an accelerator.
        on_nonfinite: what to do if a simulation is not finite: raise an error that
            holds the others, or drop it with a warning.
        progress: show a progress bar where there is a terminal.

    Returns:
        The ensemble, in memory.

    Raises:
        ValueError: if the simulator does not know a parameter or cannot run it.
        NonFiniteSimulationError: if a simulation was not finite.
    """
    theta, keys = _draw(prior, n, key)
    _check(simulator, theta)
    total = keys.shape[0]
    size = min(batch_size or getattr(simulator, "batch_size", 256), total)
    x = _run_all(simulator, theta, keys, size, workers, progress)
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


def _draw(prior: Prior | Mapping[str, Any], n: int | None, key: PRNGKeyArray):
    """Parameters of every simulation, and the key it has left for itself."""
    if isinstance(prior, Prior):
        if n is None or n < 1:
            raise ValueError(
                f"`n` must be a positive number of simulations, got {n}."
            )
    else:
        columns = {name: jnp.atleast_1d(jnp.asarray(v)) for name, v in prior.items()}
        lengths = {name: value.shape[0] for name, value in columns.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(
                f"`prior` gives theta with different lengths {lengths}; give as many "
                "values of each parameter."
            )
        given = next(iter(lengths.values()))
        if n is not None and n != given:
            raise ValueError(f"`n`={n}, but theta holds {given} values; leave `n` out.")
        n = given
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(n))
    theta_keys, keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    if isinstance(prior, Prior):
        columns = jax.vmap(prior.sample)(theta_keys)
    return {name: np.asarray(value) for name, value in columns.items()}, keys


def _check(simulator: Simulator, theta: dict[str, np.ndarray]) -> None:
    names = getattr(simulator, "names", None)
    if names is not None and (unknown := sorted(set(theta) - set(names))):
        raise ValueError(
            f"the prior names {unknown}, which the simulator does not know; it knows "
            f"{list(names)}."
        )
    if (check := getattr(simulator, "check", None)) is not None:
        check(theta)


def _batch(simulator: Simulator, theta: Theta, keys: PRNGKeyArray):
    batch = getattr(simulator, "batch", None) or jax.vmap(simulator)
    return batch(theta, keys)


def _compiled() -> Callable:
    """`_batch`, compiled once for each simulator and batch size."""
    if jax.default_backend() != "cpu":
        return eqx.filter_jit(_batch)
    # The stencil is made of long vector runs: 512-bit registers where they exist.
    # Batches, not the loops inside them, are spread over the cores.
    options = {"xla_cpu_prefer_vector_width": 512, "xla_cpu_multi_thread_eigen": False}
    return eqx.filter_jit(_batch, compiler_options=options)


def _run_all(simulator, theta, keys, size: int, workers: int | None, progress: bool):
    total = keys.shape[0]
    run = _compiled()

    def one(start: int) -> tuple[slice, np.ndarray]:
        # The last batch is filled up with simulations already done: one shape, and so
        # one compiled program.
        first = min(start, total - size)
        rows = slice(first, first + size)
        batch = {name: jnp.asarray(value[rows]) for name, value in theta.items()}
        images = np.asarray(run(simulator, batch, keys[rows]))
        return slice(start, first + size), images[start - first :]

    with (
        ThreadPoolExecutor(workers or _default_workers()) as pool,
        tqdm(
            total=total, unit="sim", desc="simulate", disable=None if progress else True
        ) as bar,
    ):
        # The first batch compiles; started together, all threads would.
        rows, images = one(0)
        x = np.empty((total, *images.shape[1:]), images.dtype)
        x[rows] = images
        bar.update(len(images))
        pending = [pool.submit(one, start) for start in range(size, total, size)]
        try:
            for future in as_completed(pending):
                rows, images = future.result()
                x[rows] = images
                bar.update(len(images))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return x


def _default_workers() -> int:
    if jax.default_backend() != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _report(index: np.ndarray, theta: dict[str, np.ndarray]) -> str:
    first = {name: float(value[0]) for name, value in theta.items()}
    return (
        f"{index.size} simulations were not finite; the first is number {index[0]} at "
        f"theta {first}."
    )
