"""Runs of explicit Euler steps, as one Diffrax term with a reverse pass of its own."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gl15.physics._flow import Flow, LocalSlopes
from gl15.physics._lanes import Packed


class EulerSteps(diffrax.AbstractTerm):
    """What a state gains over a run of up to `length` explicit Euler steps.

    Under Diffrax's Euler one of its steps is a run of ours. Two things are gained:
    the loop within, unlike Diffrax's own, holds nothing but the stencil; and a
    derivative, which keeps the ends of the runs and then the steps of one run at a
    time, needs memory for about twice the square root of the number of steps.

    Time is counted in steps.

    Attributes:
        flow: increments of the state over a step.
        noise: what adds to them, or `None`.
        length: number of steps in a run; the last may be shorter.
    """

    flow: Flow
    noise: diffrax.ControlTerm | None
    length: int = eqx.field(static=True)

    def vf(self, t, y: Packed, args) -> Packed:
        """Increment over one step."""
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
        del args
        stop = jax.lax.stop_gradient
        count = jnp.minimum(jnp.round(stop(control)).astype(jnp.int32), self.length)
        return _run((self.flow, self.noise, y), stop(t), count, self.length) - y


def _step(flow: Flow, noise: diffrax.ControlTerm | None, t, y: Packed) -> Packed:
    after = flow.step(y)
    if noise is None:
        return after
    return after + noise.vf_prod(t, y, None, noise.contr(t, t + 1))


@eqx.filter_custom_vjp
def _run(start, t0, count, length: int) -> Packed:
    """The state after `count` steps, at most `length`; differentiable in `start`."""
    del length
    flow, noise, y0 = start
    return jax.lax.fori_loop(
        0, count, lambda i, y: _step(flow, noise, t0 + i.astype(t0.dtype), y), y0
    )


@_run.def_fwd
def _run_forward(perturbed, start, t0, count, length: int):
    del perturbed
    return _run(start, t0, count, length), None


@_run.def_bwd
def _run_backward(residuals, cotangent, perturbed, start, t0, count, length: int):
    del residuals
    flow, noise, y0 = start
    rows, width = y0.shape
    # Local coefficients have a rule of their own; links, stiffnesses, noise have not.
    local, rest = tell_local(perturbed[0])
    varied, fixed = eqx.partition((flow, noise), (rest, perturbed[1]))

    kept = jnp.zeros((length * rows, width), y0.dtype)
    kept = jax.lax.dynamic_update_slice(kept, y0, (0, 0))

    def replay(i, carry):
        y, kept, place = carry
        y = _step(flow, noise, t0 + i.astype(t0.dtype), y)
        kept = jax.lax.dynamic_update_slice_in_dim(kept, y, place, 0)
        return y, kept, place + rows

    _, kept, _ = jax.lax.fori_loop(0, count - 1, replay, (y0, kept, jnp.int32(rows)))

    def back(i, carry):
        cotangent, maps, slopes, page = carry
        # Copied out first, into a page of its own: XLA vectorises no kernel that reads
        # from a place known only at run time. Its odd row keeps it from being removed.
        y = jax.lax.dynamic_slice_in_dim(kept, (count - 1 - i) * rows, rows)
        page = jax.lax.dynamic_update_slice(page, y, (0, 0))
        y = page[:rows]
        if jax.tree.leaves(varied):
            t = t0 + (count - 1 - i).astype(t0.dtype)

            def after(part):
                flow, noise = eqx.combine(part, fixed)
                return _step(flow, noise, t, y)

            _, pull = eqx.filter_vjp(after, varied)
            slopes = jax.tree.map(jnp.add, slopes, pull(cotangent)[0])
        new, _ = eqx.partition(flow.local_slopes(y, cotangent), local)
        maps = jax.tree.map(jnp.add, maps, new)
        return flow.pull(y, cotangent), maps, slopes, page

    # Maps are summed once, in the end: a sum at every step costs more than the step.
    site = jnp.zeros((rows // 4, width), y0.dtype)
    maps = jax.tree.map(lambda wanted: site if wanted else None, local)
    page = jnp.zeros((rows + 1, width), y0.dtype)
    start = cotangent, maps, jax.tree.map(jnp.zeros_like, varied), page
    cotangent, maps, slopes, _ = jax.lax.fori_loop(0, count, back, start)
    return with_local(slopes[0], maps, flow), slopes[1], cotangent


def tell_local(perturbed) -> tuple[LocalSlopes, Any]:
    """Which local coefficients of a flow vary, and a flow of flags without them."""
    local = LocalSlopes(*_local(perturbed))
    return local, eqx.tree_at(_local, perturbed, replace_fn=lambda _: False)


def with_local(slopes, maps: LocalSlopes, flow: Flow):
    """Slopes of a flow, with those of its local coefficients summed up from maps."""
    summed = jax.tree.map(
        lambda a, c: None if a is None else _sum_to(a, c.shape),
        list(maps),
        _local(flow),
        is_leaf=lambda x: x is None,
    )
    return eqx.tree_at(_local, slopes, summed, is_leaf=lambda x: x is None)


def _local(flow) -> list:
    return [getattr(flow, name) for name in LocalSlopes._fields]


def _sum_to(a: Float[Array, "nx width"], shape: tuple[int, ...]) -> Array:
    """The transpose of broadcasting from `shape`."""
    if shape == ():
        return a.sum()
    axes = tuple(i for i in (0, 1) if shape[i] == 1 and a.shape[i] != 1)
    return a.sum(axes, keepdims=True)
