"""NumPy: whole-array expressions with `np.roll`."""

import numpy as np

from peer_steps.problem import Peer, Problem


class NumpyRoll(Peer):
    name = "NumPy, roll"
    precision = "complex64"
    steps = 300

    def __init__(self, problem: Problem):
        u_x, u_y = problem.links
        single = np.complex64
        self.forward = u_x.astype(single), u_y.astype(single)
        self.backward = tuple(
            np.conj(np.roll(u, 1, k)).astype(single) for k, u in enumerate((u_x, u_y))
        )
        self.degree = problem.degree.astype(np.float32)
        self.problem = problem

    def start(self, psi):
        return psi[0].astype(np.complex64)

    def advance(self, state, steps):
        p = self.problem
        for _ in range(steps):
            laplacian = -self.degree * state
            for axis in (0, 1):
                laplacian += self.forward[axis] * np.roll(state, -1, axis + 1)
                laplacian += self.backward[axis] * np.roll(state, 1, axis + 1)
            laplacian *= np.float32(1 / p.spacing**2)
            other = state[::-1]
            density = state.real**2 + state.imag**2
            change = np.float32(p.josephson) * other
            for i in (0, 1):
                change[i] += np.float32(p.diffusion[i]) * laplacian[i]
                change[i] -= (
                    np.float32(p.alpha[i]) + np.float32(p.beta[i]) * density[i]
                ) * state[i]
            if p.drag:
                change += np.float32(p.drag) * laplacian[::-1]
            state = state + np.float32(p.dt) * change
        return state

    def finish(self, state):
        return state[None]


def peers(problem: Problem) -> list[Peer]:
    return [NumpyRoll(problem)]
