"""Noise of counting and of reading out."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gl15.instruments._instrument import AnyKey, Parameter


def count_noise(
    signal: Float[Array, "*shape"],
    exposure: Parameter | Float[Array, "*shape"],
    key: AnyKey | None,
    instrument: str,
) -> Float[Array, "*shape"]:
    r"""Poisson noise, in the units of the signal.

    $x' = n/c$ with $n \sim \mathrm{Poisson}(c\,x)$: mean $x$, variance $x/c$. The
    derivative is that of the Gaussian limit, $x + \sqrt{x/c}\,\xi$ at fixed $\xi$.

    Args:
        signal: $x$, not negative; what rounding left below zero counts as zero.
        exposure: counts $c$ per unit of signal.
        key: JAX random key.
        instrument: its name, for the message.

    Returns:
        The noisy signal.

    Raises:
        ValueError: if there is no key.
    """
    key = need_key(key, instrument, "counts")
    scale = jnp.asarray(exposure, signal.dtype)
    mean = jnp.maximum(signal, 0) * scale
    counts = jax.random.poisson(key, jax.lax.stop_gradient(mean)).astype(signal.dtype)
    spread = jnp.sqrt(jnp.where(mean > 0, mean, 1))
    xi = jax.lax.stop_gradient((counts - mean) / spread)
    smooth = mean + spread * xi
    # The value is that of the counts, the derivative that of the smooth law.
    return (counts + (smooth - jax.lax.stop_gradient(smooth))) / scale


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
    if isinstance(deviation, float | int) and deviation == 0:
        return signal
    key = need_key(key, instrument, parameter)
    normal = jax.random.normal(key, signal.shape, signal.dtype)
    return signal + jnp.asarray(deviation, signal.dtype) * normal


def finite(counts: Parameter | None) -> Parameter | None:
    """An exposure, or `None` where it is known to be infinite."""
    if isinstance(counts, float) and math.isinf(counts):
        return None
    return counts


def need_key(key: AnyKey | None, instrument: str, parameter: str) -> AnyKey:
    """Refuse to draw noise without a key."""
    if key is None:
        raise ValueError(
            f"{instrument} has `{parameter}`, so it needs `key=jax.random.key(...)`."
        )
    return key
