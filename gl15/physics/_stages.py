"""Runs of stabilised steps, as one Diffrax term with a reverse pass of its own.

What `_euler` is to explicit Euler: a step here is several sweeps over the state, each
of which adds its increments to the state the step began with.
"""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from gl15.physics._euler import tell_local, with_local
from gl15.physics._flow import Flow
from gl15.physics._lanes import Packed, split


class StagedSteps(diffrax.AbstractTerm):
    r"""What a state gains over a run of up to `length` steps of several stages.

    $\psi_{j+1} = \psi_0 + w_j f(\psi_j)$. Under Diffrax's Euler one of its steps is a
    run of ours. A derivative keeps the ends of the runs, then the steps of one run,
    then the stages of one step. Time is counted in steps.

    Attributes:
        flow: increments of the state over a step.
        weights: of the stages, the last of which is 1.
        length: number of steps in a run; the last may be shorter.
    """

    flow: Flow
    weights: tuple[float, ...] = eqx.field(static=True)
    length: int = eqx.field(static=True)

    def vf(self, t, y: Packed, args) -> Packed:
        """Increment over one step of explicit Euler."""
        return self.flow(t, y, args)

    def contr(self, t0, t1, **kwargs):
        """Number of steps between two times."""
        del kwargs
        return t1 - t0

    def prod(self, vf: Packed, control) -> Packed:
        """Increments times their number."""
        return control * vf

    def vf_prod(self, t, y: Packed, args, control) -> Packed:
        """What the state gains over a run of steps."""
        del t, args
        steps = jnp.round(jax.lax.stop_gradient(control)).astype(jnp.int32)
        count = jnp.minimum(steps, self.length)
        return _run((self.flow, y), count, self.weights, self.length) - y


def _stage(flow: Flow, state: Packed, start: Packed, weight: float) -> Packed:
    """`start` plus the weighted increments at `state`, in one sweep."""
    whole = jax.tree.leaves(split(start))

    def body(rows, centres, sums, degree):
        increments = flow.increments(rows, centres, sums, degree)
        parts = zip(whole, increments, strict=True)
        return tuple(part[rows] + weight * increment for part, increment in parts)

    return flow.stencil.sweep(state, body)


def _stages(flow: Flow, weights: tuple[float, ...], start: Packed) -> list[Packed]:
    """The states that a step goes through, from its start to its end."""
    states = [start]
    for weight in weights:
        states.append(_stage(flow, states[-1], start, weight))
    return states


@eqx.filter_custom_vjp
def _run(start, count, weights: tuple[float, ...], length: int) -> Packed:
    """The state after `count` steps, at most `length`; differentiable in `start`."""
    del length
    flow, y0 = start
    return jax.lax.fori_loop(0, count, lambda i, y: _stages(flow, weights, y)[-1], y0)


@_run.def_fwd
def _run_forward(perturbed, start, count, weights, length):
    del perturbed
    return _run(start, count, weights, length), None


@_run.def_bwd
def _run_backward(residuals, cotangent, perturbed, start, count, weights, length):
    del residuals
    flow, y0 = start
    rows, width = y0.shape
    # Local coefficients have a rule of their own; links and stiffnesses have not.
    local, rest = tell_local(perturbed[0])
    varied, fixed = eqx.partition(flow, rest)

    def keep(kept, y, i):
        place = jnp.asarray(i) * rows
        return jax.lax.dynamic_update_slice(
            kept, y, (place, jnp.zeros_like(place)), allow_negative_indices=False
        )

    def replay(i, carry):
        y, kept = carry
        y = _stages(flow, weights, y)[-1]
        return y, keep(kept, y, i + 1)

    kept = keep(jnp.zeros((length * rows, width), y0.dtype), y0, 0)
    _, kept = jax.lax.fori_loop(0, count - 1, replay, (y0, kept))

    def back(i, carry):
        total, maps, slopes, page = carry
        # Copied out into a page with an odd row, for the reasons given in `_euler`.
        place = (count - 1 - i) * rows
        y = jax.lax.dynamic_slice(
            kept,
            (place, jnp.zeros_like(place)),
            y0.shape,
            allow_negative_indices=False,
        )
        page = jax.lax.dynamic_update_slice(page, y, (0, 0))
        states = _stages(flow, weights[:-1], page[:rows])
        cotangent = total
        for state, weight in zip(states[::-1], weights[::-1], strict=True):
            scaled = weight * cotangent
            if jax.tree.leaves(varied):
                _, pull = eqx.filter_vjp(
                    lambda v, state=state: eqx.combine(v, fixed)(0.0, state), varied
                )
                slopes = jax.tree.map(jnp.add, slopes, pull(scaled)[0])
            new, _ = eqx.partition(flow.local_slopes(state, scaled), local)
            maps = jax.tree.map(jnp.add, maps, new)
            # Every stage passes on what it was given to the start of the step too.
            cotangent = flow.pull(state, scaled) - scaled
            total = total + cotangent
        return total, maps, slopes, page

    # Maps are summed once, in the end: a sum at every step costs more than the step.
    site = jnp.zeros((rows // 4, width), y0.dtype)
    maps = jax.tree.map(lambda wanted: site if wanted else None, local)
    page = jnp.zeros((rows + 1, width), y0.dtype)
    begin = cotangent, maps, jax.tree.map(jnp.zeros_like, varied), page
    cotangent, maps, slopes, _ = jax.lax.fori_loop(0, count, back, begin)
    return with_local(slopes, maps, flow), cotangent
