"""Runs of fixed steps, as one Diffrax term with a reverse pass of its own."""

import math

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gl15.physics._flow import Flow
from gl15.physics._lanes import Packed, split


class Runs(diffrax.AbstractTerm):
    r"""What a state gains over a run of up to `length` steps of one or more stages.

    A step is $\psi_{j+1} = \psi_0 + w_j f(\psi_j)$ for each weight in turn, and the
    increment of the noise; one weight makes it explicit Euler's. Under Diffrax's Euler
    one of its steps is a run of ours. Two things are gained: the loop within, unlike
    Diffrax's own, holds nothing but the stencil; and a derivative, which keeps the ends
    of the runs, then the steps of one run, then the stages of one step, needs memory
    for about twice the square root of the number of steps.

    Time is counted in steps.

    Attributes:
        flow: increments of the state over a step.
        noise: what adds to them, or `None`.
        weights: of the stages, the last of which is 1.
        length: number of steps in a run; the last may be shorter.
    """

    flow: Flow
    noise: diffrax.ControlTerm | None
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
        del args
        stop = jax.lax.stop_gradient
        count = jnp.minimum(jnp.round(stop(control)).astype(jnp.int32), self.length)
        start = self.flow, self.noise, y
        return _run(start, stop(t), count, self.weights, self.length) - y


def _step(flow: Flow, noise, t, y: Packed, weights: tuple[float, ...]) -> Packed:
    # Explicit Euler writes over the state it starts from.
    after = flow.step(y) if len(weights) == 1 else _stages(flow, y, weights)[-1]
    return after if noise is None else after + _kick(noise, t, y)


def _kick(noise: diffrax.ControlTerm, t, y: Packed) -> Packed:
    return noise.vf_prod(t, y, None, noise.contr(t, t + 1))


def _stages(flow: Flow, start: Packed, weights: tuple[float, ...]) -> list[Packed]:
    """The states that a step goes through, from its start to its end."""
    states = [start]
    for weight in weights:
        states.append(_stage(flow, states[-1], start, weight))
    return states


def _stage(flow: Flow, state: Packed, start: Packed, weight: float) -> Packed:
    """`start` plus the weighted increments at `state`, in one sweep."""
    whole = jax.tree.leaves(split(start))

    def body(rows, centres, sums, degree):
        increments = flow.increments(rows, centres, sums, degree)
        parts = zip(whole, increments, strict=True)
        return tuple(part[rows] + weight * increment for part, increment in parts)

    return flow.stencil.sweep(state, body)


@eqx.filter_custom_vjp
def _run(start, t0, count, weights: tuple[float, ...], length: int) -> Packed:
    """The state after `count` steps, at most `length`; differentiable in `start`."""
    del length
    flow, noise, y0 = start

    def step(i, y):
        return _step(flow, noise, t0 + i.astype(t0.dtype), y, weights)

    return jax.lax.fori_loop(0, count, step, y0)


@_run.def_fwd
def _run_forward(perturbed, start, t0, count, weights, length):
    del perturbed
    return _run(start, t0, count, weights, length), None


@_run.def_bwd
def _run_backward(residuals, cotangent, perturbed, start, t0, count, weights, length):
    del residuals
    flow, noise, y0 = start
    lanes = flow.stencil.lanes
    loud, silent = eqx.partition(noise, perturbed[1])
    pad, shape = flow.stencil.pad, (y0.shape[0], y0.shape[1] + 2 * lanes)

    # One state a row: a copy is then one loop, which XLA vectorises. It is kept between
    # its ghosts, as the step needs it anyway: XLA makes the two paddings one.
    def keep(kept, y, i):
        return jax.lax.dynamic_update_slice_in_dim(kept, pad(y).reshape(1, -1), i, 0)

    def replay(i, carry):
        y, kept = carry
        kept = keep(kept, y, i)
        return _step(flow, noise, t0 + i.astype(t0.dtype), y, weights), kept

    kept = jnp.zeros((length, math.prod(shape)), y0.dtype)
    y, kept = jax.lax.fori_loop(0, count - 1, replay, (y0, kept))
    kept = keep(kept, y, count - 1)

    def back(i, carry):
        total, maps, loudness, page = carry
        # Copied out first, into a page of its own: XLA vectorises no kernel that reads
        # from a place known only at run time. Its odd end keeps it from being removed.
        row = jax.lax.dynamic_slice_in_dim(kept, count - 1 - i, 1)
        page = jax.lax.dynamic_update_slice(page, row[0], (0,))
        padded = page[:-1].reshape(shape)
        y = padded[:, lanes:-lanes]
        if jax.tree.leaves(loud):
            t = t0 + (count - 1 - i).astype(t0.dtype)
            kick = lambda part: _kick(eqx.combine(part, silent), t, y)  # noqa: E731
            _, pull = eqx.filter_vjp(kick, loud)
            loudness = jax.tree.map(jnp.add, loudness, pull(total)[0])
        scaled, last = total, len(weights) - 1
        states = [padded, *map(pad, _stages(flow, y, weights[:-1])[1:])]
        for j, state in reversed(list(enumerate(states))):
            scaled = scaled if j == last else weights[j] * scaled
            # Every stage passes on what it was given to the start of the step too; to
            # the last one, whose weight is 1, the start is its own.
            pulled, slopes = flow.pull(state, scaled)
            slopes = eqx.filter(slopes, perturbed[0])
            maps = jax.tree.map(jnp.add, maps, slopes)
            gained = pulled - scaled
            total = pulled if j == last else total + gained
            scaled = gained
        return total, maps, loudness, page

    # Maps are summed once, in the end: a sum at every step costs more than the step.
    _, like = eqx.filter_eval_shape(flow.pull, pad(y0), cotangent)
    like = eqx.filter(like, perturbed[0])
    maps = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), like)
    page = jnp.zeros(math.prod(shape) + 1, y0.dtype)
    begin = cotangent, maps, jax.tree.map(jnp.zeros_like, loud), page
    cotangent, maps, loudness, _ = jax.lax.fori_loop(0, count, back, begin)
    varied = eqx.filter(flow, perturbed[0])
    slopes = jax.tree.map(lambda a, c: _sum_to(a, c.shape), maps, varied)
    return slopes, loudness, cotangent


def _sum_to(a: Float[Array, "nx width"], shape: tuple[int, ...]) -> Array:
    """The transpose of broadcasting from `shape`."""
    if shape == ():
        return a.sum()
    axes = tuple(i for i in (0, 1) if shape[i] == 1 and a.shape[i] != 1)
    return a.sum(axes, keepdims=True)
