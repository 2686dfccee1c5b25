"""Other samples, finer images, noise: what an estimator is worth where it was not made.

    python benchmarks/transfer.py --out runs/transfer

holds the shipped estimator against images of other kinds, calibrates it for them and
adapts it to them; trains one on samples of 32 to 256 sites a side, open and torus, with
noise of unknown level; and adapts both to a few images of yet another kind. Simulations
are kept and resumed.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from _kinds import ADAPTABLE, camera, noisy, PRIOR, SHOWN, TRAINED, UNSEEN
from _report import show

import gl15
from gl15.diagnostics import p_values
from gl15.inference import calibrate, fine_tune, NearMisses, Summarised
from gl15.simulation import concatenate


FILE = "randomised.npz"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is simulated and trained."""

    pairs: int = 10_000  # of a kind, times its share below
    test: int = 1_000  # images of each kind, fewer of the largest
    reserve: int = 400  # pairs of every kind that calibrate
    steps: int = 2_500
    batch_size: int = 512
    few: int = 1_000  # pairs for fine tuning, a quarter of them to calibrate


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
        found |= shown(plan, out, jax.random.fold_in(key, 3))
    if "tuned" in only:
        found["tuned"] = tuned(plan, out, jax.random.fold_in(key, 2))
    show(**found)


def shown(plan: Plan, out: Path, key) -> dict[str, Any]:
    """The shipped estimator as it is, calibrated and adapted; the randomised one."""
    both = {"shipped": gl15.load_pretrained("eta")}
    network = gl15.inference.bare(both["shipped"])
    if (out / FILE).exists():
        both["randomised, clean images"] = gl15.load(out / FILE)
    labels = (*both, "calibrated", "adapted")
    found: dict[str, dict[str, Any]] = {label: {} for label in labels}
    for name, make in SHOWN.items():
        test = images(name, make(), plan, out)
        for label, estimator in both.items():
            found[label][name] = measured(estimator, test)
        if name not in ADAPTABLE:
            continue
        start = time.perf_counter()
        few = gl15.simulate(
            Summarised(make(), network.encoder), PRIOR, plan.few, key=key
        )
        simulated = time.perf_counter()
        tuned, calibrated = adapted(network, few, key)
        seconds = {
            "simulate": simulated - start,
            "adapt": time.perf_counter() - simulated,
        }
        found["calibrated"][name] = measured(calibrated, test)
        found["adapted"][name] = {**measured(tuned, test), **rounded(seconds)}
    return found


def adapted(estimator: Any, pairs: gl15.Ensemble, key) -> tuple[Any, Any]:
    """Adapted to three quarters of the pairs; and only calibrated, on the last one.

    First what reads the features learns, at full pace: the way into the rest is then
    short, and slow steps and an average over them do not undo what training knew.
    """
    kept, held = pairs[len(pairs) // 4 :], pairs[: len(pairs) // 4]
    head_key, whole_key, mend_key = jax.random.split(key, 3)
    options = {"loss": NearMisses(), "progress": False}
    tuned, _ = fine_tune(
        estimator,
        kept,
        key=head_key,
        freeze_encoder=True,
        learning_rate=1e-3,
        **options,
    )
    tuned, _ = fine_tune(
        tuned, kept, key=whole_key, learning_rate=5e-5, averaging=0.98, **options
    )
    return mended(tuned, held, mend_key), mended(estimator, held, mend_key)


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
    simulator = camera()
    pair_key, scratch_key, fit_key, mend_key = jax.random.split(key, 4)
    pairs = gl15.simulate(simulator, PRIOR, plan.few, key=pair_key)
    tests = images("camera", simulator, plan, out)
    kept, held = pairs[plan.few // 4 :], pairs[: plan.few // 4]

    guarded = gl15.load_pretrained("eta")
    shipped = gl15.inference.bare(guarded)
    found = {"shipped, as it is": measured(guarded, tests)}
    bases = {"shipped": shipped}
    if (out / FILE).exists():
        bases["randomised"] = gl15.load(out / FILE)
        found["randomised, as it is"] = measured(bases["randomised"], tests)
    for name, base in bases.items():
        for standardize in (False, True):
            one, _ = fine_tune(
                base, kept, key=fit_key, loss=NearMisses(), standardize=standardize
            )
            label = f"{name}, adapted" + (", standardised anew" if standardize else "")
            found[label] = measured(mended(one, held, mend_key), tests)
        label = f"{name}, adapted in two steps"
        found[label] = measured(adapted(base, pairs, fit_key)[0], tests)
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
    found = rounded(found)
    print(found, flush=True)
    return found


def rounded(figures: dict[str, Any]) -> dict[str, float]:
    """To four digits after the point."""
    return {name: round(float(value), 4) for name, value in figures.items()}


if __name__ == "__main__":
    tyro.cli(main)
