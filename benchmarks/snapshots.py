"""The drag from one snapshot and from several of one run, with eta and B unknown.

    python benchmarks/snapshots.py --runs 40000

One ensemble of runs seen at several times serves every case: an estimator is trained on
the summaries of the snapshots it may see, over growing numbers of runs, and judged on
fresh runs, that of all runs once more after a correction fitted on held-out ones.
Interrupted, the simulations are resumed.
"""

import dataclasses
import time
from pathlib import Path

import jax
import numpy as np
import numpyro.distributions as dist
import tyro
from _report import show
from pretrain import images

import gl15
from gl15.diagnostics import check_ranks
from gl15.inference import (
    calibrate,
    Calibrated,
    NearMisses,
    regressed,
    SnapshotEncoder,
    Summarised,
)
from gl15.posterior import grid_posterior_from_features
from gl15.simulation import Snapshots


PRIOR = gl15.Prior(
    {
        "eta": dist.Uniform(0.0, 1.5),
        "B": dist.Uniform(0.0, 0.1),
        "nu": dist.Uniform(0.0, 0.4),
    }
)
TIMES = (1.0, 1.9, 2.0)
CASES = {"t = 1": (0,), "t = 2": (2,), "t = 1, 2": (0, 2), "t = 1.9, 2": (1, 2)}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is made and trained.

    Attributes:
        runs: runs to train on.
        fewer: smaller numbers of runs, for the learning curve.
        calibration: held-out runs that correct what all runs have trained.
        test: fresh runs to judge by.
        steps: optimiser steps.
        batch_size: pairs per step.
        width: width of the hidden layers.
        weight_decay: of the weight matrices.
        points: nodes of a posterior's grid, for each parameter.
        regressed: whether the encoder begins with a linear regression.
    """

    runs: int = 20_000
    fewer: tuple[int, ...] = (5_000,)
    calibration: int = 4_000
    test: int = 1_000
    steps: int = 2_000
    batch_size: int = 256
    width: int = 256
    weight_decay: float = 0.5
    points: int = 32
    regressed: bool = True


def seen(ensemble: gl15.Ensemble, snapshots: tuple[int, ...]) -> gl15.Ensemble:
    """Summaries of some of the snapshots alone."""
    count = len(TIMES)
    z = ensemble.x.reshape(len(ensemble), count, -1)[:, snapshots, :]
    names = np.asarray(ensemble.channels).reshape(count, -1)[list(snapshots)]
    return gl15.Ensemble(
        ensemble.theta,
        z.reshape(len(z), -1),
        ensemble.spacing,
        tuple(names.ravel().tolist()),
    )


def trained(pairs: gl15.Ensemble, snapshots: int, plan: Plan, key: jax.Array):
    """An estimator for so many snapshots."""
    encoder_key, estimator_key, fit_key = jax.random.split(key, 3)
    encoder = SnapshotEncoder(
        gl15.JetEncoder(key=encoder_key), snapshots, width=plan.width, key=encoder_key
    )
    if plan.regressed:
        encoder = regressed(encoder, pairs, PRIOR)
    estimator = gl15.RatioEstimator(PRIOR, encoder, head="quadratic", key=estimator_key)
    estimator, _ = gl15.fit(
        estimator,
        pairs,
        key=fit_key,
        loss=NearMisses(gl15.Contrastive(16)),
        steps=plan.steps,
        batch_size=plan.batch_size,
        learning_rate=1e-3,
        weight_decay=plan.weight_decay,
        validation=0.05,
    )
    return estimator


def features(estimator, z: jax.Array) -> jax.Array:
    """Features of summaries, with correction if there is one."""
    if isinstance(estimator, Calibrated):
        return estimator.extend(features(estimator.estimator, z))
    return estimator.features(estimator.standardization(z))


def calibrated(estimator, pairs: gl15.Ensemble, key: jax.Array) -> Calibrated:
    """An estimator corrected on held-out runs."""
    h = jax.lax.map(lambda z: features(estimator, z), pairs.x)
    return calibrate(estimator, pairs, key=key, features=h)


def measured(estimator, test: gl15.Ensemble, plan: Plan, key: jax.Array) -> dict:
    """Errors and coverage of every parameter, from summaries alone."""

    @jax.jit
    def one(pair):
        z, theta = pair
        h = features(estimator, z)
        posterior = grid_posterior_from_features(estimator, h, plan.points)
        told = posterior.mean(), posterior.std(), posterior.cdf(theta)
        return *told, estimator.peaks(h).highest()[1]

    mean, std, ranks, covariance = jax.lax.map(
        one, (test.x, dict(test.theta)), batch_size=8
    )
    check = check_ranks(ranks, key=key)
    results: dict = {
        "null_95": check.null_quantile,
        "d eta / d nu along the long axis": long_axis(test.theta, covariance),
    }
    for name in PRIOR.names:
        error = np.abs(np.asarray(mean[name] - test.theta[name]))
        rank = np.asarray(ranks[name])
        results[name] = {
            "mean_abs_error": float(error.mean()),
            "standard_error": float(error.std() / np.sqrt(len(error))),
            "mean_std": float(np.mean(std[name])),
            "covered_68": float(np.mean(np.abs(rank - 0.5) < 0.34)),
            "covered_95": float(np.mean(np.abs(rank - 0.5) < 0.475)),
            "sbc_deviation": check.deviation[name],
        }
    return results


def long_axis(theta, covariance) -> float:
    """Slope of the long axis of mean posteriors about eta = 0.8, nu = 0.2."""
    near = abs(theta["eta"] - 0.8) < 0.15
    near = np.asarray(near & (abs(theta["nu"] - 0.2) < 0.12))
    axis = np.linalg.eigh(np.asarray(covariance)[near].mean(0))[1][:, -1]
    bounds = PRIOR.bounds
    eta, _, nu = (axis[i] * (bounds[n][1] - bounds[n][0]) for i, n in enumerate(bounds))
    return float(eta / nu)


def main(
    plan: Plan = Plan(),  # noqa: B008
    out: Path = Path("runs/snapshots"),
    seed: int = 0,
) -> None:
    """Simulate, train and measure.

    Args:
        plan: the budget.
        out: folder of the simulations.
        seed: seed of everything random.
    """
    out.mkdir(parents=True, exist_ok=True)
    keys = jax.random.split(jax.random.key(seed), 6)
    runs = Summarised(
        Snapshots(images(), TIMES),
        SnapshotEncoder(
            gl15.JetEncoder(key=keys[0]), len(TIMES), width=8, features=8, key=keys[0]
        ),
    )
    start = time.perf_counter()
    made = [
        gl15.simulate(runs, PRIOR, n, key=key, path=out / f"{name}-{seed}.zarr")
        for name, n, key in (
            ("train", plan.runs, keys[0]),
            ("reserve", plan.calibration, keys[3]),
            ("test", plan.test, keys[1]),
        )
    ]
    seconds = {"simulate": time.perf_counter() - start}
    found: dict = {}
    for case, snapshots in CASES.items():
        train, reserve, test = (seen(ensemble, snapshots) for ensemble in made)
        results = found[case] = {}
        for n in (*plan.fewer, plan.runs):
            start = time.perf_counter()
            estimator = trained(train[:n], len(snapshots), plan, keys[2])
            results[n] = measured(estimator, test, plan, keys[4])
            seconds[f"{case}, {n}"] = time.perf_counter() - start
        start = time.perf_counter()
        estimator = calibrated(estimator, reserve, keys[5])
        results[f"{plan.runs}, calibrated"] = measured(estimator, test, plan, keys[4])
        seconds[f"{case}, calibrated"] = time.perf_counter() - start
    show(plan=dataclasses.asdict(plan), times=TIMES, seconds=seconds, found=found)


if __name__ == "__main__":
    tyro.cli(main)
