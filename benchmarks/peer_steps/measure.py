"""Times peers in a process of its own, which sees only the cores it is given.

XLA sizes its threads by the cores it sees when it starts, so a figure per core must
come from a process that sees one. `peers.py` starts such processes and asks them for
one round after another, so that the rounds of all of them alternate.

python -m peer_steps.measure '{"kind": "peers", "sites": 64, "workers": 1}'
"""

import functools
import json
import sys
import time
from collections.abc import Sequence

from peer_steps import c_kernel, gl15_loops, jax_roll, numba_loops, numpy_roll, pytdgl
from peer_steps.check import agreement, Disagreement
from peer_steps.problem import Missing, Peer, Problem


SECONDS = 0.1  # a measurement repeats shorter calls until so much has passed
SIZES, BATCHES = (32, 64, 128, 256), (1, 8, 64, 1000)


class Timed:
    """A peer on a problem, checked and compiled, ready to be timed."""

    def __init__(self, peer: Peer, problem: Problem, clock: str):
        self.peer, self.problem = peer, problem
        self.clock = time.process_time if clock == "cpu" else time.perf_counter
        self.name = f"{peer.name} | {peer.precision}"
        # A thousand simulations would take minutes in float64; a few tell as much.
        checked = peer.comparable and peer.batch <= 64
        self.errors = agreement(peer, problem) if checked else None
        self.state = peer.start(problem.start(peer.batch))
        self.calls = 1
        self.seconds()  # compiles
        self.calls = max(1, round(SECONDS / self.seconds()))

    def seconds(self) -> float:
        start = self.clock()
        for _ in range(self.calls):
            self.peer.advance(self.state, self.peer.steps)
        return (self.clock() - start) / self.calls

    def rate(self) -> float:
        """Site-updates per second."""
        return self.peer.updates(self.problem) / self.seconds()


def side_by_side(sites: int, workers: int):
    """Every peer on every case."""
    modules = (c_kernel, gl15_loops, numba_loops, jax_roll, numpy_roll)
    for problem in (
        Problem((sites, sites), "periodic"),
        Problem((sites, sites), "periodic", drag=0.3),
        Problem((sites, sites), "open"),
        Problem((sites, sites), "open", drag=0.3),
    ):
        for module in modules:
            yield problem.label, problem, functools.partial(module.peers, problem)
    problem = Problem((sites, sites))
    yield problem.label, problem, functools.partial(pytdgl.peers, problem)


def parallel(sites: int, workers: int):
    """The ensemble, and as many threads of the C kernel, on the default sample."""
    problem = Problem((sites, sites))

    def make():
        kernel = c_kernel.CKernel(problem, 12 * workers, workers)
        return [kernel, gl15_loops.Simulate(problem, workers=workers, rounds=12)]

    yield str(workers), problem, make


def sizes(sites: int, workers: int):
    """Cost per site over the size of the sample; about as many site-updates each."""
    for n in SIZES:
        problem = Problem((n, n))
        batch = max(1, round(16 * (64 / n) ** 2))

        def make(problem=problem, batch=batch):
            kernel = c_kernel.CKernel(problem, batch=batch)
            ensemble = gl15_loops.Simulate(problem, batch=max(8, batch))
            return _with_steps(1_000, kernel, ensemble, gl15_loops.Evolve(problem))

        yield str(n), problem, make


def batches(sites: int, workers: int):
    """Cost per site over the number of simulations asked for."""
    problem = Problem((sites, sites))
    for batch in BATCHES:

        def make(batch=batch):
            kernel = c_kernel.CKernel(problem, batch=batch)
            found = _with_steps(500, kernel, gl15_loops.Simulate(problem, batch=batch))
            if batch <= 64:  # more would take minutes
                roll = jax_roll.JaxRoll(problem, "complex64")
                roll.batch = batch
                found += _with_steps(100, roll)
            return found

        yield str(batch), problem, make


def _with_steps(steps: int, *peers: Peer) -> list[Peer]:
    for peer in peers:
        peer.steps = steps
    return list(peers)


KINDS = {
    "peers": side_by_side,
    "parallel": parallel,
    "sizes": sizes,
    "batches": batches,
}


def prepare(
    kind: str,
    sites: int,
    workers: int,
    steps: float = 1.0,
    only: Sequence[str] = (),
    clock: str = "wall",
) -> tuple[dict[str, list[Timed]], dict[str, list[str]]]:
    """Build, check and compile everything.

    Returns:
        What to time, column by column; and why peers are left out of columns.
    """
    ready: dict[str, list[Timed]] = {}
    left_out: dict[str, list[str]] = {}
    for column, problem, make in KINDS[kind](sites, workers):
        print(f"preparing {kind}: {column}", file=sys.stderr, flush=True)
        timed = ready.setdefault(column, [])
        try:
            found = make()
        except Missing as reason:
            left_out.setdefault(str(reason), []).append(column)
            continue
        for peer in found:
            if only and not any(name in peer.name for name in only):
                continue
            peer.steps = max(1, round(peer.steps * steps))
            try:
                timed.append(Timed(peer, problem, clock))
            except Disagreement as reason:
                left_out.setdefault(str(reason), []).append(column)
    return ready, left_out


def main(request: str) -> None:
    """Prepare, say so, then time one round for every line of the input."""
    ready, left_out = prepare(**json.loads(request))
    errors = {key: {t.name: t.errors for t in ready[key]} for key in ready}
    print(json.dumps({"left_out": left_out, "errors": errors}), flush=True)
    for _ in sys.stdin:
        rates = {key: {t.name: t.rate() for t in ready[key]} for key in ready}
        print(json.dumps(rates), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
