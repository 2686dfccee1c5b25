"""Training from memory and from a store; memory over time; devices and processes.

Pairs per second of the same training on the same machine, sources taking turns;
resident memory while stores of two sizes are streamed with the same `cache`; and the
efficiency of splitting batches over devices.

python benchmarks/streaming.py --only sources memory devices
"""

import json
import os
import pathlib
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from typing import Literal

import jax
import numpy as np
import numpyro.distributions as dist
import tyro
from _report import show

import gl15
from gl15.inference._training.stream import summary_shape
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
    elif name == "jet":
        encoder = gl15.inference.JetEncoder(key=key)
    else:
        widths = (4, 8) if name == "small conv" else (16, 32)
        encoder = gl15.ConvEncoder(key=key, widths=widths)
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


def worker(part: str, options: str) -> None:
    """What needs a process, or several, of its own."""
    {"train": train_split, "memory": resident}[part](**json.loads(options))


def command(part: str, **options) -> list[str]:
    return [sys.executable, __file__, "--worker", part, json.dumps(options)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def split(devices: int, processes: int, **sizes) -> float:
    """Pairs per second on so many devices in each of so many processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as folder:
        options = {"processes": processes, "devices": devices, "address": address}
        started = [
            subprocess.Popen(
                command("train", number=i, folder=folder, **options, **sizes),
                stdout=subprocess.DEVNULL,
                env=environment(),
            )
            for i in range(processes)
        ]
        if any([one.wait() for one in started]):
            raise RuntimeError("a worker failed")
        return float(np.median(rates(pathlib.Path(folder) / "run")))


def train_split(
    number, processes, devices, address, folder, encoder, sites, n, batch_size
) -> None:
    jax.config.update("jax_num_cpu_devices", devices)
    if processes > 1:
        jax.distributed.initialize(address, processes, number)
    x = np.random.default_rng(0).random((n, sites, sites, 3), np.float32)
    theta = {"eta": jax.numpy.linspace(0.0, 1.5, n)}
    data = gl15.Ensemble(theta, jax.numpy.asarray(x), 0.5, Pictures.channels)
    some = jax.devices() if devices > 1 and processes == 1 else None
    path = pathlib.Path(folder) / "run"
    train(encoder, data, sites, path, 6, n, batch_size, devices=some)


def by_devices(sites: int, n: int, batch_size: int, rounds: int) -> dict:
    found: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for encoder in ("spectral", "conv"):
            for devices, processes in ((1, 1), (2, 1), (4, 1), (1, 2), (2, 2)):
                rate = split(
                    devices,
                    processes,
                    encoder=encoder,
                    sites=sites,
                    n=n,
                    batch_size=batch_size,
                )
                label = f"{processes} processes x {devices} devices"
                found.setdefault(encoder, {}).setdefault(label, []).append(rate)
    return {
        encoder: {label: float(np.median(each)) for label, each in one.items()}
        for encoder, one in found.items()
    }


def by_source(folder: pathlib.Path, sites, n, batch_size, epochs, rounds) -> dict:
    """Pairs per second from memory and from a store, in turns."""
    made = {"key": jax.random.key(2), "path": folder / "store", "progress": False}
    gl15.simulate(Pictures(sites), prior(), n, **made, load=False)
    stored, size = open_ensemble(folder / "store"), n * sites**2 * 3 * 4
    figures: dict = {"pairs": n, "store_MB": size / 1e6}
    for encoder in ("conv", "spectral", "jet"):
        shape = summary_shape(estimator(encoder, sites), stored)
        summaries = n * int(np.prod(shape.shape)) * shape.dtype.itemsize
        # Room for an eighth of the summaries; a folder that is not there is no scratch.
        scarce = {"cache": summaries // 8}
        sources = {
            "memory": {},
            "store, cached": {"cache": 2**32},
            "store, scratch": scarce | {"scratch": folder},
            "store, anew": scarce | {"scratch": folder / "nowhere"},
        }
        found: dict[str, list[float]] = {name: [] for name in sources}
        for turn in range(rounds):
            for source, options in sources.items():
                data = stored.load() if source == "memory" else stored
                path = folder / f"{encoder}-{source}-{turn}"
                # Where every epoch makes its summaries anew, fewer epochs are enough.
                slow = source == "store, anew" and encoder == "jet"
                with warnings.catch_warnings(action="ignore"):  # of what is scarce
                    found[source] += train(
                        encoder,
                        data,
                        sites,
                        path,
                        2 if slow else epochs,
                        n,
                        batch_size,
                        **options,
                    )
                del data
        medians = {name: float(np.median(each)) for name, each in found.items()}
        figures[encoder] = {
            "summaries_MB": summaries / 1e6,
            "pairs_per_second": medians,
            "against_memory": {
                name: rate / medians["memory"] for name, rate in medians.items()
            },
        }
    return figures


def resident(folder: str, sites: int, n: int, cache: int, epochs: int) -> None:
    """Resident memory in MB, the highest of each epoch, while a store is streamed."""
    path = pathlib.Path(folder)
    before = memory_mib()
    stored, seen, stop = open_ensemble(path / "store", n), [], threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            seen.append((time.time(), memory_mib()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    run = path / f"run-{n}"
    train("small conv", stored, sites, run, epochs, n, 64, cache=cache)
    stop.set()
    watcher.join()
    log = (run / "log.jsonl").read_text().splitlines()
    ends = [json.loads(line)["time"] for line in log]
    begins = [seen[0][0], *ends[:-1]]
    each = [
        round(max(mib for at, mib in seen if begin <= at <= end))
        for begin, end in zip(begins, ends, strict=True)
    ]
    print(json.dumps({"MiB_before": round(before), "MiB_by_epoch": each}))


def over_time(folder: pathlib.Path, megabytes: list[int], cache: int) -> dict:
    """Stores of several sizes, streamed with the same allowance."""
    sites, found = 64, {}
    each = sites**2 * 3 * 4
    counts = [size * 10**6 // each // 64 * 64 for size in megabytes]
    options = {"key": jax.random.key(3), "path": folder / "store", "progress": False}
    gl15.simulate(Pictures(sites), prior(), max(counts), **options, load=False)
    for n in counts:
        sizes = {"folder": str(folder), "sites": sites, "n": n, "cache": cache}
        done = subprocess.run(
            command("memory", epochs=3, **sizes),
            stdout=subprocess.PIPE,
            env=environment(),
            check=True,
        )
        line = done.stdout.decode().splitlines()[-1]
        found[f"{n * each / 1e6:.0f} MB"] = json.loads(line)
    return found | {"cache_MiB": cache / 2**20}


def main(
    only: tuple[Literal["sources", "memory", "devices"], ...] = (
        "sources",
        "memory",
        "devices",
    ),
    sites: int = 32,
    n: int = 4_096,
    batch_size: int = 64,
    epochs: int = 4,
    rounds: int = 3,
    megabytes: tuple[int, ...] = (400, 1500),
    cache: int = 2**26,
) -> None:
    """Print the figures as JSON.

    Args:
        only: which figures.
        sites: pixels along each axis, but for memory: 64 there.
        n: pairs, but for memory.
        batch_size: pairs per step.
        epochs: epochs of each training; the first does not count.
        rounds: how often each training is run, in turns with the others.
        megabytes: sizes of the stores whose training's memory is watched.
        cache: bytes that those trainings may keep.
    """
    figures, load = {}, os.getloadavg()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for part in only:
            (folder / part).mkdir()
        if "sources" in only:
            figures["sources"] = by_source(
                folder / "sources", sites, n, batch_size, epochs, rounds
            )
        if "memory" in only:
            figures["memory"] = over_time(folder / "memory", list(megabytes), cache)
        if "devices" in only:
            figures["devices"] = by_devices(sites, n // 4, batch_size, rounds)
    show(**figures, load_before=load, load_after=os.getloadavg())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        tyro.cli(main)
