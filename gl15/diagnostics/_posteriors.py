"""The engine of every diagnostic: the grid posteriors of a whole ensemble."""

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jaxtyping import Array, Float

from gl15.inference import MisspecificationWarning
from gl15.inference._calibration.guarded import UNUSUAL
from gl15.posterior import (
    grid_posterior_from_features,
    GridPosterior,
    LogRatio,
    Points,
)
from gl15.simulation._arguments import whole_number


_NODES_AT_ONCE = 2**16  # grid nodes evaluated together, over all images of a batch


@runtime_checkable
class HeldOut(Protocol):
    """Pairs of parameters and images that the estimator was not trained on.

    An `Ensemble` is one, and so is anything else with these members. Where it also has
    `spacing` and `channels`, as an `Ensemble` has, they must be those of training.
    """

    @property
    def theta(self) -> Mapping[str, Any]:
        """Parameter name -> `[n]`."""
        ...

    @property
    def x(self) -> Any:
        """The images, `[n, ...]`."""
        ...


def embed_ensemble(
    estimator: LogRatio,
    x: Any,
    *,
    batch_size: int = 64,
    spacing: float | None = None,
    channel_names: tuple[str, ...] = (),
) -> Float[Array, "n features"]:
    """Features of many images, a batch at a time.

    A `Guarded` estimator warns, once, where more of them than chance allows are unlike
    those of its training: of all diagnostics that embed images, or are given features.

    Several diagnostics of one ensemble can share them through their `features` option.

    Args:
        estimator: a trained `RatioEstimator`, or any `LogRatio`.
        x: images `[n, ...]`; a lazy array is read a batch at a time.
        batch_size: images embedded at once.
        spacing: pixel spacing of the images, if known.
        channel_names: names of their channels, if known.

    Returns:
        The features, `[n, features]`.

    Raises:
        ValueError: if there is no image, one is not finite, or they do not suit the
            estimator.
    """
    count = len(x)
    if count == 0:
        raise ValueError("`x` holds no images; give at least one.")
    _check_first(estimator, x, spacing, channel_names)
    size = min(whole_number("batch_size", batch_size), count)
    features, p_values = [], []
    for start in range(0, count, size):
        batch = _floating(x[start : start + size])
        finite = np.isfinite(batch).reshape(len(batch), -1).all(axis=1)
        if not finite.all():
            bad = start + np.flatnonzero(~finite)
            raise ValueError(
                f"`x` holds NaN or infinite values in image {bad[0]} (and in "
                f"{len(bad) - 1} more of its batch); leaving such images out would "
                "bias the test, so mend the simulator."
            )
        # A short last batch is filled up, so that all batches share one compilation.
        filled = np.resize(batch, (size, *batch.shape[1:]))
        embedded, p = _embed_batch(estimator, jnp.asarray(filled))
        features.append(embedded[: len(batch)])
        p_values.append([] if p is None else p[: len(batch)])
    _warn_if_unusual(p_values)
    return jnp.concatenate(features)


def map_posteriors(
    function: Callable[..., Any],
    estimator: LogRatio,
    ensemble: HeldOut,
    *extra: Any,
    points: Points = None,
    batch_size: int = 64,
    features: Float[Array, "n features"] | None = None,
) -> Any:
    """`function(posterior, theta, *extra)` for every pair of an ensemble, compiled.

    Args:
        function: takes a `GridPosterior`, the true parameters and one row of each of
            `extra`; returns arrays, or trees of them.
        estimator: a trained `RatioEstimator`, or any `LogRatio`.
        ensemble: held-out pairs.
        *extra: further arrays of one row per pair, such as random keys, or trees of
            them.
        points: nodes of each posterior, as in `grid_posterior`.
        batch_size: images embedded at once.
        features: what `embed_ensemble` gave for `ensemble.x`, to save computing it.

    Returns:
        What `function` returns, with a leading axis of length n.

    Raises:
        ValueError: if the ensemble does not suit the estimator: wrong, missing or
            non-finite parameters or images, parameters outside the prior, or another
            pixel spacing or channels.
    """
    names = estimator.prior.names
    missing = [name for name in names if name not in ensemble.theta]
    if missing:
        raise ValueError(
            f"`ensemble.theta` misses {missing}, which the estimator infers; it holds "
            f"{sorted(ensemble.theta)}."
        )
    theta = {name: jnp.asarray(ensemble.theta[name], float) for name in names}
    _check_theta(estimator, theta)
    spacing = getattr(ensemble, "spacing", None)
    channels = tuple(getattr(ensemble, "channels", None) or ())
    if features is None:
        features = embed_ensemble(
            estimator,
            ensemble.x,
            batch_size=batch_size,
            spacing=spacing,
            channel_names=channels,
        )
    else:
        _check_first(estimator, ensemble.x, spacing, channels)
    rows = {name: len(value) for name, value in theta.items()}
    if set(rows.values()) != {len(features)}:
        raise ValueError(
            f"`ensemble` pairs {rows} parameters with {len(features)} images; they "
            "must be as many."
        )
    static = tuple(points.items()) if isinstance(points, Mapping) else points
    return _map(function, estimator, features, theta, extra, static)


class Together(eqx.Module):
    """Several functions for one pass of `map_posteriors`.

    Tabulating a posterior costs more than what is asked of it: whoever asks several
    things asks them together. Each `extra` is a tuple, what its function takes.

    Attributes:
        functions: the functions.
    """

    functions: tuple[Callable[..., Any], ...]

    def __call__(
        self, posterior: GridPosterior, theta: Any, *extra: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        """What each of them returns."""
        pairs = zip(self.functions, extra, strict=True)
        return tuple(one(posterior, theta, *more) for one, more in pairs)


def _check_first(
    estimator: LogRatio, x: Any, spacing: float | None, channels: tuple[str, ...]
) -> None:
    """Images of one ensemble are alike: the first stands for all."""
    known: dict[str, Any] = {}
    if spacing is not None:
        known["spacing"] = spacing
    if channels:
        known["channel_names"] = channels
    estimator.check_image(jnp.asarray(_floating(x[0])), **known)


def _check_theta(estimator: LogRatio, theta: dict[str, Float[Array, " n"]]) -> None:
    """Of what is not finite no rank can be told, and NaN ranks pass for numbers.

    Nor has a posterior anything to say of what its prior rules out.
    """
    for name, value in theta.items():
        if bad := np.flatnonzero(~np.isfinite(np.asarray(value))).tolist():
            raise ValueError(
                f"`ensemble.theta[{name!r}]` must be finite, got {value[bad[0]]} at "
                f"index {bad[0]} (and {len(bad) - 1} more); mend or drop these pairs."
            )
    for name, support in estimator.prior.support.items():
        value = np.asarray(theta[name])
        if bad := np.flatnonzero(~np.asarray(support(theta[name]))).tolist():
            raise ValueError(
                f"`ensemble.theta[{name!r}]` is outside the prior of the estimator in "
                f"{len(bad)} of {len(value)} pairs, the first {value[bad[0]]:g} at "
                f"index {bad[0]}; draw held-out pairs from the estimator's prior."
            )


def _warn_if_unusual(p: list[Any]) -> None:
    """Speak of more images below the guard's level than chance puts there."""
    count = sum(map(len, p))
    below = sum(int((np.asarray(one) < UNUSUAL).sum()) for one in p)
    if scipy.stats.binom.sf(below - 1, count, UNUSUAL) < UNUSUAL:
        warnings.warn(
            f"`x` holds {below} of {count} images ({below / count:.0%}) that are "
            f"unlike those that this estimator learned from (p < {UNUSUAL:g}): what is "
            "found here tells of other images than it was made for. Compare noise, "
            "resolution, sample and field with those of the simulations.",
            MisspecificationWarning,
            stacklevel=3,
        )


def _floating(x: Any) -> np.ndarray:
    """As an array; counts become floats, any float type stays."""
    array = np.asarray(x)
    return array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(float)


@eqx.filter_jit
def _embed_batch(
    estimator: LogRatio, x: Any
) -> tuple[Float[Array, "n features"], Float[Array, " n"] | None]:
    """Features, and the p-values of an estimator that can tell images apart."""
    p_value = getattr(estimator, "p_value", None)
    p = None if p_value is None else jax.vmap(p_value)(x)
    return jax.vmap(estimator.embed)(x), p


@eqx.filter_jit
def _map(
    function: Callable[..., Any],
    estimator: LogRatio,
    features: Float[Array, "n features"],
    theta: dict[str, Float[Array, " n"]],
    extra: tuple[Any, ...],
    points: Any,
) -> Any:
    named = isinstance(points, tuple) and isinstance(points[0], tuple)
    grid = dict(points) if named else points

    def posterior(h: Float[Array, " features"]) -> GridPosterior:
        return grid_posterior_from_features(estimator, h, grid)

    shape = jax.eval_shape(posterior, features[0]).log_density.shape
    count = len(features)
    together = min(max(1, _NODES_AT_ONCE // math.prod(shape)), count)
    # Whole batches only: an incomplete last one would be compiled a second time.
    index = jnp.arange(-(-count // together) * together) % count
    rows = jax.tree.map(lambda leaf: leaf[index], (features, theta, extra))
    found = jax.lax.map(
        lambda row: function(posterior(row[0]), row[1], *row[2]),
        rows,
        batch_size=together,
    )
    return jax.tree.map(lambda leaf: leaf[:count], found)
