"""Site-updates per second of the solver, and seconds per posterior.

A site-update is one lattice site, both bands, one Euler step. Medians of several.

python benchmarks/throughput.py
"""

import os

import jax
import numpy as np
import numpyro.distributions as dist
import tyro
from _report import median_seconds, show

import gl15


STEPS = 2_000


def main(sites: int = 64, batches: int = 16, repeats: int = 5) -> None:
    """Print the figures as JSON.

    Args:
        sites: sites along each axis.
        batches: batches of simulations per worker and measurement.
        repeats: measurements, of which the median counts.
    """
    lattice = gl15.Lattice((sites, sites), spacing=0.5)
    simulator = gl15.VortexSimulator(lattice, gl15.TwoBand(), field=0.04)
    key = jax.random.key(0)
    cores = len(os.sched_getaffinity(0))
    ensemble = {}
    for workers in sorted({1, 2, cores}):
        n = simulator.batch_size * batches * workers
        theta = {"eta": np.linspace(0, 1.5, n, dtype=np.float32)}

        def run(theta=theta, workers=workers):
            return gl15.simulate(
                simulator, theta, key=key, workers=workers, progress=False
            ).x

        rate = n * sites**2 * STEPS / median_seconds(run, repeats)
        ensemble[f"{workers} workers"] = rate

    tdgl = gl15.TDGL(lattice, gl15.TwoBand(josephson=0.8), 0.04)
    psi0 = gl15.quench(lattice, key=key)
    lone = median_seconds(lambda: gl15.evolve(tdgl, psi0).ys, repeats)

    prior = gl15.Prior({"eta": dist.Uniform(0.0, 1.5)})
    posterior = {}
    x = simulator({"eta": 0.8}, key)
    for name, encoder in (
        ("spectral encoder", gl15.SpectralEncoder(key=key)),
        ("paper's encoder", gl15.ConvEncoder(key=key)),
    ):
        estimator = gl15.RatioEstimator(prior, encoder, key=key)

        def grid(estimator=estimator):
            return gl15.grid_posterior(estimator, x).mean()

        posterior[name] = median_seconds(grid, repeats)
    show(
        sites=sites,
        steps=STEPS,
        simulate_site_updates_per_second=ensemble,
        evolve_site_updates_per_second=sites**2 * STEPS / lone,
        grid_posterior_seconds=posterior,
    )


if __name__ == "__main__":
    tyro.cli(main)
