"""Images that the posterior predicts, and whether the observed one is among them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.infer import MCMC

from gl15.diagnostics._posteriors import embed_ensemble, HeldOut
from gl15.posterior import grid_posterior, GridPosterior, LogRatio, sample_posterior
from gl15.simulation import Ensemble
from gl15.simulation._observation import image_of


@dataclasses.dataclass(frozen=True)
class PredictiveCheck:
    """Statistics of one image among those that its posterior predicts.

    Attributes:
        names: of the statistics.
        observed: their values for the image, `[s]`.
        predicted: their values for predicted images, `[n, s]`.
        weight: of each predicted image, `[n]`, summing to one.
        p: two-sided posterior predictive p-values, `[s]`.
        calibrated_p: share of simulated images whose own `p` is at most this: uniform
            for an image of the model, which `p` itself is not. NaN without reference.
        effective: number of predicted images that carry the weight; below some tens
            the ensemble is too small for so sharp a posterior, or none of its images
            is like this one.
    """

    names: tuple[str, ...]
    observed: Float[np.ndarray, " s"]
    predicted: Float[np.ndarray, "n s"]
    weight: Float[np.ndarray, " n"]
    p: Float[np.ndarray, " s"]
    calibrated_p: Float[np.ndarray, " s"]
    effective: float

    def to_markdown(self) -> str:
        """A table with one row for each statistic.

        Returns:
            The table, in Markdown.
        """
        lines = [
            "| statistic | observed | predicted | p | calibrated p |",
            "|---" * 5 + "|",
        ]
        mean = self.weight @ self.predicted
        std = np.sqrt(self.weight @ (self.predicted - mean) ** 2)
        for j, name in enumerate(self.names):
            lines.append(
                f"| {name} | {self.observed[j]:.4g} | {mean[j]:.4g} ± {std[j]:.2g} "
                f"| {self.p[j]:.3f} | {self.calibrated_p[j]:.3f} |"
            )
        return "\n".join(lines)


def posterior_predictive(
    posterior: LogRatio | GridPosterior | MCMC | Mapping[str, Any],
    simulator: Callable[..., Any],
    x: Any = None,
    *,
    key: PRNGKeyArray,
    n: int = 64,
) -> Ensemble:
    r"""Images simulated at draws from the posterior of one image.

    $$
    \theta_i \sim p(\theta \mid x), \qquad x_i \sim p(x \mid \theta_i)
    $$

    Args:
        posterior: a posterior: a `GridPosterior`, a finished `MCMC`, or draws by name;
            or an estimator, whose posterior of `x` is then computed.
        simulator: `simulator(theta, key) -> x`.
        x: the image, if `posterior` is an estimator.
        key: random key.
        n: number of images.

    Returns:
        The parameters and images, an `Ensemble`.

    Raises:
        ValueError: if an estimator comes without `x`.
    """
    key_draw, key_run, key_sample = jax.random.split(key, 3)
    if isinstance(posterior, LogRatio):
        if x is None:
            raise ValueError("`x` is needed with an estimator: the image to predict.")
        if len(posterior.prior.names) <= 3:
            posterior = grid_posterior(posterior, x)
        else:
            posterior = sample_posterior(posterior, x, key=key_sample)
    if isinstance(posterior, GridPosterior):
        draws = posterior.sample(key_draw, (n,))
    else:
        known = posterior.get_samples() if isinstance(posterior, MCMC) else posterior
        count = len(next(iter(known.values())))
        chosen = jax.random.choice(key_draw, count, (n,), replace=n > count)
        draws = {name: jnp.asarray(value)[chosen] for name, value in known.items()}
    theta = {name: jnp.asarray(value, float) for name, value in draws.items()}
    run = eqx.filter_jit(
        lambda theta, keys: jax.lax.map(
            lambda one: simulator(one[0], one[1]), (theta, keys), batch_size=16
        )
    )
    images = run(theta, jax.random.split(key_run, n))
    spacing = getattr(simulator, "spacing", None)
    channels = tuple(getattr(simulator, "channels", ()) or ())
    return Ensemble(theta, images, spacing, channels)


def image_statistics(x: Float[Array, "..."]) -> dict[str, Float[Array, ""]]:
    """What a predictive check looks at by default.

    Of an image: mean, logarithm of the deviation, and roughness (the mean square of
    differences between neighbours, relative to the variance) of each channel, and the
    correlation of each two. Of a vector: its entries.

    Args:
        x: an image `[nx, ny, channels]` or a vector.

    Returns:
        Name -> value, a scalar.
    """
    if x.ndim != 3:
        return {f"x[{j}]": value for j, value in enumerate(x.reshape(-1))}
    found = {}
    tiny = jnp.finfo(x.dtype).tiny
    centred = x - x.mean((0, 1))
    variance = (centred**2).mean((0, 1)) + tiny
    steps = (jnp.diff(x, axis=0) ** 2).mean((0, 1))
    steps = (steps + (jnp.diff(x, axis=1) ** 2).mean((0, 1))) / 4
    for c in range(x.shape[-1]):
        found[f"mean {c}"] = x[..., c].mean()
        found[f"log deviation {c}"] = jnp.log(variance[c]) / 2
        found[f"log roughness {c}"] = jnp.log(steps[c] / variance[c] + tiny)
    for a in range(x.shape[-1]):
        for b in range(a):
            product = (centred[..., a] * centred[..., b]).mean()
            correlation = product / jnp.sqrt(variance[a] * variance[b])
            found[f"correlation {b} {a}"] = correlation
    return found


def predictive_check(
    x: Any,
    predicted: HeldOut,
    *,
    estimator: LogRatio | None = None,
    statistics: Callable[[Any], dict[str, Any]] = image_statistics,
    calibration: int = 500,
    features: Float[Array, "n features"] | None = None,
) -> PredictiveCheck:
    r"""Does the posterior predict what the image looks like?

    Two uses. With images of `posterior_predictive`, each counts alike. With an
    `estimator` and pairs over the whole prior, which a held-out ensemble is, each is
    weighted by its ratio $r(\theta_i, x)$, which makes them the same without a new
    simulation; and the p-values are calibrated: the posterior has seen the image, so p
    crowds around one half, and is here held against the p of the ensemble's own images,
    each tested by all others.

    Args:
        x: the observed image, an array or an `Observation`.
        predicted: simulated pairs.
        estimator: a trained estimator, if the pairs are drawn from its prior.
        statistics: from an image to scalars by name.
        calibration: number of the ensemble's images that calibrate.
        features: what `embed_ensemble` gave for `predicted.x`, to save computing it.

    Returns:
        A `PredictiveCheck`.

    Raises:
        ValueError: if a statistic is not finite, or the image does not suit the
            estimator.
    """
    x, known = image_of(x)
    if estimator is not None:
        estimator.check_image(x, **known)
    of_one = statistics(x)
    names = tuple(of_one)
    compiled = eqx.filter_jit(
        jax.vmap(lambda one: jnp.stack([statistics(one)[name] for name in names]))
    )
    observed = np.asarray([of_one[name] for name in names], float)
    rows = range(0, len(predicted.x), 64)
    table = np.concatenate(
        [compiled(jnp.asarray(predicted.x[start : start + 64])) for start in rows]
    ).astype(float)
    if not (np.isfinite(observed).all() and np.isfinite(table).all()):
        raise ValueError("`statistics` gave values that are not finite; mend them.")
    if estimator is None:
        weight = np.full(len(table), 1 / len(table))
        calibrated = np.full(len(names), np.nan)
        p = _two_sided(table, weight, observed)
    else:
        if features is None:
            features = embed_ensemble(estimator, predicted.x)
        theta = {
            n: jnp.asarray(predicted.theta[n], float) for n in estimator.prior.names
        }
        own = _log_ratios(estimator, theta, estimator.embed(x)[None])[0]
        weight = _weights(own, None)
        p = _two_sided(table, weight, observed)
        tried = min(calibration, len(table))
        log_ratios = np.asarray(_log_ratios(estimator, theta, features[:tried]))
        others = [
            _two_sided(table, _weights(log_ratios[i], i), table[i])
            for i in range(tried)
        ]
        calibrated = (1 + (np.stack(others) <= p).sum(0)) / (1 + len(others))
    return PredictiveCheck(
        names, observed, table, weight, p, calibrated, float(1 / (weight**2).sum())
    )


def _two_sided(table: np.ndarray, weight: np.ndarray, value: np.ndarray) -> np.ndarray:
    below = weight @ (table < value) + 0.5 * (weight @ (table == value))
    floor = (weight**2).sum()  # what one effective image weighs
    return np.clip(2 * np.minimum(below, 1 - below) + floor, 0, 1) / (1 + floor)


def _weights(log_ratio: Any, left_out: int | None) -> np.ndarray:
    log_ratio = np.array(log_ratio, float)
    if left_out is not None:
        log_ratio[left_out] = -np.inf
    weight = np.exp(log_ratio - log_ratio.max())
    return weight / weight.sum()


@eqx.filter_jit
def _log_ratios(estimator: LogRatio, theta: Any, h: Array) -> Float[Array, "m n"]:
    of_image = jax.vmap(estimator.log_ratio, (0, None))
    return jax.lax.map(lambda one: of_image(theta, one), h, batch_size=8)
