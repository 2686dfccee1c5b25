"""Other samples, finer images, noise: what an estimator is worth where it was not made.

    python benchmarks/transfer.py --out runs/transfer

holds the shipped estimator against images of other kinds; trains one on samples of 32
to 256 sites a side, open and torus, with noise of unknown level; and adapts both to a
few images of yet another kind. Simulations are kept and resumed.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import tyro
from _report import show

import gl15
from gl15.diagnostics._misspecification import p_values
from gl15.inference import calibrate, fine_tune, NearMisses, Summarised
from gl15.instruments import Chain, Detector
from gl15.simulation import concatenate, Disorder, Instrumented, Randomised


PRIOR = gl15.Prior({"eta": dist.Uniform(0.0, 1.5)})
FILE = "randomised.npz"
NOISE = dist.LogUniform(1e-3, 3e-2)  # of every channel; densities are of order 1


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is simulated and trained."""

    pairs: int = 10_000  # of a kind, times its share below
    test: int = 1_000  # images of each kind, fewer of the largest
    reserve: int = 400  # pairs of every kind that calibrate
    steps: int = 2_500
    batch_size: int = 512
    few: int = 1_000  # pairs for fine tuning, a quarter of them to calibrate


def sample(
    sites: int = 64,
    boundary: Any = "open",
    *,
    spacing: float = 0.5,
    stages: int = 5,
    **options: Any,
) -> gl15.VortexSimulator:
    """The main job's material; on a torus the nearest field that it carries."""
    lattice = gl15.Lattice((sites, sites), spacing=spacing, boundary=boundary)
    field = 0.04
    if boundary == "periodic":
        quanta = round(float(lattice.flux_quanta(field)))
        field = float(lattice.field_from_quanta(quanta))
    quick = {"dt": 0.05, "solver": gl15.RungeKuttaChebyshev(stages=stages)}
    return gl15.VortexSimulator(
        lattice,
        gl15.TwoBand(diffusion=(4.0, 1.0)),
        field=field,
        **{**quick, **options},
    )


def finer() -> Instrumented:
    """The main job's sample simulated at half the spacing, on pixels of the usual size.

    The quench is white noise: of the same strength per area at twice the amplitude.
    """
    fine = sample(128, spacing=0.25, stages=10, amplitude=1.0)
    return Instrumented(fine, Detector(pixel_size=0.5))


def noisy(simulator: Any) -> Randomised:
    """The same with noise of an unknown level."""
    seen = Instrumented(simulator, Detector())
    return Randomised(
        seen, {"noise": NOISE}, where={"noise": lambda s: s.instrument.readout_noise}
    )


# What the shipped estimator is shown.
SHOWN: dict[str, Callable[[], Any]] = {
    "64, as in training": lambda: sample(64),
    "128": lambda: sample(128),
    "128 at half the spacing, resampled": finer,
    "64, torus, 7 quanta": lambda: sample(64, "periodic"),
    "128, torus, 26 quanta": lambda: sample(128, "periodic"),
    "thermal noise, T = 0.001": lambda: sample(dt=0.01, solver=None, temperature=1e-3),
    "disorder of 0.1, length 1": lambda: sample(disorder=Disorder(0.1, 1.0)),
    "detector noise 0.003": lambda: Instrumented(
        sample(), Detector(readout_noise=3e-3)
    ),
}

# What the randomised estimator is trained on: simulator, share of `pairs`.
TRAINED: dict[str, tuple[Callable[[], Any], float]] = {
    "32 open": (lambda: sample(32), 0.8),
    "64 open": (lambda: sample(64), 1.2),
    "64 torus": (lambda: sample(64, "periodic"), 0.8),
    "128 open": (lambda: sample(128), 0.6),
    "128 torus": (lambda: sample(128, "periodic"), 0.4),
    "256 open": (lambda: sample(256), 0.2),
    "64 resampled": (finer, 0.4),
}

# What it has not seen: other pairs of size and boundary.
UNSEEN: dict[str, Callable[[], Any]] = {
    "96 open": lambda: sample(96),
    "256 torus": lambda: sample(256, "periodic"),
}


def main(
    plan: Plan = Plan(),  # noqa: B008
    out: Path = Path("runs/transfer"),
    seed: int = 0,
    only: tuple[str, ...] = ("shipped", "randomised", "tuned"),
) -> None:
    """Measure, train, adapt.

    Args:
        plan: the budget.
        out: folder of simulations, checkpoints and results.
        seed: seed of everything random.
        only: which parts.
    """
    out.mkdir(parents=True, exist_ok=True)
    key = jax.random.key(seed)
    found: dict[str, Any] = {"plan": dataclasses.asdict(plan)}
    if "randomised" in only:
        estimator, for_kind, found["seconds"] = randomised(
            plan, out, jax.random.fold_in(key, 1)
        )
        gl15.save(out / FILE, estimator)
        found["randomised"], found["calibrated for the kind"] = {}, {}
        kinds = {name: make for name, (make, _) in TRAINED.items()} | UNSEEN
        for name, make in kinds.items():
            test = images(f"noisy {name}", noisy(make()), plan, out)
            found["randomised"][name] = measured(estimator, test)
            if name in for_kind:
                found["calibrated for the kind"][name] = measured(for_kind[name], test)
    if "shipped" in only:
        found |= shown(plan, out)
    if "tuned" in only:
        found["tuned"] = tuned(plan, out, jax.random.fold_in(key, 2))
    show(**found)


def shown(plan: Plan, out: Path) -> dict[str, Any]:
    """The shipped estimator, and the randomised one, on the same images."""
    both = {"shipped": gl15.load_pretrained("eta")}
    if (out / FILE).exists():
        both["randomised, clean images"] = gl15.load(out / FILE)
    found: dict[str, dict[str, Any]] = {label: {} for label in (*both, "recalibrated")}
    for name, make in SHOWN.items():
        test = images(name, make(), plan, out)
        for label, estimator in both.items():
            found[label][name] = measured(estimator, test)
        found["recalibrated"][name] = recalibrated(test)
    return found


def recalibrated(test: gl15.Ensemble) -> dict[str, float]:
    """The shipped network calibrated on half of the images, held against the others."""
    half, network = len(test) // 2, innermost(gl15.load_pretrained("eta"))
    return measured(mended(network, test[:half], jax.random.key(0)), test[half:])


def innermost(estimator: Any) -> Any:
    """The network within what calibrates and guards it."""
    while hasattr(estimator, "estimator"):
        estimator = estimator.estimator
    return estimator


def images(label: str, simulator: Any, plan: Plan, out: Path) -> gl15.Ensemble:
    """Fresh images, kept."""
    n = plan.test // 4 if "256" in label else plan.test
    path = out / f"test {label}.zarr".replace(" ", "-").replace(",", "")
    return gl15.simulate(
        simulator, PRIOR, n, key=jax.random.key(1_000_003), path=path, load=True
    )


def randomised(plan: Plan, out: Path, key) -> tuple[Any, dict[str, Any], dict]:
    """Train on samples of every kind, with noise of every level."""
    start = time.perf_counter()
    keys = iter(jax.random.split(key, 4 + len(TRAINED)))
    encoder = gl15.JetEncoder(extent=True, key=next(keys))
    parts = []
    for name, (make, share) in TRAINED.items():
        simulator = Summarised(noisy(make()), encoder)
        path = out / f"train {name}.zarr".replace(" ", "-")
        n = round(share * plan.pairs)
        parts.append(gl15.simulate(simulator, PRIOR, n, key=next(keys), path=path))
    seconds = {"simulate": time.perf_counter() - start}
    start = time.perf_counter()
    held = {k: p[: plan.reserve] for k, p in zip(TRAINED, parts, strict=True)}
    rest = [part[plan.reserve :] for part in parts]
    estimator = gl15.RatioEstimator(PRIOR, encoder, head="quadratic", key=next(keys))
    estimator, _ = gl15.fit(
        estimator,
        concatenate(rest),
        key=next(keys),
        loss=NearMisses(),
        steps=plan.steps,
        batch_size=plan.batch_size,
        weight_decay=2.0,
        validation=0.05,
        checkpoint=out / "randomised.checkpoint",
    )
    seconds["fit"] = time.perf_counter() - start
    mend_key = next(keys)
    return (
        estimator,
        {k: mended(estimator, p, mend_key) for k, p in held.items()},
        seconds,
    )


def mended(estimator: Any, pairs: gl15.Ensemble, key) -> Any:
    """The estimator calibrated on pairs of theta and images, or summaries."""
    features = None if pairs.x.ndim > 2 else _features(estimator, pairs.x)
    return calibrate(estimator, pairs, key=key, features=features, degree=2)


@eqx.filter_jit
def _features(estimator: Any, summaries: jax.Array) -> jax.Array:
    standardised = estimator.standardization(summaries)
    return jax.vmap(estimator.features)(standardised)


def tuned(plan: Plan, out: Path, key) -> dict[str, Any]:
    """Few pairs of a camera with drift and noise: adapted, and from scratch."""
    camera = Chain([Detector(drift=(0.4, 0.0), readout_noise=0.01)])
    simulator = Instrumented(sample(), camera)
    pair_key, scratch_key, fit_key, mend_key = jax.random.split(key, 4)
    pairs = gl15.simulate(simulator, PRIOR, plan.few, key=pair_key)
    tests = images("camera", simulator, plan, out)
    kept, held = pairs[plan.few // 4 :], pairs[: plan.few // 4]

    guarded = gl15.load_pretrained("eta")
    shipped = innermost(guarded)
    found = {"shipped, as it is": measured(guarded, tests)}
    bases = {"shipped": shipped}
    if (out / FILE).exists():
        bases["randomised"] = gl15.load(out / FILE)
        found["randomised, as it is"] = measured(bases["randomised"], tests)
    for name, base in bases.items():
        for standardize in (False, True):
            adapted, _ = fine_tune(
                base, kept, key=fit_key, loss=NearMisses(), standardize=standardize
            )
            label = f"{name}, adapted" + (", standardised anew" if standardize else "")
            found[label] = measured(mended(adapted, held, mend_key), tests)
    fresh = gl15.RatioEstimator(
        PRIOR, gl15.JetEncoder(key=scratch_key), head="quadratic", key=scratch_key
    )
    fresh, _ = gl15.fit(
        fresh,
        kept,
        key=fit_key,
        loss=NearMisses(),
        steps=2_000,
        batch_size=64,
        weight_decay=0.5,
        validation=0.2,
        patience=20,
    )
    found["from scratch"] = measured(mended(fresh, held, mend_key), tests)
    return found


def measured(estimator: Any, test: gl15.Ensemble) -> dict[str, float]:
    """Error, bias, coverage and width; of a guarded one the share of warnings."""
    summary = gl15.summarize(estimator, test)
    found = {
        "images": len(test),
        "error": summary.error("eta").mean(),
        "bias": (summary.mean["eta"] - test.theta["eta"]).mean(),
        "sd": summary.std["eta"].mean(),
        **{
            f"covered_{round(100 * level)}": jnp.mean(summary.covered("eta", level))
            for level in (0.68, 0.95)
        },
    }
    if hasattr(estimator, "detector"):
        p = p_values(estimator, estimator.detector, test.x)
        found |= {"p < 0.01": np.mean(p < 0.01), "warned": np.mean(p < 0.001)}
    found = {name: round(float(value), 4) for name, value in found.items()}
    print(found, flush=True)
    return found


if __name__ == "__main__":
    tyro.cli(main)
