r"""Hyperuniformity: how the structure factor vanishes towards $k = 0$."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Shaped

from gl15.observables._point_spectrum import point_structure_factor_map, wave_vectors
from gl15.observables._points import Points


# Hann's window correlates each power with its neighbours', |rho|^2 = 4/9 and 1/36 at
# one and two steps along an axis: so many ordinates count as one.
_CORRELATED = (1 + 2 * (4 / 9 + 1 / 36)) ** 2
# Its mean square width along each axis, in units of (2 pi/L)^2.
_SPREAD = 1 / 3


class PowerLaw(eqx.Module):
    r"""A power law $S(k) = S_0 (k/k_0)^\alpha$ and what is not known of it.

    Attributes:
        exponent: $\alpha$: above 0 for a hyperuniform pattern, 0 for a random one.
        exponent_std: its standard error.
        amplitude: $S_0$.
        amplitude_std: its standard error, independent of that of the exponent.
        pivot: $k_0$, the geometric mean of the wave numbers fitted.
        ordinates: number of independent powers that the fit rests on.
    """

    exponent: Float[Array, ""]
    exponent_std: Float[Array, ""]
    amplitude: Float[Array, ""]
    amplitude_std: Float[Array, ""]
    pivot: Float[Array, ""]
    ordinates: Float[Array, ""]

    def __call__(self, k: Float[Array, "*n"] | float) -> Float[Array, "*n"]:
        """The structure factor that the law has at some wave numbers.

        Args:
            k: wave numbers.

        Returns:
            S there.
        """
        return self.amplitude * (k / self.pivot) ** self.exponent


def hyperuniformity(
    points: Points, k_max: float | None = None, *, k_min: float = 0.0
) -> PowerLaw:
    r"""Hyperuniformity exponent of a point pattern: $S(k) \sim k^\alpha$ at small k.

    At each wave vector the power of a pattern of many points is exponentially
    distributed about S(k) and independent of the others', those at
    $-\mathbf{k}$ apart; $\alpha$ maximises that likelihood (Whittle's), and its
    standard error is that of the Fisher information. In a box with edges the powers
    are correlated by the window: the error is enlarged for it, and k replaced by
    $\sqrt{k^2 + q^2}$ with q the width of the window.

    The exponent is that of the range fitted: vary `k_max`, and trust what does not
    change with it. A pattern with few points has few wave vectors below its peak; give
    several realisations at once, with a leading axis made by `jax.vmap`.

    Args:
        points: a pattern, or independent patterns in one box with a leading axis.
        k_max: largest wave number of the fit. By default $\pi\sqrt{N/A}$, half of that
            at which a lattice of this density has its first peak.
        k_min: wave numbers up to this are left out.

    Returns:
        The power law.

    Raises:
        ValueError: if fewer than three wave vectors lie in the range, or if the power
            vanishes to rounding there (a lattice: no exponent describes it).

    Reference:
        Torquato, Physics Reports 745, 1 (2018); Whittle, Ark. Mat. 2, 423 (1953).
    """
    if points.mask.ndim == 1:
        points = jax.tree.map(lambda leaf: leaf[None], points)
    box = points.box
    fewest = points.mask.sum(1).min()
    if not isinstance(fewest, Tracer) and fewest < 2:
        raise ValueError(
            f"`points` holds a pattern of {fewest} points; give at least 2 in each."
        )
    density = jnp.mean(jnp.sum(points.mask, axis=1)) / box.area
    if k_max is None:
        # The arrays are as large as the slots allow, the range as the points do.
        top = np.pi * np.sqrt(points.mask.shape[1] / box.area)
        limit = np.pi * jnp.sqrt(density)
    else:
        top, limit = float(k_max), jnp.asarray(float(k_max))
    top = max(top, 2 * np.pi / min(box.lengths))
    k_x, k_y = wave_vectors(box, top)
    k = np.hypot(k_x[:, None], k_y)
    power = jax.vmap(lambda one: point_structure_factor_map(one, top)[2])(points)
    use = (k > max(k_min, 0.0)) & (k <= limit * (1 + 1e-9))
    weights = jnp.where(use, 0.5 * power.shape[0], 0.0)
    power = jnp.mean(power, axis=0)
    if not isinstance(power, Tracer):
        _check(power, np.asarray(use), k_min, limit)
    correlated = 1.0 if box.periodic else _CORRELATED
    if not box.periodic:
        steps = 2 * np.pi / np.asarray(box.lengths)
        k = np.sqrt(k**2 + _SPREAD * np.sum(steps**2))
    k = jnp.asarray(np.where(k > 0, k, 1), power.dtype)
    return _fit(k, power, weights / correlated)


def fit_power_law(
    k: Float[Array | np.ndarray, " rings"],
    S: Float[Array | np.ndarray, " rings"],
    counts: Shaped[Array | np.ndarray, " rings"],
) -> PowerLaw:
    r"""Power law through a radially averaged structure factor, $S(k) \sim k^\alpha$.

    Each ring is a mean over exponentially distributed powers, so its scatter is known:
    $\sqrt{2/\text{count}}$ of S for a real field. The likelihood is that of
    `hyperuniformity`.

    Args:
        k: wave numbers above zero; choose the rings of the range to be fitted.
        S: structure factor there.
        counts: number of wave vectors in each ring, from `ring_counts`, times the
            number of images averaged over; 0 leaves a ring out.

    Returns:
        The power law.

    Raises:
        ValueError: if a wave number or a power is not positive, or if fewer than two
            rings have counts.
    """
    k, S, counts = jnp.asarray(k), jnp.asarray(S), jnp.asarray(counts)
    if not k.shape == S.shape == counts.shape:
        raise ValueError(
            f"`k`, `S` and `counts` must be one for each ring, got shapes {k.shape}, "
            f"{S.shape} and {counts.shape}."
        )
    if not isinstance(counts, Tracer) and np.sum(counts > 0) < 2:
        raise ValueError(
            f"`counts` must be positive in two rings or more, got {counts}; a power "
            "law has two parameters."
        )
    for name, value in (("k", k), ("S", S)):
        if not isinstance(value, Tracer) and not bool(jnp.all(value > 0)):
            raise ValueError(
                f"`{name}` must be positive for a power law, got {value}; leave the "
                "other rings out."
            )
    return _fit(k, S, 0.5 * counts.astype(S.dtype))


@eqx.filter_jit
def _fit(
    k: Float[Array, "*n"], power: Float[Array, "*n"], weights: Float[Array, "*n"]
) -> PowerLaw:
    r"""Maximise $-\sum w\,[\log S(k) + I/S(k)]$ over a power law S.

    With the amplitude at its best for each exponent, the derivative vanishes where the
    mean of log k weighted with $w I k^{-\alpha}$ equals that weighted with w. It falls
    steadily with the exponent, so that halving an interval always finds the root.
    """
    weights = weights.astype(power.dtype)
    total = jnp.sum(weights)
    log_k = jnp.log(k)
    centre = jnp.sum(weights * log_k) / total
    log_k = jnp.where(weights > 0, log_k - centre, 0)
    part = jnp.where(weights > 0, weights * power, 1)
    log_part = jnp.where(weights > 0, jnp.log(part), -jnp.inf)

    def moments(exponent, log_part):
        tilted = jax.nn.softmax((log_part - exponent * log_k).reshape(-1))
        mean = jnp.sum(tilted * log_k.reshape(-1))
        return mean, jnp.sum(tilted * log_k.reshape(-1) ** 2) - mean**2

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        above = moments(middle, jax.lax.stop_gradient(log_part))[0] > 0
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    ends = (jnp.asarray(-20.0, k.dtype), jnp.asarray(20.0, k.dtype))
    low, high = jax.lax.fori_loop(0, 40, halve, ends)
    exponent = (low + high) / 2
    # One step of Newton's: it carries the derivative, which halving does not.
    mean, variance = moments(exponent, log_part)
    exponent = exponent + mean / variance
    shape = jnp.where(weights > 0, power * jnp.exp(-exponent * log_k), 0)
    amplitude = jnp.sum(weights * shape) / total
    return PowerLaw(
        exponent=exponent,
        exponent_std=1 / jnp.sqrt(jnp.sum(weights * log_k**2)),
        amplitude=amplitude,
        amplitude_std=amplitude / jnp.sqrt(total),
        pivot=jnp.exp(centre),
        ordinates=total,
    )


def _check(power, use: np.ndarray, k_min: float, limit) -> None:
    count = int(np.sum(use))
    if count < 6:
        raise ValueError(
            f"`k_max`={float(limit):g} and `k_min`={k_min:g} leave {count // 2} "
            "independent wave vectors, too few for an exponent; use a larger range or "
            "a larger sample."
        )
    dtype = power.dtype
    if float(np.max(np.asarray(power)[use])) < (1e3 * np.finfo(dtype).eps) ** 2:
        raise ValueError(
            "`points` have no power at all below "
            f"`k_max`={float(limit):g}: a lattice, which no exponent describes."
        )
