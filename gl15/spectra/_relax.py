"""The stationary state that the dynamics is heading for."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Complex, Float, Int

from gl15.physics import TDGL
from gl15.spectra._hessian import to_complex, to_real


class _State(NamedTuple):
    # On real coordinates: XLA does not vectorise complex arithmetic on a CPU.
    u: Float[Array, "2 2 nx ny"]
    force: Float[Array, "2 2 nx ny"]
    energy: Float[Array, ""]
    velocity: Float[Array, "2 2 nx ny"]
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
    square root as many steps. A step that would raise the energy is taken back, so
    that it never rises but by rounding. The end lies in the basin where the descent
    began, as a rule: first let `gl15.physics.evolve` carry the state past its fast
    dynamics.

    Minimisers that compare energies (Optimistix' L-BFGS or nonlinear conjugate
    gradients) stop at gradient norms of about 1e-6, where the differences drown in
    rounding; what is held to zero here is the force itself.

    Args:
        tdgl: the sample.
        psi: where to start.
        tolerance: gradient norm to reach, the largest $|\delta F_K / \delta \psi_i^*|
            = |\partial_t \psi_i|$; by default 1e-10 in float64 and 1e-4 in float32.
        max_steps: when to give up.

    Returns:
        The stationary state. It may be a saddle, which `lowest_modes` tells.

    Raises:
        ValueError: if `psi` does not fit the lattice or is not finite, or if
            `tolerance` is not positive.
        RuntimeError: if `max_steps` do not suffice.

    Reference:
        E. Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006).
    """
    tdgl.check_psi(psi)
    if not isinstance(psi, Tracer) and not np.all(np.isfinite(np.asarray(psi))):
        raise ValueError(
            "`psi` holds values that are NaN or infinite, and nothing to descend from; "
            "did the simulation diverge? Redo it with a shorter `dt`."
        )
    if tolerance is None:
        tolerance = 1e-10 if psi.dtype == jnp.complex128 else 1e-4
    if not tolerance > 0:
        raise ValueError(
            f"`tolerance` must be a positive gradient norm, got {tolerance}; rounding "
            "leaves about 1e-12 in float64."
        )
    # As arrays, so that other values do not compile again.
    limits = jnp.asarray(tolerance, psi.real.dtype), jnp.asarray(max_steps)
    last = _descend(tdgl, psi, *limits)
    found, norm = to_complex(last.u), _largest(last.force)
    if isinstance(norm, Tracer):
        return eqx.error_if(
            found, ~(norm <= tolerance), "`relax` did not converge in `max_steps`."
        )
    if not norm <= tolerance:
        raise RuntimeError(
            f"no stationary state after {int(last.step)} steps: the gradient norm, the "
            f"largest |d psi/dt|, is {float(norm):.3g}, above `tolerance`="
            f"{tolerance:g}. Raise `max_steps`, or start from a state evolved for "
            "longer."
        )
    return found


@eqx.filter_jit
def _descend(
    tdgl: TDGL,
    psi: Complex[Array, "2 nx ny"],
    tolerance: Float[Array, ""],
    max_steps: Int[Array, ""],
) -> _State:
    real = psi.real.dtype
    # Inertial motion in the steepest direction is stable up to this step.
    longest = 0.5 * jnp.sqrt(2 * tdgl.max_stable_step(psi)).astype(real)
    start = jnp.asarray(0.1, real)
    slack = 8 * jnp.finfo(real).eps

    def force_at(u) -> Float[Array, "2 2 nx ny"]:
        return to_real(tdgl(0.0, to_complex(u)))

    def energy(u, force) -> Float[Array, ""]:
        """The energy per cell; the force alone gives that of second order."""
        quartic = jnp.zeros((), real)
        for beta, band in zip(tdgl.material.beta, u, strict=True):
            density = band[0] ** 2 + band[1] ** 2
            quartic += jnp.vdot(beta * density, density).astype(real)
        return -(_dot(u, force) + quartic / 2)

    def unfinished(state: _State) -> Bool[Array, ""]:
        return (_largest(state.force) > tolerance) & (state.step < max_steps)

    def advance(state: _State) -> _State:
        force = state.force
        power = _dot(force, state.velocity)
        speed = jnp.sqrt(_dot(state.velocity, state.velocity))
        steepness = jnp.sqrt(_dot(force, force))
        turned = force * (speed / jnp.where(steepness > 0, steepness, 1))
        velocity = (1 - state.mixing) * state.velocity + state.mixing * turned
        velocity = jnp.where(power <= 0, 0, velocity) + state.dt * force
        move = state.dt * velocity
        moved = state.u + move
        pushed = force_at(moved)
        reached = energy(moved, pushed)
        # Where energies differ by less than their rounding, the work of the mean force
        # still tells up from down.
        work = _dot(force + pushed, move)
        refused = (work < 0) | ~(
            reached <= state.energy + slack * jnp.abs(state.energy)
        )
        uphill = refused | (power <= 0)
        patient = state.downhill > 5
        dt = jnp.where(
            uphill,
            state.dt / 2,
            jnp.where(patient, jnp.minimum(1.1 * state.dt, longest), state.dt),
        )
        mixing = jnp.where(
            uphill, start, jnp.where(patient, 0.99 * state.mixing, state.mixing)
        )
        downhill = jnp.where(uphill, 0, state.downhill + 1)

        def kept(new, old):
            return jnp.where(refused, old, new)

        return _State(
            kept(moved, state.u),
            kept(pushed, force),
            kept(reached, state.energy),
            kept(velocity, 0),
            dt,
            mixing,
            downhill,
            state.step + 1,
        )

    zero = jnp.zeros((), int)
    u = to_real(psi)
    force = force_at(u)
    rest = jnp.zeros_like(u)
    first = _State(u, force, energy(u, force), rest, longest / 5, start, zero, zero)
    return jax.lax.while_loop(unfinished, advance, first)


def _dot(
    first: Float[Array, "2 2 nx ny"], second: Float[Array, "2 2 nx ny"]
) -> Float[Array, ""]:
    # Not a sum of products: on a CPU that reduction is not vectorised.
    return jnp.vdot(first, second)


def _largest(force: Float[Array, "2 2 nx ny"]) -> Float[Array, ""]:
    return jnp.sqrt(jnp.max(force[:, 0] ** 2 + force[:, 1] ** 2))
