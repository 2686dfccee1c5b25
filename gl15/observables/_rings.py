"""Rings of wave vectors: which physical wave number a spectrum is averaged at."""

from collections.abc import Sequence
from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Shaped


Edges: TypeAlias = Sequence[float] | Float[np.ndarray, " edges"]

# Edges given as multiples of the wave vectors' spacing must not sort them by the
# last bit.
_SLACK = 1e-9


def wave_numbers(shape: tuple[int, int], spacing: float) -> Float[np.ndarray, "nx ny"]:
    r"""$|\mathbf{k}|$ of every wave vector, in the order of `jnp.fft.fft2`.

    Args:
        shape: number of pixels.
        spacing: pixel spacing.

    Returns:
        Wave numbers, known at compile time.
    """
    check_spacing(spacing)
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
    check_spacing(spacing)
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
    check_spacing(spacing)
    step = 2 * np.pi / (min(shape) * spacing)
    values = check_edges(edges, step)
    nyquist = np.pi / spacing
    if values[-1] > nyquist * (1 + _SLACK):
        raise ValueError(
            f"`edges` reach to k={values[-1]:g}, beyond the Nyquist wave number "
            f"pi/spacing={nyquist:g} of this image; end them there."
        )
    return sort_into_rings(wave_numbers(shape, spacing), values)


def ring_counts(
    shape: tuple[int, int], spacing: float, edges: Edges
) -> Int[np.ndarray, " rings"]:
    r"""Number of wave vectors in each ring.

    Half of them are independent: a real image has the same power at
    $\pm\mathbf{k}$. The relative standard error of $S(k)$ from one image of a random
    field is therefore about $\sqrt{2/\text{count}}$.

    Args:
        shape: number of pixels.
        spacing: pixel spacing.
        edges: edges of the rings.

    Returns:
        The counts.

    Raises:
        ValueError: if the rings do not suit the wave vectors.
    """
    rings = ring_indices(shape, spacing, edges).reshape(-1)
    count = len(edges) - 1
    return np.bincount(rings[(rings >= 0) & (rings < count)], minlength=count)


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


def check_spacing(spacing: float) -> None:
    """Refuse a pixel spacing that is not a length.

    Args:
        spacing: pixel spacing.

    Raises:
        ValueError: if it is not positive and finite.
    """
    if not (np.isfinite(spacing) and spacing > 0):
        raise ValueError(f"`spacing` must be a positive length, got {spacing}.")


def check_edges(edges: Edges, step: float) -> Float[np.ndarray, " edges"]:
    """Edges as an array, refused where they cannot make rings of wave vectors.

    Args:
        edges: edges of the rings.
        step: spacing of the wave vectors.

    Returns:
        The edges.

    Raises:
        ValueError: if they do not rise, or make a ring narrower than `step`.
    """
    values = np.asarray(edges, float)
    if values.ndim != 1 or len(values) < 2 or not np.all(np.isfinite(values)):
        raise ValueError(
            f"`edges` must be at least two finite wave numbers, got {edges}."
        )
    if values[0] < 0:
        raise ValueError(f"`edges` must not be negative, got {values[0]:g}.")
    widths = np.diff(values)
    if np.any(widths <= 0):
        raise ValueError(f"`edges` must rise, got {edges}; sort them.")
    if np.min(widths) < step * (1 - _SLACK):
        raise ValueError(
            f"`edges` make a ring of width {np.min(widths):g}, narrower than the "
            f"spacing 2 pi/L={step:g} of the wave vectors; use wider rings, or a "
            "larger sample."
        )
    return values


def sort_into_rings(
    k: Float[np.ndarray, "nx ny"], edges: Float[np.ndarray, " edges"]
) -> Int[np.ndarray, "nx ny"]:
    """The ring (low, high] that each wave number lies in.

    Args:
        k: wave numbers.
        edges: edges of the rings, checked.

    Returns:
        Index of the ring; -1 below the first and `len(edges) - 1` above the last.
    """
    return np.searchsorted(edges * (1 + _SLACK), k, side="left") - 1
