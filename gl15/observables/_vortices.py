"""Vortices: windings of the phase around plaquettes, and where the zeros are."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Complex, Float, Int

from gl15.observables._points import Box, Points
from gl15.observables._spectrum import check_finite
from gl15.physics import TDGL


# Outside compiled code slots come in multiples of this, so that few numbers of
# vortices make a compilation of their own.
_SLOTS = 16


class Vortices(eqx.Module):
    """The vortices of each band, in arrays of fixed size.

    Under `jax.vmap` over states all arrays get an axis of frames in front.

    Attributes:
        positions: coordinates (x, y) of the zeros, in units of length; site (0, 0) is
            the origin. NaN in the slots that `mask` leaves out.
        charges: winding of each, +1 or -1 but for degenerate plaquettes; 0 in the
            slots left out.
        mask: which slots hold a vortex.
        box: the rectangle or torus that they lie in.
    """

    positions: Float[Array, "*frames 2 slots 2"]
    charges: Int[Array, "*frames 2 slots"]
    mask: Bool[Array, "*frames 2 slots"]
    box: Box

    @property
    def counts(self) -> Int[Array, "*frames 2"]:
        """Number of vortices and antivortices together, per band."""
        return jnp.sum(self.mask, axis=-1)

    def points(self, band: int, charge: int | None = None) -> Points:
        """The vortices of one band as a point pattern, slot by slot.

        Args:
            band: 0 or 1.
            charge: +1 for vortices alone, -1 for antivortices alone.

        Returns:
            The points.

        Raises:
            ValueError: if there is an axis of frames (use `jax.vmap`), or no such band.
        """
        # JAX would take the last band for any number beyond.
        if band not in (0, 1):
            raise ValueError(f"`band` must be 0 or 1, got {band}.")
        if self.mask.ndim != 2:
            raise ValueError(
                f"the vortices have {self.mask.ndim - 2} axes of frames; take one "
                "frame, `jax.tree.map(lambda leaf: leaf[0], vortices)`, or map your "
                "function over them with `jax.vmap`."
            )
        mask = self.mask[band]
        if charge is not None:
            mask &= self.charges[band] == charge
        return Points(self.positions[band], self.box, mask)


def windings(tdgl: TDGL, psi: Complex[Array, "2 nx ny"]) -> Int[Array, "2 px py"]:
    r"""Winding number of each band around every plaquette.

    $$
    n_P = \frac{1}{2\pi} \Big[ \sum_{\partial P} \arg(\psi^* U \psi') + \phi_P \Big]
    $$

    Gauge invariant, and an integer without any rounding: the link phases inside the
    sum cancel against the flux $\phi_P$. A field $B > 0$ makes vortices of winding
    +1; on a torus the windings of each band sum to the number of flux quanta. Outside
    compiled code both are checked.

    At a site where psi is exactly zero its phase is taken as zero: a vortex that sits
    on a site belongs to one of the four plaquettes around it.

    Args:
        tdgl: the sample, for its links.
        psi: order parameters.

    Returns:
        The windings: `[2, nx, ny]` on the torus, `[2, nx-1, ny-1]` in an open sample;
        entry (j, k) belongs to the plaquette whose lower left site is (j, k).

    Raises:
        ValueError: if `psi` does not fit the lattice or is not finite; under a
            transformation the latter is an error at run time.
        RuntimeError: if the links are so imprecise that a winding is not an integer.
    """
    tdgl.check_psi(psi)
    if isinstance(psi, Tracer):
        psi = eqx.error_if(
            psi, ~jnp.all(jnp.isfinite(psi)), "`psi` is not finite: it has no vortices."
        )
    else:
        check_finite("psi", psi)
    turns, quanta = _turns(tdgl, psi)
    winding = jnp.round(turns).astype(int)
    if not isinstance(turns, Tracer):
        _check_windings(np.asarray(turns), None if tdgl.lattice.is_open else quanta)
    return winding


def vortices(
    tdgl: TDGL,
    psi: Complex[Array, "2 nx ny"],
    max_vortices: int | None = None,
) -> Vortices:
    r"""Positions and charges of the vortices, to a fraction of the lattice spacing.

    A plaquette of winding $\pm 1$ holds exactly one zero of the bilinear interpolant
    of its four corners, once their values are carried to one point along the links
    (in the gauge that is symmetric about the plaquette). Positions are gauge
    invariant and differentiable in `psi`. Isolated cores of size $\xi$ are found
    within 0.03 spacings where $\xi$ is one spacing, within 0.01 from two on; cores that
    are no larger than a spacing and overlap, as of a pair about to annihilate, within
    0.2.

    Args:
        tdgl: the sample.
        psi: order parameters.
        max_vortices: number of slots per band. By default as many as it takes, in
            multiples of 16; under a transformation, where that is not known, one per
            plaquette, which always suffices. Statistics of pairs cost the square of
            it: give it there.

    Returns:
        The vortices of each band; in the slots beyond them `mask` is False.

    Raises:
        ValueError: if there are more vortices than slots; under a transformation, an
            error at run time.
    """
    winding = windings(tdgl, psi)
    most = jnp.max(jnp.sum(winding != 0, axis=(1, 2)))
    if max_vortices is not None:
        slots = max_vortices
    elif isinstance(most, Tracer):
        slots = winding[0].size
    else:
        slots = _SLOTS * max(1, -(-int(most) // _SLOTS))
    if slots < 1:
        raise ValueError(f"`max_vortices` must be at least 1, got {max_vortices}.")
    if not isinstance(most, Tracer) and int(most) > slots:
        raise ValueError(
            f"`max_vortices`={slots}, but a band holds {int(most)} vortices; use "
            f"`max_vortices` >= {int(most)}, or None for as many as it takes."
        )
    if isinstance(most, Tracer) and slots < winding[0].size:
        winding = eqx.error_if(
            winding, most > slots, "a band holds more vortices than `max_vortices`."
        )
    return _locate(tdgl, psi, winding, slots)


# Compiled as wholes: op by op, each of these would cost dozens of dispatches.
@eqx.filter_jit
def _turns(
    tdgl: TDGL, psi: Complex[Array, "2 nx ny"]
) -> tuple[Float[Array, "2 px py"], Float[Array, ""]]:
    """The windings before they are rounded, and the flux quanta there are."""
    # Moduli of one: products of small ones would underflow and lose their phase.
    modulus = jnp.abs(psi)
    unit = jnp.where(modulus > 0, psi / jnp.where(modulus > 0, modulus, 1), 1)
    along_x, along_y = (jnp.angle(unit.conj() * h) for h in tdgl.forward_hops(unit))
    loop = along_x + jnp.roll(along_y, -1, 1) - jnp.roll(along_x, -1, 2) - along_y
    if tdgl.lattice.is_open:
        loop = loop[:, :-1, :-1]
    flux = tdgl.links.flux(tdgl.lattice.shape).astype(psi.real.dtype)
    return (loop + flux) / (2 * jnp.pi), jnp.sum(flux) / (2 * jnp.pi)


def _check_windings(
    turns: Float[np.ndarray, "2 px py"], quanta: Float[Array, ""] | None
) -> None:
    off = np.max(np.abs(turns - np.round(turns)))
    sums = np.sum(np.round(turns), axis=(1, 2))
    if off > 0.1 or (quanta is not None and np.any(sums != np.round(quanta))):
        total = (
            "" if quanta is None else f" on a torus of {float(quanta):g} flux quanta"
        )
        raise RuntimeError(
            f"windings are off an integer by up to {off:.2g} and sum to "
            f"{sums.tolist()} per band{total}: the link phases are too imprecise. "
            "Enable jax_enable_x64."
        )


@eqx.filter_jit
def _locate(
    tdgl: TDGL,
    psi: Complex[Array, "2 nx ny"],
    winding: Int[Array, "2 px py"],
    slots: int,
) -> Vortices:
    shape = winding.shape[1:]

    def band(winding, corners):
        flat = winding.reshape(-1)
        (index,) = jnp.nonzero(flat, size=slots, fill_value=-1)
        mask = index >= 0
        # A plain zero in the slots left out keeps their derivatives finite.
        plain = jnp.asarray([-1 - 1j, 1 - 1j, 1 + 1j, -1 + 1j], corners.dtype)
        values = corners.reshape(4, -1)[:, index]
        charge = jnp.where(mask, flat[index], 1)
        inside = _bilinear_zero(jnp.where(mask, values, plain[:, None]), charge)
        cell = jnp.stack(jnp.unravel_index(index, shape), -1)
        positions = (cell + inside) * tdgl.lattice.spacing
        return (
            jnp.where(mask[:, None], positions, jnp.nan).astype(psi.real.dtype),
            jnp.where(mask, charge, 0),
            mask,
        )

    found = jax.vmap(band)(winding, _corners(tdgl, psi))
    return Vortices(*found, box=Box.of(tdgl.lattice))


def _corners(tdgl: TDGL, psi: Complex[Array, "2 nx ny"]) -> Complex[Array, "2 4 px py"]:
    r"""Values at the corners of each plaquette, carried to its lower left site.

    Counterclockwise from the lower left. Each edge carries a quarter of the flux in
    the gauge that is symmetric about the centre, hence $e^{\pm i\phi/4}$; along both
    ways to the far corner this comes to the same.
    """
    hop_x, hop_y = tdgl.forward_hops(psi)
    a_x, _ = tdgl.links.phases(tdgl.lattice.shape).astype(psi.real.dtype)
    far = jnp.exp(-1j * a_x) * jnp.roll(hop_y, -1, 1)
    values = jnp.stack([psi, hop_x, far, hop_y], axis=1)
    if tdgl.lattice.is_open:
        values = values[..., :-1, :-1]
    flux = tdgl.links.flux(tdgl.lattice.shape).astype(psi.real.dtype)
    quarters = jnp.asarray([0, 1, 2, -1])[:, None, None]
    return values * jnp.exp(0.25j * quarters * flux)


def _bilinear_zero(
    corners: Complex[Array, "4 slots"], charge: Int[Array, " slots"]
) -> Float[Array, "slots 2"]:
    r"""The zero (u, w) of $f = a + bu + cw + duw$ that has the sign of `charge`.

    For real w, $g(u) = \mathrm{Im}[(a + bu)(c + du)^*] = 0$: two roots, at which the
    Jacobian of f is $-g'(u)$, so that they have opposite charges. The right one lies
    in the unit square, unless the phase along an edge turns by nearly $\pi$: then f
    vanishes close to that edge, and the zero is put on it.
    """
    v0, v1, v2, v3 = corners
    a, b, c, d = v0, v1 - v0, v3 - v0, v0 - v1 + v2 - v3
    square = jnp.imag(b * d.conj())
    linear = jnp.imag(a * d.conj() + b * c.conj())
    constant = jnp.imag(a * c.conj())
    discriminant = linear**2 - 4 * square * constant
    root = jnp.where(discriminant > 0, jnp.sqrt(_nonzero(discriminant)), 0)
    root = jnp.sign(charge) * root
    # Of the two forms of one root, the one that does not cancel; `square` is often
    # tiny or zero.
    u = jnp.where(
        linear * root > 0,
        -(linear + root) / (2 * _nonzero(square)),
        2 * constant / _nonzero(root - linear),
    )
    u = jnp.clip(u, 0, 1)
    slope = c + d * u
    w = -jnp.real((a + b * u) * slope.conj()) / _nonzero(jnp.abs(slope) ** 2)
    return jnp.stack([u, jnp.clip(w, 0, 1)], axis=-1)


def _nonzero(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.where(x == 0, 1, x)
