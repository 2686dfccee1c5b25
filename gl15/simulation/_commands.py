"""`python -m gl15 simulate` and `python -m gl15 status`: ensembles from a shell."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpyro.distributions as dist

from gl15.physics import Lattice, TwoBand
from gl15.simulation._lock import holders
from gl15.simulation._log import read_log
from gl15.simulation._prior import Prior
from gl15.simulation._process import parse_process
from gl15.simulation._simulate import simulate
from gl15.simulation._stored import open_ensemble
from gl15.simulation._vortex import VortexSimulator


@dataclasses.dataclass(frozen=True)
class Simulate:
    """Simulate an ensemble of vortex images, or go on with one.

    Of eta, B and nu, one number fixes a parameter and two are the ends of its uniform
    prior. Start the same command several times to share the work, with --process or
    under srun, as a SLURM array, ...
    """

    path: Path
    """Folder of the store."""
    n: int = 1000
    """Number of simulations; a larger one adds to what is there."""
    seed: int = 0
    """Seed of the random key."""
    eta: tuple[float, ...] = (0.0, 1.5)
    """Josephson coupling."""
    B: tuple[float, ...] = (0.04,)
    """Magnetic field."""
    nu: tuple[float, ...] = (0.0,)
    """Drag."""
    size: int = 64
    """Sites along a side of the sample."""
    spacing: float = 0.5
    """Distance between sites."""
    boundary: Literal["open", "periodic"] = "open"
    """Kind of the sample's edges."""
    diffusion: tuple[float, float] = (4.0, 1.0)
    """Stiffness of the two bands."""
    t1: float = 2.0
    """Time of the snapshot."""
    dt: float = 1e-3
    """Time step."""
    batch_size: int | None = None
    """Simulations per call; chosen by the machine if left out."""
    workers: int | None = None
    """Threads; one per core if left out."""
    process: str | None = None
    """This process's part, such as 0/8; found in the environment if left out."""

    def run(self) -> int:
        """Simulate.

        Returns:
            The exit status: 0 also where other processes are still at work.
        """
        names = {"eta": self.eta, "B": self.B, "nu": self.nu}
        for name, value in names.items():
            if len(value) not in (1, 2):
                raise ValueError(f"--{name} takes one number or two, got {value}.")
        free = {k: dist.Uniform(*v) for k, v in names.items() if len(v) == 2}
        fixed = {k: v[0] for k, v in names.items() if len(v) == 1}
        if not free:
            raise ValueError("none of --eta, --B and --nu has two numbers: no prior.")
        material = TwoBand(
            self.diffusion, josephson=fixed.get("eta", 0.0), drag=fixed.get("nu", 0.0)
        )
        shape = (self.size, self.size)
        simulator = VortexSimulator(
            Lattice(shape, spacing=self.spacing, boundary=self.boundary),
            material,
            field=fixed.get("B", 0.0),
            t1=self.t1,
            dt=self.dt,
        )
        part = parse_process(self.process, "--process") if self.process else None
        stored = simulate(
            simulator,
            Prior(free),
            self.n,
            key=jax.random.key(self.seed),
            path=self.path,
            load=False,
            process=part,
            batch_size=self.batch_size,
            workers=self.workers,
        )
        left = sum(rows.stop - rows.start for rows in stored.missing)
        print(stored, f"{left} missing", sep=", ")
        return 0


@dataclasses.dataclass(frozen=True)
class Status:
    """Say how far an ensemble on disk is, and who is at work on it."""

    path: Path
    """Folder of the store."""
    verify: bool = False
    """Read every file and hold it against its checksum."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> int:
        """Look.

        Returns:
            The exit status: 0 if every simulation is there and none was found damaged.
        """
        found = describe_status(self.path, verify=self.verify)
        if self.json:
            print(json.dumps(found, indent=2))
        else:
            print("\n".join(f"{name}: {value}" for name, value in found.items()))
        return int(bool(found["missing"] or found["damaged"]))


def describe_status(path: Path, *, verify: bool = False) -> dict[str, Any]:
    """How far an ensemble on disk is.

    Args:
        path: the folder.
        verify: read every file and hold it against its checksum.

    Returns:
        Plain data: simulations in all, done, missing, damaged (None if not looked
        for) and not finite (None where some are damaged); simulations per second of
        those at work, seconds left, and who they are.
    """
    stored = open_ensemble(path)
    missing = sum(rows.stop - rows.start for rows in stored.missing)
    damaged = [[s.start, s.stop] for s in stored.damaged()] if verify else None
    # Which are finite may be what is damaged.
    nonfinite = None if damaged else int((~stored.finite()).sum())
    workers = holders(path)
    alive = {(w.get("host"), w.get("pid")) for w in workers if w["alive"] is not False}
    batches = [
        line
        for line in read_log(path)
        if line.get("event") == "batch" and (line["host"], line["pid"]) in alive
    ]
    rate = sum(_rate([b for b in batches if (b["host"], b["pid"]) == w]) for w in alive)
    return {
        "path": str(path),
        "n": len(stored),
        "done": len(stored) - missing,
        "missing": missing,
        "damaged": damaged,
        "nonfinite": nonfinite,
        "rate": round(rate, 3),
        "seconds_left": round(missing / rate) if rate else None,
        "processes": workers,
        "gl15": stored.header["gl15"],
    }


def _rate(batches: list[dict[str, Any]]) -> float:
    """Simulations per second of one process, over its last batches."""
    recent = batches[-50:]
    if len(recent) < 2 or recent[-1]["unix"] <= recent[0]["unix"]:
        return 0.0
    count = sum(b["rows"][1] - b["rows"][0] for b in recent[1:])
    return count / (recent[-1]["unix"] - recent[0]["unix"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: what stands behind `python -m gl15`.

    Returns:
        The exit status.
    """
    try:
        import tyro
    except ModuleNotFoundError:
        print('commands need tyro: pip install "gl15[cli]"', file=sys.stderr)
        return 2
    commands = {"simulate": Simulate, "status": Status}
    chosen = tyro.extras.subcommand_cli_from_dict(
        commands,
        prog="python -m gl15",
        args=arguments,
        config=(tyro.conf.PositionalRequiredArgs,),
    )
    try:
        return chosen.run()
    except (
        MemoryError,
        ModuleNotFoundError,
        OSError,
        RuntimeError,
        ValueError,
    ) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
