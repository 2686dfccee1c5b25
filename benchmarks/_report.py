"""What every benchmark prints: its figures, and what they were measured on."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version

import jax


def environment() -> dict:
    packages = ("gl15", "jax", "jaxlib", "equinox", "diffrax", "optax", "numpyro")
    return {
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "device": jax.devices()[0].device_kind,
        "versions": {name: version(name) for name in packages},
    }


def show(**figures) -> None:
    print(json.dumps({"environment": environment(), **figures}, indent=2))


def median_seconds(call: Callable, repeats: int) -> float:
    jax.block_until_ready(call())  # compiles
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
