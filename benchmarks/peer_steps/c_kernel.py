"""C: `tdgl.c` compiled on the spot for one shape, called through ctypes.

The yardstick: every other figure is given as a part of this one.
"""

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from peer_steps.problem import Missing, Peer, Problem


SOURCE = Path(__file__).with_name("tdgl.c")
FUSE = 2  # steps to a pass over the state; 3 and 4 measured no better
# Without -ffast-math: it changes nothing in sums already in order, and linking with it
# would switch off denormals for the whole process.
FLAGS = ("-O3", "-ffp-contract=fast", "-shared", "-fPIC")


@functools.cache
def compiler() -> tuple[str, ...]:
    """The command of the C compiler, with the flag that aims at this machine."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name is None or shutil.which(name) is None:
            continue
        for flag in ("-march=native", "-mcpu=native"):
            if _macros((name, flag)) is not None:
                return name, flag
    raise Missing("no C compiler is there: none of $CC, cc, gcc, clang runs")


def version() -> str:
    command = [compiler()[0], "--version"]
    run = subprocess.run(command, capture_output=True, text=True)
    return run.stdout.splitlines()[0]


def _macros(command: tuple[str, ...]) -> str | None:
    run = subprocess.run(
        [*command, "-dM", "-E", "-x", "c", os.devnull], capture_output=True, text=True
    )
    return None if run.returncode else run.stdout


@functools.cache
def _lanes(ny: int) -> int:
    """Floats to a vector: a register's worth, or what divides a row."""
    macros = _macros(compiler()) or ""
    lanes = 16 if "__AVX512F__" in macros else 8 if "__AVX__" in macros else 4
    while ny % lanes:
        lanes //= 2
    return lanes


@functools.cache
def _library(shape: tuple[int, int], is_open: bool, has_drag: bool) -> ctypes.CDLL:
    values = {
        "NX": shape[0],
        "NY": shape[1],
        "OPEN": int(is_open),
        "DRAG": int(has_drag),
        "LANES": _lanes(shape[1]),
        "FUSE": FUSE,
    }
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "tdgl.so")
        defines = [f"-D{name}={value}" for name, value in values.items()]
        run = subprocess.run(
            [*compiler(), *FLAGS, *defines, str(SOURCE), "-o", str(target)],
            capture_output=True,
            text=True,
        )
        if run.returncode:
            raise Missing(f"{compiler()[0]} cannot compile tdgl.c: {run.stderr[-500:]}")
        return ctypes.CDLL(str(target))  # stays mapped when the file goes


class CKernel(Peer):
    def __init__(self, problem: Problem, batch: int = 4, threads: int = 1):
        p, nx = problem, problem.shape[0]
        self.name = "C kernel"
        self.batch, self.threads = batch, threads
        self.pool = ThreadPoolExecutor(threads)
        run = _library(p.shape, p.is_open, bool(p.drag)).tdgl_run
        run.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_long] * 2
        run.restype = ctypes.c_int
        self.run = run
        stiff = [k * p.per_cell for k in (*p.diffusion, p.drag)]
        local = [c * p.dt for c in (*p.alpha, *p.beta, p.josephson)]
        self.coupling = np.array(stiff + local)
        angle = p.flux * np.arange(-FUSE, nx + FUSE)
        self.link = np.stack([np.cos(angle), -np.sin(angle)], 1).astype(np.float32)
        seam = p.links[0][-1]
        self.seam = seam.astype(np.complex64).view(np.float32).reshape(-1, 2).T.copy()

    def start(self, psi):
        parts = np.stack([np.real(psi), np.imag(psi)], 2)
        return np.ascontiguousarray(parts.reshape(len(psi), 4, *psi.shape[2:]), "f4")

    def advance(self, state, steps):
        arrays = [a.ctypes.data for a in (self.coupling, self.link, self.seam)]

        def part(chunk):  # ctypes lets other threads run meanwhile
            return self.run(chunk.ctypes.data, *arrays, len(chunk), steps)

        chunks = np.array_split(state, self.threads)
        failed = map(part, chunks) if self.threads == 1 else self.pool.map(part, chunks)
        if any(failed):
            raise MemoryError("the C kernel found no memory")
        return state

    def finish(self, state):
        parts = state.astype(float).reshape(len(state), 2, 2, *state.shape[2:])
        return parts[:, :, 0] + 1j * parts[:, :, 1]


def peers(problem: Problem, batch: int = 4, threads: int = 1) -> list[Peer]:
    return [CKernel(problem, batch, threads)]
