r"""The five-point stencil: the one implementation of the gauge-covariant Laplacian.

Besides the layout (`_lanes`), four things make it fast on a CPU: a state that is
stepped lies between ghost columns, and each step writes it from one page onto another,
so that no step copies anything; the first, the middle and the last rows are separate
expressions, so that no kernel tests where it is; each is written into place, so that
there is nothing for XLA to spread over threads, which cost more than they give; and
only links that differ from 1 are multiplied.
"""

import functools
from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gl15.physics._lanes import apart, Packed, Page, Pair, split, spread
from gl15.physics._links import Links


#: Numbers of single precision in the widest vector register.
_REGISTER = 16

#: What a sweep computes on a run of rows: given the run, each band's centre and sum
#: over neighbours, and the number of neighbours, the four parts of those rows.
Body: TypeAlias = Callable[
    [slice, tuple[Pair, ...], tuple[Pair, ...], Float[Array, "..."]],
    tuple[Float[Array, "..."], ...],
]


class Stencil(eqx.Module):
    r"""Sums over neighbours $\sum_\mu U_\mu \psi(r+\mu) + U_\mu^*(r-\mu) \psi(r-\mu)$.

    Attributes:
        x: links along x inside the sample, or `None` where all are 1.
        seam: links along x that close the torus, or `None` if open.
        forward: links to the next site along y.
        backward: links from the previous site along y.
        lanes: number of simulations side by side.
    """

    x: Pair | None
    seam: Pair | None
    forward: Pair
    backward: Pair
    lanes: int = eqx.field(static=True)

    @staticmethod
    def build(links: Links, ny: int, lanes: int, dtype) -> "Stencil":
        """Lay out links, which may carry a leading axis of simulations."""

        def pair(phases: Float[Array, "..."]) -> Pair:
            laid = spread(phases, lanes, ny)
            return jnp.cos(laid).astype(dtype), -jnp.sin(laid).astype(dtype)

        seam = None if links.seam is None else links.seam[..., None, :]
        # The link that arrives from y-1 is the link that left y-1. In an open sample
        # the first column has none; the ghost it would multiply is zero.
        backward = jnp.roll(links.y, 1, -1)
        return Stencil(
            None if links.x is None else pair(links.x),
            None if seam is None else pair(seam),
            pair(links.y),
            pair(backward),
            lanes,
        )

    @property
    def margin(self) -> int:
        """Number of ghost columns on either side of a page.

        The innermost are as many as there are simulations. The others bring the first
        column to where a vector register begins.
        """
        return max(self.lanes, _REGISTER)

    def page(self, state: Packed) -> Page:
        """A state between ghost columns: zero, or on the torus the other edge's."""
        ghosts = jnp.zeros((state.shape[0], self.margin), state.dtype)
        first = last = ghosts
        if self.seam is not None:
            first = first.at[:, -self.lanes :].set(state[:, -self.lanes :])
            last = last.at[:, : self.lanes].set(state[:, : self.lanes])
        page = jnp.concatenate([first, state, last], 1)
        # Or XLA would make it anew wherever it is read.
        return jax.lax.optimization_barrier(page)

    def state(self, page: Page) -> Packed:
        """The inverse of `page`."""
        return page[:, self.margin : -self.margin]

    def sweep(self, state: Packed, body: Body) -> Packed:
        """Apply `body` at every site, and write the result over the state.

        Args:
            state: what it is applied to.
            body: what to compute, see `Body`.

        Returns:
            The new state.
        """
        return self._write(self.page(state), body, state, 0)

    def turn(self, page: Page, body: Body, other: Page) -> Page:
        """Apply `body` at every site of a page, and write the result onto another.

        Args:
            page: what it is applied to.
            body: what to compute, see `Body`.
            other: where to write; its ghosts are zero, or are of this torus.

        Returns:
            The other page.
        """
        return self._close(self._write(page, body, other, self.margin))

    def put(self, state: Packed, page: Page) -> Page:
        """Write a state onto a page whose ghosts are zero, or are of this torus."""
        return self._close(jax.lax.dynamic_update_slice(page, state, (0, self.margin)))

    def _close(self, page: Page) -> Page:
        """Bring the ghosts of a torus up to date."""
        b, m = self.lanes, self.margin
        if self.seam is not None:

            def edges(page: Page) -> tuple[Packed, Packed]:
                return page[:, m : m + b], page[:, -m - b : -m]

            # Or XLA cuts them out of the last write instead, and copies the page to
            # keep it whole.
            left, right = apart(edges, page)
            page = jax.lax.dynamic_update_slice(page, right, (0, m - b))
            page = jax.lax.dynamic_update_slice(page, left, (0, page.shape[1] - m))
        return jax.lax.optimization_barrier(page)

    def _write(self, page: Page, body: Body, onto, column: int):
        nx, width = page.shape[0] // 4, page.shape[1] - 2 * self.margin
        for rows in (slice(0, 1), slice(1, nx - 1), slice(nx - 1, nx)):
            parts = self._run(split(page), rows, nx, width, body)
            for i, part in enumerate(parts):
                place = (i * nx + rows.start, column)
                onto = jax.lax.dynamic_update_slice(onto, part, place)
        return onto

    def slopes(
        self,
        state: Packed,
        cotangent: Page,
        mix: Callable[[tuple[Pair, Pair]], tuple[Pair, Pair]],
    ) -> "Stencil":
        r"""What the links gain, link by link, in reverse mode.

        Args:
            state: the bands that are summed over neighbours.
            cotangent: of what is made of the sums.
            mix: makes of it the cotangents of each band's sums.

        Returns:
            A stencil of maps. The backward links are the forward ones, a column on: of
            what both gain, the forward ones have all but that of the links from the
            last column to the first, which is all that the maps of the latter hold.
        """
        b = self.lanes
        bands = split(state), mix(split(self.state(cotangent)))
        every, first, last = slice(None), slice(None, 1), slice(-1, None)

        def gained(near: tuple[slice, slice], far: tuple[slice, slice]) -> Pair:
            psi, c = jax.tree.map(lambda part: part[near], bands)
            psi_far, c_far = jax.tree.map(lambda part: part[far], bands)
            pairs = zip(psi, c, psi_far, c_far, strict=True)
            return functools.reduce(_add, (_slope(*four) for four in pairs))

        around = gained((every, slice(-b, None)), (every, slice(None, b)))
        return Stencil(
            x=None
            if self.x is None
            else gained((slice(None, -1), every), (slice(1, None), every)),
            seam=None if self.seam is None else gained((last, every), (first, every)),
            forward=gained((every, slice(None, -b)), (every, slice(b, None))),
            backward=jax.tree.map(jnp.zeros_like, around)
            if self.seam is None
            else around,
            lanes=b,
        )

    def _run(self, page, rows: slice, nx: int, width: int, body: Body):
        b, m = self.lanes, self.margin
        centres, sums = [], []
        for re, im in page:

            def shifted(up: int, right: int, re=re, im=im) -> Pair:
                row = slice((rows.start + up) % nx, (rows.stop - 1 + up) % nx + 1)
                column = slice(m + right * b, m + right * b + width)
                return re[row, column], im[row, column]

            terms = [
                _times(_rows(self.forward, rows), shifted(0, 1)),
                _times_conjugate(_rows(self.backward, rows), shifted(0, -1)),
            ]
            for up in (1, -1):
                # The link between a row and the next is stored with the lower row.
                lower = rows.start if up == 1 else rows.start - 1
                upper = rows.stop if up == 1 else rows.stop - 1
                crosses = lower < 0 or upper > nx - 1
                if crosses and self.seam is None:
                    continue
                link = self.seam if crosses else self.x
                neighbour = shifted(up, 0)
                if link is not None:
                    link = link if crosses else _rows(link, slice(lower, upper))
                    times = _times if up == 1 else _times_conjugate
                    neighbour = times(link, neighbour)
                terms.append(neighbour)
            centres.append(shifted(0, 0))
            sums.append(functools.reduce(_add, terms))
        links_x = int(rows.start > 0) + int(rows.stop < nx)
        if self.seam is not None:
            links_x = 2
        degree = links_x + self._links_y(width, centres[0][0].dtype)
        return body(rows, tuple(centres), tuple(sums), degree)

    def _links_y(self, width: int, dtype) -> Float[Array, "..."]:
        two = jnp.full((1, width), 2, dtype)
        if self.seam is not None:
            return two[:, :1]
        return two.at[:, : self.lanes].set(1).at[:, -self.lanes :].set(1)


def _rows(links: Pair, rows: slice) -> Pair:
    return links[0][rows], links[1][rows]


def _add(a: Pair, b: Pair) -> Pair:
    return a[0] + b[0], a[1] + b[1]


def _times(u: Pair, a: Pair) -> Pair:
    return u[0] * a[0] - u[1] * a[1], u[0] * a[1] + u[1] * a[0]


def _times_conjugate(u: Pair, a: Pair) -> Pair:
    return u[0] * a[0] + u[1] * a[1], u[0] * a[1] - u[1] * a[0]


def _slope(a: Pair, c: Pair, a_far: Pair, c_far: Pair) -> Pair:
    r"""Slope of $c \cdot U a_\mathrm{far} + c_\mathrm{far} \cdot U^* a$ in $U$."""
    return (
        c[0] * a_far[0] + c[1] * a_far[1] + c_far[0] * a[0] + c_far[1] * a[1],
        c[1] * a_far[0] - c[0] * a_far[1] + c_far[0] * a[1] - c_far[1] * a[0],
    )
