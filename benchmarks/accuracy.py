"""How well a trained estimator reads eta from fresh images of the main job's sample.

python benchmarks/accuracy.py runs/recover_josephson/estimator.npz --images 4000
"""

import time
from pathlib import Path

import jax
import numpy as np
import tyro
from _report import show

import gl15
from gl15.diagnostics import check_ranks


def main(
    estimator: tyro.conf.Positional[Path], images: int = 4_000, seed: int = 987_654
) -> None:
    """Print errors, coverage and calibration as JSON.

    Args:
        estimator: file of the estimator.
        images: number of fresh images, eta from the prior.
        seed: seed of the images; the main job derives its keys from another.
    """
    loaded = gl15.load(estimator)
    simulator = gl15.VortexSimulator(
        gl15.Lattice((64, 64), spacing=0.5), gl15.TwoBand(), field=0.04
    )
    key = jax.random.key(seed)
    ensemble = gl15.simulate(simulator, loaded.prior, images, key=key)
    start = time.perf_counter()
    summary = gl15.summarize(loaded, ensemble)
    error = np.asarray(summary.error("eta"))
    seconds = time.perf_counter() - start
    eta = np.asarray(summary.truth["eta"])
    check = check_ranks(summary.rank, key=key)
    fifths = np.minimum((eta / 0.3).astype(int), 4)

    def shares(level: float) -> dict:
        covered = np.asarray(summary.covered("eta", level))
        found = gl15.coverage(summary.rank, levels=(level,))
        return {
            "covered": float(covered.mean()),
            "confidence_95": [float(found.low["eta"][0]), float(found.high["eta"][0])],
            "by_fifth": [float(covered[fifths == i].mean()) for i in range(5)],
        }

    show(
        images=images,
        mean_abs_error=float(error.mean()),
        mean_abs_error_first_1000=float(error[:1_000].mean()),
        by_fifth=[float(error[fifths == i].mean()) for i in range(5)],
        coverage_68=shares(0.68),
        coverage_95=shares(0.95),
        sbc={
            "mean_abs_deviation": check.deviation["eta"],
            "null_95_quantile": check.null_quantile,
            "ks_p": check.ks_p["eta"],
        },
        mean_log_prob=float(summary.log_prob.mean()),
        seconds_for_all_posteriors=seconds,
    )


if __name__ == "__main__":
    tyro.cli(main)
