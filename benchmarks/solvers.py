"""Error and cost of the solvers at the default sample, and what images notice of it.

Errors are those of the state at t = 2 against a reference in float64, means over a few
quenches: relative L2 norm, largest error of a density, and vortices that differ in
number. Statistics are those of images from the same quenches: how far their means move
from those of the reference, in units of their run-to-run scatter, and as the change
of eta that would move the mean density as far.

python benchmarks/solvers.py --table docs/guide/solvers.md
"""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from _report import show

import gl15
from gl15.physics import evolve_batch
from gl15.physics._chebyshev import RungeKuttaChebyshev
from gl15.physics._compile import compiled


ETA, FIELD, T1 = 0.8, 0.04, 2.0
RINGS = (0.3, 0.8, 1.2, 2.0, 3.0)
EXACT: dict[str, Any] = {"solver": diffrax.Dopri8(), "dt": 0.004}


def cases() -> dict[str, dict[str, Any]]:
    """What is compared, the usual step first."""
    found: dict[str, dict[str, Any]] = {
        f"Euler, dt = {dt:g}": {"dt": dt} for dt in (1e-3, 2e-3, 5e-3, 1e-2, 1.5e-2)
    }
    for dt in (1e-3, 2e-3, 5e-3, 1e-2, 1.5e-2):
        found[f"Heun, dt = {dt:g}"] = {"solver": diffrax.Heun(), "dt": dt}
    found["Tsit5, dt = 0.02"] = {"solver": diffrax.Tsit5(), "dt": 0.02}
    for tolerance in (1e-2, 1e-3, 1e-4, 1e-5):
        found[f"Tsit5, PID {tolerance:g}"] = {
            "solver": diffrax.Tsit5(),
            "stepsize_controller": diffrax.PIDController(
                tolerance, tolerance, pcoeff=0.2, icoeff=0.4
            ),
            "dt": 5e-3,
        }
    for stages, dt in ((3, 0.02), (4, 0.04), (5, 0.05), (5, 0.0625), (6, 0.08)):
        found[f"Chebyshev, {stages} stages, dt = {dt:g}"] = {
            "solver": RungeKuttaChebyshev(stages),
            "dt": dt,
        }
    return found


def stages(options: dict[str, Any]) -> int:
    """Right-hand sides in a step; Tsit5 reuses its last."""
    solver = options.get("solver")
    if isinstance(solver, RungeKuttaChebyshev):
        return solver.stages
    return {None: 1, diffrax.Heun: 2, diffrax.Tsit5: 6}[solver and type(solver)]


def seconds(calls: dict[str, Callable], rounds: int) -> dict[str, float]:
    """The fastest of several, taken in turn: other work on the machine hits all."""
    best = dict.fromkeys(calls, np.inf)
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def vortices(tdgl: gl15.TDGL, psi: jax.Array) -> jax.Array:
    """Number of vortices of each band, of either sign."""
    return jnp.abs(gl15.windings(tdgl, psi)).sum((1, 2))


def errors(drag: float, double: bool, quenches: int, rounds: int) -> dict:
    lattice = gl15.Lattice((64, 64), spacing=0.5)
    tdgl = gl15.TDGL(lattice, gl15.TwoBand(josephson=ETA, drag=drag), FIELD)
    keys = jax.random.split(jax.random.key(1), quenches)
    start = jax.vmap(partial(gl15.quench, lattice))(key=keys)
    run = compiled(evolve_batch)
    count = jax.jit(jax.vmap(partial(vortices, tdgl)))
    truth = run(tdgl, start, t1=T1, **EXACT).ys[-1]
    true_count = np.asarray(count(truth))
    psi0 = start if double else start.astype(jnp.complex64)
    results, calls = {}, {}
    for name, options in cases().items():
        calls[name] = partial(run, tdgl, psi0, t1=T1, **options)
        solution = calls[name]()
        psi = solution.ys[-1]
        off = jnp.linalg.norm((psi - truth).reshape(quenches, -1), axis=1)
        size = jnp.linalg.norm(truth.reshape(quenches, -1), axis=1)
        density = jnp.abs(jnp.abs(psi) ** 2 - jnp.abs(truth) ** 2)
        results[name] = {
            "relative_error": float(jnp.mean(off / size)),
            "largest_density_error": float(density.max()),
            "vortices_of_difference": float(
                np.abs(np.asarray(count(psi)) - true_count).mean()
            ),
            "right_hand_sides": int(solution.stats["num_steps"]) * stages(options),
        }
    taken = seconds(calls, rounds)
    first = taken[next(iter(taken))]
    for name, result in results.items():
        result["cost"] = taken[name] / first
    return results


def summaries(
    images: int, eta: float = ETA, precise: bool = False, **options: Any
) -> dict:
    """Statistics of every image, name -> `[images]`."""
    lattice = gl15.Lattice((64, 64), spacing=0.5)
    tdgl = gl15.TDGL(lattice, gl15.TwoBand(josephson=eta), FIELD)
    keys = jax.random.split(jax.random.key(2), images)
    quench = jax.jit(jax.vmap(partial(gl15.quench, lattice)))
    kind = complex if precise else jnp.complex64
    run = compiled(evolve_batch)

    @jax.jit
    @jax.vmap
    def observe(psi):
        density = jnp.abs(psi) ** 2
        area = lattice.spacing**2 * density[0].size
        _, s = gl15.structure_factor(
            density.sum(0), spacing=lattice.spacing, edges=RINGS
        )
        found = {"density of band 1": density[0].mean()}
        found["density of band 2"] = density[1].mean()
        for i, low in enumerate(RINGS[:-1]):
            found[f"log S, {low:g} < k < {RINGS[i + 1]:g}"] = jnp.log(s[i])
        for band, number in enumerate(vortices(tdgl, psi)):
            found[f"vortices of band {band + 1}"] = number / area
        return found

    parts = [
        observe(
            run(tdgl, quench(key=keys[i : i + 8]).astype(kind), t1=T1, **options).ys[-1]
        )
        for i in range(0, images, 8)
    ]
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def shifts(images: int, names: tuple[str, ...]) -> dict:
    """How far the means of the images' statistics move from the reference's."""
    truth = summaries(images, precise=True, solver=diffrax.Dopri8(), dt=0.01)
    high, low = (
        summaries(images, eta=ETA + change, **cases()["Chebyshev, 5 stages, dt = 0.05"])
        for change in (0.05, -0.05)
    )
    slope = {name: (high[name] - low[name]).mean() / 0.1 for name in truth}
    results = {}
    for name in names:
        found = summaries(images, **cases()[name])
        moved = {key: (found[key] - truth[key]).mean() for key in truth}
        results[name] = {
            "of_scatter": {key: float(moved[key] / truth[key].std()) for key in truth},
            "as_eta": float(moved["density of band 1"] / slope["density of band 1"]),
        }
    return results


def tables(figures: dict, statistics: dict) -> str:
    """Both as Markdown."""
    (first, plain), (_, dragged) = list(figures.items())[:2]
    del first
    lines = [
        "| solver | right-hand sides | cost | relative error | with drag 0.3 | "
        "largest density error | vortices |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in plain.items():
        lines.append(
            f"| {name} | {row['right_hand_sides']} | {row['cost']:.2f} | "
            f"{row['relative_error']:.1e} | {dragged[name]['relative_error']:.1e} | "
            f"{row['largest_density_error']:.1e} | "
            f"{row['vortices_of_difference']:.2g} |"
        )
    keys = list(next(iter(statistics.values()))["of_scatter"])
    lines += ["", "| solver | " + " | ".join(keys) + " | as a change of eta |"]
    lines.append("|---" * (len(keys) + 2) + "|")
    for name, row in statistics.items():
        moved = " | ".join(f"{row['of_scatter'][key]:+.3f}" for key in keys)
        lines.append(f"| {name} | {moved} | {row['as_eta']:+.5f} |")
    return "\n".join(lines)


def main(
    quenches: int = 8, images: int = 400, rounds: int = 5, table: Path | None = None
) -> None:
    """Print the figures as JSON.

    Args:
        quenches: runs side by side whose errors are averaged.
        images: images of the statistics.
        rounds: timings of each, of which the fastest counts.
        table: page whose tables are written anew.
    """
    jax.config.update("jax_enable_x64", True)
    figures = {
        f"nu = {drag:g}, {'float64' if double else 'float32'}": errors(
            drag, double, quenches, rounds
        )
        for double in (False, True)
        for drag in (0.0, 0.3)
    }
    watched = [n for n in cases() if not n.startswith(("Heun, dt = 0.00", "Tsit5"))]
    statistics = shifts(images, tuple(watched))
    if table is not None:
        begin, end = "<!-- figures: begin -->", "<!-- figures: end -->"
        before, rest = table.read_text().split(begin)
        after = rest.split(end)[1]
        text = tables(figures, statistics)
        table.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
    show(
        quenches=quenches,
        images=images,
        errors=figures,
        statistics=statistics,
        load_average=os.getloadavg()[0],
    )


if __name__ == "__main__":
    tyro.cli(main)
