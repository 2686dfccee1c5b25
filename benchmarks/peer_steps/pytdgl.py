"""pyTDGL: its whole step, on a mesh of about as many sites.

One band, a scalar potential from a Poisson solve at every step, a triangular mesh in
float64: another model with another aim, here for the cost of a step that its users
pay. Only open samples without drag, and nothing to compare the state with.
"""

import importlib
import logging
from typing import Any

import numpy as np

from peer_steps.problem import Missing, Peer, Problem


class PyTdgl(Peer):
    name = "pyTDGL's step (one band, Poisson solve included)"
    precision = "complex128"
    steps = 100
    comparable = False

    def __init__(self, problem: Problem):
        try:
            tdgl: Any = importlib.import_module("tdgl")
            runner = importlib.import_module("tdgl.solver.runner")
        except ImportError as error:
            raise Missing(f"tdgl is not installed ({error})") from error
        if not problem.is_open or problem.drag or problem.shape[0] != problem.shape[1]:
            raise Missing("pyTDGL has open samples without drag only")
        sites = problem.shape[0]
        logging.getLogger("tdgl").setLevel(logging.ERROR)
        # Meshed to about the number of sites asked for; what came out is counted.
        side = sites * problem.spacing
        layer = tdgl.Layer(coherence_length=1.0, london_lambda=100.0, thickness=0.1)
        box = tdgl.geometry.box(side, side)
        film = tdgl.Polygon("film", points=box).resample(4 * sites + 1).buffer(0)
        device = tdgl.Device("sample", layer=layer, film=film, length_units="um")
        device.make_mesh(max_edge_length=1.84 * problem.spacing)
        self.sites = len(device.mesh.sites)
        self.dt = problem.dt
        options = tdgl.SolverOptions(
            solve_time=1.0, dt_init=self.dt, dt_max=self.dt, adaptive=False
        )
        self.solver = tdgl.TDGLSolver(device, options, applied_vector_potential=0.1)
        self.record = runner.RunningState({"dt": 1}, 1)

    def start(self, psi):
        edges = self.solver.num_edges
        return {
            "psi": self.solver.psi_init,
            "mu": self.solver.mu_init,
            "supercurrent": np.zeros(edges),
            "normal_current": np.zeros(edges),
            "induced_vector_potential": np.zeros((edges, 2)),
        }

    def advance(self, state, steps):
        for i in range(steps):
            now = {"step": i, "time": i * self.dt, "dt": self.dt}
            _, *values = self.solver.update(now, self.record, self.dt, **state)
            # It ends with fields of a time-dependent drive, None here.
            state = dict(zip(state, values, strict=False))
        return state

    def finish(self, state):
        return state["psi"][None, None]

    def updates(self, problem):
        return self.sites * self.steps


def peers(problem: Problem) -> list[Peer]:
    return [PyTdgl(problem)]
