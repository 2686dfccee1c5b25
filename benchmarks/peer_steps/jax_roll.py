"""Plain JAX: complex arrays, `jnp.roll`, `fori_loop`, `vmap` over the simulations."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np

from peer_steps.problem import Peer, Problem


class JaxRoll(Peer):
    batch = 8
    steps = 300

    def __init__(self, problem: Problem, dtype):
        self.dtype = np.dtype(dtype)
        self.precision = self.dtype.name
        self.name = "JAX, roll under vmap"
        u_x, u_y = problem.links
        forward = u_x, u_y
        backward = tuple(np.conj(np.roll(u, 1, k)) for k, u in enumerate(forward))
        p = problem

        def step(_, psi):
            laplacian = -p.degree.astype(psi.real.dtype) * psi
            for axis in (0, 1):
                ahead = jnp.asarray(forward[axis], psi.dtype)
                behind = jnp.asarray(backward[axis], psi.dtype)
                laplacian += ahead * jnp.roll(psi, -1, axis + 1)
                laplacian += behind * jnp.roll(psi, 1, axis + 1)
            laplacian /= p.spacing**2

            def column(pair):
                return jnp.asarray(pair, psi.real.dtype)[:, None, None]

            change = column(p.diffusion) * laplacian + p.josephson * psi[::-1]
            change -= (column(p.alpha) + column(p.beta) * jnp.abs(psi) ** 2) * psi
            if p.drag:
                change += p.drag * laplacian[::-1]
            return psi + p.dt * change

        def loop(psi, steps):
            return jax.lax.fori_loop(0, steps, step, psi)

        self.loop = jax.jit(jax.vmap(loop, in_axes=(0, None)))

    def _precision(self):
        if self.dtype == np.complex128:
            return jax.enable_x64(True)
        return contextlib.nullcontext()

    def start(self, psi):
        with self._precision():
            return jnp.asarray(psi, self.dtype)

    def advance(self, state, steps):
        with self._precision():
            return jax.block_until_ready(self.loop(state, steps))

    def finish(self, state):
        return np.asarray(state)


def peers(problem: Problem) -> list[Peer]:
    return [JaxRoll(problem, np.complex64), JaxRoll(problem, np.complex128)]
