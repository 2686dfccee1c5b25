"""Training from memory, from a store and on fresh pairs; devices and processes.

Pairs per second of the same training on the same machine, peak memory over time, and
the efficiency of splitting batches over devices.

python benchmarks/streaming.py
"""

import json
import os
import pathlib
import resource
import socket
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
import numpyro.distributions as dist
import tyro
from _report import show

import gl15
from gl15.simulation import open_ensemble


def prior() -> gl15.Prior:
    # Not at the top: a worker chooses its devices before the first array.
    return gl15.Prior({"eta": dist.Uniform(0.0, 1.5)})


class Pictures:
    """A simulator that costs next to nothing: smooth noise of some amplitude."""

    spacing, channels, batch_size = 0.5, ("density_1", "density_2", "curl_J"), 64

    def __init__(self, sites: int):
        self.sites = sites

    def __call__(self, theta, key):
        x = jax.random.normal(key, (self.sites, self.sites, 3), "float32")
        return abs(x + theta["eta"]).astype("float32")


def estimator(name: str, sites: int):
    key = jax.random.key(0)
    if name == "spectral":
        encoder = gl15.SpectralEncoder(key=key, rings=min(21, sites // 2 - 1))
    else:
        encoder = gl15.ConvEncoder(key=key, widths=(16, 32))
    return gl15.RatioEstimator(prior(), encoder, key=key)


def rates(folder: pathlib.Path) -> list[float]:
    """Pairs per second of every epoch but the first, which compiles."""
    log = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["pairs_per_second"] for line in log][1:]


def memory_mib() -> float:
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def train(encoder, data, sites, folder, epochs, n, batch_size, **options):
    steps = epochs * (int(0.9 * n) // batch_size)
    gl15.fit(
        estimator(encoder, sites),
        data,
        key=jax.random.key(1),
        loss=gl15.Contrastive(15),
        steps=steps,
        batch_size=batch_size,
        checkpoint=folder,
        checkpoint_every=10**9,
        progress=False,
        **options,
    )
    return rates(folder)


def split(devices: int, processes: int, sites: int, n: int, batch_size: int) -> float:
    """Pairs per second on so many devices in each of so many processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as folder:
        started = [
            subprocess.Popen(
                [sys.executable, __file__, "--worker", str(i), str(processes)]
                + [str(devices), address, folder, str(sites), str(n), str(batch_size)],
                stdout=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
            for i in range(processes)
        ]
        if any(one.wait() for one in started):
            raise RuntimeError("a worker failed")
        return float(np.median(rates(pathlib.Path(folder) / "run")))


def worker(number, processes, devices, address, folder, sites, n, batch_size) -> None:
    jax.config.update("jax_num_cpu_devices", int(devices))
    if int(processes) > 1:
        jax.distributed.initialize(address, int(processes), int(number))
    sites, n, batch_size = int(sites), int(n), int(batch_size)
    x = np.random.default_rng(0).random((n, sites, sites, 3), np.float32)
    theta = {"eta": jax.numpy.linspace(0.0, 1.5, n)}
    data = gl15.Ensemble(theta, jax.numpy.asarray(x), 0.5, Pictures.channels)
    some = jax.devices() if int(devices) > 1 and int(processes) == 1 else None
    path = pathlib.Path(folder) / "run"
    train("conv", data, sites, path, 3, n, batch_size, devices=some)


def main(
    sites: int = 32, n: int = 8_192, batch_size: int = 64, epochs: int = 4
) -> None:
    """Print the figures as JSON.

    Args:
        sites: pixels along each axis.
        n: pairs.
        batch_size: pairs per step.
        epochs: epochs of each training; the first does not count.
    """
    figures, memory = {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        simulator, key = Pictures(sites), jax.random.key(2)
        options = {"key": key, "path": folder / "store", "progress": False}
        gl15.simulate(simulator, prior(), n, **options, load=False)
        stored = open_ensemble(folder / "store")
        size = n * sites**2 * 3 * 4
        for encoder in ("spectral", "conv"):
            found = {}
            for source, cache in (
                ("streamed", size // 16 if encoder == "conv" else 2**18),
                ("store, cached", 2**32),
                ("memory", None),
            ):
                data = stored.load() if cache is None else stored
                path = folder / f"{encoder}-{source}"
                more = {} if cache is None else {"cache": cache}
                at = [memory_mib()]
                found[source] = train(
                    encoder, data, sites, path, epochs, n, batch_size, **more
                )
                at.append(memory_mib())
                memory[f"{encoder}, {source}"] = at
                del data
            medians = {k: float(np.median(v)) for k, v in found.items()}
            figures[encoder] = {
                "pairs_per_second": medians,
                "streamed_against_memory": medians["streamed"] / medians["memory"],
            }
        # Memory over time: the same training, four times as long.
        figures["memory_over_time_MiB"] = _over_time(stored, sites, folder, n)
    devices = {}
    for count, processes in ((1, 1), (2, 1), (4, 1), (2, 2)):
        label = f"{processes} processes x {count} devices"
        devices[label] = split(count, processes, sites, n // 8, batch_size)
    show(
        sites=sites,
        pairs=n,
        store_MiB=size / 2**20,
        training=figures,
        memory_before_and_after_MiB=memory,
        devices_pairs_per_second=devices,
        load_before=os.getloadavg(),
        seconds=time.process_time(),
    )


def _over_time(stored, sites: int, folder: pathlib.Path, n: int) -> list[float]:
    found: list[float] = []

    def noted(pairs, key):
        del key
        found.append(memory_mib())
        return pairs

    train("conv", stored, sites, folder / "long", 4, n, 64, cache=2**23, redraw=noted)
    return [round(one, 1) for one in found[:: max(1, len(found) // 16)]]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        tyro.cli(main)
