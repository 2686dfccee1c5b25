"""Link variables: the only place where the vector potential enters."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class Links(eqx.Module):
    r"""Phases $a_\mu$ of the link variables $U_\mu = e^{-i a_\mu}$.

    $U_\mu(r)$ joins site $r$ to $r + \mu$ (D1), so $a_\mu$ is the line integral of
    the vector potential along the link. The Landau gauge needs few numbers, and the
    solver is faster for knowing it, so each part is stored as small as it is.

    Attributes:
        x: phases of the links along x that stay inside the sample, leaving rows
            0 to nx-2; `None` where all are zero.
        y: phases of the links along y; one column where they do not depend on y. The
            last column closes the torus, and does not exist in an open sample.
        seam: phases of the links along x that close the torus; `None` if open.
    """

    x: Float[Array, "rows ny"] | None
    y: Float[Array, "nx columns"]
    seam: Float[Array, " ny"] | None

    @staticmethod
    def from_phases(phases: Float[Array, "2 nx ny"], *, periodic: bool) -> "Links":
        """Links of any gauge and any field.

        Args:
            phases: phase of the link leaving each site along x and along y, radians.
                In an open sample those that would leave it are ignored.
            periodic: whether the sample is a torus.

        Returns:
            The links.
        """
        return Links(phases[0, :-1], phases[1], phases[0, -1] if periodic else None)

    def check(self, shape: tuple[int, int], *, periodic: bool) -> None:
        """Refuse links that belong to another lattice.

        Args:
            shape: number of sites `(nx, ny)`.
            periodic: whether the lattice is a torus.

        Raises:
            ValueError: if they do not fit.
        """
        nx, ny = shape
        fits = (
            (self.x is None or self.x.shape == (nx - 1, ny))
            and self.y.shape in ((nx, 1), (nx, ny))
            and (self.seam is None) != periodic
            and (self.seam is None or self.seam.shape == (ny,))
        )
        if not fits:
            parts = {"x": self.x, "y": self.y, "seam": self.seam}
            found = {k: None if a is None else a.shape for k, a in parts.items()}
            raise ValueError(
                f"`links` do not fit {'a torus' if periodic else 'an open lattice'} of "
                f"{shape} sites: their shapes are {found}; make them with "
                "`lattice.links(field)` or `Links.from_phases`."
            )

    def phases(self, shape: tuple[int, int]) -> Float[Array, "2 nx ny"]:
        """The phase of the link leaving each site; zero where there is no link.

        Args:
            shape: number of sites `(nx, ny)`.

        Returns:
            Phases along x and y, radians.
        """
        nx, ny = shape
        zero = jnp.zeros((nx - 1, ny), self.y.dtype)
        bulk = zero if self.x is None else self.x
        last = zero[0] if self.seam is None else self.seam
        along_y = jnp.broadcast_to(self.y, shape)
        if self.seam is None:
            along_y = along_y.at[:, -1].set(0)
        return jnp.stack([jnp.concatenate([bulk, last[None]]), along_y])

    def flux(self, shape: tuple[int, int]) -> Float[Array, "px py"]:
        r"""Flux of every plaquette in radians, in $(-\pi, \pi]$.

        The Wilson phase $a_x(j,k) + a_y(j+1,k) - a_x(j,k+1) - a_y(j,k)$, which no
        gauge transformation changes.

        Args:
            shape: number of sites `(nx, ny)`.

        Returns:
            Flux per plaquette: `[nx, ny]` on the torus, `[nx-1, ny-1]` if open.
        """
        a_x, a_y = self.phases(shape)
        loop = a_x + jnp.roll(a_y, -1, 0) - jnp.roll(a_x, -1, 1) - a_y
        loop = jnp.angle(jnp.exp(1j * loop))
        return loop[:-1, :-1] if self.seam is None else loop
