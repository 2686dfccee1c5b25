"""The TDGL flow, laid out for the machine: what the integrator calls at every step."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gl15.physics._lanes import Packed, Pair, spread
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
        """Increment of the state over one step, `[nx, ny * lanes]` each."""
        first, second = self.stencil.sweep(state, self._increments)
        return first, second

    def _increments(self, rows: slice, centres, sums, degree) -> tuple[Pair, ...]:
        eta = _at(self.josephson, rows)
        increments = []
        for i, j in ((0, 1), (1, 0)):
            (re, im), (other_re, other_im) = centres[i], centres[j]
            k = _at(self.stiffness[i], rows)
            local = (
                -k * degree
                - _at(self.alpha[i], rows)
                - _at(self.beta[i], rows) * (re * re + im * im)
            )
            coupling = eta
            d_re = local * re + k * sums[i][0]
            d_im = local * im + k * sums[i][1]
            if self.drag is not None:
                drag = _at(self.drag, rows)
                coupling = eta - drag * degree
                d_re = d_re + drag * sums[j][0]
                d_im = d_im + drag * sums[j][1]
            increments.append((d_re + coupling * other_re, d_im + coupling * other_im))
        return tuple(increments)


def _at(coefficient: Float[Array, "..."], rows: slice):
    """The part of a coefficient that these rows need; rows of 1 serve them all."""
    if coefficient.ndim == 0 or coefficient.shape[0] == 1:
        return coefficient
    return coefficient[rows]
