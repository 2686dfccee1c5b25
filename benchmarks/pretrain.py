"""Train the estimators that gl15 ships, from a key, and report what they are worth.

    python benchmarks/pretrain.py --name eta
    python benchmarks/pretrain.py --name eta-B-nu --plan.weight-decay 1.2 \
        --plan.calibration 16000 --plan.detector 4000 --plan.compared 1000

    python benchmarks/pretrain.py --name eta-B-nu --check 4000

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
from gl15.diagnostics import misspecification, report
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
    steps: int = 5_000
    batch_size: int = 512
    contrasts: int = 16
    width: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 2.0
    calibration: int = 6_000  # pairs that calibrate
    detector: int = 6_000  # images that the detector knows
    test: int = 4_000
    compared: int = 4_000  # images of the reports beside the shipped estimator's


# Nats of log posterior density that a correction must gain on held-out pairs: less is
# not worth another step between an image and its posterior.
WORTH = 0.01
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


def images() -> gl15.VortexSimulator:
    """A tenth of the cost of Euler steps of 0.001, and nearer to the exact solution."""
    return sample(dt=0.05, solver=gl15.RungeKuttaChebyshev(stages=5))


def streams(seed: int) -> dict[str, jax.Array]:
    """A random key for every part of the work."""
    names = "network train fit reserve calibrate detector test figures".split()
    return dict(zip(names, jax.random.split(jax.random.key(seed), 8), strict=True))


def main(
    name: Literal["eta", "eta-B-nu"] = "eta",
    plan: Plan = Plan(),  # noqa: B008
    out: Path = Path("runs/pretrain"),
    seed: int = 0,
    check: int = 0,
) -> None:
    """Train, measure and save an estimator.

    Args:
        name: which one.
        plan: its budget.
        out: folder of simulations, checkpoints and results.
        seed: seed of everything random.
        check: make nothing, but measure the file that ships on so many fresh images.
    """
    if check:
        # Keys of its own: none that training, calibration or its tests have seen.
        test_key, report_key = jax.random.key(2024 + seed), jax.random.key(7)
        test = gl15.simulate(images(), gl15.Prior(PRIORS[name]), check, key=test_key)
        estimator = gl15.load_pretrained(name)
        found = report(estimator, test, key=report_key, local=False)
        print(found.to_markdown())
        show(name=name, check=found.as_dict())
        return
    out.mkdir(parents=True, exist_ok=True)
    keys, prior, quick = streams(seed), gl15.Prior(PRIORS[name]), images()
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
        whiten=True,
        checkpoint=out / f"{name}-{seed}.checkpoint",
    )
    seconds["fit"] = time.perf_counter() - start

    found = finish(estimator, name, plan, out, seed, seconds)
    show(
        name=name,
        plan=dataclasses.asdict(plan),
        seconds=seconds,
        train_loss=history.train_loss.tolist(),
        validation_loss=history.validation_loss.tolist(),
        **found,
    )


def finish(
    estimator: gl15.RatioEstimator,
    name: str,
    plan: Plan,
    out: Path,
    seed: int,
    seconds: dict[str, float],
) -> dict:
    """Calibrate, guard, measure and save what was trained; its figures."""
    keys, prior, quick = streams(seed), gl15.Prior(PRIORS[name]), images()
    start = time.perf_counter()
    count = plan.calibration + plan.detector
    reserve = gl15.simulate(quick, prior, count, key=keys["reserve"])
    held_out = reserve[: plan.calibration]
    calibrated = calibrate(estimator, held_out, key=keys["calibrate"])
    gain = float(calibrated.after - calibrated.before)
    shipped = calibrated if gain > WORTH else estimator
    detector = misspecification(
        shipped,
        reserve[plan.calibration :],
        key=keys["detector"],
        view=gl15.SpectralEncoder(key=keys["detector"]),
    )
    seconds["calibrate and guard"] = time.perf_counter() - start

    start = time.perf_counter()
    test = gl15.simulate(quick, prior, plan.test, key=keys["test"])
    euler = gl15.simulate(sample(dt=1e-3), prior, plan.compared, key=keys["test"])
    others = {
        "before calibration": (estimator, test[: plan.compared]),
        "after calibration": (calibrated, test[: plan.compared]),
        "shipped, on images of Euler steps of 0.001": (shipped, euler),
    }
    reports = {"shipped": report(shipped, test, key=keys["figures"])}
    for label, (one, ensemble) in others.items():
        reports[label] = report(one, ensemble, key=keys["figures"], local=False)
    for label, one in reports.items():
        print(f"\n## {label}\n\n{one.to_markdown()}\n", flush=True)
    figures: dict = {label: one.as_dict() for label, one in reports.items()}
    if name == "eta":
        figures["mean absolute error of 200 images each"] = {
            eta: recovery(shipped, quick, eta, jax.random.fold_in(keys["test"], i))
            for i, eta in enumerate((0.2, 0.5, 0.8, 1.1, 1.4))
        }
    seconds["figures"] = time.perf_counter() - start
    gl15.save(
        out / f"{name}.npz",
        Guarded(shipped, detector),
        provenance={
            "script": "benchmarks/pretrain.py",
            "seed": seed,
            "plan": dataclasses.asdict(plan),
            "sample": SAMPLE,
        },
        calibration={"gain of calibration, nats": gain} | figures,
    )
    error = float(calibrated.gain_error)
    return {"calibration_gain": [gain, error], "figures": figures}


def recovery(estimator, simulator, eta: float, key: jax.Array, n: int = 200) -> float:
    """Mean absolute error of n images at one eta."""
    ensemble = gl15.simulate(simulator, {"eta": np.full(n, eta)}, key=key)
    return float(gl15.summarize(estimator, ensemble).error("eta").mean())


if __name__ == "__main__":
    tyro.cli(main)
