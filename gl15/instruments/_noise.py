"""Noise of counting and of reading out."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gl15.instruments._checks import is_known
from gl15.instruments._instrument import AnyKey, Parameter


# Above this JAX's sampler loses its variance in single precision (half as much again
# at 1e8) and its integers overflow at 2e9; the normal law is off by 1/sqrt(n) < 0.4%.
_MANY = 2.0**16

# What rounding may leave below zero, relative to the largest value.
_ROUNDING = 1e-5


def count_noise(
    signal: Float[Array, "*shape"],
    exposure: Parameter | Float[Array, "*shape"],
    key: AnyKey | None,
    instrument: str,
) -> Float[Array, "*shape"]:
    r"""Poisson noise, in the units of the signal.

    $x' = n/c$ with $n \sim \mathrm{Poisson}(c\,x)$: mean $x$, variance $x/c$, and the
    signal itself where c is infinite. The derivative is that of the Gaussian limit,
    $x + \sqrt{x/c}\,\xi$ at fixed $\xi$.

    Args:
        signal: $x$, not negative but for rounding.
        exposure: counts $c$ per unit of signal.
        key: JAX random key.
        instrument: its name, for the message.

    Returns:
        The noisy signal; NaN where a traced signal is negative.

    Raises:
        ValueError: if there is no key, or if the signal is known to be negative.
    """
    key = need_key(key, instrument, "counts")
    negative = signal < -_ROUNDING * jnp.max(jnp.abs(signal))
    if is_known(negative) and (number := int(np.sum(negative))):
        raise ValueError(
            f"{instrument} counts, but its signal is negative at {number} of "
            f"{negative.size} points, down to {float(jnp.min(signal)):g}: there are no "
            "negative counts. Give it densities, put it before any instrument that "
            "adds noise, or take `counts=None`."
        )
    scale = jnp.asarray(exposure, signal.dtype)
    mean = jnp.maximum(signal, 0) * scale
    perfect = ~jnp.isfinite(mean)
    mean = jnp.where(perfect, 0, mean)
    scale = jnp.where(perfect, 1, scale)
    counts = _poisson(key, jax.lax.stop_gradient(mean))
    spread = jnp.sqrt(jnp.where(mean > 0, mean, 1))
    xi = jax.lax.stop_gradient((counts - mean) / spread)
    smooth = mean + spread * xi
    # The value is that of the counts, the derivative that of the smooth law.
    noisy = (counts + (smooth - jax.lax.stop_gradient(smooth))) / scale
    # Traced, an error would take the whole ensemble along; NaN shows which it was.
    return jnp.where(negative, jnp.nan, jnp.where(perfect, signal, noisy))


def _poisson(key: AnyKey, mean: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    few, many = jax.random.split(key)
    counts = jax.random.poisson(few, jnp.minimum(mean, _MANY)).astype(mean.dtype)
    normal = jax.random.normal(many, mean.shape, mean.dtype)
    return jnp.where(mean > _MANY, jnp.round(mean + jnp.sqrt(mean) * normal), counts)


def read_noise(
    signal: Float[Array, "*shape"],
    deviation: Parameter,
    key: AnyKey | None,
    instrument: str,
    parameter: str,
) -> Float[Array, "*shape"]:
    """Gaussian noise of a given standard deviation.

    Args:
        signal: the signal.
        deviation: standard deviation, in the units of the signal.
        key: JAX random key.
        instrument: its name, for the message.
        parameter: what it calls the deviation, for the message.

    Returns:
        The noisy signal.

    Raises:
        ValueError: if there is noise but no key.
    """
    if is_off(deviation):
        return signal
    key = need_key(key, instrument, parameter)
    normal = jax.random.normal(key, signal.shape, signal.dtype)
    return signal + jnp.asarray(deviation, signal.dtype) * normal


def baseline_noise(
    signal: Float[Array, "rows columns c"],
    deviation: Parameter,
    key: AnyKey | None,
    instrument: str,
    parameter: str,
) -> Float[Array, "rows columns c"]:
    """A zero level that wanders while the rows are read one after the other.

    A random walk over the rows, the same for all pixels of a row.

    Args:
        signal: the signal.
        deviation: standard deviation of the walk at the last row.
        key: JAX random key.
        instrument: its name, for the message.
        parameter: what it calls the deviation, for the message.

    Returns:
        The signal on its wandering zero level.

    Raises:
        ValueError: if there is noise but no key.
    """
    if is_off(deviation):
        return signal
    key = need_key(key, instrument, parameter)
    rows, _, channels = signal.shape
    steps = jax.random.normal(key, (rows, 1, channels), signal.dtype)
    walk = jnp.cumsum(steps, axis=0) / math.sqrt(rows)
    return signal + jnp.asarray(deviation, signal.dtype) * walk


def finite(counts: Parameter | None) -> Parameter | None:
    """An exposure, or `None` where it is known to be infinite."""
    if counts is not None and is_known(counts) and math.isinf(float(counts)):
        return None
    return counts


def is_off(deviation: Parameter) -> bool:
    """Whether a noise is known to be none."""
    return is_known(deviation) and float(deviation) == 0


def need_key(key: AnyKey | None, instrument: str, parameter: str) -> AnyKey:
    """Refuse to draw noise without a key."""
    if key is None:
        raise ValueError(
            f"{instrument} has `{parameter}`, so it needs `key=jax.random.key(...)`."
        )
    return key
