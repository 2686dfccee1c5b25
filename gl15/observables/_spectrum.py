r"""Power spectra of images and their radial averages.

Wave vectors are physical, $k = 2\pi m / (N\,\mathrm{d}x)$. An image is transformed as
if it were periodic; in an open sample the mismatch of opposite edges leaks some power
along the axes.
"""

from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Complex, Float, Int, Shaped


Edges: TypeAlias = Sequence[float] | Float[np.ndarray, " edges"]


def structure_factor(
    rho: Float[Array, "nx ny"], spacing: float = 0.5, edges: Edges | None = None
) -> tuple[Float[Array, " rings"], Float[Array, " rings"]]:
    r"""Static structure factor, radially averaged.

    $$
    S(k) = \Big\langle \frac{|\delta\hat\rho(\mathbf{k})|^2}{n_x n_y} \Big\rangle_{
    |\mathbf{k}| \in \text{ring}}, \qquad \delta\rho = \rho - \langle\rho\rangle
    $$

    with the unnormalised discrete transform: for values that are independent from
    pixel to pixel, S is their variance at every k.

    Args:
        rho: density, or any channel of an image.
        spacing: pixel spacing.
        edges: edges of the rings, rising; a ring is (low, high]. By default rings of
            width $2\pi/L$ centred on multiples of it, up to the Nyquist wave number.

    Returns:
        Mean wave number of each ring, and S there.

    Raises:
        ValueError: if a ring reaches beyond the Nyquist wave number or is narrower
            than the spacing of the wave vectors, or if `rho` is not finite.
    """
    _check_finite("rho", rho)
    return _radial(rho, rho, spacing, edges)


def cross_structure_factor(
    first: Float[Array, "nx ny"],
    second: Float[Array, "nx ny"],
    spacing: float = 0.5,
    edges: Edges | None = None,
) -> tuple[Float[Array, " rings"], Float[Array, " rings"]]:
    r"""Cross spectrum of two images, real part, radially averaged.

    $S_{12}(k) = \mathrm{Re}\langle \delta\hat\rho_1 \delta\hat\rho_2^* \rangle / (n_x
    n_y)$: positive where the two fluctuate together, negative where against.

    Args:
        first: an image.
        second: another.
        spacing: pixel spacing.
        edges: edges of the rings, as in `structure_factor`.

    Returns:
        Mean wave number of each ring, and the cross spectrum there.

    Raises:
        ValueError: as `structure_factor` does.
    """
    _check_finite("first", first)
    _check_finite("second", second)
    return _radial(first, second, spacing, edges)


def cross_power(
    first: Float[Array, "nx ny"], second: Float[Array, "nx ny"]
) -> Complex[Array, "nx ny"]:
    r"""Cross spectrum $\delta\hat\rho_1 \delta\hat\rho_2^* / (n_x n_y)$ of two images.

    Args:
        first: an image.
        second: another; the same one gives the power, as a complex number.

    Returns:
        The spectrum in the order of `jnp.fft.fft2`; its mean is the covariance of the
        pixels.
    """
    transforms = [jnp.fft.fft2(image - jnp.mean(image)) for image in (first, second)]
    return transforms[0] * transforms[1].conj() / first.size


def wave_numbers(shape: tuple[int, int], spacing: float) -> Float[np.ndarray, "nx ny"]:
    r"""$|\mathbf{k}|$ of every wave vector, in the order of `jnp.fft.fft2`.

    Args:
        shape: number of pixels.
        spacing: pixel spacing.

    Returns:
        Wave numbers, known at compile time.
    """
    _check_spacing(spacing)
    k_x, k_y = (2 * np.pi * np.fft.fftfreq(n, spacing) for n in shape)
    return np.hypot(k_x[:, None], k_y)


def default_edges(
    shape: tuple[int, int], spacing: float
) -> Float[np.ndarray, " edges"]:
    r"""Edges $(m + \tfrac{1}{2})\,2\pi/L$ of rings up to the Nyquist wave number.

    L is the shorter side. No wave vector lies on an edge.

    Args:
        shape: number of pixels.
        spacing: pixel spacing.

    Returns:
        The edges.
    """
    _check_spacing(spacing)
    shorter = min(shape)
    return (np.arange((shorter + 1) // 2) + 0.5) * 2 * np.pi / (shorter * spacing)


def ring_indices(
    shape: tuple[int, int], spacing: float, edges: Edges
) -> Int[np.ndarray, "nx ny"]:
    """The ring (low, high] that each wave vector lies in.

    Args:
        shape: number of pixels.
        spacing: pixel spacing.
        edges: edges of the rings.

    Returns:
        Index of the ring; -1 below the first and `len(edges) - 1` above the last.

    Raises:
        ValueError: if the rings do not suit the wave vectors.
    """
    _check_spacing(spacing)
    values = np.asarray(edges, float)
    # Edges given as multiples of the wave vectors' spacing must not sort them by
    # the last bit.
    slack = 1e-9
    if values.ndim != 1 or len(values) < 2 or not np.all(np.isfinite(values)):
        raise ValueError(
            f"`edges` must be at least two finite wave numbers, got {edges}."
        )
    if values[0] < 0:
        raise ValueError(f"`edges` must not be negative, got {values[0]:g}.")
    nyquist = np.pi / spacing
    if values[-1] > nyquist * (1 + slack):
        raise ValueError(
            f"`edges` reach to k={values[-1]:g}, beyond the Nyquist wave number "
            f"pi/spacing={nyquist:g} of this image; end them there."
        )
    step = 2 * np.pi / (min(shape) * spacing)
    narrowest = np.min(np.diff(values))
    if narrowest < step * (1 - slack):
        raise ValueError(
            f"`edges` make a ring of width {narrowest:g}, narrower than the spacing "
            f"2 pi/L={step:g} of the wave vectors; use wider rings, or a larger image."
        )
    k = wave_numbers(shape, spacing)
    return np.searchsorted(values * (1 + slack), k, side="left") - 1


def ring_wave_numbers(
    shape: tuple[int, int], spacing: float, edges: Edges
) -> Float[np.ndarray, " rings"]:
    r"""Mean $|\mathbf{k}|$ of the wave vectors in each ring.

    Args:
        shape: number of pixels.
        spacing: pixel spacing.
        edges: edges of the rings.

    Returns:
        The wave numbers.

    Raises:
        ValueError: if the rings do not suit the wave vectors.
    """
    rings = ring_indices(shape, spacing, edges)
    k = wave_numbers(shape, spacing)
    return np.array([np.mean(k[rings == ring]) for ring in range(len(edges) - 1)])


def ring_average(
    values: Shaped[Array, "nx ny"], rings: Int[np.ndarray, "nx ny"], count: int
) -> Shaped[Array, " rings"]:
    """Mean over the wave vectors of each ring.

    Args:
        values: one value per wave vector.
        rings: ring of each, from `ring_indices`.
        count: number of rings.

    Returns:
        The means.
    """
    inside = np.flatnonzero((rings >= 0) & (rings < count))
    members = rings.reshape(-1)[inside]
    totals = jax.ops.segment_sum(values.reshape(-1)[inside], members, count)
    return totals / np.bincount(members, minlength=count).astype(values.real.dtype)


def _radial(
    first: Float[Array, "nx ny"],
    second: Float[Array, "nx ny"],
    spacing: float,
    edges: Edges | None,
) -> tuple[Float[Array, " rings"], Float[Array, " rings"]]:
    shape = (first.shape[0], first.shape[1])
    edges = default_edges(shape, spacing) if edges is None else np.asarray(edges, float)
    k = ring_wave_numbers(shape, spacing, edges)
    S = _average(first, second, spacing, tuple(edges.tolist()))
    return jnp.asarray(k, S.dtype), S


@partial(jax.jit, static_argnames=("spacing", "edges"))
def _average(
    first: Float[Array, "nx ny"],
    second: Float[Array, "nx ny"],
    spacing: float,
    edges: tuple[float, ...],
) -> Float[Array, " rings"]:
    rings = ring_indices((first.shape[0], first.shape[1]), spacing, edges)
    power = jnp.real(cross_power(first, second))
    return ring_average(power, rings, len(edges) - 1)


def _check_spacing(spacing: float) -> None:
    if not (np.isfinite(spacing) and spacing > 0):
        raise ValueError(f"`spacing` must be a positive length, got {spacing}.")


def _check_finite(name: str, image: Float[Array, "nx ny"]) -> None:
    if isinstance(image, Tracer) or np.all(np.isfinite(image)):
        return
    raise ValueError(
        f"`{name}` holds {int(np.sum(~np.isfinite(image)))} values of {image.size} "
        "that are not finite, and they would spread to every wave number; did the "
        "simulation diverge? Mask or redo this image."
    )
