"""The TDGL flow, laid out for the machine: what the integrator calls at every step."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gl15.physics._lanes import Packed, Page, Pair, split, spread
from gl15.physics._lattice import Lattice
from gl15.physics._links import Links
from gl15.physics._material import TwoBand
from gl15.physics._stencil import Stencil


class Flow(eqx.Module):
    r"""Right-hand side of Eq. (2) times a time step, in the lane layout.

    All that does not change from step to step is computed once, in `build`. Scaling
    by the step lets the integrator count in steps, whose ends are exact in float32.

    Attributes:
        stencil: the sums over neighbours.
        stiffness: $(D_1, D_2)\,\mathrm{d}t/\mathrm{d}x^2$.
        drag: $\nu\,\mathrm{d}t/\mathrm{d}x^2$, or `None` where it is known to be zero.
        alpha: $\alpha_i\,\mathrm{d}t$.
        beta: $\beta_i\,\mathrm{d}t$.
        josephson: $\eta\,\mathrm{d}t$.
    """

    stencil: Stencil
    stiffness: tuple[Float[Array, "..."], Float[Array, "..."]]
    drag: Float[Array, "..."] | None
    alpha: tuple[Float[Array, "..."], Float[Array, "..."]]
    beta: tuple[Float[Array, "..."], Float[Array, "..."]]
    josephson: Float[Array, "..."]

    @staticmethod
    def build(
        lattice: Lattice,
        material: TwoBand,
        links: Links,
        *,
        lanes: int,
        dtype,
        dt: float = 1.0,
    ) -> "Flow":
        """Lay out the coefficients, any of which may have an axis of simulations."""
        ny = lattice.shape[1]

        def scaled(value, factor: float):
            # The product is taken in the caller's precision and rounded once.
            return spread(jnp.asarray(value) * factor, lanes, ny).astype(dtype)

        per_cell = dt / lattice.spacing**2
        d1, d2 = material.diffusion
        return Flow(
            stencil=Stencil.build(links, ny, lanes, dtype),
            stiffness=(scaled(d1, per_cell), scaled(d2, per_cell)),
            drag=scaled(material.drag, per_cell) if material.has_drag else None,
            alpha=(scaled(material.alpha[0], dt), scaled(material.alpha[1], dt)),
            beta=(scaled(material.beta[0], dt), scaled(material.beta[1], dt)),
            josephson=scaled(material.josephson, dt),
        )

    def __call__(self, t, state: Packed, args=None) -> Packed:
        """Increment of the state over one step."""
        del t, args
        return self.stencil.sweep(state, self.increments)

    def step(
        self, page: Page, other: Page, weight: float = 1.0, start: Page | None = None
    ) -> Page:
        """The state one step of explicit Euler later, or a stage of other methods.

        Args:
            page: where the increments are computed.
            other: where to write; may be `start`.
            weight: of the increments.
            start: what they are added to; by default `page`.

        Returns:
            The other page.
        """
        onto = None if start is None else split(self.stencil.state(start))

        def body(rows, centres, sums, degree):
            whole = jax.tree.leaves(centres if onto is None else onto)
            if onto is not None:
                whole = [part[rows] for part in whole]
            parts = self.increments(rows, centres, sums, degree)
            if weight != 1:
                parts = [weight * part for part in parts]
            return tuple(map(jnp.add, whole, parts))

        return self.stencil.turn(page, body, other)

    def pull(self, state: Packed, cotangent: Page, other: Page) -> tuple[Page, "Flow"]:
        r"""Transpose of a step's derivative: one step of reverse-mode differentiation.

        The sums over neighbours are symmetric, so this is again a sweep, over the
        cotangent.

        Args:
            state: where the step began.
            cotangent: of where it ended.
            other: where to write.

        Returns:
            The other page, with the cotangent of `state`; and what the coefficients
            gain at every site, as a flow of maps `[nx, ny * lanes]`.
        """
        inside = self.stencil.state
        first, second = split(state)
        c_first, c_second = split(inside(cotangent))

        def pulled(rows, centres, sums, degree):
            states = [(re[rows], im[rows]) for re, im in (first, second)]
            betas = [_at(beta, rows) for beta in self.beta]
            damping = [
                beta * _dot(psi, psi) for beta, psi in zip(betas, states, strict=True)
            ]
            moved = self._linear(rows, centres, sums, degree, damping)
            return tuple(
                c
                + moved[2 * i + part]
                - 2 * betas[i] * _dot(states[i], centres[i]) * states[i][part]
                for i in (0, 1)
                for part, c in enumerate(centres[i])
            )

        def laplacian(rows, centres, sums, degree):
            del rows
            parts = zip(jax.tree.leaves(sums), jax.tree.leaves(centres), strict=True)
            return tuple(total - degree * centre for total, centre in parts)

        # All of this that nothing is made of, XLA leaves out.
        empty = jnp.zeros_like(cotangent)
        l_first, l_second = split(
            inside(self.stencil.turn(cotangent, laplacian, empty))
        )
        along = _dot(first, c_first), _dot(second, c_second)
        slopes = Flow(
            stencil=self.stencil.slopes(state, cotangent, self._mix),
            stiffness=(_dot(first, l_first), _dot(second, l_second)),
            drag=None
            if self.drag is None
            else _dot(first, l_second) + _dot(second, l_first),
            alpha=(-along[0], -along[1]),
            beta=(-_dot(first, first) * along[0], -_dot(second, second) * along[1]),
            josephson=_dot(first, c_second) + _dot(second, c_first),
        )
        return self.stencil.turn(cotangent, pulled, other), slopes

    def _mix(self, cotangents: tuple[Pair, Pair]) -> tuple[Pair, Pair]:
        """Cotangents of the bands' sums over neighbours, of those of the increments."""

        def part(i: int, of: int):
            mixed = self.stiffness[i] * cotangents[i][of]
            if self.drag is not None:
                mixed = mixed + self.drag * cotangents[1 - i][of]
            return mixed

        return (part(0, 0), part(0, 1)), (part(1, 0), part(1, 1))

    def increments(self, rows: slice, centres, sums, degree):
        """What a step adds to some rows, to be computed in a sweep of the stencil."""
        damping = [
            _at(beta, rows) * _dot(psi, psi)
            for beta, psi in zip(self.beta, centres, strict=True)
        ]
        return self._linear(rows, centres, sums, degree, damping)

    def _linear(self, rows: slice, centres, sums, degree, damping):
        """All but the cubic term, which enters as a damping of each band."""
        eta = _at(self.josephson, rows)
        drag = None if self.drag is None else _at(self.drag, rows)
        increments = []
        for i, j in ((0, 1), (1, 0)):
            k = _at(self.stiffness[i], rows)
            local = -k * degree - _at(self.alpha[i], rows) - damping[i]
            coupling = eta if drag is None else eta - drag * degree
            for part in (0, 1):
                d = local * centres[i][part] + k * sums[i][part]
                if drag is not None:
                    d = d + drag * sums[j][part]
                increments.append(d + coupling * centres[j][part])
        return tuple(increments)


def _at(coefficient: Float[Array, "..."], rows: slice):
    """The part of a coefficient that these rows need; rows of 1 serve them all."""
    if coefficient.ndim == 0 or coefficient.shape[0] == 1:
        return coefficient
    return coefficient[rows]


def _dot(a: Pair, b: Pair) -> Float[Array, "..."]:
    return a[0] * b[0] + a[1] * b[1]
