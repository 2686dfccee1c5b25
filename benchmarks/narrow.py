"""Three parameters whose posterior is 1% of the prior wide: how sharp, how honest?

theta ~ U(0, 1)^3, x = four copies of each + N(0, 0.02^2), 10,000 simulations; fresh
pairs against the exact posterior. Then one truncation round for one observation.

python benchmarks/narrow.py --pairs 400
"""

import dataclasses
import time
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import tyro
from _report import show
from jax.scipy.stats import norm
from sbibm import Encoder

import gl15
from gl15.inference import (
    Contrastive,
    EstimatorEnsemble,
    NearMisses,
    truncate,
)
from gl15.inference._estimators.candidates import candidates, log_joint
from gl15.simulation import LinearGaussian


SIGMA = 0.02
NAMES = ("theta1", "theta2", "theta3")


@dataclasses.dataclass
class Options:
    """What to run.

    Attributes:
        simulations: pairs to train on, in each round.
        pairs: fresh pairs to judge by.
        steps: optimiser steps of the first round, whose posteriors are sharp.
        box_steps: of the round inside the box, where there is less to learn.
        batch_size: pairs per step.
        weight_decay: of the weight matrices in the first round.
        box_weight_decay: and inside the box.
        width: width of the encoder's layers and of the head.
        head: head of the estimator.
        contrasts: contrasts per observation.
        box_observations: observations for which a truncation round is made.
        estimators: estimators trained side by side.
        average: how they are averaged.
        seed: seed of everything.
    """

    simulations: int = 10_000
    pairs: int = 400
    steps: int = 3_000
    box_steps: int = 1_500
    batch_size: int = 128
    weight_decay: float = 0.3
    box_weight_decay: float = 1.0
    width: int = 64
    head: Literal["quadratic", "mlp"] = "quadratic"
    contrasts: int = 16
    box_observations: int = 2
    estimators: int = 2
    average: Literal["ratio", "log"] = "log"
    seed: int = 0


def exact(
    x: np.ndarray, theta: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Exact log posterior density at theta, and standard deviations, in the box."""
    mean, scale = x.reshape(-1, 4, 3).mean(1), SIGMA / 2
    a, b = (low - mean) / scale, (high - mean) / scale
    mass = norm.cdf(b) - norm.cdf(a)
    log_prob = (norm.logpdf((theta - mean) / scale) - np.log(scale * mass)).sum(1)
    first = (norm.pdf(a) - norm.pdf(b)) / mass
    second = 1 + (a * norm.pdf(a) - b * norm.pdf(b)) / mass - first**2
    return np.asarray(log_prob), scale * np.sqrt(np.asarray(second))


def judge(estimator, simulator, key, pairs: int) -> dict:
    """Figures over fresh pairs of the estimator's own prior."""
    prior = estimator.prior
    fresh = gl15.simulate(simulator, prior, pairs, key=key)
    theta = np.stack([np.asarray(fresh.theta[name]) for name in NAMES], 1)
    low, high = (np.asarray([prior.bounds[n][i] for n in NAMES]) for i in (0, 1))

    @jax.jit
    def one(x, truth, key):
        h = estimator.embed(x)
        u, log_weight = candidates(estimator, h, key, 20_000)
        log_total = jax.nn.logsumexp(log_weight)
        weight = jnp.exp(log_weight - log_total)
        mean = weight @ u
        value = log_joint(estimator, h, u)
        at = log_joint(estimator, h, truth[None])[0]
        return (
            at - log_total + jnp.log(len(u)),
            mean,
            jnp.sqrt(weight @ (u - mean) ** 2),
            (weight * (value > at)).sum(),
            1 / (weight**2).sum(),
        )

    truth = jnp.asarray((theta - low) / (high - low), fresh.x.dtype)
    keys = jax.random.split(jax.random.fold_in(key, 1), pairs)
    found = jax.lax.map(lambda args: one(*args), (fresh.x, truth, keys))
    log_prob, mean, std, rank, effective = map(np.asarray, found)
    log_prob = log_prob - np.log(high - low).sum()
    right, right_std = exact(np.asarray(fresh.x), theta, low, high)
    ratio = std * (high - low) / right_std
    gap = right - log_prob
    covered = {level: float((rank < level).mean()) for level in (0.68, 0.95)}
    return {
        "sd_ratio_median": float(np.median(ratio)),
        "sd_ratio_90": float(np.quantile(ratio, 0.9)),
        "gap_nats": float(gap.mean()),
        "gap_standard_error": float(gap.std() / np.sqrt(pairs)),
        "covered_68_95": list(covered.values()),
        "median_effective_candidates": float(np.median(effective)),
        "box": [float(v) for v in high - low],
    }


def main(options: Options) -> None:
    """Print the figures as JSON."""
    simulator = LinearGaussian(np.kron(np.ones((4, 1)), np.eye(3)), SIGMA, NAMES)
    prior = gl15.Prior({name: dist.Uniform(0.0, 1.0) for name in NAMES})
    key = jax.random.key(options.seed)

    def train(prior, key, steps, weight_decay):
        keys = jax.random.split(key, 4)

        def build(key):
            one, two = jax.random.split(key)
            encoder = Encoder(12, width=options.width, key=one)
            return gl15.RatioEstimator(
                prior, encoder, width=options.width, head=options.head, key=two
            )

        estimator = build(keys[1])
        if options.estimators > 1:
            estimator = EstimatorEnsemble(
                build, options.estimators, average=options.average, key=keys[1]
            )
        pairs = gl15.simulate(simulator, prior, options.simulations, key=keys[2])
        inner = Contrastive(options.contrasts)
        start = time.perf_counter()
        trained, _ = gl15.fit(
            estimator,
            pairs,
            key=keys[3],
            loss=NearMisses(inner) if options.head == "quadratic" else inner,
            steps=steps,
            batch_size=options.batch_size,
            weight_decay=weight_decay,
            averaging=0.99,
            progress=False,
        )
        return trained, time.perf_counter() - start

    first, seconds = train(
        prior, jax.random.fold_in(key, 0), options.steps, options.weight_decay
    )
    figures = {
        "amortised": judge(first, simulator, jax.random.fold_in(key, 1), options.pairs)
        | {"training_seconds": seconds}
    }
    for number in range(options.box_observations):
        keys = jax.random.split(jax.random.fold_in(key, 10 + number), 5)
        theta = {n: 0.1 + 0.8 * v for n, v in prior.sample(keys[0]).items()}
        x = simulator(theta, keys[1])
        box = truncate(first, x, key=keys[2])
        second, seconds = train(
            box, keys[3], options.box_steps, options.box_weight_decay
        )
        figures[f"after_truncation_{number}"] = judge(
            second, simulator, keys[4], options.pairs
        ) | {"training_seconds": seconds}
    show(options=dataclasses.asdict(options), **figures)


if __name__ == "__main__":
    main(tyro.cli(Options))
