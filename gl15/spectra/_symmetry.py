"""Deformations that symmetries make, and whether they cost energy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from gl15.physics import TDGL
from gl15.spectra._hessian import to_real
from gl15.spectra._operator import Hessian


class Symmetries(eqx.Module):
    r"""Deformations of a state by its sample's symmetries, and what they cost.

    Attributes:
        names: what each is called.
        deformations: each of norm 1.
        curvatures: $v^T H v$; zero for a zero mode.
        residuals: norm of $Hv$; a zero mode is one where this vanishes.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    deformations: Float[Array, "n 2 2 nx ny"]
    curvatures: Float[Array, " n"]
    residuals: Float[Array, " n"]


def symmetries(H: Hessian) -> Symmetries:
    r"""The zero modes that symmetries promise, and those that they only suggest.

    - The global phase, $i\psi$: a zero mode of every stationary state.
    - The relative phase, $(i\psi_1, 0)$ made orthogonal to it: a zero mode where
      neither $\eta$ nor $\nu$ couples the bands; with $\eta$ it is the Leggett mode.
    - On a torus, the translations $D_x\psi$ and $D_y\psi$. Without flux these are zero
      modes but for the lattice's own pinning. With flux they are not: moving all
      vortices by $\delta$ is a change of the vector potential by the constant
      $B\delta$, which a gauge transformation undoes on the torus only for whole
      multiples of $L/n$. In between, the sample carries a uniform current.

    Args:
        H: from `hessian`.

    Returns:
        The deformations with their curvatures; those that vanish (a uniform state has
        no translations) are left out.
    """
    names = ["global phase", "relative phase"]
    if not H.tdgl.lattice.is_open:
        names += ["translation x", "translation y"]
    deformations, norms, curvatures, residuals = _measured(H)
    kept = np.flatnonzero(np.asarray(norms) > 1e-6)
    return Symmetries(
        tuple(names[i] for i in kept),
        deformations[kept],
        curvatures[kept],
        residuals[kept],
    )


# Compiled as a whole, and once for all states of a sample.
@eqx.filter_jit
def _measured(
    H: Hessian,
) -> tuple[
    Float[Array, "n 2 2 nx ny"],
    Float[Array, " n"],
    Float[Array, " n"],
    Float[Array, " n"],
]:
    phase = 1j * H.psi
    weights = jnp.sum(jnp.abs(H.psi) ** 2, axis=(1, 2))
    share = weights[0] / jnp.sum(weights)
    deformations = [phase, jnp.stack([(1 - share) * phase[0], -share * phase[1]])]
    if not H.tdgl.lattice.is_open:
        deformations += list(covariant_gradient(H.tdgl, H.psi))
    vectors = jnp.stack([to_real(d) for d in deformations])
    norms = _norms(vectors)
    vectors /= jnp.where(norms > 0, norms, 1)[:, None, None, None, None]
    products = jax.vmap(H.mv)(vectors)
    return vectors, norms, jnp.sum(vectors * products, (1, 2, 3, 4)), _norms(products)


def covariant_gradient(
    tdgl: TDGL, psi: Complex[Array, "2 nx ny"]
) -> Complex[Array, "2 2 nx ny"]:
    r"""$D_\mu\psi_i$ at the sites: central differences, one-sided at an edge.

    Args:
        tdgl: the sample.
        psi: order parameters.

    Returns:
        The gradient; axes (direction, band, x, y).
    """
    links = tdgl.forward_hops(jnp.ones_like(psi))
    gradient = []
    for axis, (u, hop) in enumerate(zip(links, tdgl.forward_hops(psi), strict=True), 1):
        here, behind = jnp.abs(u), jnp.roll(jnp.abs(u), 1, axis)
        back = jnp.roll(u.conj() * psi, 1, axis)
        slopes = (hop - here * psi) + (behind * psi - back)
        gradient.append(slopes / (here + behind) / tdgl.lattice.spacing)
    return jnp.stack(gradient).astype(psi.dtype)


def _norms(vectors: Float[Array, "n 2 2 nx ny"]) -> Float[Array, " n"]:
    return jax.vmap(jnp.linalg.norm)(vectors.reshape(len(vectors), -1))
