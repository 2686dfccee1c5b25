# %% [markdown]
# # The fingerprint of the drag in S(k), and how much of nu an image holds
#
# The paper's Fig. 4 shows that the Andreev-Bashkin drag nu lowers S(k ~ 1) while the
# sample condenses, and that the difference fades. Here that is measured on hundreds of
# quenches, with and without drag from the same noise, for several k, nu and eta; and
# then asked of the same spectra: how well could nu be read from one image, and when?

# %%
import dataclasses
import json
import math
import time
from pathlib import Path
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import tyro
from drag_report import pictures, report
from drag_statistics import (
    compare,
    course,
    cramer_rao,
    information_bits,
    ratios,
    regression_error,
)
from jaxtyping import Array, Complex, Float, PRNGKeyArray

import gl15
from gl15.observables import densities, density_spectra, ring_wave_numbers
from gl15.simulation import Theta


# %% [markdown]
# ## Plans


# %%
@dataclasses.dataclass(frozen=True)
class Plan:
    sites: int  # along each side of the torus
    quanta: int  # of flux
    runs: int  # at each theta
    random: int  # runs with random nu, for a regression
    times: tuple[float, ...]
    etas: tuple[float, ...]
    nus: tuple[float, ...]
    dt: float
    resamples: int = 2_000


QUARTERS = tuple(i / 4 for i in range(1, 13))
PLANS = {
    "smoke": Plan(
        32, 2, 48, 64, (0.1, 0.5, 1.0, 2.0, 3.0, 4.0), (0.8,), (0.0, 0.4), 0.0125
    ),
    "full": Plan(
        sites=64,
        quanta=7,
        runs=200,
        random=600,
        times=(0.05, 0.1, *QUARTERS, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0),
        etas=(0.2, 0.8, 1.4),
        nus=(0.0, 0.1, 0.2, 0.3, 0.4),
        dt=0.005,
    ),
}
CENTRES = (0.5, 1.0, 1.5, 2.0)  # of the rings shown, 0.4 wide
RINGS = 8  # contiguous ones for the information, up to k = 3.2
ETA, NU = 0.8, 0.2  # where the information is taken
STEPS = (0.05, 0.025, 0.0125)  # of the derivatives, which have to converge
BLUR = 0.05  # relative error of a spectrum that somebody might measure
# From an independent implementation at the full plan's sample, eta = 0.8, k ~ 1.
PUBLISHED_TIMES = (0.5, 1, 1.5, 2, 3, 4, 5)
PUBLISHED = {
    0.2: (0.88, 0.81, 0.76, 0.75, 0.84, 0.93, 0.96),
    0.4: (0.79, 0.66, 0.59, 0.57, 0.71, 0.87, 0.93),
}
PUBLISHED_RUNS = 24  # each
PRIOR = {"eta": dist.Uniform(0.0, 1.5), "nu": dist.Uniform(0.0, 0.4)}


# %% [markdown]
# ## The simulator: spectra at all times instead of one image
# A simulator is anything that maps theta and a key to an array. The columns are
# logarithms: of S(k) of the total density in the rings shown; of S(k) of both bands
# and of the total in the contiguous rings; of the two mean densities.


# %%
class SpectraOverTime(eqx.Module):
    """Quench a torus and follow its density spectra: `[times, columns]`."""

    lattice: gl15.Lattice
    quanta: int
    times: tuple[float, ...]
    dt: float
    batch_size: int = 8

    names: ClassVar[tuple[str, ...]] = ("eta", "nu")

    def __call__(
        self, theta: Theta, key: PRNGKeyArray
    ) -> Float[Array, "times columns"]:
        material = gl15.TwoBand(josephson=theta["eta"], drag=theta["nu"])
        field = self.lattice.field_from_quanta(self.quanta)
        tdgl = gl15.TDGL(self.lattice, material, field)
        psi0 = gl15.quench(self.lattice, key=key)
        solution = gl15.evolve(tdgl, psi0, t1=self.times[-1], dt=self.dt, ts=self.times)
        return jax.vmap(lambda psi: self._columns(tdgl, psi))(solution.ys)

    def _columns(
        self, tdgl: gl15.TDGL, psi: Complex[Array, "2 nx ny"]
    ) -> Float[Array, " columns"]:
        shown = [density_spectra(tdgl, psi, (k - 0.2, k + 0.2)).total for k in CENTRES]
        spectra = density_spectra(tdgl, psi, self.edges)
        means = jnp.mean(densities(psi), axis=(1, 2))
        read = (spectra.bands.reshape(-1), spectra.total, means)
        return jnp.log(jnp.concatenate([*shown, *read]))

    @property
    def edges(self) -> tuple[float, ...]:
        """Edges of the contiguous rings, between wave vectors and about 0.4 apart."""
        step = 2 * math.pi / (self.lattice.shape[0] * self.lattice.spacing)
        width = max(1, round(0.4 / step))
        return tuple(step * (0.5 + width * ring) for ring in range(RINGS + 1))


NEAR_ONE = CENTRES.index(1.0)
SPECTRA = len(CENTRES)  # the first column of the contiguous rings
READINGS = {
    "S(k ~ 1)": slice(NEAR_ONE, NEAR_ONE + 1),
    "S(k) of the total density": slice(SPECTRA + 2 * RINGS, SPECTRA + 3 * RINGS),
    "S(k) of bands and total": slice(SPECTRA, SPECTRA + 3 * RINGS),
    "these and mean densities": slice(SPECTRA, SPECTRA + 3 * RINGS + 2),
}
ALL = list(READINGS)[-1]
BLURRED = f"these, each to {BLUR:.0%}"


# %% [markdown]
# ## Runs
# The same key at every theta: run i begins from the same noise everywhere.


# %%
@dataclasses.dataclass
class Runs:
    """Runs at any theta, each simulated once and kept on disk."""

    simulator: SpectraOverTime
    count: int
    key: jax.Array
    folder: Path

    def __call__(self, eta: float, nu: float) -> np.ndarray:
        """Columns `[runs, times, columns]`."""
        theta = {"eta": np.full(self.count, eta), "nu": np.full(self.count, nu)}
        path = self.folder / f"eta{eta:g}-nu{nu:g}.zarr"
        ensemble = gl15.simulate(self.simulator, theta, key=self.key, path=path)
        return np.asarray(ensemble.x, float)

    def slopes(self, eta: float, step: float) -> np.ndarray:
        """Derivatives of each run by nu and by eta at `NU`, `[2, runs, ...]`."""
        by_nu = self(eta, NU + step) - self(eta, NU - step)
        by_eta = self(eta + step, NU) - self(eta - step, NU)
        return np.stack([by_nu, by_eta]) / (2 * step)


# %% [markdown]
# ## Suppression, and information


# %%
SHOWN = slice(0, len(CENTRES))
BOTH = slice(-2, None)  # the mean densities


def suppression(runs: Runs, plan: Plan, generator: np.random.Generator) -> list[dict]:
    """Ratios of S(k, t) with and without drag, for every eta and nu."""
    draws, others = generator.integers(0, plan.runs, (2, plan.resamples, plan.runs))
    times, rows = np.asarray(plan.times), []
    for eta in plan.etas:
        none = np.exp(runs(eta, 0.0))
        for nu in plan.nus[1:]:
            drag = np.exp(runs(eta, nu))
            one = ratios(drag[..., SHOWN], none[..., SHOWN], draws, others)
            curves = [
                {k: v[..., i] for k, v in one.items()} for i in range(len(CENTRES))
            ]
            density = [x[..., BOTH].sum(-1).mean(0) for x in (drag, none)]
            del one["resamples"]
            rows.append(
                {
                    "eta": eta,
                    "nu": nu,
                    "course": [course(times, curve) for curve in curves],
                    "density": (density[0] / density[1]).tolist(),
                    **{name: value.tolist() for name, value in one.items()},
                }
            )
    return rows


def agreement(runs: Runs, plan: Plan, generator: np.random.Generator) -> dict | None:
    """The comparison with `PUBLISHED`, where the plan has its sample."""
    if plan.sites != 64 or not set(PUBLISHED) <= set(plan.nus):
        return None
    at = [plan.times.index(t) for t in PUBLISHED_TIMES]
    none, *drags = (np.exp(runs(ETA, nu)[:, at, NEAR_ONE]) for nu in (0.0, *PUBLISHED))
    published = np.array(list(PUBLISHED.values()))
    found = compare(
        np.stack(drags), none, published, PUBLISHED_RUNS, generator, plan.resamples
    )
    return {"nus": list(PUBLISHED), "times": PUBLISHED_TIMES, **found}


def information(runs: Runs, plan: Plan) -> dict:
    """Cramer-Rao errors of nu at `NU`, and how they depend on the step."""

    def errors(base: np.ndarray, slopes: np.ndarray, read: slice, blur: float) -> list:
        rows = range(len(plan.times))
        return [cramer_rao(base[:, t, read], slopes[:, :, t, read], blur) for t in rows]

    by_eta = {}
    for eta in plan.etas:
        base, slopes = runs(eta, NU), runs.slopes(eta, STEPS[-1])
        found = {name: errors(base, slopes, r, 0.0) for name, r in READINGS.items()}
        found[BLURRED] = errors(base, slopes, READINGS[ALL], BLUR)
        by_eta[f"{eta:g}"] = found
    base, steps = runs(ETA, NU), {}
    for step in STEPS:
        slopes = runs.slopes(ETA, step)
        steps[f"{step:g}"] = errors(base, slopes, READINGS[ALL], 0.0)
    return {"nu": NU, "by_eta": by_eta, "steps": steps}


def regression(
    plan: Plan, simulator: SpectraOverTime, key: jax.Array, out: Path
) -> dict:
    """What a regression reads of a random nu, eta known and not, in bits."""
    width = float(PRIOR["nu"].high - PRIOR["nu"].low)
    results: dict = {"width": width}
    for name in ("known", "joint"):
        key, theta_key, run_key = jax.random.split(key, 3)
        theta = gl15.Prior(PRIOR).sample(theta_key, (plan.random,))
        if name == "known":
            theta["eta"] = jnp.full(plan.random, ETA)
        path = out / f"random-{name}.zarr"
        x = np.asarray(gl15.simulate(simulator, theta, key=run_key, path=path).x, float)
        nu = np.asarray(theta["nu"], float)
        results[name] = {reading: [] for reading in READINGS}
        for reading, read in READINGS.items():
            for t in range(len(plan.times)):
                error, own = regression_error(x[:, t, read], nu)
                bits = information_bits(width, error)
                one = {"error": error, "error_of_it": own, "bits": bits}
                results[name][reading].append(one)
    return results


def step_check(runs: Runs, plan: Plan, nu: float, n: int = 16) -> float:
    """How much half the time step changes the first runs' ratios, at most."""
    theta = {"eta": np.full(n, ETA)}
    found = []
    for dt in (plan.dt, plan.dt / 2):
        simulator = dataclasses.replace(runs.simulator, dt=dt)
        pair = [
            gl15.simulate(simulator, theta | {"nu": np.full(n, one)}, key=runs.key).x
            for one in (nu, 0.0)
        ]
        S = [np.exp(np.asarray(x, float)[..., SHOWN]).mean(0) for x in pair]
        found.append(S[0] / S[1])
    return float(np.abs(found[1] - found[0]).max())


# %% [markdown]
# ## All of it


# %%
def main(
    plan: Literal["smoke", "full"] = "full",
    out: Path = Path("runs/drag_fingerprint"),
    seed: int = 0,
) -> dict:
    """Measure how the drag suppresses S(k), and what an image tells of it.

    Args:
        plan: how many runs, and how long.
        out: folder of the figures, `results.json` and `report.md`, and of the runs:
            those in it are not simulated again.
        seed: of everything random.
    """
    start, budget = time.perf_counter(), PLANS[plan]
    keys = jax.random.split(jax.random.key(seed))
    lattice = gl15.Lattice((budget.sites, budget.sites), boundary="periodic")
    simulator = SpectraOverTime(lattice, budget.quanta, budget.times, budget.dt)
    folder = out / f"{plan}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    runs = Runs(simulator, budget.runs, keys[0], folder)
    seconds = {}

    def told(name: str, value):
        seconds[name] = time.perf_counter() - start - sum(seconds.values())
        print(f"{name}: {seconds[name]:.0f} s", flush=True)
        return value

    generator = np.random.default_rng(seed)
    largest = max(budget.nus)
    found = {
        "suppression": told("suppression", suppression(runs, budget, generator)),
        "agreement": told("agreement", agreement(runs, budget, generator)),
        "information": told("information", information(runs, budget)),
        "regression": told(
            "regression", regression(budget, simulator, keys[1], folder)
        ),
        "step_check": told("step check", step_check(runs, budget, largest)),
    }
    results = {
        "plan": {"name": plan, "seed": seed, **dataclasses.asdict(budget)},
        "centres": CENTRES,
        "versions": {"gl15": gl15.__version__, "jax": jax.__version__},
        **found,
        "seconds": seconds,
    }
    means = {nu: np.exp(runs(ETA, nu)).mean(0) for nu in (0.0, largest)}
    total = READINGS["S(k) of the total density"]
    spectra = {nu: (mean[:, NEAR_ONE], mean[:, total]) for nu, mean in means.items()}
    k = ring_wave_numbers(lattice.shape, lattice.spacing, simulator.edges)
    results["low_k"] = {
        "k": k.tolist(),
        "ratio": (spectra[largest][1] / spectra[0.0][1]).tolist(),
    }
    pictures(out, results, k, spectra)
    (out / "results.json").write_text(json.dumps(results, indent=2))
    (out / "report.md").write_text(report(results))
    print(f"{sum(seconds.values()):.0f} s; see {out}")
    return results


if __name__ == "__main__":
    tyro.cli(main)
