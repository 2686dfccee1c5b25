"""The image of a state: what a simulation hands to everything downstream."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from gl15.physics import TDGL


#: What the channels of an image are, in order.
CHANNELS: tuple[str, str, str] = ("density_1", "density_2", "curl_J")


def densities(psi: Complex[Array, "2 nx ny"]) -> Float[Array, "2 nx ny"]:
    r"""Superfluid density of each band, $|\psi_i|^2$.

    Args:
        psi: order parameters.

    Returns:
        The densities, in the real type of `psi`.
    """
    return psi.real**2 + psi.imag**2


def current_curl(tdgl: TDGL, psi: Complex[Array, "2 nx ny"]) -> Float[Array, "nx ny"]:
    r"""Curl of the supercurrent per plaquette, a proxy for the local magnetic field.

    $$
    (\nabla \times J)_z(j, k) = \frac{J_y(j+1, k) - J_y(j, k) - J_x(j, k+1) +
    J_x(j, k)}{\mathrm{d}x}
    $$

    is the circulation of the link currents around the plaquette whose lower left site
    is (j, k), divided by its area, and is stored at that site. A torus has as many
    plaquettes as sites. An open sample has one fewer along each axis: its last row
    and column are 0, and nothing one-sided is invented there. A reflection along x
    therefore takes plaquette j to plaquette nx-2-j, while it takes site j to nx-1-j.

    Args:
        tdgl: the sample, for its links and stiffnesses.
        psi: order parameters.

    Returns:
        The curl, in units of current per length.

    Raises:
        ValueError: if `psi` does not fit the lattice.
    """
    tdgl.check_psi(psi)
    return _curl(tdgl, psi)


# Compiled as a whole: op by op, the first call would take a second.
@eqx.filter_jit
def _curl(tdgl: TDGL, psi: Complex[Array, "2 nx ny"]) -> Float[Array, "nx ny"]:
    j_x, j_y = tdgl.current(psi)
    circulation = jnp.roll(j_y, -1, 0) - j_y - jnp.roll(j_x, -1, 1) + j_x
    if tdgl.lattice.is_open:
        circulation = circulation.at[-1].set(0).at[:, -1].set(0)
    return (circulation / tdgl.lattice.spacing).astype(psi.real.dtype)


def observe(tdgl: TDGL, psi: Complex[Array, "2 nx ny"]) -> Float[Array, "nx ny 3"]:
    r"""The image of a state: $(|\psi_1|^2, |\psi_2|^2, (\nabla \times J)_z)$.

    Every channel is gauge invariant. `CHANNELS` names them in order.

    Args:
        tdgl: the sample.
        psi: order parameters; use `jax.vmap` for several states.

    Returns:
        The image, channels last, in the real type of `psi`.

    Raises:
        ValueError: if `psi` does not fit the lattice.
    """
    tdgl.check_psi(psi)
    channels = (*densities(psi), current_curl(tdgl, psi))
    return jnp.stack(channels, axis=-1)
