"""Time evolution: Diffrax, fixed steps, any number of simulations side by side."""

import math
from collections.abc import Sequence

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Complex, Float, Key, UInt32

from gl15.physics._compile import compiled
from gl15.physics._euler import EulerSteps
from gl15.physics._flow import Flow
from gl15.physics._lanes import pack, spread, unpack
from gl15.physics._noise import LaneNoise
from gl15.physics._tdgl import TDGL
from gl15.physics._types import Psi, Scalar


def evolve(
    tdgl: TDGL,
    psi0: Psi,
    *,
    t1: float | int = 2.0,
    dt: float | int = 1e-3,
    ts: Sequence[float] | Float[Array, " times"] | np.ndarray | None = None,
    solver: diffrax.AbstractSolver | None = None,
    adjoint: diffrax.AbstractAdjoint | None = None,
    temperature: Scalar = 0.0,
    key: Key[Array, ""] | UInt32[Array, "2"] | None = None,
    progress: bool = False,
) -> diffrax.Solution:
    r"""Integrate the TDGL dynamics from `t=0` to `t1` with fixed steps.

    $$\psi^{(n+1)} = \psi^{(n)} - \mathrm{d}t\, \frac{\delta F_K}{\delta \psi^*}
    + \sqrt{T\, \mathrm{d}t/\mathrm{d}x^2}\; \xi^{(n)}$$

    (Eq. 3, with thermal noise: real and imaginary part of $\xi$ are independent
    standard normals). Differentiable in every coupling, in the field (open samples)
    and in the initial state.

    Args:
        tdgl: the dynamics.
        psi0: initial order parameters.
        t1: final time, a Python number.
        dt: time step, a Python number; shortened where needed for a whole number of
            equal steps to end at `t1`.
        ts: times to save, increasing, within `[0, t1]`; by default `t1` alone. Between
            steps the state is interpolated.
        solver: a Diffrax solver; explicit Euler by default.
        adjoint: how Diffrax differentiates. By default reverse mode with recursive
            checkpoints; `diffrax.ForwardMode()` is cheaper for few parameters.
        temperature: temperature $T$ of the Langevin noise; 0 for none.
        key: JAX random key, needed if `temperature` is not 0.
        progress: show a progress bar.

    Returns:
        A `diffrax.Solution`: `.ts` the saved times, `.ys` the order parameters
        `[times, 2, nx, ny]`, `.stats` the number of steps.

    Raises:
        ValueError: if `dt` is above the stability limit of explicit Euler, if times or
            shapes do not fit, or if `key` is missing.
    """
    tdgl.check_psi(psi0, "psi0")
    if psi0.ndim != 3:
        raise ValueError(
            f"`psi0` must have shape (2, nx, ny), got {psi0.shape}; use `jax.vmap`, "
            "or `gl15.simulate` for an ensemble."
        )
    _check_times(t1, dt, ts)
    if solver is None or isinstance(solver, diffrax.Euler):
        psi0 = check_step(tdgl, dt, psi0)
    arrays = tdgl, psi0, ts, temperature, key
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(arrays)):
        run = integrate
    else:
        run = compiled(integrate)
        # Known when it is compiled, so that saved states are ends of runs of steps.
        ts = None if ts is None else tuple(np.asarray(ts, float).tolist())
    solution = run(
        tdgl,
        psi0[None],
        t1=t1,
        dt=dt,
        ts=ts,
        solver=solver,
        adjoint=adjoint,
        temperature=temperature,
        keys=None if key is None else key[None],
        progress=progress,
    )
    return eqx.tree_at(lambda s: s.ys, solution, replace_fn=lambda psi: psi[:, 0])


def check_step(tdgl: TDGL, dt: float | int, psi: Psi) -> Psi:
    """Refuse a step that explicit Euler would amplify.

    Args:
        tdgl: the dynamics.
        dt: the step.
        psi: the state it starts from.

    Returns:
        `psi`, which carries the check where values are traced.

    Raises:
        ValueError: with the limit in the message.
    """
    traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((tdgl, psi)))
    if traced:
        limit = tdgl.max_stable_step(psi)
        return eqx.error_if(
            psi,
            ~(dt <= limit),
            "`dt` is above the stability limit of explicit Euler, or nu^2 >= D1 D2; "
            "see `tdgl.max_stable_step()`.",
        )
    with jax.ensure_compile_time_eval():
        bad, limit = _look(tdgl, psi)
    if bad:
        raise ValueError(
            f"`psi0` holds {bad} values that are NaN or infinite, of {psi.size}."
        )
    limit = float(limit)
    if not dt <= limit:
        raise ValueError(
            f"`dt`={dt:g} is above the stability limit {limit:.6g} of explicit Euler "
            f"at this spacing and these couplings; use `dt` <= {limit:.4g} "
            "(`tdgl.max_stable_step()`)."
        )
    return psi


@eqx.filter_jit
def _look(tdgl: TDGL, psi: Psi) -> tuple[Array, Array]:
    """How many values are not finite, and the largest stable step."""
    return psi.size - jnp.isfinite(psi).sum(), tdgl.max_stable_step(psi)


def integrate(
    tdgl: TDGL,
    psi0: Complex[Array, "lanes 2 nx ny"],
    *,
    t1: float | int,
    dt: float | int,
    ts: Sequence[float] | Float[Array, " times"] | np.ndarray | None = None,
    solver: diffrax.AbstractSolver | None = None,
    adjoint: diffrax.AbstractAdjoint | None = None,
    temperature: Scalar | Float[Array, " lanes"] = 0.0,
    keys: Key[Array, " lanes"] | UInt32[Array, "lanes 2"] | None = None,
    progress: bool = False,
) -> diffrax.Solution:
    """Evolve several simulations side by side, in the layout made for it.

    The leaves of `tdgl` may have a leading axis of simulations, as `eqx.filter_vmap`
    makes them; those without are shared. Steps are not checked for stability.

    Args:
        tdgl: the dynamics of all.
        psi0: initial order parameters of each.
        t1: final time.
        dt: time step, as in `evolve`.
        ts: times to save.
        solver: a Diffrax solver.
        adjoint: how Diffrax differentiates.
        temperature: temperature of the Langevin noise, one or one each.
        keys: a random key for each, needed if `temperature` is not 0.
        progress: show a progress bar.

    Returns:
        A `diffrax.Solution` whose `.ys` has shape `[times, lanes, 2, nx, ny]`.

    Raises:
        ValueError: if times do not fit, or if `keys` is missing.
    """
    _check_times(t1, dt, ts)
    if not isinstance(temperature, Tracer) and not np.all(np.asarray(temperature) >= 0):
        raise ValueError(f"`temperature` must not be negative, got {temperature}.")
    # Time is counted in steps: their ends are whole numbers, exact in float32.
    steps = math.ceil(t1 / dt * (1 - 1e-6))
    dt = t1 / steps
    lanes, dtype = psi0.shape[0], psi0.real.dtype
    flow = Flow.build(
        tdgl.lattice, tdgl.material, tdgl.links, lanes=lanes, dtype=dtype, dt=dt
    )
    noise = None
    if not (isinstance(temperature, float | int) and temperature == 0):
        if keys is None:
            raise ValueError(
                "`key` is needed for thermal noise: `temperature` is "
                f"{temperature}, pass `key=jax.random.key(...)`."
            )
        noise = _thermal_noise(tdgl, temperature, keys, dt, steps, dtype)
    runs = solver is None and (
        adjoint is None or isinstance(adjoint, diffrax.RecursiveCheckpointAdjoint)
    )
    ends = _ends_of_runs(steps, dt, ts) if runs else np.arange(steps + 1)
    count, length = len(ends) - 1, int(np.diff(ends).max())
    if runs:
        terms = EulerSteps(flow, noise, length)
    elif noise is None:
        terms = diffrax.ODETerm(flow)
    else:
        terms = diffrax.MultiTerm(diffrax.ODETerm(flow), noise)
    if adjoint is None:
        # The ends of all runs are kept: none is run again to find another.
        adjoint = diffrax.RecursiveCheckpointAdjoint(checkpoints=count)
    saveat = (
        diffrax.SaveAt(t1=True)
        if ts is None
        else diffrax.SaveAt(
            ts=jnp.clip(jnp.asarray(ts, float) / dt, 0.0, steps).astype(dtype)
        )
    )
    meter = diffrax.TqdmProgressMeter(refresh_steps=max(1, count // 100))
    solution = diffrax.diffeqsolve(
        terms,
        diffrax.Euler() if solver is None else solver,
        # In the type of the state, or Diffrax promotes the state to that of the time.
        t0=jnp.zeros((), dtype),
        t1=jnp.asarray(steps, dtype),
        dt0=None,
        y0=pack(psi0),
        saveat=saveat,
        stepsize_controller=diffrax.StepTo(jnp.asarray(ends, dtype)),
        adjoint=adjoint,
        max_steps=count + 1,
        progress_meter=meter if progress else diffrax.NoProgressMeter(),
    )
    psi = jax.vmap(lambda state: unpack(state, lanes))(solution.ys)
    times = jnp.asarray([t1], float) if ts is None else jnp.asarray(ts, float)
    stats = solution.stats | {"num_steps": jnp.asarray(steps)}
    return eqx.tree_at(
        lambda s: (s.t1, s.ts, s.ys, s.stats),
        solution,
        (jnp.asarray(t1, float), times, psi, stats),
    )


def _ends_of_runs(steps: int, dt: float, ts) -> np.ndarray:
    """Where runs of about the square root of all steps end, and saved states are.

    A state between two steps is interpolated between the two.
    """
    if isinstance(ts, Tracer):
        return np.arange(steps + 1)
    saved = np.asarray([] if ts is None else ts, float) / dt
    near = np.round(saved)
    saved = np.where(np.abs(saved - near) < 1e-6 * steps, near, saved)
    length = math.isqrt(steps - 1) + 1
    ends = (np.arange(0, steps, length), [steps], np.floor(saved), np.ceil(saved))
    return np.unique(np.clip(np.concatenate(ends), 0, steps).astype(int))


class _Amplitude(eqx.Module):
    """Strength of the noise: one number, or one per column of the lane layout."""

    # A module and not a closure, which would be compiled anew at every call.
    row: Float[Array, "..."]

    def __call__(self, t, state, args) -> lx.DiagonalLinearOperator:
        del t, args
        diagonal = jnp.broadcast_to(self.row, state.shape)
        return lx.DiagonalLinearOperator(diagonal.astype(state.dtype))


def _thermal_noise(tdgl, temperature, keys, dt: float, steps: int, dtype):
    amplitude = jnp.sqrt(jnp.asarray(temperature) * dt / tdgl.lattice.spacing**2)
    scale = _Amplitude(spread(amplitude, keys.shape[0], tdgl.lattice.shape[1]))
    noise = LaneNoise(keys, 0.0, float(steps), tdgl.lattice.shape, dtype)
    return diffrax.ControlTerm(scale, noise)


def _check_times(t1: float | int, dt: float | int, ts) -> None:
    for name, value in (("t1", t1), ("dt", dt)):
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"`{name}` must be a positive time, got {value}.")
    if dt > t1:
        raise ValueError(f"`dt`={dt} is longer than the whole evolution, `t1`={t1}.")
    if ts is None or isinstance(ts, Tracer):
        return
    times = np.asarray(ts, float)
    slack = 1e-6 * t1
    rising = times.ndim == 1 and times.size > 0 and np.all(np.diff(times) > 0)
    if not (rising and np.all(np.isfinite(times))):
        raise ValueError(f"`ts` must be a rising list of times, got {ts}.")
    if times[0] < -slack or times[-1] > t1 + slack:
        raise ValueError(f"`ts` must lie within [0, t1={t1}], got {ts}.")
