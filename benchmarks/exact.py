"""A trained posterior against the exact one, on the early quench (linear, B = 0).

python benchmarks/exact.py --parameters eta
python benchmarks/exact.py --parameters eta nu
"""

import dataclasses
import time
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import tyro
from _report import show
from jaxtyping import Array, Float, PRNGKeyArray

import gl15
from gl15.inference import AbstractEncoder, Contrastive, NearMisses, Summarised
from gl15.simulation import LinearQuench


# Shells beyond have grown to less than a hundredth of the noise's power at any theta.
_SEEN = 10.0


@dataclasses.dataclass
class Options:
    """What to run.

    Attributes:
        parameters: eta, or eta and nu.
        simulations: pairs to train on.
        images: fresh images to compare posteriors on.
        steps: optimiser steps.
        batch_size: pairs per step.
        weight_decay: of the weight matrices.
        width: width of encoder and head.
        members: peaks that make up the posterior before the correction.
        contrasts: contrasts per observation.
        seed: seed of everything.
    """

    parameters: tuple[str, ...] = ("eta",)
    simulations: int = 400_000
    images: int = 100
    steps: int = 5_000
    batch_size: int = 512
    weight_decay: float = 0.01
    width: int = 48
    members: int = 2
    contrasts: int = 8
    seed: int = 0


class ShellEncoder(AbstractEncoder):
    """Powers of both bands and between them, shell by shell, then a perceptron.

    As they are, which the likelihood is linear in, and as logarithms and coherence,
    which are nearer to normal; of the shells that grow to be seen above the noise.
    """

    quench: LinearQuench
    channels: int = eqx.field(static=True)
    size: int = eqx.field(static=True)
    kept: int = eqx.field(static=True)
    features: int = eqx.field(static=True)
    mlp: eqx.nn.MLP
    ndim: ClassVar[int] = 3

    def __init__(self, quench: LinearQuench, *, width: int, key: PRNGKeyArray):
        self.quench, self.channels = quench, 4
        values, _, _ = quench._shells()
        self.kept = int((values < _SEEN).sum())
        self.size = 6 * self.kept
        self.mlp = eqx.nn.MLP(
            self.size, 32, width, 2, jax.nn.gelu, jax.nn.gelu, key=key
        )
        self.features = 32

    def config(self) -> dict[str, Any]:
        return {"width": self.mlp.width_size}

    def summarise(self, x: Float[Array, "n n 4"]) -> Float[Array, " size"]:
        one, two, cross = self.quench.shells(x)[: self.kept].T
        parts = [
            *(one, two, cross),
            jnp.log(one),
            jnp.log(two),
            jnp.arctanh(0.999 * cross / jnp.sqrt(one * two)),
        ]
        return jnp.concatenate(parts)

    def __call__(self, summary: Float[Array, " size"]) -> Float[Array, " features"]:
        return self.mlp(summary)


def main(options: Options) -> None:
    """Print the figures as JSON."""
    quench = LinearQuench()
    limits = {"eta": (0.0, 1.5), "nu": (0.0, 0.4)}
    prior = gl15.Prior(
        {name: dist.Uniform(*limits[name]) for name in options.parameters}
    )
    keys = jax.random.split(jax.random.key(options.seed), 5)
    encoder = ShellEncoder(quench, width=options.width, key=keys[1])
    start, cpu = time.perf_counter(), time.process_time()
    summarised = Summarised(quench, encoder)
    pairs = gl15.simulate(
        summarised, prior, options.simulations, key=keys[0], batch_size=2048
    )
    simulating = time.perf_counter() - start
    estimator = gl15.RatioEstimator(
        prior,
        encoder,
        width=options.width,
        head="quadratic",
        members=options.members,
        key=keys[2],
    )
    estimator, history = gl15.fit(
        estimator,
        pairs,
        key=keys[3],
        loss=NearMisses(Contrastive(options.contrasts)),
        steps=options.steps,
        batch_size=options.batch_size,
        weight_decay=options.weight_decay,
        averaging=0.999,
        progress=False,
    )
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    fresh = gl15.simulate(quench, prior, options.images, key=keys[4])

    # Both posteriors on the same nodes, so that their divergence is a sum.
    size = 512 if len(options.parameters) == 1 else 96
    axes = [
        jnp.linspace(*limits[name], 2 * size + 1)[1::2] for name in options.parameters
    ]
    mesh = [one.ravel() for one in jnp.meshgrid(*axes, indexing="ij")]
    theta = dict(zip(options.parameters, mesh, strict=True))

    @jax.jit
    def compare(x):
        h, shells = estimator.embed(x), quench.shells(x)
        exact = jax.vmap(lambda t: quench.log_likelihood_of(t, shells))(theta)
        found = jax.vmap(lambda t: estimator.log_ratio(t, h))(theta)
        seen = jnp.arange(len(shells)) < encoder.kept
        kept = jax.vmap(lambda t: quench.log_likelihood_of(t, shells, seen))(theta)
        log_p, log_q = jax.nn.log_softmax(exact), jax.nn.log_softmax(found)
        p, q = jnp.exp(log_p), jnp.exp(log_q)

        def moments(weight):
            mean = jnp.stack([weight @ value for value in theta.values()])
            square = jnp.stack([weight @ value**2 for value in theta.values()])
            return mean, jnp.sqrt(square - mean**2)

        return (
            (p * (log_p - jax.nn.log_softmax(kept))).sum(),
            (p * (log_p - log_q)).sum(),
            jnp.abs(p - q).sum() / 2,
            *(
                *moments(p),
                *moments(q),
            ),
        )

    left_out, kl, variation, mean, std, own_mean, own_std = map(
        np.asarray, jax.lax.map(compare, fresh.x)
    )
    show(
        options=dataclasses.asdict(options),
        simulation_seconds=simulating,
        seconds=seconds,
        cpu_seconds=cpu,
        best_epoch=history.best_epoch,
        validation=[float(v) for v in history.validation_loss],
        kl_mean=float(kl.mean()),
        kl_of_shells_left_out=float(left_out.mean()),
        kl_median=float(np.median(kl)),
        kl_90=float(np.quantile(kl, 0.9)),
        # The best that any classifier of draws can do: C2ST is at most this.
        best_c2st_mean=float((1 + variation).mean() / 2),
        exact_std=std.mean(0).tolist(),
        std_ratio_median=np.median(own_std / std, 0).tolist(),
        mean_error_in_std=np.abs((own_mean - mean) / std).mean(0).tolist(),
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
