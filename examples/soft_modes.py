# %% [markdown]
# # Soft modes: what a Hessian spectrum says, and of which states
#
# The paper's Fig. 6 shows the Hessian's density of states at one vortex configuration
# and reads its weight near zero as a proliferation of soft modes. Here the same
# spectrum is taken over coupling and flux, at the paper's snapshot (t = 2) and at the
# stationary state that the snapshot relaxes to, and every mode below a threshold is
# counted, named and held against those that the uniform state has anyway.

# %%
import dataclasses
import json
import time
import warnings
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from soft_modes_report import Panel, pictures, report

import gl15
from gl15.physics import exact
from gl15.spectra import (
    classify_modes,
    count_below,
    NotStationaryWarning,
    relax,
    soft_fraction,
    symmetries,
)


# %% [markdown]
# ## Plans


# %%
@dataclasses.dataclass(frozen=True)
class Plan:
    sites: int  # along each side of the torus
    etas: tuple[float, ...]
    quanta: tuple[int, ...]  # of flux, and so of vortices in each band
    shown: tuple[float, int]  # the state that is drawn: eta and quanta
    thresholds: tuple[float, ...] = (0.05, 0.3, 1.0)
    snapshot: float = 2.0  # the paper's time
    settled: float = 40.0  # when the descent to the stationary state begins
    probes: int = 20
    steps: int = 100


PLANS = {
    "smoke": Plan(16, (0.8,), (2,), (0.8, 2), settled=10.0, probes=4, steps=40),
    "paper": Plan(40, (0.2, 0.5, 0.8, 1.1, 1.4), (1, 3, 6, 12), (0.8, 6)),
}


# %% [markdown]
# ## One sample: snapshot, stationary state, and the uniform state to compare with


# %%
def uniform_levels(tdgl: gl15.TDGL) -> np.ndarray:
    """All eigenvalues of the uniform state at no field, exactly."""
    lattice = tdgl.lattice
    lam = exact.plane_wave_eigenvalues(lattice.shape, lattice.spacing)
    return np.sort(-2 * np.ravel(exact.relaxation_rates(tdgl.material, lam)))


def density(H, key: jax.Array, plan: Plan) -> gl15.spectra.DensityOfStates:
    with warnings.catch_warnings():
        # That the snapshot is not stationary is the point, and said in the report.
        warnings.simplefilter("ignore", NotStationaryWarning)
        return gl15.density_of_states(H, key=key, probes=plan.probes, steps=plan.steps)


def study(eta: float, quanta: int, plan: Plan, key: jax.Array) -> tuple[dict, Panel]:
    """Numbers and pictures of one sample."""
    lattice = gl15.Lattice((plan.sites, plan.sites), boundary="periodic")
    material = gl15.TwoBand(josephson=eta)
    tdgl = gl15.TDGL(lattice, material, lattice.field_from_quanta(quanta))
    psi = gl15.quench(lattice, key=key)
    times = [plan.snapshot, plan.settled]
    snapshot, late = gl15.evolve(tdgl, psi, t1=plan.settled, dt=0.005, ts=times).ys
    found = relax(tdgl, late, max_steps=500_000)
    before, after = gl15.hessian(tdgl, snapshot), gl15.hessian(tdgl, found)
    levels = uniform_levels(tdgl)
    vortices = gl15.vortices(tdgl, found)
    modes = gl15.lowest_modes(after, 2 * int(vortices.counts.max()) + 8)
    character = classify_modes(after, modes, vortices.positions)
    values = np.asarray(modes.eigenvalues)
    known = symmetries(after)
    size = after.in_size()
    # Rounding may leave zero modes on either side of zero.
    edge = -1e-7
    numbers = {
        "eta": eta,
        "quanta": quanta,
        "modes": size,
        "snapshot": {
            "gradient_norm": float(before.gradient_norm),
            "negative": count_below(before, edge),
            "fraction_below": {
                str(t): count_below(before, t) / size for t in plan.thresholds
            },
        },
        "stationary": {
            "gradient_norm": float(after.gradient_norm),
            "vortices": vortices.counts.tolist(),
            "negative": count_below(after, edge),
            "fraction_below": {
                str(t): soft_fraction(after, t) for t in plan.thresholds
            },
            "lowest": values.tolist(),
            "largest_residual": float(modes.residuals.max()),
            "names": character.names,
            "zero": np.asarray(character.zero).tolist(),
            "vortex_share": np.asarray(character.vortex).tolist(),
            "participation": np.asarray(character.participation).tolist(),
            "symmetries": dict(
                zip(known.names, known.curvatures.tolist(), strict=True)
            ),
        },
        "uniform": {
            "fraction_below": {
                str(t): float(np.mean(levels < t)) for t in plan.thresholds
            },
            "softest": float(levels[1]),
        },
    }
    return numbers, Panel(tdgl, before, after, levels, vortices, modes, character)


# %% [markdown]
# ## All of them


# %%
def main(
    plan: Literal["smoke", "paper"] = "paper",
    out: Path = Path("runs/soft_modes"),
    seed: int = 0,
) -> dict:
    """Take Hessian spectra over coupling and flux and report what is soft in them.

    Args:
        plan: how many samples, and how large.
        out: folder of the figures, `results.json` and `report.md`.
        seed: of the quenches and of the probes.
    """
    # Soft modes are differences of large numbers.
    jax.config.update("jax_enable_x64", True)
    out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    budget = PLANS[plan]
    keys = jax.random.split(jax.random.key(seed), 3)
    rows, shown = [], None
    for eta in budget.etas:
        for quanta in budget.quanta:
            key = jax.random.fold_in(keys[0], quanta)
            numbers, panel = study(eta, quanta, budget, key)
            rows.append(numbers)
            print(
                f"eta {eta}, {quanta} quanta: {numbers['snapshot']['negative']} "
                f"negative modes at t = {budget.snapshot:g}, "
                f"{numbers['stationary']['negative']} when stationary",
                flush=True,
            )
            if (eta, quanta) == budget.shown:
                shown = panel
    assert shown is not None
    uniform = jnp.full_like(shown.after.psi, np.sqrt(1 + budget.shown[0]))
    flat = gl15.TDGL(shown.tdgl.lattice, shown.tdgl.material)
    densities = {
        f"snapshot, t = {budget.snapshot:g}": density(shown.before, keys[1], budget),
        "stationary vortex state": density(shown.after, keys[1], budget),
        "uniform state": density(gl15.hessian(flat, uniform), keys[2], budget),
    }
    pictures(out, rows, shown, densities)
    results = {
        "plan": {"name": plan, "seed": seed, **dataclasses.asdict(budget)},
        "versions": {"gl15": gl15.__version__, "jax": jax.__version__},
        "samples": rows,
        "seconds": time.perf_counter() - start,
    }
    (out / "results.json").write_text(json.dumps(results, indent=2))
    (out / "report.md").write_text(report(results))
    print(f"{results['seconds']:.0f} s; see {out}")
    return results


if __name__ == "__main__":
    tyro.cli(main)
