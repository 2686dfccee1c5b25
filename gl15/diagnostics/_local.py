r"""Is the posterior of *this* image right? Local classifier two-sample tests."""

import dataclasses
import types
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.diagnostics._classifier import logistic, quadratic_terms
from gl15.diagnostics._posteriors import embed_ensemble, HeldOut, map_posteriors
from gl15.posterior import GridPosterior, LogRatio, Points
from gl15.simulation._arguments import random_key


_DRAWS = 128
_TRIALS = 100


@dataclasses.dataclass(frozen=True)
class LocalC2ST:
    """Local tests of the posteriors of some images.

    Attributes:
        mean: name -> posterior mean of each image, `[m]`.
        statistic: mean squared distance of the classifier's probability from 1/2,
            `[m]`: zero where truths behave like draws from the posterior.
        null_quantile: its 95% quantile for exact posteriors, `[m]`.
        p: share of exact problems with at least this statistic, `[m]`.
        p_overall: the same of the statistic's mean over all images.
        width: what the classifier holds for the true deviation of the first parameter
            in units of the posterior's, `[m]`; above one the posterior is too narrow.
        shift: likewise for the true mean's distance from the posterior's.
        count: number of held-out pairs that it learned from.
    """

    mean: dict[str, Float[np.ndarray, " m"]]
    statistic: Float[np.ndarray, " m"]
    null_quantile: Float[np.ndarray, " m"]
    p: Float[np.ndarray, " m"]
    p_overall: float
    width: Float[np.ndarray, " m"]
    shift: Float[np.ndarray, " m"]
    count: int

    @property
    def rejected(self) -> float:
        """Share of images with p below 5%; one in twenty for exact posteriors."""
        return float(np.mean(self.p < 0.05))


def local_c2st(
    estimator: LogRatio,
    ensemble: HeldOut,
    x: Any = None,
    *,
    key: PRNGKeyArray,
    trials: int = _TRIALS,
    points: Points = None,
    features: Float[Array, "n features"] | None = None,
) -> LocalC2ST:
    r"""Local classifier two-sample test (L-C2ST) of one to three parameters.

    Each posterior is mapped to a standard normal one, parameter by parameter:
    $u_j = \Phi^{-1}\big(P(\theta_j \mid \theta_1 \dots \theta_{j-1}, x)\big)$. If the
    posteriors are right the mapped truths are standard normal *whatever the image*. A
    classifier learns to tell them from normal draws, given where the image lies: its
    posterior means and log-widths. Where it can, that posterior is wrong, though ranks
    averaged over images may look uniform.

    The classifier is a logistic regression on all quadratic terms of $u$, each with
    coefficients quadratic in the image's coordinates: for normal errors it is exact,
    and its coefficients give the true shift and width. The null is the same regression
    on problems in which the truths are normal draws.

    Args:
        estimator: a trained `RatioEstimator`, or any `LogRatio`.
        ensemble: held-out pairs to learn from; thousands tell widths to some percent.
        x: images whose posteriors are tested, `[m, ...]`; by default those of
            `ensemble`.
        key: random key.
        trials: problems of the null.
        points: nodes of each posterior, as in `grid_posterior`.
        features: what `embed_ensemble` gave for `ensemble.x`, to save computing it.

    Returns:
        A `LocalC2ST`.

    Raises:
        ValueError: if the ensemble does not suit the estimator, or `x` is one image.

    Reference:
        Linhart, Gramfort and Rodrigues, L-C2ST: Local diagnostics for posterior
        approximations in simulation-based inference, NeurIPS 2023, arXiv 2306.03580.
    """
    random_key("key", key)
    if x is not None and np.shape(x)[1:] != tuple(ensemble.x.shape[1:]):
        raise ValueError(
            f"`x` has shape {np.shape(x)}; it must be several images [m, ...], each of "
            f"shape {tuple(ensemble.x.shape[1:])}: give x[None] for one."
        )
    if features is None:
        features = embed_ensemble(estimator, ensemble.x)
    options = {"points": points, "features": features}
    mapped = map_posteriors(to_normal, estimator, ensemble, **options)
    tested = None if x is None else _places(estimator, x, points)
    return local_test(mapped, tested, key=key, trials=trials)


def local_test(
    mapped: tuple[Array, Array, Any],
    tested: tuple[Array, Any] | None = None,
    *,
    key: PRNGKeyArray,
    trials: int = _TRIALS,
) -> LocalC2ST:
    """The test from what `to_normal` gave for the pairs.

    Args:
        mapped: the mapped truths, and where their posteriors lie.
        tested: where those lie that are tested; by default these.
        key: random key.
        trials: problems of the null.

    Returns:
        A `LocalC2ST`.
    """
    u, place, mean = mapped
    at, mean = (place, mean) if tested is None else tested
    center, scale = place.mean(0), jnp.maximum(place.std(0), 1e-9)
    c = jnp.clip((place - center) / scale, -3, 3)
    at = jnp.clip((at - center) / scale, -3, 3)
    key_normal, key_trials = jax.random.split(key)
    found, weights = _statistic_compiled(u, c, at, key_normal)
    null = _null(u.shape, c, at, jax.random.split(key_trials, trials))
    found, null = np.asarray(found, float), np.asarray(null, float)
    share = lambda many, one: (1 + (many >= one).sum(0)) / (1 + trials)  # noqa: E731
    # On one parameter the log-odds are a + b u + c u^2: the ratio of two normals.
    slope, bend = np.asarray(_moments(weights, at, u.shape[1]), float)
    precision = np.maximum(1 - 2 * bend, 1e-2)
    return LocalC2ST(
        mean={name: np.asarray(value, float) for name, value in mean.items()},
        statistic=found,
        null_quantile=np.quantile(null, 0.95, axis=0),
        p=share(null, found),
        p_overall=float(share(null.mean(1), found.mean())),
        width=1 / np.sqrt(precision),
        shift=slope / precision,
        count=len(u),
    )


def _place(posterior: GridPosterior) -> tuple[Float[Array, " k"], Any]:
    mean, std = posterior.mean(), posterior.std()
    values = [mean[name] for name in posterior.names]
    return jnp.stack(values + [jnp.log(std[name]) for name in posterior.names]), mean


def to_normal(posterior: GridPosterior, theta: Any) -> tuple[Array, Array, Any]:
    """The truth where a right posterior is standard normal, and where that lies.

    Args:
        posterior: the posterior of one image.
        theta: the truth.

    Returns:
        The mapped truth `[d]`, means and log-widths `[2 d]`, and the means by name.
    """
    u = []
    for j, name in enumerate(posterior.names):
        nodes, density = posterior.marginal(posterior.names[: j + 1])
        for axis, before in zip(nodes, posterior.names[:j], strict=False):
            density = _between(axis, density, theta[before])
        one = GridPosterior((name,), (nodes[j],), jnp.log(density), jnp.ones(()))
        u.append(one.cdf({name: theta[name]})[name])
    edge = 1e-6  # beyond, single precision knows no difference to one
    normal = jax.scipy.special.ndtri(jnp.clip(jnp.stack(u), edge, 1 - edge))
    return normal, *_place(posterior)


def _between(nodes: Array, table: Array, value: Array) -> Array:
    cell = jnp.clip(jnp.searchsorted(nodes, value) - 1, 0, len(nodes) - 2)
    t = (value - nodes[cell]) / (nodes[cell + 1] - nodes[cell])
    return (1 - t) * table[cell] + t * table[cell + 1]


def _places(estimator: LogRatio, x: Any, points: Points) -> tuple[Array, Any]:
    # No truth is known, nor asked for: any parameters fill the pairs.
    bounds = estimator.prior.bounds
    theta = {name: np.full(len(x), np.mean(ends)) for name, ends in bounds.items()}
    pairs: Any = types.SimpleNamespace(theta=theta, x=x)
    return map_posteriors(_place_only, estimator, pairs, points=points)


def _place_only(posterior: GridPosterior, theta: Any) -> tuple[Array, Any]:
    del theta
    return _place(posterior)


def _terms(u: Float[Array, "n d"], c: Float[Array, "n k"]) -> Float[Array, "n terms"]:
    product = quadratic_terms(u)[:, :, None] * quadratic_terms(c)[:, None, :]
    return product.reshape(len(u), -1)


def _statistic(u: Array, c: Array, at: Array, key: Any) -> tuple[Array, Array]:
    key_normal, key_draws = jax.random.split(key)
    normal = jax.random.normal(key_normal, u.shape, u.dtype)
    terms = jnp.concatenate([_terms(normal, c), _terms(u, c)])
    label = jnp.repeat(jnp.asarray([0.0, 1.0], u.dtype), len(u))
    weights = logistic(terms, label)
    draws = jax.random.normal(key_draws, (_DRAWS, u.shape[1]), u.dtype)
    rows = quadratic_terms(draws)
    coefficients = quadratic_terms(at) @ weights.reshape(rows.shape[1], -1).T
    probability = jax.nn.sigmoid(coefficients @ rows.T)
    return jnp.mean((probability - 0.5) ** 2, axis=1), weights


_statistic_compiled = eqx.filter_jit(_statistic)


@eqx.filter_jit
def _null(shape: Any, c: Array, at: Array, keys: Any) -> Float[Array, "trials m"]:
    def one(key: Any) -> Array:
        key_truth, key = jax.random.split(key)
        return _statistic(jax.random.normal(key_truth, shape, c.dtype), c, at, key)[0]

    return jax.lax.map(one, keys)


def _moments(weights: Array, at: Array, d: int) -> tuple[Array, Array]:
    table = quadratic_terms(at) @ weights.reshape((d + 1) * (d + 2) // 2, -1).T
    return table[:, 1], table[:, d + 1]
