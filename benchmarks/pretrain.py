"""Train the estimators that gl15 ships, from a key, and report what they are worth.

    python benchmarks/pretrain.py --name eta

simulates (resumed if interrupted), trains, calibrates on pairs kept apart, measures on
fresh images, and writes `<out>/<name>.npz` with its provenance and report inside.
"""

import dataclasses
import time
from pathlib import Path
from typing import Literal

import jax
import numpy as np
import numpyro.distributions as dist
import tyro
from _report import show

import gl15
from gl15.diagnostics import check_ranks, misspecification
from gl15.inference import calibrate, Guarded, NearMisses, Summarised


PRIORS = {
    "eta": {"eta": dist.Uniform(0.0, 1.5)},
    "eta-B-nu": {
        "eta": dist.Uniform(0.0, 1.5),
        "B": dist.Uniform(0.0, 0.1),
        "nu": dist.Uniform(0.0, 0.4),
    },
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What an estimator is made from."""

    simulations: int = 300_000
    steps: int = 16_000
    batch_size: int = 512
    contrasts: int = 16
    width: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.5
    reserve: int = 6_000  # images that calibrate, and as many for the detector
    test: int = 4_000


SAMPLE = "open, 64 x 64 sites, spacing 0.5, D = (4, 1), t = 2, B = 0.04 if not inferred"


def sample(**solver) -> gl15.VortexSimulator:
    """The default sample of the paper's reported runs."""
    return gl15.VortexSimulator(
        gl15.Lattice((64, 64), spacing=0.5, boundary="open"),
        gl15.TwoBand(diffusion=(4.0, 1.0)),
        field=0.04,
        t1=2.0,
        **solver,
    )


def main(
    name: Literal["eta", "eta-B-nu"] = "eta",
    plan: Plan = Plan(),  # noqa: B008
    out: Path = Path("runs/pretrain"),
    seed: int = 0,
) -> None:
    """Train, measure and save an estimator.

    Args:
        name: which one.
        plan: its budget.
        out: folder of simulations, checkpoints and results.
        seed: seed of everything random.
    """
    out.mkdir(parents=True, exist_ok=True)
    names = "network train fit reserve calibrate detector test figures".split()
    keys = dict(zip(names, jax.random.split(jax.random.key(seed), 8), strict=True))
    prior = gl15.Prior(PRIORS[name])
    # A tenth of the cost of Euler steps of 0.001, and nearer to the exact solution.
    quick = sample(dt=0.05, solver=gl15.RungeKuttaChebyshev(stages=5))
    seconds: dict[str, float] = {}

    start = time.perf_counter()
    encoder_key, estimator_key = jax.random.split(keys["network"])
    encoder = gl15.JetEncoder(width=plan.width, key=encoder_key)
    train = gl15.simulate(
        # Any jet encoder has these summaries: the store outlives the network's sizes.
        Summarised(quick, gl15.JetEncoder(key=encoder_key)),
        prior,
        plan.simulations,
        key=keys["train"],
        path=out / f"{name}-{seed}.zarr",
    )
    seconds["simulate"] = time.perf_counter() - start

    start = time.perf_counter()
    estimator = gl15.RatioEstimator(prior, encoder, head="quadratic", key=estimator_key)
    estimator, history = gl15.fit(
        estimator,
        train,
        key=keys["fit"],
        loss=NearMisses(gl15.Contrastive(plan.contrasts)),
        steps=plan.steps,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        weight_decay=plan.weight_decay,
        validation=0.03,
        checkpoint=out / f"{name}-{seed}.checkpoint",
    )
    seconds["fit"] = time.perf_counter() - start

    start = time.perf_counter()
    reserve = gl15.simulate(quick, prior, 2 * plan.reserve, key=keys["reserve"])
    calibrated = calibrate(estimator, reserve[: plan.reserve], key=keys["calibrate"])
    detector = misspecification(
        calibrated,
        reserve[plan.reserve :],
        key=keys["detector"],
        view=gl15.SpectralEncoder(key=keys["detector"]),
    )
    seconds["calibrate and guard"] = time.perf_counter() - start

    tests = {
        "chebyshev": gl15.simulate(quick, prior, plan.test, key=keys["test"]),
        "euler": gl15.simulate(sample(dt=1e-3), prior, plan.test, key=keys["test"]),
    }
    figures = {
        label: {
            "before": measured(estimator, test, keys["figures"]),
            "after": measured(calibrated, test, keys["figures"]),
        }
        for label, test in tests.items()
    }
    if name == "eta":
        figures["recovery"] = {
            eta: recovery(calibrated, quick, eta, jax.random.fold_in(keys["test"], i))
            for i, eta in enumerate((0.2, 0.5, 0.8, 1.1, 1.4))
        }
    gl15.save(
        out / f"{name}.npz",
        Guarded(calibrated, detector),
        provenance={
            "script": "benchmarks/pretrain.py",
            "seed": seed,
            "plan": dataclasses.asdict(plan),
            "sample": SAMPLE,
        },
        calibration=figures,
    )
    show(
        name=name,
        plan=dataclasses.asdict(plan),
        seconds=seconds,
        train_loss=history.train_loss.tolist(),
        validation_loss=history.validation_loss.tolist(),
        test=figures,
    )


def recovery(estimator, simulator, eta: float, key: jax.Array, n: int = 200) -> float:
    """Mean absolute error of n images at one eta."""
    images = gl15.simulate(simulator, {"eta": np.full(n, eta)}, key=key)
    return float(gl15.summarize(estimator, images).error("eta").mean())


def fifths(values, fifth: np.ndarray) -> list[float]:
    values = np.asarray(values, float)
    return [float(values[fifth == i].mean()) for i in range(5)]


def measured(estimator, test: gl15.Ensemble, key: jax.Array) -> dict:
    """Errors and coverage, overall and in fifths of the range, each parameter."""
    summary = gl15.summarize(estimator, test)
    ranks = gl15.sbc_ranks(estimator, test)
    check = check_ranks(ranks, key=key)
    results = {"null_95": check.null_quantile, "images": len(test)}
    for parameter, (low, high) in estimator.prior.bounds.items():
        truth = np.asarray(test.theta[parameter])
        fifth = np.minimum((5 * (truth - low) / (high - low)).astype(int), 4)

        error = summary.error(parameter)
        results[parameter] = {
            "mean_abs_error": float(error.mean()),
            "by_fifths": fifths(error, fifth),
            "sbc_deviation": check.deviation[parameter],
            **{
                f"covered_{round(100 * level)}": [
                    float(np.mean(summary.covered(parameter, level))),
                    *fifths(summary.covered(parameter, level), fifth),
                ]
                for level in (0.68, 0.95)
            },
        }
    return results


if __name__ == "__main__":
    tyro.cli(main)
