"""Does a peer integrate what gl15 integrates? Asked before it is timed."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import gl15
from peer_steps.gl15_loops import Simulate
from peer_steps.problem import Peer, Problem


# Rounding of one step (relative to the largest increment), of a short run and of an
# image, several times over; a wrong link or coefficient is far above.
TOLERANCE = {
    "float32": {"step": 1e-4, "run": 1e-5, "image": 1e-4},
    "complex64": {"step": 1e-4, "run": 1e-5, "image": 1e-4},
    "complex128": {"step": 1e-11, "run": 1e-12},
}
RUN = 101  # odd: a fused kernel has a step left over


class Disagreement(Exception):
    """A peer integrates something else."""


def agreement(peer: Peer, problem: Problem) -> dict[str, float]:
    """Relative errors against gl15's float64 right-hand side, largest over the sites.

    Raises:
        Disagreement: if one is above rounding.
    """
    if isinstance(peer, Simulate):
        errors = _image(peer, problem)
    else:
        errors = _state(peer, problem)
    for kind, error in errors.items():
        if not error <= TOLERANCE[peer.precision][kind]:
            raise Disagreement(
                f"{peer.name} ({peer.precision}), {problem.label}: relative error "
                f"{error:.2e} of a {kind}, above {TOLERANCE[peer.precision][kind]:g}; "
                "it is not timed."
            )
    return errors


def _state(peer: Peer, problem: Problem) -> dict[str, float]:
    psi = problem.start(peer.batch)
    run = peer.finish(peer.advance(peer.start(psi), RUN))
    expected = _evolved(problem, psi, RUN)
    errors = {"run": float(np.abs(run - expected).max() / np.abs(expected).max())}
    if not peer.compiles_each:
        one = peer.finish(peer.advance(peer.start(psi), 1))
        step = _evolved(problem, psi, 1) - psi
        errors["step"] = float(np.abs(one - psi - step).max() / np.abs(step).max())
    return errors


def _image(peer: Simulate, problem: Problem) -> dict[str, float]:
    images = np.asarray(peer.advance(None, RUN))
    eta = peer.theta["eta"]
    psi = _evolved(problem, peer.starts(), RUN, eta)
    with jax.enable_x64(True):
        expected = _observed(problem, jnp.asarray(psi), jnp.asarray(eta, float))
    expected = np.asarray(expected)
    worst = np.abs(images - expected).max((0, 1, 2)) / np.abs(expected).max((0, 1, 2))
    return {"image": float(worst.max())}


@eqx.filter_jit
def _observed(problem: Problem, psi, eta):
    def observe(psi, eta):
        return gl15.observe(problem.tdgl(josephson=eta), psi)

    return jax.vmap(observe)(psi, eta)


def _evolved(problem: Problem, psi: np.ndarray, steps: int, eta=None) -> np.ndarray:
    """Euler steps with the right-hand side of gl15 in float64."""
    eta = np.full(len(psi), problem.josephson) if eta is None else eta
    with jax.enable_x64(True):
        # The number of steps is an array: one program for all of them.
        arrays = jnp.asarray(psi, complex), jnp.asarray(eta, float), jnp.asarray(steps)
        return np.asarray(_euler(problem, *arrays))


@eqx.filter_jit
def _euler(problem: Problem, psi, eta, steps):
    def loop(psi, eta):
        tdgl = problem.tdgl(josephson=eta)

        def step(_, psi):
            return psi + problem.dt * tdgl(0.0, psi)

        return jax.lax.fori_loop(0, steps, step, psi)

    return jax.vmap(loop)(psi, eta)
