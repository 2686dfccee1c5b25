"""Cost and memory of gradients through the evolution, in forward runs.

python benchmarks/gradients.py
"""

import functools
import statistics
import time
from collections.abc import Callable

import diffrax
import jax
import jax.numpy as jnp
import tyro
from _report import show

import gl15
from gl15.physics._compile import compiled


def end(eta, psi0, alpha, field, *, lattice, steps: int, adjoint=None):
    """A number made of where a run ends."""
    material = gl15.TwoBand(alpha=(alpha, -1.0), josephson=eta)
    tdgl = gl15.TDGL(lattice, material, field)
    solution = gl15.evolve(tdgl, psi0, t1=steps * 1e-3, dt=1e-3, adjoint=adjoint)
    return jnp.mean(jnp.abs(solution.ys) ** 2)


def main(sites: int = 64, steps: int = 2_000, repeats: int = 9) -> None:
    """Print the figures as JSON.

    Args:
        sites: sites along each axis.
        steps: Euler steps; memory is also taken at a quarter and four times as many.
        repeats: rounds of measurements, of which the median counts.
    """
    lattice = gl15.Lattice((sites, sites), spacing=0.5)
    psi0 = gl15.quench(lattice, key=jax.random.key(0))
    at = jnp.asarray(0.8), psi0, jnp.full(lattice.shape, -1.0), jnp.asarray(0.04)

    def call(transform: Callable, adjoint=None) -> Callable:
        run = functools.partial(end, lattice=lattice, steps=steps, adjoint=adjoint)
        compiled_run = compiled(transform(run))
        return lambda: jax.block_until_ready(compiled_run(*at))

    def reverse(argnums) -> Callable:
        return call(lambda run: jax.value_and_grad(run, argnums))

    def mebibytes(count: int) -> float:
        run = functools.partial(end, lattice=lattice, steps=count)
        lowered = jax.jit(jax.grad(run, (0, 1))).lower(*at)
        return lowered.compile().memory_analysis().temp_size_in_bytes / 2**20

    calls = {
        "forward": call(lambda run: run),
        "eta": reverse(0),
        "initial state": reverse(1),
        "map of alpha": reverse(2),
        "field": reverse(3),
        "all four": reverse((0, 1, 2, 3)),
        "eta, forward mode": call(_with_tangent, diffrax.ForwardMode()),
    }
    for one in calls.values():
        one()  # compiles
    # Round by round, so that ratios are of the same minute of a shared machine.
    rounds = [
        {name: _seconds(one) for name, one in calls.items()} for _ in range(repeats)
    ]
    show(
        sites=sites,
        steps=steps,
        forward_seconds=statistics.median(one["forward"] for one in rounds),
        in_forward_runs={
            name: statistics.median(one[name] / one["forward"] for one in rounds)
            for name in list(calls)[1:]
        },
        reverse_mebibytes={n: mebibytes(n) for n in (steps // 4, steps, 4 * steps)},
    )


def _seconds(call: Callable) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _with_tangent(run):
    def value_and_tangent(eta, *rest):
        return jax.jvp(lambda e: run(e, *rest), (eta,), (jnp.ones_like(eta),))

    return value_and_tangent


if __name__ == "__main__":
    tyro.cli(main)
