"""Disorder: maps of the local critical temperature, drawn at random."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.physics import Lattice
from gl15.physics._types import Scalar


class Disorder(eqx.Module):
    r"""A normal random field with a given strength and correlation length.

    $$
    \langle a(r) \rangle = 0, \qquad
    \langle a(r)\, a(r') \rangle = s^2 e^{-|r - r'|^2 / 2\ell^2}
    $$

    Called with a lattice and a key it draws a map $a$. Added to $\alpha$ of both bands
    it is disorder of the local critical temperature, which pins vortices:
    `VortexSimulator(..., disorder=Disorder(0.2, 1.0))` draws one for every simulation,
    and `Randomised` its strength and length besides. On a torus the correlations go
    round it; the opposite edges of an open sample know nothing of each other.

    Attributes:
        strength: standard deviation $s$ at every site.
        length: correlation length $\ell$, in units of length; 0 for sites that are
            independent.
    """

    strength: Scalar
    length: Scalar

    def __check_init__(self):
        for name in ("strength", "length"):
            value = getattr(self, name)
            if not isinstance(value, Tracer) and not 0 <= float(value) < np.inf:
                raise ValueError(
                    f"`{name}` must be a finite number of at least 0, got {value}."
                )

    def __call__(self, lattice: Lattice, *, key: PRNGKeyArray) -> Float[Array, "nx ny"]:
        """Draw a map.

        Args:
            lattice: the sample.
            key: JAX random key.

        Returns:
            The map, one value per site.
        """
        nx, ny = lattice.shape
        # An open sample is cut from a torus twice as wide: no edge meets another.
        shape = (2 * nx, 2 * ny) if lattice.is_open else (nx, ny)
        k_x = 2 * np.pi * np.fft.fftfreq(shape[0], lattice.spacing)[:, None]
        k_y = 2 * np.pi * np.fft.fftfreq(shape[1], lattice.spacing)
        white = jax.random.normal(key, shape)
        damping = jnp.exp(-jnp.asarray(k_x**2 + k_y**2, float) * self.length**2 / 4)
        field = jnp.fft.ifft2(damping * jnp.fft.fft2(white)).real
        field = field / jnp.sqrt(jnp.mean(damping**2))
        return jnp.asarray(self.strength) * field[:nx, :ny]


def some_disorder(given: Any) -> Any:
    """What a simulator takes for disorder; a number alone has no length.

    Args:
        given: a `Disorder`, None, or what stands for one in a tree.

    Returns:
        The same.

    Raises:
        TypeError: if it is a number.
    """
    if isinstance(given, bool | int | float | np.ndarray | jax.Array):
        raise TypeError(
            f"`disorder` must be a Disorder, got {given!r}; give Disorder(strength, "
            "length), or a fixed map as `alpha` of the material."
        )
    return given
