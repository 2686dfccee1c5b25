"""Samples of other sizes, boundaries and noise, that an estimator may be shown."""

from collections.abc import Callable
from typing import Any

import numpyro.distributions as dist

import gl15
from gl15.instruments import Chain, Detector
from gl15.simulation import Disorder, Instrumented, Randomised


PRIOR = gl15.Prior({"eta": dist.Uniform(0.0, 1.5)})
NOISE = dist.LogUniform(1e-3, 3e-2)  # of every channel; densities are of order 1


def sample(
    sites: int = 64,
    boundary: Any = "open",
    *,
    spacing: float = 0.5,
    stages: int = 5,
    **options: Any,
) -> gl15.VortexSimulator:
    """The main job's material; on a torus the nearest field that it carries."""
    lattice = gl15.Lattice((sites, sites), spacing=spacing, boundary=boundary)
    field = 0.04
    if boundary == "periodic":
        quanta = round(float(lattice.flux_quanta(field)))
        field = float(lattice.field_from_quanta(quanta))
    quick = {"dt": 0.05, "solver": gl15.RungeKuttaChebyshev(stages=stages)}
    return gl15.VortexSimulator(
        lattice,
        gl15.TwoBand(diffusion=(4.0, 1.0)),
        field=field,
        **{**quick, **options},
    )


def finer() -> Instrumented:
    """The main job's sample simulated at half the spacing, on pixels of the usual size.

    The quench is white noise: of the same strength per area at twice the amplitude.
    """
    fine = sample(128, spacing=0.25, stages=10, amplitude=1.0)
    return Instrumented(fine, Detector(pixel_size=0.5))


def camera() -> Instrumented:
    """The main job's sample, before a camera with noise, drifting."""
    return Instrumented(
        sample(), Chain([Detector(drift=(0.4, 0.0), readout_noise=0.01)])
    )


def noisy(simulator: Any) -> Randomised:
    """The same with noise of an unknown level."""
    seen = Instrumented(simulator, Detector())
    return Randomised(
        seen, {"noise": NOISE}, where={"noise": lambda s: s.instrument.readout_noise}
    )


# What the shipped estimator is shown, and of these what it can be adapted to.
SHOWN: dict[str, Callable[[], Any]] = {
    "64, as in training": lambda: sample(64),
    "128": lambda: sample(128),
    "128 at half the spacing, resampled": finer,
    "64, torus, 7 quanta": lambda: sample(64, "periodic"),
    "128, torus, 26 quanta": lambda: sample(128, "periodic"),
    "thermal noise, T = 0.001": lambda: sample(dt=0.01, solver=None, temperature=1e-3),
    "disorder of 0.1, length 1": lambda: sample(disorder=Disorder(0.1, 1.0)),
    "detector noise 0.003": lambda: Instrumented(
        sample(), Detector(readout_noise=3e-3)
    ),
}

ADAPTABLE = tuple(SHOWN)[1:5]

# What the randomised estimator is trained on: simulator, share of `pairs`.
TRAINED: dict[str, tuple[Callable[[], Any], float]] = {
    "32 open": (lambda: sample(32), 0.8),
    "64 open": (lambda: sample(64), 1.2),
    "64 torus": (lambda: sample(64, "periodic"), 0.8),
    "128 open": (lambda: sample(128), 0.6),
    "128 torus": (lambda: sample(128, "periodic"), 0.4),
    "256 open": (lambda: sample(256), 0.2),
    "64 resampled": (finer, 0.4),
}

# What it has not seen: other pairs of size and boundary.
UNSEEN: dict[str, Callable[[], Any]] = {
    "96 open": lambda: sample(96),
    "256 torus": lambda: sample(256, "periodic"),
}
