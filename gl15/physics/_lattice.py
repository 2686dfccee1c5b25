"""The square lattice, its boundaries and the flux it carries."""

from collections.abc import Sequence
from math import isfinite, pi

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from gl15.physics._links import Links
from gl15.physics._types import Boundary, Scalar


class Lattice(eqx.Module):
    r"""A square lattice of $n_x \times n_y$ sites with spacing $\mathrm{d}x$.

    `boundary="open"` is a superconductor-vacuum boundary: links that would leave the
    sample do not exist, so no normal current flows. `boundary="periodic"` is the
    magnetic-periodic torus, which carries a whole number of flux quanta: every
    plaquette, those on the seam and in the corner included, holds the same flux.

    Attributes:
        shape: number of sites along x and y, at least 3 each.
        spacing: lattice spacing in units of length.
        boundary: `"open"` or `"periodic"`.
    """

    shape: tuple[int, int] = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    boundary: Boundary = eqx.field(static=True)

    def __init__(
        self,
        shape: Sequence[int] = (64, 64),
        spacing: float | int = 0.5,
        boundary: Boundary = "open",
    ):
        """Build a lattice.

        Args:
            shape: number of sites `(nx, ny)`.
            spacing: lattice spacing in units of length.
            boundary: `"open"` or `"periodic"`.

        Raises:
            ValueError: if an argument is outside what a lattice can be.
        """
        sizes = np.asarray(shape)
        whole = np.issubdtype(sizes.dtype, np.integer)
        if sizes.shape != (2,) or not whole or sizes.min() < 3:
            raise ValueError(
                f"`shape` must be two integers of at least 3, got {shape}; "
                "for example `Lattice((64, 64))`."
            )
        self.shape = (int(sizes[0]), int(sizes[1]))
        self.spacing = float(spacing)
        self.boundary = boundary

    def __check_init__(self):
        if not (isfinite(self.spacing) and self.spacing > 0):
            raise ValueError(
                f"`spacing` must be a positive length, got {self.spacing}."
            )
        if self.boundary not in ("open", "periodic"):
            raise ValueError(
                f'`boundary` must be "open" or "periodic", got {self.boundary!r}.'
            )

    @property
    def is_open(self) -> bool:
        """Whether the boundary is superconductor-vacuum."""
        return self.boundary == "open"

    @property
    def area(self) -> float:
        r"""Area $n_x n_y\,\mathrm{d}x^2$ of the sample."""
        return self.shape[0] * self.shape[1] * self.spacing**2

    def flux_quanta(self, field: Scalar) -> Float[Array, ""]:
        r"""Total flux in quanta, $n = B\,n_x n_y\,\mathrm{d}x^2 / 2\pi$.

        Args:
            field: magnetic field $B$, in units where the flux quantum is $2\pi$.

        Returns:
            The number of quanta, whole or not.
        """
        return jnp.asarray(field, float) * (self.area / (2 * pi))

    def field_from_quanta(self, n: Scalar) -> Float[Array, ""]:
        r"""Field of `n` flux quanta, $B = 2\pi n / (n_x n_y\,\mathrm{d}x^2)$.

        Args:
            n: number of flux quanta through the sample.

        Returns:
            The magnetic field.
        """
        return jnp.asarray(n, float) * (2 * pi / self.area)

    def links(self, field: Scalar) -> Links:
        r"""Link phases of the Landau gauge $A = (0, Bx)$.

        $U_y(j) = e^{-i\phi j}$ with $\phi = B\,\mathrm{d}x^2$ the flux per plaquette
        (the paper's D1 and D2), and $U_x = 1$ except, on the torus, the links that
        close the seam, $U_x(n_x - 1, k) = e^{i \phi n_x k}$.

        Args:
            field: magnetic field $B$. On the torus it must be one that carries whole
                flux quanta, see `field_from_quanta`.

        Returns:
            The links.

        Raises:
            ValueError: if `field` is not finite, or if the torus cannot carry it,
                with the nearest it can.
        """
        if not isinstance(field, Tracer) and not np.all(np.isfinite(field)):
            raise ValueError(f"`field` must be a finite number, got {field}.")
        nx, ny = self.shape
        j = jnp.arange(nx, dtype=float)[:, None]
        if self.is_open:
            flux = jnp.asarray(field, float) * self.spacing**2
            return Links(x=None, y=flux * j, seam=None)
        n = self._whole_quanta(field)
        # Reduced before the multiplication by 2 pi: the seam's phase winds n times
        # around and would otherwise lose digits in float32.
        k = jnp.arange(ny, dtype=float)
        seam = -2 * pi * jnp.sign(n) * jnp.mod(jnp.abs(n) * k, ny) / ny
        return Links(x=None, y=2 * pi * n / (nx * ny) * j, seam=seam)

    def _whole_quanta(self, field: Scalar) -> Float[Array, ""]:
        n = self.flux_quanta(field)
        whole = jnp.round(n)
        # Eight roundings of the type that holds the field: far below one quantum.
        slack = 8 * jnp.finfo(n.dtype).eps * jnp.maximum(1.0, jnp.abs(n))
        # A caller may write the field with fewer digits than the type holds.
        off = jnp.abs(n - whole) > jnp.maximum(slack, 1e-6)
        if isinstance(n, Tracer):
            return eqx.error_if(
                whole,
                off,
                "`field` is not one that the torus can carry: choose it through "
                "`lattice.field_from_quanta(n)` with a whole n.",
            )
        if bool(off):
            below, above = np.floor(float(n)), np.ceil(float(n))
            raise ValueError(
                f"`field`={float(field):.8g} puts {float(n):.6g} flux quanta on a "
                f"torus of {self.shape} sites with spacing {self.spacing:g}, which "
                "carries whole quanta only. Nearest fields: "
                f"{float(self.field_from_quanta(below)):.8g} (n={below:g}) and "
                f"{float(self.field_from_quanta(above)):.8g} (n={above:g}); use "
                '`lattice.field_from_quanta(n)`, or `boundary="open"` for any field.'
            )
        return whole
