r"""Structure factors of point patterns: $S(\mathbf{k})$ of the vortices."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gl15.observables._points import Box, Points
from gl15.observables._rings import check_edges, Edges, ring_average, sort_into_rings


_RINGS = 32

# Fourier coefficients of Hann's window 1 - cos(2 pi x/L), by |m|, and those of its
# square as far as the window's own do not vanish.
_HANN = (1.0, -0.5)
_HANN_SQUARED = (1.5, -1.0)


def point_structure_factor(
    points: Points,
    edges: Edges | None = None,
    *,
    other: Points | None = None,
    weights: Float[Array, " slots"] | None = None,
) -> tuple[Float[Array, " rings"], Float[Array, " rings"]]:
    r"""Structure factor of a point pattern, radially averaged.

    $$
    S(k) = \Big\langle \frac{1}{N} \Big| \sum_j e^{-i\mathbf{k}\mathbf{r}_j} \Big|^2
    \Big\rangle_{|\mathbf{k}| \in \text{ring}}, \qquad
    \mathbf{k} = 2\pi (m_x/L_x, m_y/L_y)
    $$

    1 for independent points, 0 at small k for a hyperuniform pattern, N at the Bragg
    peaks of a lattice. Exact on a torus. In a box with edges the points are weighted
    with Hann's window, less what a uniform density shows through it, and divided by
    what independent points show: their S is 1 on average at every wave vector, and the
    box itself does not scatter. The window mixes wave vectors that are neighbours;
    the first ring then says little of its own.

    Args:
        points: the points, for instance `vortices.points(0)`.
        edges: edges of the rings, rising; a ring is (low, high]. By default 32 rings of
            width $2\pi/L$ centred on multiples of it, L the shorter side.
        other: another pattern in the same box: then the cross structure factor,
            $\mathrm{Re}\langle\hat\rho_1\hat\rho_2^*\rangle/\sqrt{N_1 N_2}$.
        weights: one per point, for instance the charges of vortices; normalised by the
            sum of their squares instead of N.

    Returns:
        Mean wave number of each ring, and S there; NaN without points.

    Raises:
        ValueError: if a ring is narrower than the spacing of the wave vectors, or if
            the boxes differ.
    """
    values = _ring_edges(points.box, edges)
    grid = wave_vectors(points.box, values[-1])
    k = np.hypot(grid[0][:, None], grid[1])
    rings = sort_into_rings(k, values)
    count = len(values) - 1
    means = np.array([np.mean(k[rings == ring]) for ring in range(count)])
    power = _power(points, other, weights, values[-1])
    S = ring_average(power, rings, count)
    return jnp.asarray(means, S.dtype), S


def point_structure_factor_map(
    points: Points,
    k_max: float | None = None,
    *,
    other: Points | None = None,
    weights: Float[Array, " slots"] | None = None,
) -> tuple[Float[Array, " nkx"], Float[Array, " nky"], Float[Array, "nkx nky"]]:
    r"""Structure factor of a point pattern at every wave vector, $S(k_x, k_y)$.

    Args:
        points: the points.
        k_max: largest component of a wave vector; by default $32 \cdot 2\pi/L$, L the
            shorter side.
        other: as in `point_structure_factor`.
        weights: as in `point_structure_factor`.

    Returns:
        $k_x$ and $k_y$, rising, with zero in the middle, and S there.

    Raises:
        ValueError: if there is no wave vector up to `k_max`, or if the boxes differ.
    """
    step = 2 * np.pi / min(points.box.lengths)
    k_max = _RINGS * step if k_max is None else k_max
    if not (np.isfinite(k_max) and k_max >= step):
        raise ValueError(
            f"`k_max` must be at least 2 pi/L={step:g}, the first wave number of this "
            f"box, got {k_max}."
        )
    S = _power(points, other, weights, k_max)
    k_x, k_y = (jnp.asarray(k, S.dtype) for k in wave_vectors(points.box, k_max))
    return k_x, k_y, S


def wave_vectors(
    box: Box, k_max: float
) -> tuple[Float[np.ndarray, " nkx"], Float[np.ndarray, " nky"]]:
    r"""Wave numbers $2\pi m/L$ along each axis, from $-k_\max$ to $k_\max$.

    Args:
        box: the box.
        k_max: the largest.

    Returns:
        $k_x$ and $k_y$, rising.
    """
    steps = [2 * np.pi / length for length in box.lengths]
    tops = [int(np.floor(k_max / step * (1 + 1e-9))) for step in steps]
    k_x, k_y = (
        step * np.arange(-top, top + 1) for step, top in zip(steps, tops, strict=True)
    )
    return k_x, k_y


def _ring_edges(box: Box, edges: Edges | None) -> Float[np.ndarray, " edges"]:
    step = 2 * np.pi / min(box.lengths)
    if edges is None:
        return (np.arange(_RINGS + 1) + 0.5) * step
    return check_edges(edges, step)


def _power(
    points: Points,
    other: Points | None,
    weights: Float[Array, " slots"] | None,
    k_max: float,
) -> Float[Array, "nkx nky"]:
    if other is not None and other.box != points.box:
        raise ValueError(
            f"`other` must lie in the same box, got {other.box} beside {points.box}."
        )
    if other is not None and weights is not None:
        raise ValueError("`weights` belong to one pattern; leave out `other`.")
    return _compiled(points, other, weights, float(k_max))


@eqx.filter_jit
def _compiled(points, other, weights, k_max: float) -> Float[Array, "nkx nky"]:
    grid = wave_vectors(points.box, k_max)
    first, norm = _transform(points, weights, grid)
    second = first
    if other is not None:
        second, norm_2 = _transform(other, None, grid)
        norm = jnp.sqrt(norm * norm_2)
    power = jnp.real(first * second.conj()) / norm
    if points.box.periodic:
        return power
    return power / jnp.asarray(_random_power(points.box, grid), power.dtype)


def _transform(points: Points, weights, grid):
    """Windowed, centred transform of a pattern, and the sum of its squared weights."""
    where = points.filled
    amount = points.mask.astype(where.dtype)
    if weights is not None:
        amount = jnp.where(points.mask, weights, 0).astype(where.dtype)
    norm = jnp.sum(amount**2)
    if not points.box.periodic:
        lengths = jnp.asarray(points.box.lengths, where.dtype)
        amount = amount * jnp.prod(1 - jnp.cos(2 * jnp.pi * where / lengths), axis=-1)
    # A transform of points on a rectangular grid is one product of two matrices.
    waves = [
        jnp.exp(-1j * where[:, axis, None] * jnp.asarray(grid[axis], where.dtype))
        for axis in (0, 1)
    ]
    total = jnp.matmul(
        waves[0].T, amount[:, None] * waves[1], precision=jax.lax.Precision.HIGHEST
    )
    if not points.box.periodic:
        leak = jnp.asarray(_coefficients(_HANN, points.box, grid), where.dtype)
        total = total - leak * jnp.sum(amount)
    return total, norm


def _coefficients(table: tuple[float, ...], box: Box, grid):
    """Fourier coefficients of a product of one function of x and the same of y."""
    along = []
    for k, length in zip(grid, box.lengths, strict=True):
        order = np.rint(np.abs(k) * length / (2 * np.pi)).astype(int)
        along.append(np.asarray([*table, 0.0])[np.minimum(order, len(table))])
    return np.multiply.outer(*along)


def _random_power(box: Box, grid) -> Float[np.ndarray, "nkx nky"]:
    """What independent points show through the window; 1 at k = 0, where none is."""
    window = _coefficients(_HANN, box, grid)
    square = _coefficients(_HANN_SQUARED, box, grid)
    power = _HANN_SQUARED[0] ** 2 * (1 + window**2) - 2 * window * square
    return np.where(window == 1, 1, power)
