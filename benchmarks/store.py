"""Ensembles on disk: rates, kills survived, processes side by side, memory over time.

`python benchmarks/store.py`: a few minutes; `--images`, `--kills`, `--size` scale it.
"""

import argparse
import functools
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import jax
import numpy as np
import numpyro.distributions as dist
from _report import show

import gl15
from gl15.simulation import open_ensemble, Prior, simulate
from gl15.simulation._draw import Draws
from gl15.simulation._lock import holders
from gl15.simulation._log import read_log
from gl15.simulation._plan import describe_plan
from gl15.simulation._store import Store


PRIOR = Prior({"eta": dist.Uniform(0.0, 1.5)})
KEY = jax.random.key(0)
BATCH = 16


def simulator(size: int, t1: float) -> gl15.VortexSimulator:
    lattice = gl15.Lattice((size, size), spacing=0.5)
    return gl15.VortexSimulator(lattice, gl15.TwoBand(), t1=t1)


def rates(folder: Path, count: int) -> dict:
    """MB/s of real images, without the time to simulate them."""
    pattern = simulate(
        simulator(64, 0.5), PRIOR, 128, key=KEY, batch_size=BATCH, progress=False
    )
    images = np.asarray(pattern.x)
    path, n = folder / "rates.zarr", count // 128 * 128
    draws = Draws(PRIOR, KEY, n)
    plan = describe_plan(object(), PRIOR, n, KEY)
    store = Store(path, plan, draws, batch_size=128, default_batch_size=128)
    store.create(images.shape[1:], images.dtype)
    shards = store.shards((0, 1))
    starts, size = shards.missing(), n * images[0].nbytes / 1e6
    figures = {"MB": size}

    def timed(name: str, call) -> None:
        start = time.perf_counter()
        call()
        figures[name] = size / (time.perf_counter() - start)

    def write() -> None:
        for start in starts:
            shards.put(slice(start, start + 128), images)

    timed("write_MB_per_s", write)
    stored = open_ensemble(path)
    timed("check_MB_per_s", stored.damaged)
    timed("read_MB_per_s", lambda: stored.observations(slice(None)))
    timed("read_by_shards_MB_per_s", lambda: [stored.read(s) for s in stored.shards])
    files = [file.stat().st_size for file in path.glob("x/c.*")]
    return figures | {"compressed_to": sum(files) / size / 1e6, "files": len(files)}


def start(path: Path, n: int, size: int, t1: float, process: str, workers: int):
    options = ["--n", n, "--size", size, "--t1", t1, "--process", process]
    options += ["--batch-size", BATCH, "--workers", workers]
    command = [sys.executable, "-m", "gl15", "simulate", path, *options]
    return subprocess.Popen(
        [str(one) for one in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def is_held_by(path: Path, pid: int) -> bool:
    return any(one.get("pid") == pid for one in holders(path))


def kills(folder: Path, count: int) -> dict:
    """Simulations that were finished when a process was killed, and are not after."""
    chance, lost, survived = random.Random(0), 0, 0
    kept: dict[int, np.ndarray] = {}
    n, size, t1 = 8192, 16, 2.0
    path = folder / "killed.zarr"
    while survived < count:
        process = start(path, n, size, t1, "0/1", 2)
        # The lock of the one that was killed before is still there.
        while process.poll() is None and not is_held_by(path, process.pid):
            time.sleep(0.005)
        time.sleep(chance.uniform(0.0, 0.5))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            survived += 1
        process.wait()
        stored = open_ensemble(path)
        done = set(range(0, n, 128)) - {rows.start for rows in stored.missing}
        broken = {rows.start for rows in stored.damaged()}
        lost += 128 * len((kept.keys() - done) | broken)
        for first in done - kept.keys():
            kept[first] = stored.observations(slice(first, first + 128))
        if stored.complete:
            break
    start(path, n, size, t1, "0/1", 2).wait()
    found = open_ensemble(path)
    changed = 0
    for first, images in kept.items():
        now = found.observations(slice(first, first + 128))
        changed += int((now != images).any(axis=(1, 2, 3)).sum())
    return {
        "kills": survived,
        "simulations_lost": lost,
        "simulations_changed": changed,
        "finished": found.complete and not found.damaged(),
    }


def rate(path: Path) -> float:
    """Simulations per second between the first and the last batch of all processes."""
    batches = [line for line in read_log(path) if line["event"] == "batch"]
    first, *rest = batches
    count = sum(line["rows"][1] - line["rows"][0] for line in rest)
    return count / (batches[-1]["unix"] - first["unix"])


def efficiency(folder: Path, n: int, counts: list[int]) -> dict:
    """Speed-up over one worker, by threads of one process and by processes of one."""
    found = {}
    for count in [1, *counts]:
        path = folder / f"workers-{count}.zarr"
        start(path, n, 64, 0.2, "0/1", count).wait()
        found[f"workers_{count}"] = rate(path)
    for count in counts:
        path = folder / f"processes-{count}.zarr"
        parts = [start(path, n, 64, 0.2, f"{i}/{count}", 1) for i in range(count)]
        for part in parts:
            part.wait()
        # Only while all were at work: they do not start at the same moment.
        lines = [line for line in read_log(path) if line["event"] == "batch"]
        each: dict[int, list] = {}
        for line in lines:
            each.setdefault(line["pid"], []).append(line)
        begin = max(one[0]["unix"] for one in each.values())
        end = min(one[-1]["unix"] for one in each.values())
        inside = [line for line in lines if begin < line["unix"] <= end]
        count_inside = sum(line["rows"][1] - line["rows"][0] for line in inside)
        rate_inside = count_inside / (end - begin) if end > begin else None
        found[f"processes_{count}"] = rate_inside
    one = found["workers_1"]
    return {
        name: {"simulations_per_s": value, "speed_up": value and value / one}
        for name, value in found.items()
    }


def memory(folder: Path, n: int) -> dict:
    """Resident memory in MB while an ensemble that is not loaded is simulated."""
    resident, stop = [], threading.Event()

    def watch() -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not stop.wait(0.1):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            resident.append(pages * page / 1e6)

    def run(count: int) -> None:
        simulate(
            simulator(64, 0.02),
            PRIOR,
            count,
            key=KEY,
            path=folder / "memory.zarr",
            load=False,
            batch_size=BATCH,
            progress=False,
        )

    run(256)  # compiles
    watcher = threading.Thread(target=watch)
    watcher.start()
    run(n)
    stop.set()
    watcher.join()
    shown = [
        round(resident[i]) for i in np.linspace(0, len(resident) - 1, 9).astype(int)
    ]
    return {"images_MB": n * 64 * 64 * 3 * 4 / 1e6, "resident_MB_over_time": shown}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = {"rates": rates, "memory": memory, "efficiency": efficiency, "kills": kills}
    parser.add_argument("--only", nargs="*", choices=parts, default=list(parts))
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--size", type=int, default=1024, help="of the timed ensembles")
    counts = "workers, and processes of one worker, to compare with one"
    parser.add_argument("--counts", type=int, nargs="+", default=[2, 4], help=counts)
    asked = parser.parse_args()
    parts["efficiency"] = functools.partial(efficiency, counts=asked.counts)
    sizes = {"efficiency": asked.size, "kills": asked.kills}
    with tempfile.TemporaryDirectory() as name:
        show(
            **{
                part: parts[part](Path(name), sizes.get(part, asked.images))
                for part in asked.only
            }
        )


if __name__ == "__main__":
    main()
