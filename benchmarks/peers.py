"""The TDGL Euler loop side by side: gl15, NumPy, Numba, plain JAX, pyTDGL, a C kernel.

Every peer is first held against gl15's float64 right-hand side, and not timed if it
disagrees. All are measured round by round, in turn, in one run; medians count. Figures
per core come from a process that sees a single core.

pip install numba tdgl        # what is missing is left out
python benchmarks/peers.py --sweep --table docs/benchmarks.md
"""

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import tyro
from _report import environment, show
from peer_steps import c_kernel
from peer_steps.problem import Missing
from peer_steps.table import insert, tables


YARDSTICK = "C kernel | float32"


class Worker:
    """A process with some cores to itself, which measures when it is asked."""

    def __init__(self, cores: int, turn: int, **request):
        # Turned, so that they compile on different cores; they never measure at once.
        turn %= len(_cores())
        folders = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        with _pinned((_cores()[turn:] + _cores()[:turn])[:cores]):
            process = subprocess.Popen(
                [sys.executable, "-m", "peer_steps.measure", json.dumps(request)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ
                | {"PYTHONPATH": os.pathsep.join(filter(None, folders))}
                | {name: str(cores) for name in threads},
            )
        assert process.stdin and process.stdout
        self.process, self.ask, self.answers = process, process.stdin, process.stdout

    def read(self) -> dict:
        line = self.answers.readline()
        if not line:
            raise RuntimeError(f"a measuring process ended with {self.process.wait()}")
        return json.loads(line)

    def round(self) -> dict[str, dict[str, float]]:
        self.ask.write("\n")
        self.ask.flush()
        return self.read()

    def close(self) -> None:
        self.ask.close()
        self.process.wait()


def main(
    sites: int = 64,
    rounds: int = 7,
    cores: tuple[int, ...] = (1, 2, 4),
    sweep: bool = False,
    steps: float = 1.0,
    only: tuple[str, ...] = (),
    clock: Literal["wall", "cpu"] = "wall",
    table: Path | None = None,
) -> None:
    """Print the figures as JSON.

    Args:
        sites: sites along each axis.
        rounds: measurements of each, of which the median counts.
        cores: numbers of cores for the ensembles; those not there are left out.
        sweep: also the cost per site over sizes and numbers of simulations.
        steps: factor on the number of steps of every measurement.
        only: parts of the names of the peers to measure; all by default.
        clock: of the figures per core; "cpu" does not count what other programs take
            on a machine that is not quiet.
        table: Markdown page whose tables to replace by the figures.
    """
    kinds = [("peers", 1), *(("parallel", k) for k in cores if k <= len(_cores()))]
    kinds += [("sizes", 1), ("batches", 1)] if sweep else []
    common = {"sites": sites, "steps": steps, "only": only}
    workers = {}
    for turn, (kind, k) in enumerate(kinds):
        counts = "wall" if kind == "parallel" else clock
        request = {"kind": kind, "workers": k, "clock": counts, **common}
        workers[kind, k] = Worker(k, turn, **request)
    try:
        prepared = {key: worker.read() for key, worker in workers.items()}
        measured: dict[tuple, list] = {key: [] for key in workers}
        for i in range(rounds):
            print(f"round {i + 1} of {rounds}", file=sys.stderr)
            for key, worker in workers.items():
                measured[key].append(worker.round())
    finally:
        for worker in workers.values():
            worker.close()

    figures: dict = {"per_core": {}, "parallel": {}, "sizes": {}, "batches": {}}
    for (kind, _), found in measured.items():
        name = "per_core" if kind == "peers" else kind
        figures[name] |= {column: _summary(column, found) for column in found[0]}
    figures = {name: columns for name, columns in figures.items() if columns}
    figures["diffrax"] = _diffrax(measured["peers", 1], sites)
    figures["errors"] = prepared["peers", 1]["errors"]
    left_out: dict[str, list[str]] = {}
    for answer in prepared.values():
        for reason, columns in answer["left_out"].items():
            left_out.setdefault(reason, []).extend(columns)
    figures = {
        "machine": _machine(),
        "sites": sites,
        "clock": clock,
        **figures,
        "left_out": left_out,
    }
    if table is not None:
        insert(table, tables(figures, environment()))
    show(**figures)


def _summary(column: str, found: list[dict]) -> dict[str, dict]:
    """Medians over the rounds, and of the part of the C kernel's rate in the same."""
    summary = {}
    for peer in found[0][column]:
        rates = [once[column][peer] for once in found]
        summary[peer] = {"rate": statistics.median(rates), "rates": rates}
        if YARDSTICK in found[0][column]:
            parts = [once[column][peer] / once[column][YARDSTICK] for once in found]
            summary[peer]["of_c"] = statistics.median(parts)
    return summary


def _diffrax(found: list[dict], sites: int) -> dict[str, dict]:
    """What the solver through Diffrax costs above a bare loop over the same step."""
    overhead = {}
    for column, rates in found[0].items():
        beside = [name for name in rates if "side by side" in name]
        if len(beside) < 2:
            continue
        bare, solver = sorted(beside, key=lambda name: "bare" not in name)
        batch = int(bare.split(", ")[1].split()[0])
        extra = [1 / once[column][solver] - 1 / once[column][bare] for once in found]
        part = [once[column][bare] / once[column][solver] - 1 for once in found]
        overhead[column] = {
            "seconds_per_step": statistics.median(extra) * sites**2 * batch,
            "part_of_a_step": statistics.median(part),
        }
    return overhead


def _can_pin() -> bool:
    return hasattr(os, "sched_setaffinity")


def _cores() -> list[int]:
    if _can_pin():
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextlib.contextmanager
def _pinned(cores: list[int]):
    """Processes started meanwhile see these cores only, where the system can do it."""
    before = _cores()
    if _can_pin():
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        if _can_pin():
            os.sched_setaffinity(0, before)


def _machine() -> dict:
    try:
        compiler = " ".join((c_kernel.version(), *c_kernel.compiler()[1:]))
    except Missing as reason:
        compiler = str(reason)
    versions = {}
    for name in ("numpy", "numba", "tdgl"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return {
        "cpu": _cpu(),
        "pinned": _can_pin(),
        "compiler": compiler,
        "versions": versions,
    }


def _cpu() -> str:
    """Its name and vector extension, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(
        reversed([[s.strip() for s in x.split(":", 1)] for x in lines if ":" in x])
    )
    flags = fields.get("flags", "").split()
    vector = next((f for f in ("avx512f", "avx2", "avx") if f in flags), "")
    family = " ".join(
        f"{k} {fields[k]}" for k in ("cpu family", "model") if k in fields
    )
    return f"{fields.get('model name', platform.machine())} ({family}) {vector}".strip()


if __name__ == "__main__":
    tyro.cli(main)
