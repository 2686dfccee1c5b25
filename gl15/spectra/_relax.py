"""The stationary state that the dynamics is heading for."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Complex, Float, Int

from gl15.physics import TDGL


class _State(NamedTuple):
    psi: Complex[Array, "2 nx ny"]
    force: Complex[Array, "2 nx ny"]
    velocity: Complex[Array, "2 nx ny"]
    dt: Float[Array, ""]
    mixing: Float[Array, ""]
    downhill: Int[Array, ""]
    step: Int[Array, ""]


def relax(
    tdgl: TDGL,
    psi: Complex[Array, "2 nx ny"],
    *,
    tolerance: float | None = None,
    max_steps: int = 100_000,
) -> Complex[Array, "2 nx ny"]:
    r"""Descend to a stationary state, $\delta F_K / \delta \psi_i^* = 0$.

    The vibrational spectrum of a state means something only where the force vanishes,
    and the gradient flow takes forever along soft directions. Here $\psi$ is given
    inertia, and is stopped whenever it moves uphill (FIRE), which takes about the
    square root as many steps. The end lies in the basin where the descent began,
    as a rule: first let `gl15.physics.evolve` carry the state past its fast
    dynamics.

    Args:
        tdgl: the sample.
        psi: where to start.
        tolerance: largest $|\partial_t \psi_i|$ that counts as zero; by default
            1e-10 in float64 and 1e-4 in float32.
        max_steps: when to give up.

    Returns:
        The stationary state.

    Raises:
        RuntimeError: if `max_steps` do not suffice.

    Reference:
        E. Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006).
    """
    tdgl.check_psi(psi)
    if tolerance is None:
        tolerance = 1e-10 if psi.dtype == jnp.complex128 else 1e-4
    # As arrays, so that other values do not compile again.
    limits = jnp.asarray(tolerance, psi.real.dtype), jnp.asarray(max_steps)
    found, force, steps = _descend(tdgl, psi, *limits)
    if isinstance(force, Tracer):
        return eqx.error_if(
            found, ~(force <= tolerance), "`relax` did not converge in `max_steps`."
        )
    if not force <= tolerance:
        raise RuntimeError(
            f"no stationary state after {int(steps)} steps: the largest |d psi/dt| is "
            f"{float(force):.3g}, above `tolerance`={tolerance:g}. Raise `max_steps`, "
            "or start from a state evolved for longer."
        )
    return found


@eqx.filter_jit
def _descend(
    tdgl: TDGL,
    psi: Complex[Array, "2 nx ny"],
    tolerance: Float[Array, ""],
    max_steps: Int[Array, ""],
) -> tuple[Complex[Array, "2 nx ny"], Float[Array, ""], Int[Array, ""]]:
    real = psi.real.dtype
    # Inertial motion in the steepest direction is stable up to this step.
    longest = 0.5 * jnp.sqrt(2 * tdgl.max_stable_step(psi)).astype(real)
    start = jnp.asarray(0.1, real)

    def unfinished(state: _State) -> Bool[Array, ""]:
        return (jnp.max(jnp.abs(state.force)) > tolerance) & (state.step < max_steps)

    def advance(state: _State) -> _State:
        force = state.force
        power = _dot(force, state.velocity)
        speed = jnp.sqrt(_dot(state.velocity, state.velocity))
        steepness = jnp.sqrt(_dot(force, force))
        uphill = power <= 0
        patient = state.downhill > 5
        dt = jnp.where(
            uphill,
            state.dt / 2,
            jnp.where(patient, jnp.minimum(1.1 * state.dt, longest), state.dt),
        )
        mixing = jnp.where(
            uphill, start, jnp.where(patient, 0.99 * state.mixing, state.mixing)
        )
        turned = force * (speed / jnp.where(steepness > 0, steepness, 1))
        velocity = (1 - mixing) * state.velocity + mixing * turned
        velocity = jnp.where(uphill, 0, velocity) + dt * force
        moved = state.psi + dt * velocity
        downhill = jnp.where(uphill, 0, state.downhill + 1)
        return _State(
            moved, tdgl(0.0, moved), velocity, dt, mixing, downhill, state.step + 1
        )

    zero = jnp.zeros((), int)
    rest = jnp.zeros_like(psi)
    first = _State(psi, tdgl(0.0, psi), rest, longest / 5, start, zero, zero)
    last = jax.lax.while_loop(unfinished, advance, first)
    return last.psi, jnp.max(jnp.abs(last.force)), last.step


def _dot(
    first: Complex[Array, "2 nx ny"], second: Complex[Array, "2 nx ny"]
) -> Float[Array, ""]:
    return jnp.sum(first.real * second.real + first.imag * second.imag)
