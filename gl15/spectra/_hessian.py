"""The Hessian of the energy as an operator that is never written out."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Complex, Float

from gl15.physics import TDGL


def to_real(psi: Complex[Array, "2 nx ny"]) -> Float[Array, "2 2 nx ny"]:
    r"""Real coordinates of order parameters: $(\mathrm{Re}, \mathrm{Im})$ per band.

    Args:
        psi: order parameters.

    Returns:
        The coordinates, axes (band, real or imaginary, x, y).
    """
    return jnp.stack([psi.real, psi.imag], axis=1)


def to_complex(coordinates: Float[Array, "2 2 nx ny"]) -> Complex[Array, "2 nx ny"]:
    """Order parameters of real coordinates; undoes `to_real`.

    Args:
        coordinates: axes (band, real or imaginary, x, y).

    Returns:
        The order parameters, or the deformation that a mode stands for.
    """
    return jax.lax.complex(coordinates[:, 0], coordinates[:, 1])


def hessian(tdgl: TDGL, psi: Complex[Array, "2 nx ny"]) -> lx.FunctionLinearOperator:
    r"""Hessian of the energy per cell, on real coordinates of the order parameters.

    $$
    H = \frac{1}{\mathrm{d}x^2}\, \frac{\partial^2 F_K}{\partial u\, \partial u'},
    \qquad u = (\mathrm{Re}\,\psi_i, \mathrm{Im}\,\psi_i)
    $$

    Small deviations obey $\dot u = -\tfrac{1}{2} H u$, as $\partial_t \psi = -\delta
    F_K/\delta\psi^*$, so eigenvalues are twice the relaxation rates. At a stationary
    state there is one zero mode at least, the common phase. The gradient of the energy
    is linearised once; each product with a vector then costs about as much as one
    step of the dynamics.

    Args:
        tdgl: the sample.
        psi: the state about which the energy is expanded; its precision is that of
            the operator, and soft modes want float64.

    Returns:
        A symmetric lineax operator on arrays `[2, 2, nx, ny]` with axes (band, real or
        imaginary part, x, y): see `to_real` and `to_complex`. Use `eqx.filter_jit`,
        not `jax.jit`, on its `mv`.

    Raises:
        ValueError: if `psi` does not fit the lattice.
    """
    tdgl.check_psi(psi)
    return _linearised(tdgl, psi)


# Compiled as a whole: op by op, the first call would take seconds.
@eqx.filter_jit
def _linearised(
    tdgl: TDGL, psi: Complex[Array, "2 nx ny"]
) -> lx.FunctionLinearOperator:
    cell = tdgl.lattice.spacing**2

    def energy_per_cell(u: Float[Array, "2 2 nx ny"]) -> Float[Array, ""]:
        return tdgl.energy(to_complex(u)).astype(u.dtype) / cell

    u = to_real(psi)
    _, product = jax.linearize(jax.grad(energy_per_cell), u)
    structure = jax.ShapeDtypeStruct(u.shape, u.dtype)
    return lx.FunctionLinearOperator(product, structure, lx.symmetric_tag)
