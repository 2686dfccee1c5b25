"""The batch that saturates a device: more simulations side by side bring nothing.

Batches of 1, 2, 4, ... simulations run on JAX's default device, as one call each, until
doubling brings nothing more or the memory is full. A CPU runs a call on one core;
`gl15.simulate` runs one on each.

A site-update is one lattice site, both bands, one Euler step. It reads and writes four
numbers, which is the least traffic there can be and what `bytes_per_second` counts: on
a device whose caches are smaller than a batch its ratio to the bandwidth of a copy says
how close to the limit the solver is. XLA counts flops, and traffic as if every kernel
read all of its arguments from memory. Medians of several.

python benchmarks/saturation.py
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from _report import show

import gl15
from gl15.physics._compile import compiled
from gl15.physics._flow import Flow
from gl15.physics._stencil import Stencil
from gl15.simulation._memory import device_memory, is_out_of_memory, program_memory
from gl15.simulation._simulator import run_batch


DT = 1e-3
CLOSE = 0.95  # of the best rate counts as saturated
FLAT = 3  # doublings in a row that bring less than that


def median_seconds(call: Callable[[], object], repeats: int, least: float) -> float:
    """Of a call, each measurement as many of them as last `least` seconds."""

    def measure(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) / calls

    call()  # compiles
    calls = max(1, round(least / measure(1)))
    return statistics.median(measure(calls) for _ in range(repeats))


def copy_bandwidth(mebibytes: int, repeats: int, least: float) -> float:
    """Bytes read and written per second by the copy of an array."""
    source = jnp.arange(mebibytes * 2**18, dtype=jnp.float32)
    # Into memory that is there already: its first touch is another, slower thing.
    copy = jax.jit(lambda old, _: jnp.copy(old), donate_argnums=1, keep_unused=True)
    target = [jnp.zeros_like(source)]

    def run():
        target[0] = copy(source, target[0]).block_until_ready()

    return 2 * source.nbytes / median_seconds(run, repeats, least)


def count_by_xla(simulator: gl15.VortexSimulator, batch: int) -> dict[str, float]:
    """Flops and bytes of a site-update, out of the compiled program of one step."""
    lattice, dtype = simulator.lattice, jnp.result_type(float)
    nx, ny = lattice.shape

    def step(page, other, josephson):
        material = eqx.tree_at(lambda m: m.josephson, simulator.material, josephson)
        links = lattice.links(simulator.field)
        flow = Flow.build(lattice, material, links, lanes=batch, dtype=dtype, dt=DT)
        return flow.step(page, other)

    links = lattice.links(simulator.field)
    stencil = Stencil.build(links, ny, batch, dtype)
    state = jnp.zeros((4 * nx, ny * batch), dtype)
    page = eqx.filter_eval_shape(stencil.page, state)
    josephson = jax.ShapeDtypeStruct((batch,), dtype)
    program = jax.jit(step, donate_argnums=1).lower(page, page, josephson).compile()
    cost = program.cost_analysis() or {}
    sites = nx * ny * batch
    names = {"flops": "flops", "bytes": "bytes accessed"}
    return {name: cost.get(key, float("nan")) / sites for name, key in names.items()}


def program(simulator: gl15.VortexSimulator, batch: int) -> tuple[Callable, int | None]:
    """A call that runs a batch to its images, and the bytes of memory it takes."""
    theta = {"eta": jnp.linspace(0.0, 1.5, batch)}
    keys = jax.random.split(jax.random.key(0), batch)
    run: Any = compiled(run_batch)
    memory = program_memory(
        lambda: run.lower(simulator, theta, keys).compile().compiled
    )
    return lambda: np.asarray(run(simulator, theta, keys)), memory


def saturating(rates: dict[int, float]) -> int:
    """The smallest batch whose rate is within 5% of the best."""
    best = max(rates.values())
    return min(batch for batch, rate in rates.items() if rate >= CLOSE * best)


def is_flat(rates: list[float]) -> bool:
    """Whether the last doublings brought nothing."""
    before = rates[:-FLAT]
    return bool(before) and CLOSE * max(rates[-FLAT:]) < max(before)


def main(
    sites: int = 64,
    steps: int = 1000,
    largest: int = 2**20,
    repeats: int = 5,
    least_seconds: float = 0.2,
    copy_mib: int = 1024,
) -> None:
    """Print the figures as JSON.

    Args:
        sites: sites along each axis.
        steps: Euler steps of each simulation.
        largest: batch to stop at, if nothing else does.
        repeats: measurements of each batch, of which the median counts.
        least_seconds: what a measurement lasts at least, in as many calls as it takes.
        copy_mib: size of the array that is copied, MiB.
    """
    lattice = gl15.Lattice((sites, sites), spacing=0.5)
    simulator = gl15.VortexSimulator(lattice, gl15.TwoBand(), t1=steps * DT, dt=DT)
    device = jax.devices()[0]
    bandwidth = copy_bandwidth(copy_mib, repeats, least_seconds)
    least = 2 * 4 * jnp.dtype(jnp.result_type(float)).itemsize
    batches, rates, stopped = {}, {}, f"`largest`={largest} was reached"
    batch = 1
    while batch <= largest:
        try:
            run, memory = program(simulator, batch)
            room = device_memory(device)
            if memory is not None and room is not None and memory > room:
                stopped = f"{batch} simulations do not fit in memory"
                break
            seconds = median_seconds(run, repeats, least_seconds)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            stopped = f"{batch} simulations ran out of memory"
            break
        by_xla = count_by_xla(simulator, batch)
        updates = batch * sites**2 * steps / seconds
        rates[batch] = updates
        batches[batch] = {
            "seconds": seconds,
            "simulations_per_second": batch / seconds,
            "site_updates_per_second": updates,
            "bytes_per_second": least * updates,
            "share_of_copy_bandwidth": least * updates / bandwidth,
            "bytes_per_second_by_xla": by_xla["bytes"] * updates,
            "flops_per_second": by_xla["flops"] * updates,
            "flops_per_site_update": by_xla["flops"],
            "bytes_per_site_update_by_xla": by_xla["bytes"],
            "memory_bytes": memory,
        }
        if is_flat(list(rates.values())):
            stopped = f"{FLAT} doublings brought nothing"
            break
        batch *= 2
    show(
        sites=sites,
        steps=steps,
        saturating_batch=saturating(rates),
        chosen_by_the_simulator=simulator.batch_size,
        stopped=stopped,
        copy_bytes_per_second=bandwidth,
        least_bytes_per_site_update=least,
        at_saturation=batches[saturating(rates)],
        batches=batches,
    )


if __name__ == "__main__":
    tyro.cli(main)
