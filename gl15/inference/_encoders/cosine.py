"""Ring-averaged cosine spectra: for samples that end where the image ends."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


# Edges of the rings in units of Nyquist. Narrow where vortices live, but for 32 pixels
# a side still with a wavenumber in every ring, and wide beyond.
_EDGES = np.concatenate(
    [[0.0], (np.arange(1, 10) + 0.5) / 32, np.linspace(9.5 / 32, 1, 9)[1:]]
)
RINGS = len(_EDGES) - 1
_FLOOR = 1e-12  # of powers: above the rounding of float32 images of order 1


def cosine_spectra(
    maps: Float[Array, "m nx ny"],
) -> tuple[Float[Array, "m rings"], Float[Array, "pairs rings"]]:
    """Power of every map and coherence of every pair of maps.

    The cosine transform continues a map evenly past its edges, as a sample continues
    through which no current flows: no window is needed, and short wavelengths are
    free of the leakage of the long ones.

    Args:
        maps: the maps, 32 pixels a side or more.

    Returns:
        Mean power per mode, and the coherence of the pairs, each in every ring.

    Raises:
        ValueError: if the maps are too small.
    """
    m, nx, ny = maps.shape
    modes = _cosines(nx, maps.dtype) @ maps @ _cosines(ny, maps.dtype).T
    modes = modes.reshape(m, -1)
    ring = _ring_average(nx, ny, maps.dtype)
    power = modes**2 @ ring + _FLOOR
    a, b = np.triu_indices(m, 1)
    coherence = (modes[a] * modes[b]) @ ring / jnp.sqrt(power[a] * power[b])
    return power, coherence


def _cosines(n: int, dtype) -> Float[Array, "n n"]:
    """The orthonormal transform DCT-II as a matrix."""
    k, x = np.arange(n)[:, None], np.arange(n)[None]
    table = np.sqrt(2 / n) * np.cos(np.pi * k * (x + 0.5) / n)
    table[0] /= np.sqrt(2)
    return jnp.asarray(table, dtype)


def _ring_average(nx: int, ny: int, dtype) -> Float[Array, "modes rings"]:
    k = np.hypot(np.arange(nx)[:, None] / nx, np.arange(ny) / ny).ravel()
    index = np.searchsorted(_EDGES, k, side="left") - 1
    table = (index[:, None] == np.arange(RINGS)) & (k > 0)[:, None]
    total = table.sum(0)
    if not total.all():
        raise ValueError(
            f"`x` is {nx} x {ny} pixels, too small for its spectra; 32 a side suffice."
        )
    return jnp.asarray(table / total, dtype)
