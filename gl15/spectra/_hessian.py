"""The Hessian of the energy as an operator that is never written out."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Complex, Float

from gl15.physics import TDGL
from gl15.spectra._operator import Hessian


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


def hessian(tdgl: TDGL, psi: Complex[Array, "2 nx ny"]) -> Hessian:
    r"""Hessian of the energy per cell, on real coordinates of the order parameters.

    $$
    H = \frac{1}{\mathrm{d}x^2}\, \frac{\partial^2 F_K}{\partial u\, \partial u'},
    \qquad u = (\mathrm{Re}\,\psi_i, \mathrm{Im}\,\psi_i)
    $$

    Small deviations obey $\dot u = -\tfrac{1}{2} H u$, as $\partial_t \psi = -\delta
    F_K/\delta\psi^*$, so eigenvalues are twice the relaxation rates. At a stationary
    state there is one zero mode at least, the common phase. At any other state the
    spectrum is that of a slope: the operator knows its gradient norm.

    The energy's gradient is $-2\,\partial_t u$, and is linearised once in that form
    (`jax.linearize`): the stencil of the dynamics is several times faster than what
    differentiating the sum over links gives, and agrees with it to round-off.

    Args:
        tdgl: the sample.
        psi: the state about which the energy is expanded; its precision is that of
            the operator, and soft modes want float64.

    Returns:
        A symmetric lineax operator on arrays `[2, 2, nx, ny]` with axes (band, real or
        imaginary part, x, y): see `to_real` and `to_complex`. Use `eqx.filter_jit`,
        not `jax.jit`, on its `mv`.

    Raises:
        ValueError: if `psi` does not fit the lattice or is not finite.
    """
    tdgl.check_psi(psi)
    if not isinstance(psi, Tracer) and (bad := np.sum(~np.isfinite(np.asarray(psi)))):
        raise ValueError(
            f"`psi` holds {bad} values of {psi.size} that are NaN or infinite, and has "
            "no Hessian; did the simulation diverge? Redo it with a shorter `dt`."
        )
    return _linearised(tdgl, psi)


# Compiled as a whole: op by op, the first call would take seconds.
@eqx.filter_jit
def _linearised(tdgl: TDGL, psi: Complex[Array, "2 nx ny"]) -> Hessian:
    def gradient_per_cell(u: Float[Array, "2 2 nx ny"]) -> Float[Array, "2 2 nx ny"]:
        return -2 * to_real(tdgl(0.0, to_complex(u)))

    u = to_real(psi)
    gradient, product = jax.linearize(gradient_per_cell, u)
    structure = jax.ShapeDtypeStruct(u.shape, u.dtype)
    operator = lx.FunctionLinearOperator(product, structure, lx.symmetric_tag)
    norm = jnp.max(jnp.abs(to_complex(gradient))) / 2
    return Hessian(tdgl, psi, operator, norm)
