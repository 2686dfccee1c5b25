"""A sample in a field: its energy, its currents and its flow."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from gl15.physics._flow import Flow
from gl15.physics._lanes import pack, unpack
from gl15.physics._lattice import Lattice
from gl15.physics._links import Links
from gl15.physics._material import TwoBand
from gl15.physics._types import Psi, Scalar


class TDGL(eqx.Module):
    r"""Two-band time-dependent Ginzburg-Landau dynamics on a lattice.

    $$
    \partial_t \psi_i = D_i \Delta_A \psi_i + \nu \Delta_A \psi_j - \alpha_i \psi_i
    - \beta_i |\psi_i|^2 \psi_i + \eta \psi_j = -\frac{\delta F_K}{\delta \psi_i^*}
    $$

    (Eq. 2), with the gauge-covariant Laplacian $\Delta_A$ of (D1). An Equinox module
    that is a Diffrax vector field; `gl15.evolve` integrates it in a faster layout.

    Attributes:
        lattice: the sample's lattice.
        material: the couplings.
        links: the link variables, which hold the field and the gauge.
    """

    lattice: Lattice
    material: TwoBand
    links: Links

    def __init__(
        self,
        lattice: Lattice,
        material: TwoBand,
        field: Scalar = 0.0,
        *,
        links: Links | None = None,
    ):
        """Put a material on a lattice in a magnetic field.

        Args:
            lattice: the lattice.
            material: the couplings; maps must have the lattice's shape.
            field: magnetic field $B$, Landau gauge.
            links: link variables of any gauge and field, instead of `field`.

        Raises:
            ValueError: if a map or `links` do not fit the lattice, or if the torus
                cannot carry `field`.
        """
        for name in ("alpha", "beta", "josephson"):
            for leaf in jax.tree.leaves(getattr(material, name)):
                if np.ndim(leaf) and np.shape(leaf) != lattice.shape:
                    raise ValueError(
                        f"`{name}` is a map of shape {np.shape(leaf)}, but the lattice "
                        f"has {lattice.shape} sites; give one value per site, or a "
                        "number."
                    )
        self.lattice = lattice
        self.material = material
        self.links = lattice.links(field) if links is None else links
        self.links.check(lattice.shape, periodic=not lattice.is_open)

    def __call__(self, t, psi: Psi, args=None) -> Psi:
        r"""Right-hand side of Eq. (2).

        Args:
            t: time; the dynamics does not depend on it.
            psi: order parameters.
            args: unused, there because Diffrax passes it.

        Returns:
            $\partial_t \psi$.

        Raises:
            ValueError: if `psi` does not fit the lattice.
        """
        self.check_psi(psi)
        return unpack(self._flow(psi)(t, pack(psi[None]), args), lanes=1)[0]

    def _flow(self, psi: Psi) -> Flow:
        return Flow.build(
            self.lattice, self.material, self.links, lanes=1, dtype=psi.real.dtype
        )

    def check_psi(self, psi: Complex[Array, "..."], name: str = "psi") -> None:
        """Refuse order parameters that do not fit the lattice, or several states.

        Args:
            psi: order parameters.
            name: what the caller calls them.

        Raises:
            ValueError: if the shape is not `(2, nx, ny)`.
        """
        expected = (2, *self.lattice.shape)
        if psi.shape != expected:
            several = psi.shape[-3:] == expected
            raise ValueError(
                f"`{name}` must have shape {expected} (bands, x, y) for this lattice, "
                f"got {psi.shape}" + ("; use `jax.vmap`." if several else ".")
            )

    def laplacian(self, psi: Psi) -> Psi:
        r"""Gauge-covariant Laplacian $\Delta_A \psi_i$ of each band (D1).

        Args:
            psi: order parameters.

        Returns:
            $\Delta_A \psi_i$, in units of $\psi$ over length squared.
        """
        self.check_psi(psi)

        def body(rows, centres, sums, degree):
            parts = zip(jax.tree.leaves(sums), jax.tree.leaves(centres), strict=True)
            return tuple(
                (total - degree * centre) / spacing**2 for total, centre in parts
            )

        spacing = self.lattice.spacing
        laplacian = self._flow(psi).stencil.sweep(pack(psi[None]), body)
        return unpack(laplacian, lanes=1)[0]

    def forward_hops(self, psi: Psi) -> tuple[Psi, Psi]:
        r"""Neighbours carried back along the links, $U_\mu(r)\,\psi_i(r + \mu)$.

        Args:
            psi: order parameters.

        Returns:
            The hops along x and along y; zero where there is no link.
        """
        present_x, present_y = self._links_present(psi.real.dtype)
        phases = self.links.phases(self.lattice.shape).astype(psi.real.dtype)
        u_x, u_y = jnp.exp(-1j * phases)
        return (
            present_x * u_x * jnp.roll(psi, -1, 1),
            present_y * u_y * jnp.roll(psi, -1, 2),
        )

    def _links_present(self, dtype):
        nx, ny = self.lattice.shape
        if not self.lattice.is_open:
            return jnp.ones((nx, 1), dtype), jnp.ones((1, ny), dtype)
        return (
            jnp.ones((nx, 1), dtype).at[-1].set(0),
            jnp.ones((1, ny), dtype).at[:, -1].set(0),
        )

    def energy(self, psi: Psi) -> Float[Array, ""]:
        r"""The energy $F_K$ whose gradient flow Eq. (2) is, see `TwoBand`.

        Args:
            psi: order parameters.

        Returns:
            $F_K$, relative to the normal state; the field energy is a constant here
            and left out.
        """
        self.check_psi(psi)
        (d1, d2), nu = self.material.diffusion, self.material.drag
        present = self._links_present(psi.real.dtype)
        gradient = jnp.zeros((), psi.real.dtype)
        for hop, exists in zip(self.forward_hops(psi), present, strict=True):
            first, second = (hop - exists * psi) / self.lattice.spacing
            gradient += jnp.sum(
                d1 * _norm(first)
                + d2 * _norm(second)
                + 2 * nu * jnp.real(jnp.conj(first) * second)
            )
        local = -2 * self.material.josephson * jnp.real(jnp.conj(psi[0]) * psi[1])
        bands = zip(self.material.alpha, self.material.beta, psi, strict=True)
        for alpha, beta, band in bands:
            density = _norm(band)
            local += alpha * density + beta / 2 * density**2
        energy = self.lattice.spacing**2 * (gradient + jnp.sum(local))
        return energy.astype(psi.real.dtype)

    def current(self, psi: Psi) -> tuple[Float[Array, "nx ny"], Float[Array, "nx ny"]]:
        r"""Supercurrent on the links, $J = -\delta F_K / \delta A$.

        $$
        J_\mu(r) = \tfrac{2}{\mathrm{d}x}\, \mathrm{Im} \sum_{ij} K_{ij}\,
        \psi_i^*(r)\, U_\mu(r)\, \psi_j(r + \mu)
        $$

        Args:
            psi: order parameters.

        Returns:
            The current on the link leaving each site along x and along y; zero where
            there is no link.
        """
        self.check_psi(psi)
        (d1, d2), nu = self.material.diffusion, self.material.drag

        def along(hop: Psi) -> Float[Array, "nx ny"]:
            carried = d1 * jnp.conj(psi[0]) * hop[0] + d2 * jnp.conj(psi[1]) * hop[1]
            cross = jnp.conj(psi[0]) * hop[1] + jnp.conj(psi[1]) * hop[0]
            current = 2 / self.lattice.spacing * jnp.imag(carried + nu * cross)
            return current.astype(psi.real.dtype)

        hop_x, hop_y = self.forward_hops(psi)
        return along(hop_x), along(hop_y)

    def max_stable_step(self, psi: Psi | None = None) -> Float[Array, ""]:
        r"""Largest time step at which explicit Euler does not amplify any mode.

        $\mathrm{d}t < 2/\sigma$ with $\sigma = \tfrac{1}{2}\lambda (D_1 + D_2) +
        \max_i(\alpha_i + 3 \beta_i \max \rho_i) + \sqrt{\tfrac{1}{4} \lambda^2
        (D_1 - D_2)^2 + (\lambda\nu - \eta)^2}$ and $\lambda$ the largest eigenvalue
        of $-\Delta_A$: tight at the uniform state of equal bands and small flux, on the
        safe side elsewhere.

        Args:
            psi: a state that may be denser than the uniform one; by default the
                density is bounded by the maximum principle, which holds for
                $\nu = 0$.

        Returns:
            The largest stable step; NaN for couplings whose energy is not bounded
            below.
        """
        material = self.material
        d1, d2 = (jnp.asarray(d, float) for d in material.diffusion)
        nu = jnp.asarray(material.drag, float)
        eta = jnp.asarray(material.josephson, float)
        lam = self._largest_eigenvalue()
        rho = material.largest_density()
        if psi is not None:
            rho = jnp.maximum(rho, jnp.max(_norm(psi)))
        per_band = [
            jnp.max(a + 3 * b * rho)
            for a, b in zip(material.alpha, material.beta, strict=True)
        ]
        mixing = jnp.sqrt(
            (lam * (d1 - d2) / 2) ** 2 + jnp.max(jnp.abs(lam * nu - eta)) ** 2
        )
        sigma = lam * (d1 + d2) / 2 + jnp.maximum(*per_band) + mixing
        well_posed = (nu**2 < d1 * d2) & (d1 > 0) & (d2 > 0)
        for beta in material.beta:
            well_posed &= jnp.all(jnp.asarray(beta) > 0)
        return jnp.where(well_posed, 2 / sigma, jnp.nan)

    def _largest_eigenvalue(self) -> Float[Array, ""]:
        """Of minus the Laplacian: a bound, tight for even lattices at small flux."""
        nx, ny = self.lattice.shape
        per_cell = 1 / self.lattice.spacing**2
        if self.lattice.is_open:
            # Diamagnetic inequality: the field only lowers it.
            top = 4 + 2 * np.cos(np.pi / nx) + 2 * np.cos(np.pi / ny)
            return jnp.asarray(top * per_cell, float)
        if nx % 2 or ny % 2:
            return jnp.asarray(8 * per_cell, float)
        # On a bipartite torus the spectrum is symmetric about 4/dx^2. Its lower edge is
        # the lowest Landau level, which phi - phi^2/4 bounds from below at any flux.
        flux = jnp.abs(self.links.flux(self.lattice.shape))
        phi = jnp.min(flux)
        uniform = jnp.max(flux) - phi < 1e-5
        return (8 - jnp.where(uniform, phi - phi**2 / 4, 0.0)) * per_cell


def _norm(psi: Complex[Array, "..."]) -> Float[Array, "..."]:
    return psi.real**2 + psi.imag**2
