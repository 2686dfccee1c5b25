"""Seconds and residuals of Hessian spectra at relaxed vortex states, float64.

Each sample is a torus in a field of 0.04 to 0.05, evolved to t = 20 and relaxed.
The eigenvalues printed are the first three and the last.

python benchmarks/spectra.py --sizes 40 128 256
"""

import os
import resource
import time
from collections.abc import Callable

import jax
import numpy as np
import tyro
from _report import show

import gl15
from gl15.spectra import classify_modes, count_below, relax


FIELD = 0.04


def timed(call: Callable) -> tuple:
    start = time.perf_counter()
    result = jax.block_until_ready(call())
    return result, time.perf_counter() - start


def measure(sites: int, k: int, tolerance: float, key: jax.Array) -> dict:
    lattice = gl15.Lattice((sites, sites), boundary="periodic")
    quanta = int(np.ceil(float(lattice.flux_quanta(FIELD))))
    material = gl15.TwoBand(josephson=0.8)
    tdgl = gl15.TDGL(lattice, material, lattice.field_from_quanta(quanta))
    keys = jax.random.split(key)
    psi = gl15.evolve(tdgl, gl15.quench(lattice, key=keys[0]), t1=20.0, dt=0.01).ys[-1]
    psi, relaxing = timed(
        lambda: relax(tdgl, psi, tolerance=tolerance, max_steps=1_000_000)
    )
    H = gl15.hessian(tdgl, psi)
    product = jax.jit(lambda v: H.mv(v))
    vector = jax.random.normal(keys[1], H.in_structure().shape)
    timed(lambda: product(vector))  # compiles
    _, hundred = timed(lambda: [product(vector) for _ in range(100)])
    modes, finding = timed(lambda: gl15.lowest_modes(H, k))
    density, sampling = timed(lambda: gl15.density_of_states(H, key=keys[1]))
    count, counting = timed(lambda: count_below(H, 0.1))
    sampled, error = density.fraction_below(0.1)
    positions = gl15.vortices(tdgl, psi).positions[:, : 2 * quanta + 8]
    character, naming = timed(lambda: classify_modes(H, modes, positions))
    del character
    return {
        "sites": sites,
        "degrees_of_freedom": H.in_size(),
        "flux_quanta": quanta,
        "gradient_norm": float(H.gradient_norm),
        "milliseconds_per_product": 10 * hundred,
        "seconds": {
            "relax": relaxing,
            f"lowest {k} modes": finding,
            "density, 10 probes x 80": sampling,
            "count below 0.1": counting,
            "naming": naming,
        },
        "largest_residual": float(modes.residuals.max()),
        "eigenvalues": [float(modes.eigenvalues[i]) for i in (0, 1, 2, k - 1)],
        "fraction_below_0.1": {
            "counted": count / H.in_size(),
            "sampled": float(sampled),
            "sampled_error": float(error),
            "modes": count,
        },
        "largest_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "load_average": os.getloadavg()[0],
    }


def main(
    sizes: tuple[int, ...] = (40, 128, 256), k: int = 20, tolerance: float = 1e-8
) -> None:
    """Print the figures as JSON.

    Args:
        sizes: sites along each axis.
        k: number of lowest modes.
        tolerance: gradient norm of the states.
    """
    jax.config.update("jax_enable_x64", True)
    key = jax.random.key(0)
    show(spectra=[measure(n, k, tolerance, key) for n in sizes])


if __name__ == "__main__":
    tyro.cli(main)
