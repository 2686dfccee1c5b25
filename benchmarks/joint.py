"""Why the joint posterior of eta, B and nu has the shape it has.

    python benchmarks/joint.py --estimator eta-B-nu.npz

First, how sharply single statistics of an image tell one coupling, the others known:
what carries the field, and what does not. Then many images at the couplings
of the paper's Fig. 3: the scatter of the estimates beside what the posteriors say.
"""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import tyro
from _report import show
from jaxtyping import Array, Float, PRNGKeyArray
from pretrain import images as default_images

import gl15
from gl15.observables import windings
from gl15.posterior import grid_posterior_from_features


STATISTICS = (
    "net vorticity of the first band",
    "net vorticity of the second band",
    "vortices and antivortices of both bands",
    "mean curl J",
    "mean curl J / stiffness away from cores",
    "log of the mean density",
    "log of the ratio of the mean densities",
)
AT = {"eta": 0.8, "B": 0.04, "nu": 0.2}
TAILS = jnp.asarray([0.16, 0.84, 0.025, 0.975])
WIDTHS = {"eta": 0.3, "B": 0.1, "nu": 0.4}  # of the ranges regressed over


class Read(eqx.Module):
    """Statistics of the state that an image is of."""

    simulator: gl15.VortexSimulator

    def __call__(self, theta, key: PRNGKeyArray) -> Float[Array, " statistics"]:
        """Every statistic of `STATISTICS`."""
        run, theta = self.simulator, {**AT, **theta}
        psi0 = gl15.quench(run.lattice, key=key)
        tdgl = run.tdgl(theta)
        states = gl15.evolve(tdgl, psi0, t1=run.t1, dt=run.dt, solver=run.solver).ys
        assert states is not None
        psi = states[-1]
        turns = windings(tdgl, psi)
        n1, n2, curl = jnp.moveaxis(gl15.observe(tdgl, psi), -1, 0)
        d1, d2 = tdgl.material.diffusion
        stiffness = 2 * (d1 * n1 + d2 * n2 + 2 * theta["nu"] * jnp.sqrt(n1 * n2))
        away = stiffness > jnp.median(stiffness)
        local = jnp.where(away, curl / stiffness, 0).sum() / away.sum()
        return jnp.stack(
            [
                *turns.sum((1, 2)).astype(curl.dtype),
                jnp.abs(turns).sum().astype(curl.dtype),
                curl.mean(),
                local,
                jnp.log((n1 + n2).mean()),
                jnp.log(n1.mean() / n2.mean()),
            ]
        )


def told(name: str, runs: int, simulator, key: PRNGKeyArray) -> dict[str, float]:
    """Scatter of a coupling about its regression on each statistic, and on all."""
    middle, half = AT[name], WIDTHS[name] / 2
    low = max(middle - half, 0.0)
    prior = gl15.Prior({name: dist.Uniform(low, low + 2 * half)})
    made = gl15.simulate(Read(simulator), prior, runs, key=key)
    y, x = np.asarray(made.theta[name]), np.asarray(made.x)
    x = (x - x.mean(0)) / (x.std(0) + 1e-9)
    columns = {one: [i] for i, one in enumerate(STATISTICS)}
    columns["all of these"] = list(range(len(STATISTICS)))
    fit, test = slice(0, runs // 2), slice(runs // 2, runs)
    scatter = {}
    for label, which in columns.items():
        terms = np.concatenate([np.ones((runs, 1)), x[:, which], x[:, which] ** 2], 1)
        weights = np.linalg.lstsq(terms[fit], y[fit], rcond=None)[0]
        scatter[label] = float((terms[test] @ weights - y[test]).std())
    return {"range": 2 * half, **scatter}


def shape(covariance: np.ndarray, widths: np.ndarray) -> dict:
    """Standard deviations, correlations, and axes in units of the prior's widths."""
    std = np.sqrt(np.diag(covariance))
    scaled = covariance / np.outer(widths, widths)
    lengths, axes = np.linalg.eigh(scaled)
    return {
        "std": std.tolist(),
        "std / width": (std / widths).tolist(),
        "correlation": (covariance / np.outer(std, std)).tolist(),
        "axis lengths / width": np.sqrt(lengths).tolist(),
        "axes": axes.T.tolist(),
    }


def scatter(estimator, images: int, simulator, nu: float, key: PRNGKeyArray) -> dict:
    """Estimates of many images of the same couplings, and their posteriors' shape."""
    names = estimator.prior.names
    bounds = estimator.prior.bounds
    widths = np.asarray([bounds[name][1] - bounds[name][0] for name in names])
    theta = {name: jnp.full(images, value) for name, value in {**AT, "nu": nu}.items()}
    run_key, draw_key = jax.random.split(key)
    x = gl15.simulate(simulator, theta, key=run_key).x

    @jax.jit
    def one(item):
        image, (first, second) = item
        h = estimator.embed(image)
        draws = grid_posterior_from_features(estimator, h, 32).sample(first, (500,))
        draws = jnp.stack([draws[name] for name in names], 1)
        thin = {"nu": (nu, nu + 1e-3)}
        known = grid_posterior_from_features(
            estimator, h, {"eta": 40, "B": 40, "nu": 4}, bounds=thin
        ).sample(second, (500,))
        known = jnp.stack([known[name] for name in ("eta", "B")], 1)
        moments = lambda d: (d.mean(0), jnp.cov(d.T))  # noqa: E731
        return moments(draws), moments(known), jnp.quantile(draws, TAILS, axis=0)

    keys = jax.random.split(draw_key, (images, 2))
    found = jax.lax.map(one, (x, keys), batch_size=8)
    (mean, cov), (mean_known, cov_known), ends = found
    truth = np.asarray([{**AT, "nu": nu}[name] for name in names])
    low, high = np.asarray(ends[:, ::2]), np.asarray(ends[:, 1::2])
    return {
        "names": names,
        "bias": (np.asarray(mean).mean(0) - truth).tolist(),
        "68% and 95% intervals hold": ((low <= truth) & (truth <= high))
        .mean(0)
        .tolist(),
        "of the estimates": shape(np.cov(np.asarray(mean).T), widths),
        "of the posteriors": shape(np.asarray(cov.mean(0)), widths),
        "drag known, estimates": shape(np.cov(np.asarray(mean_known).T), widths[:2]),
        "drag known, posteriors": shape(np.asarray(cov_known.mean(0)), widths[:2]),
    }


def main(
    estimator: Path | None = None, runs: int = 1_000, images: int = 200, seed: int = 0
) -> None:
    """Print the figures.

    Args:
        estimator: an estimator of eta, B and nu; by default the one that comes along.
        runs: runs for each regression.
        images: images at one set of couplings.
        seed: seed of everything random.
    """
    keys = jax.random.split(jax.random.key(seed), 5)
    quick = default_images()
    trained = (
        gl15.load_pretrained("eta-B-nu") if estimator is None else gl15.load(estimator)
    )
    show(
        told={
            name: told(name, runs, quick, key)
            for name, key in zip(AT, keys, strict=False)
        },
        scatter={
            f"nu = {nu}": scatter(trained, images, quick, nu, key)
            for nu, key in zip((0.2, 0.0), keys[3:], strict=True)
        },
    )


if __name__ == "__main__":
    tyro.cli(main)
