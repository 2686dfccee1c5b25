# %% [markdown]
# # From a vortex image to a posterior of the Josephson coupling
#
# The main job, end to end: simulate quenches with random coupling eta, train a ratio
# estimator on the images, check it on images it has never seen, and read one image
# from a file. `make run` starts it; `--plan` sets the budget.

# %%
import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import jax
import numpy as np
import numpyro.distributions as dist
import tyro
from josephson_report import figures, report

import gl15
from gl15.diagnostics import check_ranks


# %% [markdown]
# ## Plans
# `paper` is the paper's network with its training budget (Tables III and IV).
# `laptop` trains gl15's spectral encoder with many contrasts: sharper, and quicker.


# %%
@dataclasses.dataclass(frozen=True)
class Plan:
    encoder: Literal["spectral", "paper"]
    train: int  # simulated pairs to learn from
    steps: int
    batch_size: int
    contrasts: int
    learning_rate: float
    weight_decay: float
    test: int  # held-out images, eta from the prior: errors and coverage
    calibration: int  # held-out images for the SBC curve
    repeats: int  # held-out images at each of TRUE_ETA


PLANS = {
    "smoke": Plan("spectral", 512, 300, 32, 31, 1e-3, 0.1, 100, 100, 10),
    "laptop": Plan("spectral", 30_000, 8_000, 64, 63, 1e-3, 0.2, 1_000, 500, 100),
    "paper": Plan("paper", 5_120, 8_000, 32, 1, 5e-5, 1e-4, 1_000, 500, 100),
}
TRUE_ETA = (0.2, 0.5, 0.8, 1.1, 1.4)
PRIOR = gl15.Prior({"eta": dist.Uniform(0.0, 1.5)})
SIMULATOR = gl15.VortexSimulator(
    gl15.Lattice((64, 64), spacing=0.5, boundary="open"),
    gl15.TwoBand(diffusion=(4.0, 1.0)),
    field=0.04,
    t1=2.0,
    dt=1e-3,
)


# %% [markdown]
# ## The steps


# %%
class Clock:
    """Says what is going on, and remembers how long it took."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        print(f"{name} ...", flush=True)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        print(f"{name}: {self.seconds[name]:.1f} s", flush=True)


def untrained(plan: Plan, key: jax.Array) -> gl15.RatioEstimator:
    encoder_key, estimator_key = jax.random.split(key)
    encoder = gl15.ConvEncoder if plan.encoder == "paper" else gl15.SpectralEncoder
    return gl15.RatioEstimator(
        PRIOR,
        encoder(key=encoder_key),
        spacing=SIMULATOR.spacing,
        channel_names=SIMULATOR.channels,
        key=estimator_key,
    )


def trained(
    estimator: gl15.RatioEstimator,
    plan: Plan,
    ensemble: gl15.Ensemble,
    key: jax.Array,
    path: Path,
) -> tuple[gl15.RatioEstimator, dict]:
    """The trained estimator and a record of its training, read if made before."""
    log = path.with_suffix(".json")
    if log.exists() and path.exists():
        record = json.loads(log.read_text())
        if record["plan"] == dataclasses.asdict(plan):
            print(f"trained before: {path}", flush=True)
            return gl15.load(path), record
    start = time.perf_counter()
    estimator, history = gl15.fit(
        estimator,
        ensemble,
        key=key,
        loss=gl15.BinaryCrossEntropy()
        if plan.encoder == "paper"
        else gl15.Contrastive(plan.contrasts),
        steps=plan.steps,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        weight_decay=plan.weight_decay,
    )
    log.unlink(missing_ok=True)  # never a record beside another's weights
    record = {
        "plan": dataclasses.asdict(plan),
        "sha256": gl15.save(path, estimator),
        "seconds": time.perf_counter() - start,
        "best_epoch": history.best_epoch,
        "train_loss": history.train_loss.tolist(),
        "validation_loss": history.validation_loss.tolist(),
    }
    log.write_text(json.dumps(record, indent=2))
    return estimator, record


def site_updates_per_second(key: jax.Array, n: int = 256) -> float:
    """Sites times steps that all cores together do in a second."""

    def run(n: int) -> float:
        start = time.perf_counter()
        theta = {"eta": np.linspace(0, 1.5, n)}
        gl15.simulate(SIMULATOR, theta, key=key, progress=False)
        return time.perf_counter() - start

    run(SIMULATOR.batch_size)  # compiles
    nx, ny = SIMULATOR.lattice.shape
    return n * nx * ny * round(SIMULATOR.t1 / SIMULATOR.dt) / run(n)


def density_baseline(train: gl15.Ensemble, test: gl15.Ensemble) -> float:
    """Error of a cubic regression on the log mean density: what a network must beat."""

    def log_density(ensemble: gl15.Ensemble) -> np.ndarray:
        return np.log(np.asarray(ensemble.x[..., :2].sum(-1).mean((1, 2))))

    cubic = np.polyfit(log_density(train), np.asarray(train.theta["eta"]), 3)
    guess = np.polyval(cubic, log_density(test))
    return float(np.abs(guess - np.asarray(test.theta["eta"])).mean())


def read_image(
    estimator: gl15.RatioEstimator, observation: gl15.Observation, key: jax.Array
) -> tuple:
    """The posterior of one image on a grid, and by NUTS as a cross-check."""
    clock = Clock()
    for run in ("grid posterior, first", "grid posterior, next"):
        with clock(run):
            posterior = gl15.grid_posterior(estimator, observation.x)
            jax.block_until_ready(posterior.mean())
    with clock("NUTS, 4 chains of 1,000 draws"):
        mcmc = gl15.sample_posterior(estimator, observation.x, key=key)
        draws = np.asarray(mcmc.get_samples()["eta"])
    low, high = posterior.interval(0.95)["eta"]
    return posterior, {
        "mean": float(posterior.mean()["eta"]),
        "std": float(posterior.std()["eta"]),
        "interval_95": [float(low), float(high)],
        "nuts_mean": float(draws.mean()),
        "nuts_std": float(draws.std()),
        "seconds": clock.seconds,
    }


# %% [markdown]
# ## The job


# %%
def main(
    plan: Literal["smoke", "laptop", "paper"] = "laptop",
    image: Annotated[Path | None, tyro.conf.arg(metavar="observation.npz")] = None,
    out: Path = Path("runs/recover_josephson"),
    seed: int = 0,
) -> dict:
    """Recover the Josephson coupling from images of vortices.

    Args:
        plan: the budget: smoke (a minute), laptop (minutes) or paper (an hour or so).
        image: an image to read: an .npz with x [nx, ny, 3] and spacing. By default one
            is simulated and written first.
        out: folder of the results. Simulations in it are resumed, not repeated.
        seed: seed of everything random.
    """
    budget = PLANS[plan]
    names = "train fit test calibration recovery image nuts network figures"
    keys = dict(
        zip(names.split(), jax.random.split(jax.random.key(seed), 9), strict=True)
    )
    estimator = untrained(budget, keys["network"])
    observation = None
    if image is not None:
        # What cannot be read should be known before an hour of training.
        try:
            observation = gl15.load_observation(image)
            estimator.check_image(
                observation.x,
                spacing=observation.spacing,
                channel_names=observation.channels,
            )
            jax.eval_shape(estimator.embed, observation.x)  # refuses too small a one
        except (OSError, ValueError) as error:
            raise SystemExit(f"error: {error}") from error
    out.mkdir(parents=True, exist_ok=True)
    clock = Clock()
    print(f"plan {plan}: {budget}", flush=True)

    def ensemble(name: str, prior, n: int | None = None) -> gl15.Ensemble:
        path = out / f"{name}-{plan}-{seed}.zarr"
        return gl15.simulate(SIMULATOR, prior, n, key=keys[name], path=path)

    with clock(f"simulate {budget.train} training images"):
        train = ensemble("train", PRIOR, budget.train)
    with clock(f"train for {budget.steps} steps"):
        estimator, training = trained(
            estimator, budget, train, keys["fit"], out / f"estimator-{plan}-{seed}.npz"
        )
    with clock("simulate held-out images"):
        test = ensemble("test", PRIOR, budget.test)
        calibration = ensemble("calibration", PRIOR, budget.calibration)
        repeated = {"eta": np.repeat(TRUE_ETA, budget.repeats)}
        recovery = ensemble("recovery", repeated)
    with clock("measure the solver"):
        rate = site_updates_per_second(keys["figures"])

    with clock("posteriors of all held-out images"):
        summary = gl15.summarize(estimator, test)
        table = gl15.recovery_table(gl15.summarize(estimator, recovery))
        bins = gl15.recovery_table(summary, bins=10)
        ranks = gl15.sbc_ranks(estimator, calibration)
        check = check_ranks(ranks, key=keys["figures"])
        cover = gl15.coverage(gl15.sbc_ranks(estimator, test))

    truth = None
    if observation is None:
        image = out / "observation.npz"
        theta_key, x_key = jax.random.split(keys["image"])
        theta = PRIOR.sample(theta_key)
        truth = float(theta["eta"])
        x = np.asarray(SIMULATOR(theta, x_key))
        gl15.save_observation(
            image, gl15.Observation(x, SIMULATOR.spacing, SIMULATOR.channels)
        )
        observation = gl15.load_observation(image)
    posterior, reading = read_image(estimator, observation, keys["nuts"])

    results = {
        "plan": {"name": plan, "seed": seed, **dataclasses.asdict(budget)},
        "versions": {"gl15": gl15.__version__, "jax": jax.__version__},
        "training": training,
        "test": {
            "images": len(test),
            "mean_abs_error": float(summary.error("eta").mean()),
            "covered_68": float(summary.covered("eta", 0.68).mean()),
            "covered_95": float(summary.covered("eta", 0.95).mean()),
        },
        "baseline": density_baseline(train, test),
        "sbc": {
            "images": len(calibration),
            "mean_abs_deviation": check.deviation["eta"],
            "null_mean": check.null_mean,
            "null_95": check.null_quantile,
        },
        "recovery": {
            "eta": TRUE_ETA,
            "mean_abs_error": table.error.value.tolist(),
            "width_95": table.width[0.95].value.tolist(),
        },
        "image": {"path": str(image), "truth": truth, **reading},
        "seconds": clock.seconds,
        "site_updates_per_second": rate,
    }
    examples = {
        true: gl15.grid_posterior(estimator, recovery.x[index * budget.repeats])
        for index, true in enumerate(TRUE_ETA)
    }
    figures(out, observation, posterior, truth, examples, bins, ranks, keys["figures"])
    (out / "results.json").write_text(json.dumps(results, indent=2))
    (out / "report.md").write_text(report(SIMULATOR, results, table, check, cover))
    print(f"eta = {reading['mean']:.4f} ± {reading['std']:.4f} for {image}")
    print(f"mean absolute error {results['test']['mean_abs_error']:.4f}; see {out}")
    return results


if __name__ == "__main__":
    tyro.cli(main)
