"""What evolution refuses before it begins."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Complex

from gl15.physics._chebyshev import RungeKuttaChebyshev
from gl15.physics._stability import reach
from gl15.physics._tdgl import TDGL
from gl15.physics._types import Psi


# Stable on the imaginary axis at most: for waves, not for diffusion.
_UNDAMPED = (diffrax.LeapfrogMidpoint, diffrax.ReversibleHeun)


def check_start(
    tdgl: TDGL,
    dt: float,
    psi: Psi,
    solver: diffrax.AbstractSolver | None = None,
    adaptive: bool = False,
) -> Psi:
    """Refuse a state that is not finite, and a step that would amplify rough modes.

    Args:
        tdgl: the dynamics.
        dt: the step.
        psi: the state it starts from.
        solver: the Diffrax solver; None for explicit Euler.
        adaptive: whether the step is adapted, and so may be any.

    Returns:
        `psi`, which carries the check where values are traced.

    Raises:
        ValueError: with the limit in the message.
    """
    factor = np.inf if adaptive else reach(solver)
    euler = solver is None or isinstance(solver, diffrax.Euler)
    name = "explicit Euler" if euler else type(solver).__name__
    traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((tdgl, psi)))
    if traced:
        # Not a number for couplings without a lower bound, whatever the factor.
        limit = factor * tdgl.max_stable_step(psi)
        return eqx.error_if(
            psi,
            ~(dt <= limit),
            f"`dt` is above the stability limit of {name}, or nu^2 >= D1 D2; "
            "see `tdgl.max_stable_step()`.",
        )
    with jax.ensure_compile_time_eval():
        bad, limit = _look(tdgl, psi)
    if bad:
        raise ValueError(
            f"`psi0` holds {bad} values that are NaN or infinite, of {psi.size}."
        )
    limit = factor * float(limit)
    if not dt <= limit:
        raise ValueError(
            f"`dt`={dt:g} is above the stability limit {limit:.6g} of {name} "
            f"at this spacing and these couplings; use `dt` <= {limit:.4g} "
            "(`tdgl.max_stable_step()`"
            + ("" if factor == 1 else f" times {factor:.4g}")
            + (
                "), or more `stages`."
                if isinstance(solver, RungeKuttaChebyshev)
                else ")."
            )
        )
    return psi


@eqx.filter_jit
def _look(tdgl: TDGL, psi: Psi) -> tuple[Array, Array]:
    """How many values are not finite, and the largest stable step of Euler."""
    return psi.size - jnp.isfinite(psi).sum(), tdgl.max_stable_step(psi)


def check_options(
    solver: diffrax.AbstractSolver | None,
    controller: diffrax.AbstractStepSizeController | None,
    quiet: bool,
) -> None:
    """Refuse what does not go together.

    Args:
        solver: a Diffrax solver; None for explicit Euler.
        controller: what adapts the steps, if anything does.
        quiet: whether there is no thermal noise.

    Raises:
        ValueError: with the remedy.
    """
    if solver is not None and not isinstance(solver, diffrax.AbstractSolver):
        raise ValueError(
            "`solver` must be a Diffrax solver, such as `diffrax.Heun()`, got "
            f"{solver!r}."
        )
    if isinstance(solver, _UNDAMPED):
        raise ValueError(
            f"`solver={type(solver).__name__}` damps no mode at any step, and "
            "diffusion must: its rounding errors grow without bound. Use "
            "`diffrax.Heun()`, `diffrax.Tsit5()` or `RungeKuttaChebyshev()`."
        )
    chebyshev = isinstance(solver, RungeKuttaChebyshev)
    if chebyshev and not quiet:
        raise ValueError(
            "`solver=RungeKuttaChebyshev` takes no thermal noise: its long steps would "
            "change the fluctuations. Leave `solver` out (explicit Euler)."
        )
    if controller is None:
        return
    if not isinstance(controller, diffrax.AbstractAdaptiveStepSizeController):
        raise ValueError(
            f"`stepsize_controller` is a {type(controller).__name__}, which does not "
            "adapt steps; leave it out for steps of `dt`."
        )
    if not quiet:
        raise ValueError(
            "`stepsize_controller` does not go with thermal noise, which is drawn step "
            "by step: leave it out, or set `temperature=0`."
        )
    if solver is None or chebyshev or isinstance(solver, diffrax.Euler):
        raise ValueError(
            f"`stepsize_controller` needs a `solver` with an error estimate, got "
            f"{solver}; use `solver=diffrax.Tsit5()`."
        )


def check_times(t1: Any, dt: Any, ts: Any) -> None:
    """Refuse times that do not fit.

    Args:
        t1: final time.
        dt: time step.
        ts: times to save, if any.

    Raises:
        ValueError: with what was given.
    """
    for name, value in (("t1", t1), ("dt", dt)):
        if not isinstance(value, float | int | np.number):
            raise ValueError(
                f"`{name}` must be a Python number, got {value!r}: the number of steps "
                "follows from it before anything is compiled."
            )
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"`{name}` must be a positive time, got {value}.")
    if dt > t1:
        raise ValueError(f"`dt`={dt} is longer than the whole evolution, `t1`={t1}.")
    if ts is None or isinstance(ts, Tracer):
        return
    try:
        times = np.asarray(ts, float)
    except (TypeError, ValueError):
        times = np.zeros(0)
    slack = 1e-6 * t1
    rising = times.ndim == 1 and times.size > 0 and np.all(np.diff(times) > 0)
    if not (rising and np.all(np.isfinite(times))):
        raise ValueError(f"`ts` must be a rising list of times, got {ts!r}.")
    if times[0] < -slack or times[-1] > t1 + slack:
        raise ValueError(f"`ts` must lie within [0, t1={t1}], got {ts}.")


def check_key(key) -> None:
    """Refuse what is no JAX random key.

    Args:
        key: a key, or None.

    Raises:
        ValueError: with what was given.
    """
    if key is not None and not isinstance(key, jax.Array):
        raise ValueError(f"`key` must be a JAX key, `jax.random.key(0)`; got {key!r}.")


def check_lanes(tdgl: TDGL, psi: Complex[Array, "..."], keys) -> None:
    """Refuse states and keys that do not fit the lattice or one another.

    Args:
        tdgl: the dynamics.
        psi: states of several simulations.
        keys: a random key for each, if there are any.

    Raises:
        ValueError: with what was given.
    """
    expected = (2, *tdgl.lattice.shape)
    if psi.ndim != 4 or psi.shape[1:] != expected:
        raise ValueError(
            f"`psi0` must have shape (simulations, *{expected}) for this lattice, got "
            f"{psi.shape}."
        )
    if keys is not None and len(keys) != len(psi):
        raise ValueError(
            f"`keys` holds {len(keys)} keys for {len(psi)} simulations; give one each."
        )
