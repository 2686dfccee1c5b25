"""Detectors of images that are unlike those of training."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.diagnostics._posteriors import HeldOut
from gl15.inference import Detector, Directions, Line, SpectralEncoder
from gl15.inference._calibration.detector import summaries_and_features
from gl15.posterior import LogRatio


_SUMMARY_KINDS, _FEATURE_KINDS = 4, 2
_FLOOR = 1e-3  # smallest variance of decorrelated residuals, of their mean one


def misspecification(
    estimator: LogRatio,
    reference: HeldOut | Any,
    *,
    key: PRNGKeyArray,
    view: SpectralEncoder | None = None,
) -> Detector:
    """Learn what images of the training's kind look like, to notice others.

    Half of the reference images, drawn at random, teach what is usual, the other half
    calibrate the p-value. For p-values below 0.001, of which posteriors warn, it takes
    2,000 images; twice as many sharpen it. They must be drawn as the images are with
    which an estimator is to be trusted: over the same prior, with the same noise. Fresh
    ones are best: what is judged are summaries without trained parameters, but of which
    kind an image is, trained features say.

    ```python
    detector = gl15.diagnostics.misspecification(estimator, reference, key=key)
    guarded = gl15.inference.Guarded(estimator, detector)
    guarded.p_value(x)
    ```

    Args:
        estimator: a trained `RatioEstimator`, or any `LogRatio`.
        reference: an `Ensemble` of images like those of training, or anything with `x`.
        key: random key of the split.
        view: what summarises images; by default the estimator's encoder where its
            summary is a vector, else a `SpectralEncoder`.

    Returns:
        The `Detector`.

    Raises:
        TypeError: if `reference` is a bare array.
        ValueError: if there are fewer than 100 images, or they do not suit the
            estimator.
    """
    if not hasattr(reference, "x"):
        raise TypeError(
            "`reference` must be an Ensemble, or anything with images as `x`, got "
            f"{type(reference).__name__}; give `Ensemble(theta, x)`."
        )
    x = reference.x
    if len(x) < 100:
        raise ValueError(
            f"`reference` must hold at least 100 images, got {len(x)}; p-values below "
            "0.001 take 2,000."
        )
    estimator.check_image(jnp.asarray(x[0]))
    view = _view(estimator, x) if view is None else view
    z, h = summaries_and_features(estimator, x, view)
    good = np.isfinite(z).all(1) & np.isfinite(h).all(1)
    if not good.all():
        raise ValueError(
            f"`reference` gives summaries that are not finite, of {(~good).sum()} "
            f"images, the first at index {np.flatnonzero(~good)[0]}; mend the images."
        )
    order = np.asarray(jax.random.permutation(key, len(x)))
    usual, calibrating = np.split(order, [len(x) // 2])
    detector = _fitted(view, z[usual].astype(float), h[usual].astype(float), z.dtype)
    detector = eqx.tree_at(lambda one: one.scores, detector, jnp.zeros(0, z.dtype))
    scores = _scores(detector, jnp.asarray(z[calibrating]), jnp.asarray(h[calibrating]))
    return eqx.tree_at(lambda one: one.scores, detector, jnp.sort(scores))


def p_values(
    estimator: LogRatio, detector: Detector, x: Any
) -> Float[np.ndarray, " n"]:
    """P-values of many images; `plot_misspecification` shows them.

    Args:
        estimator: the estimator that the detector was made for.
        detector: what `misspecification` gave.
        x: images `[n, ...]`.

    Returns:
        The p-value of each.
    """
    z, h = summaries_and_features(estimator, x, detector.view)
    scores = np.asarray(_scores(detector, jnp.asarray(z), jnp.asarray(h)))
    known = np.asarray(detector.scores)
    return (1 + len(known) - np.searchsorted(known, scores)) / (1 + len(known))


@eqx.filter_jit
def _scores(detector: Detector, z: Array, h: Array) -> Float[Array, " n"]:
    return jax.lax.map(
        lambda row: detector.score_of(row[0], row[1]), (z, h), batch_size=64
    )


def _view(estimator: LogRatio, x: Any) -> SpectralEncoder | None:
    encoder = getattr(estimator, "encoder", None)
    if encoder is None:
        return None
    one = jax.ShapeDtypeStruct(x.shape[1:], jnp.result_type(float))
    if len(jax.eval_shape(encoder.summarise, one).shape) == 1:
        return None
    channels = x.shape[-1]
    some = np.asarray(x[:64])
    densities = channels > 1 and some[..., :2].min() >= 0
    rings = max(1, min(21, min(x.shape[1:3]) // 2 - 1))
    return SpectralEncoder(
        channels,
        rings=rings,
        ratios=((0, 1),) if densities else (),
        features=1,
        width=1,
        depth=0,
        key=jax.random.key(0),
    )


def _fitted(
    view: SpectralEncoder | None,
    z: Float[np.ndarray, "n size"],
    h: Float[np.ndarray, "n features"],
    dtype: Any,
) -> Detector:
    kinds = _directions(z, _SUMMARY_KINDS), _directions(h, _FEATURE_KINDS)
    both = [
        4 * np.tanh((v - center) @ axes.T / 4)
        for v, (center, axes) in zip((z, h), kinds, strict=True)
    ]
    y = np.concatenate(both, 1)
    i, j = np.triu_indices(y.shape[1])
    terms = np.concatenate([np.ones((len(y), 1)), y, y[:, i] * y[:, j]], 1)
    solve = np.linalg.solve(
        terms.T @ terms + 1e-5 * len(terms) * np.eye(terms.shape[1]), terms.T
    )

    def line(values: np.ndarray, tail: float | None) -> tuple[Any, np.ndarray]:
        weights = solve @ values
        found = terms @ weights
        if tail is None:
            low, high = np.full((2, values.shape[1]), np.inf) * [[-1], [1]]
        else:
            low, high = np.quantile(found, [tail, 1 - tail], axis=0)
        return (weights, low, high), np.clip(found, low, high)

    def log_square(residual: np.ndarray, floor: float, rounding: Any) -> np.ndarray:
        return np.log(residual**2 + floor * residual.var(0) + rounding**2)

    # An entry that does not vary, such as the deviation of images normalised by it,
    # holds rounding errors alone, which differ from one way of computing to another.
    rounding = 1e-5 * (np.abs(z).max(0) + np.median(z.std(0))) + np.finfo(float).tiny

    mean, expected = line(z, None)
    scatter, log_scatter = line(log_square(z - expected, 1e-3, rounding), 0.01)
    residual = (z - expected) / np.exp(log_scatter / 2)
    shift = residual.mean(0)
    decorrelate = _decorrelation(residual - shift)
    spread = np.log1p(((residual - shift) @ decorrelate) ** 2).sum(1)
    raw = np.log(spread + np.finfo(float).tiny)[:, None]
    middle, fitted = line(raw, 0.005)
    width, _ = line(log_square(raw - fitted, 1e-2, 1e-9), 0.01)

    size, features = z.shape[1], h.shape[1]
    counts = len(kinds[0][1]), len(kinds[1][1])
    empty = Detector(view, size, features, counts, decorrelate.shape[1], 0)
    as_lines = [Line(*map(jnp.asarray, one)) for one in (mean, scatter, middle, width)]
    found = eqx.tree_at(
        lambda d: (d.kinds, d.mean, d.scatter, d.shift, d.decorrelate, d.level),
        empty,
        (
            tuple(Directions(*map(jnp.asarray, one)) for one in kinds),
            *as_lines[:2],
            jnp.asarray(shift),
            jnp.asarray(decorrelate),
            tuple(as_lines[2:]),
        ),
    )
    is_own = lambda leaf: eqx.is_inexact_array(leaf)  # noqa: E731
    own, rest = eqx.partition(found, is_own)
    return eqx.combine(jax.tree.map(lambda leaf: leaf.astype(dtype), own), rest)


def _directions(v: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    center = v.mean(0)
    _, length, axes = np.linalg.svd(v - center, full_matrices=False)
    std = length / np.sqrt(len(v))
    kept = min(count, int((std > 1e-6 * std[0]).sum())) if std[0] > 0 else 0
    return center, axes[:kept] / std[:kept, None]


def _decorrelation(residual: np.ndarray) -> np.ndarray:
    std = residual.std(0)
    scale = np.where(std > 0.03, std, np.inf)  # of what varies it is about one
    values, vectors = np.linalg.eigh(
        np.cov((residual / scale).T).reshape([len(std)] * 2)
    )
    kept = values > 1e-10
    matrix = vectors[:, kept] / np.sqrt(values[kept] + _FLOOR) / scale[:, None]
    # Of heavy tails the deviation says little: two thirds of the values within one.
    return matrix / np.quantile(np.abs(residual @ matrix), 0.683, axis=0)
