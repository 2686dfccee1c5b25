"""Runs of fixed steps, as one Diffrax term with a reverse pass of its own."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gl15.physics._flow import Flow
from gl15.physics._lanes import apart, Packed, Page


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


def _step(
    flow: Flow, noise, t, weights: tuple[float, ...], pages: tuple[Page, ...]
) -> tuple[Page, ...]:
    """One step from the first page onto the second; all pages after it, in order."""
    *before, there = _stages(flow, weights, pages)
    if noise is not None:
        state = flow.stencil.state(there)
        # Normal numbers are quick to draw where nothing else is done with them.
        kick = apart(functools.partial(_kick, noise, t), state)
        there = flow.stencil.put(state + kick, there)
    return pages[0], there, *before[1:][-1:]


def _stages(
    flow: Flow, weights: tuple[float, ...], pages: tuple[Page, ...]
) -> list[Page]:
    """The states that a step goes through, from its start to its end.

    They are written onto the second and the third page in turns, the last one onto the
    second.
    """
    states, free = [pages[0]], pages[1:]
    if len(weights) % 2 == 0:
        free = free[::-1]
    for j, weight in enumerate(weights):
        onto = free[j] if j < 2 else states[j - 1]
        start = states[0] if j else None
        states.append(flow.step(states[j], onto, weight, start))
    return states


def _kick(noise: diffrax.ControlTerm, t, y: Packed) -> Packed:
    return noise.vf_prod(t, y, None, noise.contr(t, t + 1))


@eqx.filter_custom_vjp
def _run(start, t0, count, weights: tuple[float, ...], length: int) -> Packed:
    """The state after `count` steps, at most `length`; differentiable in `start`."""
    del length
    flow, noise, y0 = start
    return march(flow, y0, count, weights, noise, t0)


def march(
    flow: Flow,
    y0: Packed,
    count,
    weights: tuple[float, ...] = (1.0,),
    noise: diffrax.ControlTerm | None = None,
    t0: Float[Array, ""] | float = 0.0,
) -> Packed:
    """Take steps in a bare loop.

    Args:
        flow: increments of the state over a step.
        y0: where to begin.
        count: number of steps.
        weights: of the stages of a step, the last of which is 1.
        noise: what adds to the increments, or `None`.
        t0: when to begin, in steps.

    Returns:
        Where they end.
    """
    turn = functools.partial(_there_and_back, flow, noise, weights, jnp.asarray(t0))
    # Where the number of steps is odd, the last one is not used.
    pages = _blank(flow.stencil.page(y0), weights)
    here, there, *_ = jax.lax.fori_loop(0, (count + 1) // 2, turn, pages)
    return flow.stencil.state(jnp.where(count % 2 == 0, here, there))


def _there_and_back(
    flow: Flow, noise, weights: tuple[float, ...], t0, i, pages: tuple[Page, ...]
) -> tuple[Page, ...]:
    """Two steps in a turn of the loop: the state comes back to the page that it left.

    Nothing is copied then.
    """
    here, there, *spare = pages
    for j in (0, 1):
        t = t0 + (2 * i + j).astype(t0.dtype)
        there, here, *spare = _step(flow, noise, t, weights, (here, there, *spare))
    return here, there, *spare


def _blank(page: Page, weights: tuple[float, ...]) -> tuple[Page, ...]:
    """A page, and what a step needs besides."""
    return page, *[jnp.zeros_like(page)] * min(len(weights), 2)


@_run.def_fwd
def _run_forward(perturbed, start, t0, count, weights, length):
    del perturbed
    return _run(start, t0, count, weights, length), None


@_run.def_bwd
def _run_backward(residuals, cotangent, perturbed, start, t0, count, weights, length):
    del residuals
    flow, noise, y0 = start
    stencil = flow.stencil
    loud, silent = eqx.partition(noise, perturbed[1])

    def keep(kept, page, i):
        state, i = stencil.state(page)[None], i.astype(jnp.uint32)
        return jax.lax.dynamic_update_slice(kept, state, (i, *jnp.uint32([0, 0])))

    def replay(i, carry):
        pages, kept = carry
        pages = here, there, *_ = _there_and_back(flow, noise, weights, t0, i, pages)
        # Nothing is written over either of them before the next turn: XLA copies a page
        # that it cannot see to be done with.
        return pages, keep(keep(kept, there, 2 * i + 1), here, 2 * i + 2)

    kept = jnp.zeros((length + length % 2 + 1, *y0.shape), y0.dtype).at[0].set(y0)
    carry = _blank(stencil.page(y0), weights), kept
    _, kept = jax.lax.fori_loop(0, (count + 1) // 2, replay, carry)
    kept = kept.reshape(len(kept), -1)

    def back(i, here, there, maps, loudness, page):
        """One step back, from one page onto the other."""
        # Copied out first, into a page of its own: XLA vectorises no kernel that reads
        # from a place known only at run time. Its odd end keeps it from being removed.
        row = jax.lax.dynamic_slice_in_dim(kept, count - 1 - i, 1)
        page = jax.lax.dynamic_update_slice(page, row[0], (0,))
        state = page[:-1].reshape(y0.shape)

        if jax.tree.leaves(loud):
            t = t0 + (count - 1 - i).astype(t0.dtype)
            kick = lambda part: _kick(eqx.combine(part, silent), t, state)  # noqa: E731
            _, pull = eqx.filter_vjp(kick, loud)
            loudness = jax.tree.map(jnp.add, loudness, pull(stencil.state(here))[0])
        # The states of all stages; every stage passes on what it was given to the start
        # of the step too; to the last one, whose weight is 1, the start is its own.
        states = [state]
        if len(weights) > 1:
            stages = _stages(flow, weights[:-1], _blank(stencil.page(state), weights))
            states += map(stencil.state, stages[1:])
        total = scaled = here
        for j, state in reversed(list(enumerate(states))):
            is_last = j == len(weights) - 1
            scaled = scaled if is_last else weights[j] * scaled
            pulled, slopes = flow.pull(state, scaled, there)
            maps = jax.tree.map(jnp.add, maps, eqx.filter(slopes, perturbed[0]))
            gained = pulled - scaled
            total = pulled if is_last else total + gained
            scaled = gained
        return total, maps, loudness, page

    def back_twice(i, carry):
        here, there, maps, loudness, (page, second) = carry
        there, *rest, page = back(2 * i, here, there, maps, loudness, page)

        def again(here, maps, loudness, second):
            return back(2 * i + 1, there, here, maps, loudness, second)

        def stay(*carry):
            return carry

        # Where their number is odd, there is no second one. The choice does more: what
        # it is given is done before it, so that all is read of the page that is then
        # written over; else XLA would copy it to be sure.
        is_one = 2 * i + 1 < count
        carry = jax.lax.cond(is_one, again, stay, here, *rest, second)
        here, maps, loudness, second = carry
        return here, there, maps, loudness, (page, second)

    # Maps are summed once, in the end: a sum at every step costs more than the step.
    page = stencil.page(cotangent)
    _, like = eqx.filter_eval_shape(flow.pull, y0, page, page)
    like = eqx.filter(like, perturbed[0])
    maps = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), like)
    silence = jax.tree.map(jnp.zeros_like, loud)
    blank = jnp.zeros(y0.size + 1, y0.dtype)
    begin = page, jnp.zeros_like(page), maps, silence, (blank, blank)
    here, there, maps, loudness, _ = jax.lax.fori_loop(
        0, (count + 1) // 2, back_twice, begin
    )
    cotangent = stencil.state(jnp.where(count % 2 == 0, here, there))
    varied = eqx.filter(flow, perturbed[0])
    slopes = jax.tree.map(lambda a, c: _sum_to(a, c.shape), maps, varied)
    return slopes, loudness, cotangent


def _sum_to(a: Float[Array, "nx width"], shape: tuple[int, ...]) -> Array:
    """The transpose of broadcasting from `shape`, of maps that may lack columns."""
    if shape == ():
        return a.sum()
    axes = tuple(i for i in (0, 1) if shape[i] == 1 and a.shape[i] != 1)
    a = a.sum(axes, keepdims=True)
    return jnp.pad(a, ((0, 0), (0, shape[1] - a.shape[1])))
