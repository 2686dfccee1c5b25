"""gl15: ensembles, a lone evolution, and its vector field in bare loops."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import gl15
from gl15.physics import evolve_batch
from gl15.physics._flow import Flow
from gl15.physics._lanes import pack, unpack
from gl15.physics._runs import march
from gl15.simulation._draw import Draws
from peer_steps.problem import Peer, Problem


class Simulate(Peer):
    """`gl15.simulate`: quench, evolution and observation, from key to image."""

    name = "gl15.simulate"

    def __init__(
        self, problem: Problem, batch: int | None = None, workers: int = 1, rounds=7
    ):
        self.problem, self.workers = problem, workers
        self.size = self._simulator(1).batch_size
        # The first batch of a call is run alone, then those of all workers at once.
        self.batch = batch or self.size * (1 + workers * rounds)
        # A narrow prior: every simulation its own eta, and all of them stable.
        eta = np.linspace(0.5, 1.5, self.batch) * problem.josephson
        self.theta = {"eta": eta.astype(np.float32)}
        self.key = jax.random.key(0)

    def _simulator(self, steps: int) -> gl15.VortexSimulator:
        p = self.problem
        return gl15.VortexSimulator(
            p.lattice(), p.material(), p.field, t1=steps * p.dt, dt=p.dt
        )

    def starts(self) -> np.ndarray:
        """The quenches that its keys draw."""
        keys = Draws(self.theta, self.key, self.batch).keys(0, self.batch)
        return np.asarray(_quenches(self.problem.lattice(), keys))

    def start(self, psi):
        return None

    def advance(self, state, steps):
        return gl15.simulate(
            self._simulator(steps),
            self.theta,
            key=self.key,
            workers=self.workers,
            progress=False,
        ).x

    def finish(self, state):
        raise NotImplementedError("it observes images; see `check`")


@eqx.filter_jit
def _quenches(lattice: gl15.Lattice, keys):
    def start(key):
        return gl15.quench(lattice, key=jax.random.split(key)[0])

    return jax.vmap(start)(keys)


class Evolve(Peer):
    """`gl15.evolve`: one simulation."""

    name = "gl15.evolve, a lone simulation"
    compiles_each = True

    def __init__(self, problem: Problem):
        self.problem, self.tdgl = problem, problem.tdgl()

    def start(self, psi):
        return jnp.asarray(psi[0], jnp.complex64)

    def advance(self, state, steps):
        dt = self.problem.dt
        solution = gl15.evolve(self.tdgl, state, t1=steps * dt, dt=dt)
        return jax.block_until_ready(solution.ys)[-1]

    def finish(self, state):
        return np.asarray(state)[None]


class Integrate(Peer):
    """What `gl15.simulate` runs between quench and image, Diffrax included."""

    compiles_each = True

    def __init__(self, problem: Problem, batch: int):
        self.batch, self.tdgl, dt = batch, problem.tdgl(), problem.dt
        self.name = f"gl15 through Diffrax, {_beside(batch)}"

        def solve(psi, steps):
            return evolve_batch(self.tdgl, psi, t1=steps * dt, dt=dt).ys

        self.loop = jax.jit(solve, static_argnums=1, compiler_options=_options())

    def start(self, psi):
        return jnp.asarray(psi, jnp.complex64)

    def advance(self, state, steps):
        return jax.block_until_ready(self.loop(state, steps))[-1]

    def finish(self, state):
        return np.asarray(state)


class BareLoop(Peer):
    """gl15's step in a `fori_loop` and nothing else."""

    def __init__(self, problem: Problem, batch: int):
        tdgl, self.batch = problem.tdgl(), batch
        self.name = f"gl15's step in a bare loop, {_beside(batch)}"
        flow = Flow.build(
            tdgl.lattice,
            tdgl.material,
            tdgl.links,
            lanes=batch,
            dtype=jnp.float32,
            dt=problem.dt,
        )

        def loop(state, steps):
            return march(flow, state, steps)

        self.loop = jax.jit(loop, compiler_options=_options())

    def start(self, psi):
        return jax.jit(pack)(jnp.asarray(psi, jnp.complex64))

    def advance(self, state, steps):
        return jax.block_until_ready(self.loop(state, steps))

    def finish(self, state):
        return np.asarray(unpack(state, self.batch))


def _beside(batch: int) -> str:
    return "1 simulation" if batch == 1 else f"{batch} side by side"


def _options() -> dict | None:
    """As `gl15.simulate` compiles."""
    if jax.default_backend() != "cpu":
        return None
    return {"xla_cpu_prefer_vector_width": 512, "xla_cpu_multi_thread_eigen": False}


def peers(problem: Problem, workers: int = 1) -> list[Peer]:
    simulate = Simulate(problem, workers=workers)
    return [
        simulate,
        Evolve(problem),
        Integrate(problem, simulate.size),
        BareLoop(problem, simulate.size),
        BareLoop(problem, 1),
    ]
