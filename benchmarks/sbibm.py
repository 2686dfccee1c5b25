"""Three public benchmark tasks: C2ST against reference posteriors, as sbibm takes it.

python benchmarks/sbibm.py --task slcp --reference benchmarks/sbibm

Times mean something on one thread, so start it as
XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
taskset -c 0 python benchmarks/sbibm.py ...
"""

import dataclasses
import time
from pathlib import Path
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from _report import show
from jaxtyping import Array, Float, PRNGKeyArray

import gl15
from gl15.inference import AbstractEncoder, Contrastive, EstimatorEnsemble, NearMisses
from gl15.inference._estimators.candidates import candidates, log_joint
from gl15.posterior import resample_posterior
from gl15.simulation import GaussianLinearUniform, SLCP, TwoMoons


TASKS = {
    "two_moons": TwoMoons,
    "gaussian_linear_uniform": GaussianLinearUniform,
    "slcp": SLCP,
}

# What a user knows of the task: whether the posterior may have several modes, or modes
# of an odd shape, and whether x is close to theta, where larger networks overfit.
COMMON = {
    "components": 4,
    "members": 4,
    "width": 128,
    "epochs": 30,
    "weight_decay": 0.3,
    "estimators": 1,
}
SETTINGS = {
    "two_moons": {},
    "slcp": {"epochs": 26},
    "gaussian_linear_uniform": {
        "components": 1,
        "members": 1,
        "width": 64,
        "epochs": 12,
        "weight_decay": 1.0,
        "estimators": 3,
    },
}


@dataclasses.dataclass
class Options:
    """What to run: what is not given is that of `SETTINGS` for the task, or of all.

    Attributes:
        task: which task.
        reference: folder of the reference posteriors.
        observations: which of the three; none to look at fresh pairs only.
        simulations: pairs to train on.
        epochs: passes over them.
        batch_size: pairs per step.
        learning_rate: the highest.
        weight_decay: of the weight matrices.
        width: width of the encoder's layers and of the head.
        depth: hidden layers of the head.
        components: families of peaks of the quadratic head.
        members: peaks of each family.
        contrasts: contrasts per observation.
        estimators: estimators trained side by side.
        average: how they are averaged.
        exchangeable: for slcp, an encoder that does not see the order of the draws.
        moves: Metropolis moves of the draws.
        fresh: fresh pairs for the mean log posterior density.
        c2st: whether to take the C2ST (scikit-learn; minutes).
        forest: whether to take it by a forest too.
        seed: seed of everything.
    """

    task: Literal["two_moons", "gaussian_linear_uniform", "slcp"]
    reference: Path = Path(__file__).parent / "sbibm"
    observations: tuple[int, ...] = (0, 1, 2)
    simulations: int = 10_000
    epochs: int | None = None
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float | None = None
    width: int | None = None
    depth: int = 2
    components: int | None = None
    members: int | None = None
    contrasts: int = 16
    estimators: int | None = None
    average: Literal["ratio", "log"] = "log"
    exchangeable: bool = False
    moves: int = 0
    fresh: int = 1_000
    c2st: bool = True
    forest: bool = True
    seed: int = 0


def completed(options: Options) -> Options:
    """The options with a value for all that was not given."""
    chosen = COMMON | SETTINGS[options.task]
    missing = {k: v for k, v in chosen.items() if getattr(options, k) is None}
    return dataclasses.replace(options, **missing)


class Encoder(AbstractEncoder):
    """A perceptron of x and asinh(x), followed by its input for what is linear."""

    channels: int = eqx.field(static=True)
    size: int = eqx.field(static=True)
    features: int = eqx.field(static=True)
    draws: int = eqx.field(static=True)
    mlp: eqx.nn.MLP
    ndim: ClassVar[int] = 1

    def __init__(self, size: int, *, width: int, draws: int = 1, key: PRNGKeyArray):
        self.channels, self.size, self.draws = size, 2 * size, draws
        one = self.size // draws
        self.mlp = eqx.nn.MLP(one, 64, width, 2, jax.nn.gelu, jax.nn.gelu, key=key)
        self.features = 64 + (self.size if draws == 1 else 64)

    def config(self) -> dict[str, Any]:
        return {"size": self.channels, "width": self.mlp.width_size}

    def summarise(self, x: Float[Array, " size"]) -> Float[Array, " n"]:
        parts = x.reshape(self.draws, -1)
        return jnp.concatenate([parts, jnp.arcsinh(parts)], 1).ravel()

    def __call__(self, summary: Float[Array, " n"]) -> Float[Array, " features"]:
        if self.draws == 1:
            return jnp.concatenate([self.mlp(summary), summary])
        each = jax.vmap(self.mlp)(summary.reshape(self.draws, -1))
        return jnp.concatenate([each.mean(0), each.max(0)])


def c2st(reference: np.ndarray, drawn: np.ndarray, forest: bool = False) -> float:
    """Accuracy of a classifier of reference against own draws.

    That of the benchmark, a small perceptron, is blind to fine structure (a ring twice
    too thick); a forest, of trees that are not grown to the last draw, sees more.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import cross_val_score, KFold
    from sklearn.neural_network import MLPClassifier

    mean, std = reference.mean(0), reference.std(0, ddof=1)
    data = (np.concatenate([reference, drawn]) - mean) / std
    labels = np.repeat([0, 1], [len(reference), len(drawn)])
    width = 10 * data.shape[1]
    classifier = MLPClassifier(
        activation="relu",
        hidden_layer_sizes=(width, width),
        solver="adam",
        max_iter=10_000,
        random_state=1,
    )
    if forest:
        classifier = RandomForestClassifier(200, min_samples_leaf=20, random_state=1)
    folds = KFold(5, shuffle=True, random_state=1)
    return float(cross_val_score(classifier, data, labels, cv=folds).mean())


def log_posterior(estimator, simulator, key, count: int) -> dict:
    """Mean log posterior density of fresh truths, standardised parameters."""
    pairs = gl15.simulate(simulator, estimator.prior, count, key=key)
    truth = estimator.prior.standardize(pairs.theta).astype(pairs.x.dtype)

    @jax.jit
    def one(x, at, key):
        h = estimator.embed(x)
        _, log_weight = candidates(estimator, h, key, 8192)
        log_total = jax.nn.logsumexp(log_weight) - jnp.log(8192)
        effective = jnp.exp(
            2 * jax.nn.logsumexp(log_weight) - jax.nn.logsumexp(2 * log_weight)
        )
        return log_joint(estimator, h, at[None])[0] - log_total, effective

    keys = jax.random.split(key, count)
    value, effective = jax.lax.map(lambda a: one(*a), (pairs.x, truth, keys))
    return {
        "mean": float(value.mean()),
        "standard_error": float(value.std() / np.sqrt(count)),
        "median_effective_of_8192": float(jnp.median(effective)),
    }


def main(options: Options) -> None:
    """Print the figures as JSON."""
    options = completed(options)
    simulator = TASKS[options.task]()
    prior, key = simulator.prior, jax.random.key(options.seed)
    keys = jax.random.split(key, 6)
    pairs = gl15.simulate(simulator, prior, options.simulations, key=keys[0])

    def build(key):
        one, two = jax.random.split(key)
        encoder = Encoder(
            pairs.x.shape[1],
            width=options.width,
            draws=4 if options.exchangeable else 1,
            key=one,
        )
        return gl15.RatioEstimator(
            prior,
            encoder,
            width=options.width,
            depth=options.depth,
            head="quadratic",
            components=options.components,
            members=options.members,
            key=two,
        )

    estimator = build(keys[1])
    if options.estimators > 1:
        estimator = EstimatorEnsemble(
            build, options.estimators, average=options.average, key=keys[1]
        )
    start, cpu = time.perf_counter(), time.process_time()
    estimator, history = gl15.fit(
        estimator,
        pairs,
        key=keys[2],
        loss=NearMisses(Contrastive(options.contrasts)),
        steps=options.epochs * int(0.9 * options.simulations / options.batch_size),
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        averaging=0.99,
        progress=False,
    )
    figures: dict = {
        "training_seconds": time.perf_counter() - start,
        # With compilation; on one thread, what a machine of one's own would take.
        "training_cpu_seconds": time.process_time() - cpu,
        "best_epoch": history.best_epoch,
        "epochs": len(history.validation_loss),
        "validation": [float(v) for v in history.validation_loss[::5]],
        "log_posterior": log_posterior(estimator, simulator, keys[3], options.fresh),
    }
    print(figures, flush=True)
    known = {}
    if options.observations:
        known = np.load(options.reference / f"{options.task}.npz")
    found = []
    for number in options.observations:
        x = jnp.asarray(known["x_o"][number], jnp.float32)

        def draw(key: PRNGKeyArray, x: Array = x) -> Any:
            drawn = resample_posterior(estimator, x, key=key, moves=options.moves)
            return jax.block_until_ready(drawn)

        draw(keys[4])
        start, cpu = time.perf_counter(), time.process_time()
        draws = draw(keys[5])
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        own = np.stack([np.asarray(draws.theta[n]) for n in prior.names], 1)
        one = {
            "observation": number + 1,
            "seconds_for_draws": seconds,
            "cpu_seconds_for_draws": cpu,
            "effective_candidates": float(draws.effective),
        }
        if options.task == "two_moons":
            one["weight_of_one_moon"] = float((own.sum(1) > 0).mean())
        if options.c2st:
            one["c2st"] = c2st(known["reference"][number], own)
        if options.c2st and options.forest:
            one["c2st_forest"] = c2st(known["reference"][number], own, forest=True)
        print(one, flush=True)
        found.append(one)
    for name in ("c2st", "c2st_forest"):
        if found and name in found[0]:
            figures[f"{name}_mean"] = float(np.mean([one[name] for one in found]))
    shown = dataclasses.asdict(options) | {"reference": options.reference.name}
    show(options=shown, **figures, observations=found)


if __name__ == "__main__":
    main(tyro.cli(Options))
