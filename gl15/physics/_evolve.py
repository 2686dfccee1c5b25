"""Time evolution: Diffrax, any number of simulations side by side."""

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

from gl15.physics._chebyshev import RungeKuttaChebyshev
from gl15.physics._checks import (
    check_key,
    check_lanes,
    check_options,
    check_start,
    check_times,
)
from gl15.physics._compile import compiled
from gl15.physics._flow import Flow
from gl15.physics._lanes import pack, spread, unpack
from gl15.physics._noise import LaneNoise
from gl15.physics._runs import Runs
from gl15.physics._tdgl import TDGL
from gl15.physics._types import Psi, Scalar


#: Adaptive steps, rejected ones included, that are enough for anything that works.
_MANY_STEPS = 4096


def evolve(
    tdgl: TDGL,
    psi0: Psi,
    *,
    t1: float | int = 2.0,
    dt: float | int = 1e-3,
    ts: Sequence[float] | Float[Array, " times"] | np.ndarray | None = None,
    solver: diffrax.AbstractSolver | None = None,
    stepsize_controller: diffrax.AbstractStepSizeController | None = None,
    adjoint: diffrax.AbstractAdjoint | None = None,
    temperature: Scalar = 0.0,
    key: Key[Array, ""] | UInt32[Array, "2"] | None = None,
    progress: bool = False,
) -> diffrax.Solution:
    r"""Integrate the TDGL dynamics from `t=0` to `t1`, with fixed steps by default.

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
        solver: an explicit Diffrax solver; Euler by default.
            `gl15.physics.RungeKuttaChebyshev()` allows much longer steps; give it its
            `dt`, such as 0.05.
        stepsize_controller: adapts the steps, such as `diffrax.PIDController(rtol=1e-4,
            atol=1e-4, pcoeff=0.2, icoeff=0.4)` with `solver=diffrax.Tsit5()`; `dt` is
            then the first step. Its times (`dtmax`, `step_ts`) are times like `t1`. By
            default steps are fixed.
        adjoint: how Diffrax differentiates. By default reverse mode with recursive
            checkpoints; `diffrax.ForwardMode()` is cheaper for few parameters, and
            what `jax.jvp`, `jax.jacfwd` and second derivatives need.
        temperature: temperature $T$ of the Langevin noise; 0 for none.
        key: JAX random key, needed if `temperature` is not 0.
        progress: show a progress bar.

    Returns:
        A `diffrax.Solution`: `.ts` the saved times, `.ys` the order parameters
        `[times, 2, nx, ny]`, `.stats` the number of steps.

    Raises:
        ValueError: if `dt` is above the stability limit of an explicit solver, if times
            or shapes do not fit, if `key` is missing, or if solver, controller and
            temperature do not go together.
        equinox.EquinoxRuntimeError: if adaptive steps do not reach `t1`.
    """
    if psi0.ndim > 3:
        raise ValueError(
            f"`psi0` must have shape (2, nx, ny), got {psi0.shape}; use "
            "`evolve_batch` for several, or `gl15.simulate` for an ensemble."
        )
    tdgl.check_psi(psi0, "psi0")
    check_times(t1, dt, ts)
    check_key(key)
    adaptive = stepsize_controller is not None
    if not isinstance(temperature, Tracer | float | int) and temperature == 0:
        temperature = 0.0
    quiet = isinstance(temperature, float | int) and temperature == 0
    check_options(solver, stepsize_controller, quiet)
    psi0 = check_start(tdgl, dt, psi0, solver, adaptive)
    arrays = tdgl, psi0, ts, temperature, key
    # Inside a caller's `jax.jit` even constants are traced.
    leaves = (jnp.zeros(()), *jax.tree.leaves(arrays))
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        run = evolve_batch
    else:
        run = compiled(evolve_batch)
        # Known when it is compiled, so that saved states are ends of runs of steps.
        ts = None if ts is None else tuple(np.asarray(ts, float).tolist())
    solution = run(
        tdgl,
        psi0[None],
        # NumPy's numbers would be traced.
        t1=float(t1),
        dt=float(dt),
        ts=ts,
        solver=solver,
        stepsize_controller=stepsize_controller,
        adjoint=adjoint,
        temperature=temperature,
        keys=None if key is None else key[None],
        progress=progress,
    )
    return eqx.tree_at(lambda s: s.ys, solution, replace_fn=lambda psi: psi[:, 0])


def evolve_batch(
    tdgl: TDGL,
    psi0: Complex[Array, "lanes 2 nx ny"],
    *,
    t1: float | int,
    dt: float | int,
    ts: Sequence[float] | Float[Array, " times"] | np.ndarray | None = None,
    solver: diffrax.AbstractSolver | None = None,
    stepsize_controller: diffrax.AbstractStepSizeController | None = None,
    adjoint: diffrax.AbstractAdjoint | None = None,
    temperature: Scalar | Float[Array, " lanes"] = 0.0,
    keys: Key[Array, " lanes"] | UInt32[Array, "lanes 2"] | None = None,
    progress: bool = False,
) -> diffrax.Solution:
    """Evolve several simulations side by side, in the layout made for it.

    Equal to `jax.vmap` of `evolve`, to rounding, and several times faster. The leaves
    of `tdgl` may have a leading axis of simulations, as `eqx.filter_vmap(...,
    out_axes=eqx.if_array(0))` makes them; those without are shared. Steps are not
    checked for stability. Compile it, or what calls it, with `eqx.filter_jit`.

    Args:
        tdgl: the dynamics of all.
        psi0: initial order parameters of each.
        t1: final time.
        dt: time step, as in `evolve`.
        ts: times to save.
        solver: a Diffrax solver.
        stepsize_controller: as in `evolve`; all simulations take the same steps.
        adjoint: how Diffrax differentiates.
        temperature: temperature of the Langevin noise, one or one each.
        keys: a random key for each, needed if `temperature` is not 0.
        progress: show a progress bar.

    Returns:
        A `diffrax.Solution` whose `.ys` has shape `[times, lanes, 2, nx, ny]`.

    Raises:
        ValueError: if times do not fit, if `keys` is missing, or if solver, controller
            and temperature do not go together.
    """
    check_times(t1, dt, ts)
    check_lanes(tdgl, psi0, keys)
    if not isinstance(temperature, Tracer):
        given = np.asarray(temperature)
        if not np.all(np.isfinite(given) & (given >= 0)):
            raise ValueError(
                f"`temperature` must not be negative or infinite, got {temperature}."
            )
    quiet = isinstance(temperature, float | int) and temperature == 0
    check_options(solver, stepsize_controller, quiet)
    lanes, dtype = psi0.shape[0], psi0.real.dtype
    steps = math.ceil(t1 / dt * (1 - 1e-6))
    # Time is counted in fixed steps: their ends are whole numbers, exact in float32.
    unit = t1 / steps if stepsize_controller is None else 1.0
    flow = Flow.build(
        tdgl.lattice, tdgl.material, tdgl.links, lanes=lanes, dtype=dtype, dt=unit
    )
    noise = None
    if not quiet:
        if keys is None:
            raise ValueError(
                "`key` is needed for thermal noise: `temperature` is "
                f"{temperature}, pass `key=jax.random.key(...)`."
            )
        noise = _thermal_noise(tdgl, temperature, keys, unit, steps, dtype)
    plain = adjoint is None or isinstance(adjoint, diffrax.RecursiveCheckpointAdjoint)
    weights = solver.weights if isinstance(solver, RungeKuttaChebyshev) else None
    runs = plain and (solver is None or weights is not None)
    end, dt0 = steps, None
    if stepsize_controller is not None:
        count, end, dt0 = max(_MANY_STEPS, 16 * steps), t1, jnp.asarray(dt, dtype)
        controller = jax.tree.map(
            lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf,
            stepsize_controller,
        )
        terms = diffrax.ODETerm(flow)
    else:
        ends = _ends_of_runs(steps, unit, ts) if runs else np.arange(steps + 1)
        count, length = len(ends) - 1, int(np.diff(ends).max())
        controller = diffrax.StepTo(jnp.asarray(ends, dtype))
        if runs:
            terms = Runs(flow, noise, weights or (1.0,), length)
        elif noise is None:
            terms = diffrax.ODETerm(flow)
        else:
            terms = diffrax.MultiTerm(diffrax.ODETerm(flow), noise)
    if adjoint is None:
        # The ends of all runs are kept: none is run again to find another. Of single
        # steps (another solver, traced `ts`) most are, twice. One more than there are
        # runs, all of `max_steps`: Equinox then sees that it needs to run none again.
        kept = 2 * math.isqrt(steps) + 2 + (0 if ts is None else 2 * len(ts))
        kept = min(count + 1, kept)
        adjoint = diffrax.RecursiveCheckpointAdjoint(checkpoints=kept)
    if isinstance(ts, Tracer):
        inside = jnp.all((ts >= 0) & (ts <= t1 * (1 + 1e-6)))
        ts = eqx.error_if(ts, ~inside, "`ts` must lie within [0, `t1`].")
    saved = None if ts is None else jnp.asarray(ts, float) / unit
    meter = diffrax.TqdmProgressMeter(refresh_steps=max(1, min(count, steps) // 100))
    solution = diffrax.diffeqsolve(
        terms,
        diffrax.Euler() if runs or solver is None else solver,
        # In the type of the state, or Diffrax promotes the state to that of the time.
        t0=jnp.zeros((), dtype),
        t1=jnp.asarray(end, dtype),
        dt0=dt0,
        y0=pack(psi0),
        saveat=diffrax.SaveAt(t1=True)
        if saved is None
        else diffrax.SaveAt(ts=jnp.clip(saved, 0.0, end).astype(dtype)),
        stepsize_controller=controller,
        adjoint=adjoint,
        max_steps=count + 1,
        progress_meter=meter if progress else diffrax.NoProgressMeter(),
        throw=stepsize_controller is None,
    )
    psi = jax.vmap(lambda state: unpack(state, lanes))(solution.ys)
    times = jnp.asarray([t1], float) if ts is None else jnp.asarray(ts, float)
    stats = solution.stats
    if stepsize_controller is None:
        taken = jnp.asarray(steps)
        stats |= {"num_steps": taken, "num_accepted_steps": taken}
    else:
        psi = eqx.error_if(
            psi,
            solution.result != diffrax.RESULTS.successful,
            f"adaptive steps did not reach `t1` in {count}: loosen `rtol` and `atol` "
            "(single precision resolves 1e-6), lower `dtmin`, or begin with a shorter "
            "`dt`.",
        )
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
    length += length % 2  # steps are taken two at a time
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
