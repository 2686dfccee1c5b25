"""Calibration after training: posteriors as wide as held-out truths say."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.inference._calibration.calibrated import Calibrated
from gl15.inference._calibration.correction import (
    exponents,
    polynomials,
    posterior_table,
    statistics,
    Table,
)
from gl15.inference._calibration.guarded import Guarded


_RIDGES = (3.0, 30.0, 300.0, 3e3)  # in units of what one image tells
_FOLDS = 5
_STEPS = 25
_HALVINGS = 10
_DOUBLINGS = 8
_NUMBERS_AT_ONCE = 2**22
_KEPT = 2048  # nodes of each table that are kept for the fit


def calibrate(
    estimator: Any,
    held_out: Any,
    *,
    key: PRNGKeyArray,
    degree: int | None = None,
    points: int | None = None,
    features: Float[Array, "n features"] | None = None,
) -> Calibrated | Guarded:
    r"""Correct the width and location of posteriors, fitted on held-out pairs.

    $$
    \max_{w} \sum_i \log p'_w(\theta_i^* \mid x_i) - \tfrac{\lambda}{2} |w|^2
    $$

    for the family of `Calibrated`: a temperature and tilts that are polynomials in the
    posterior mean, so that every part of the prior's range gets its own. The problem is
    concave and solved by Newton's method; $\lambda$, which weighs wiggles more than the
    constant, is chosen by cross-validation.

    The pairs must be neither training pairs, which the estimator knows by heart, nor
    those that checks are reported on. A thousand suffice for one parameter.

    Args:
        estimator: a trained estimator of one to three parameters.
        held_out: pairs it was not trained on, parameters drawn from its prior: an
            `Ensemble`, or anything with `theta` and `x`.
        key: random key of the cross-validation's folds.
        degree: total degree of the polynomials; by default 4 for one parameter, 2 for
            several.
        points: nodes per parameter of the tabulated posteriors.
        features: what `estimator.embed` gave for each of `held_out.x`, to save
            computing it.

    Returns:
        The corrected estimator. Its `before` and `after` are the mean log posterior
        densities of truths, the latter cross-validated, `gain_error` the standard error
        of their difference. Of a `Guarded` one, what is inside is corrected, and the
        guard stays around it: the numbers are those of `.estimator` then.

    Raises:
        ValueError: if there are fewer than 50 pairs, their parameters are not those
            of the estimator's prior, or an image is not finite.
    """
    if isinstance(estimator, Guarded):
        inside = calibrate(
            estimator.estimator,
            held_out,
            key=key,
            degree=degree,
            points=points,
            features=features,
        )
        return Guarded(inside, estimator.detector)
    wrapper = Calibrated(estimator, degree=degree, points=points)
    prior = estimator.prior
    missing = [name for name in prior.names if name not in held_out.theta]
    if missing:
        raise ValueError(f"`held_out.theta` misses {missing}, which are inferred.")
    theta = {name: jnp.asarray(held_out.theta[name], float) for name in prior.names}
    count = len(held_out.x)
    if count < 50 or any(value.shape != (count,) for value in theta.values()):
        raise ValueError(
            f"`held_out` must hold at least 50 pairs, got {count} images and "
            f"parameters of shapes {[value.shape for value in theta.values()]}."
        )
    if not bool(jnp.all(prior.contains(theta))):
        raise ValueError(
            "`held_out.theta` has parameters outside the support of the estimator's "
            "prior, where the ratio means nothing; draw them from that prior."
        )
    if features is None:
        features = _embed(estimator, held_out.x)
    pairs = _Pairs(wrapper, theta, features)
    fold = np.asarray(jax.random.permutation(key, count)) % _FOLDS
    starts = pairs.begin()
    scores = {}
    for ridge in reversed(_RIDGES):  # each fit starts at a stiffer one's result
        starts = pairs.fit(ridge, starts, np.ones(count))
        held = np.empty(count)
        for k in range(_FOLDS):
            weights = pairs.fit(ridge, starts, (fold != k).astype(float))
            held[fold == k] = pairs.gains(weights)[fold == k]
        scores[ridge] = held
    best = max(scores, key=lambda one: scores[one].mean())
    gain = scores[best]
    weights = pairs.fit(best, starts, np.ones(count))
    before = pairs.log_density()
    numbers = (before, before + gain.mean(), gain.std() / np.sqrt(count))
    return eqx.tree_at(
        lambda one: (one.weights, one.before, one.after, one.gain_error),
        wrapper,
        tuple(map(jnp.asarray, (weights, *numbers))),
    )


class _Pairs:
    """Gains in log-density of held-out truths, as functions of the coefficients."""

    def __init__(self, wrapper: Calibrated, theta: Any, features: Array):
        nodes = wrapper.points ** len(wrapper.prior.names)
        size = min(len(features), max(1, _NUMBERS_AT_ONCE // nodes // 4))
        columns, self.tables = _columns(wrapper, theta, features, size)
        self.basis, self.truth, self.density = map(np.asarray, columns)
        degrees = exponents(len(wrapper.prior.names), wrapper.degree)
        stiffness = np.asarray([max(sum(one) ** 2, 1e-2) for one in degrees])
        rows = len(wrapper.weights)
        self.stiffness = np.broadcast_to(stiffness, (rows, len(stiffness)))

    def log_density(self) -> float:
        """Mean log posterior density of the truths without correction."""
        return float(self.density.mean())

    def gains(self, weights: np.ndarray) -> np.ndarray:
        """Gain of each pair."""
        return self._moments(weights)[0]

    def begin(self) -> np.ndarray:
        """No correction, or the one temperature above one that gains more.

        Truths many widths away have such slopes that Newton's steps from no correction
        lead to negative temperatures, and back.
        """
        tried = [np.zeros(self.stiffness.shape) for _ in range(_DOUBLINGS)]
        for doublings, one in enumerate(tried):
            one[0, 0] = 0.5**doublings - 1
        return max(tried, key=lambda one: self.gains(one).sum())

    def fit(
        self, ridge: float, weights: np.ndarray, included: np.ndarray
    ) -> np.ndarray:
        """The coefficients that gain most, by damped Newton steps."""

        def penalised(gain: np.ndarray, w: np.ndarray) -> float:
            return included @ gain - ridge / 2 * (self.stiffness * w**2).sum()

        gain, slope, bend = self._moments(weights)
        value = penalised(gain, weights)
        for _ in range(_STEPS):
            rows = included[:, None] * self.basis
            gradient = np.einsum("ns,nb->sb", slope, rows)
            gradient = gradient - ridge * self.stiffness * weights
            # A statistic at a time, or the products of all pairs would fill memory.
            blocks = [
                np.einsum("nt,nb,nc->btc", one, rows, self.basis, optimize=True)
                for one in np.moveaxis(bend, 1, 0)
            ]
            hessian = np.stack(blocks).reshape(gradient.size, -1)
            hessian = hessian + np.diag(ridge * self.stiffness.ravel())
            step = np.linalg.solve(hessian, gradient.ravel()).reshape(weights.shape)
            if (
                step * gradient
            ).sum() < 0.02:  # nats, of all pairs: far below their noise
                break
            for length in 0.5 ** np.arange(_HALVINGS):
                found = self._moments(weights + length * step)
                if (new := penalised(found[0], weights + length * step)) > value:
                    break
            else:
                break
            weights, value = weights + length * step, new
            gain, slope, bend = found
        return weights

    def _moments(self, weights: np.ndarray) -> tuple[np.ndarray, ...]:
        """Gain of each pair, its slope in the tilts, and minus its curvature."""
        tilt = self.basis @ weights.T
        found = _moments(self.tables, jnp.asarray(tilt))
        log_z, mean, covariance = map(np.asarray, found)
        gain = (tilt * self.truth).sum(1) - log_z
        return gain, self.truth - mean, covariance


def _embed(estimator: Any, x: Any, size: int = 64) -> Array:
    parts = []
    for start in range(0, len(x), size):
        batch = jnp.asarray(x[start : start + size])
        estimator.check_image(batch[0])
        finite = jnp.isfinite(batch).reshape(len(batch), -1).all(1)
        if not finite.all():
            raise ValueError(
                f"`held_out.x` has values that are not finite, the first at index "
                f"{start + int(jnp.argmin(finite))}; leave such images out."
            )
        parts.append(_embed_batch(estimator, batch))
    return jnp.concatenate(parts)


@eqx.filter_jit
def _embed_batch(estimator: Any, x: Array) -> Array:
    return jax.vmap(estimator.embed)(x)


@eqx.filter_jit
def _columns(
    wrapper: Calibrated, theta: Any, features: Array, size: int
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array]]:
    """Polynomials, statistics of the truth, log-density there, and table, of each."""
    prior, estimator = wrapper.prior, wrapper.estimator

    def one(row: Any) -> Any:
        theta, h = row
        table = posterior_table(estimator, h, wrapper.points)
        basis = polynomials(prior, table.mean, wrapper.degree)
        ratio = estimator.log_ratio(theta, h) - table.log_mean
        truth = statistics(ratio, prior.standardize(theta), table.mean, table.std)
        return (basis, truth, ratio + prior.log_prob(theta)), thinned(table)

    return jax.lax.map(one, (theta, features), batch_size=size)


def thinned(table: Table) -> tuple[Array, Array]:
    """Log-weights and statistics at the nodes, or at some that stand for all.

    Drawn at even steps in proportion to a power of the mass, so that tails, on which
    the normalisation of a wider posterior depends, have their share.
    """
    log_mass = table.log_weight + table.statistics[:, 0]
    if len(log_mass) <= _KEPT:
        return log_mass, table.statistics
    # As a logarithm: rounding may end the sum of shares at a node whose share is none.
    log_share = jax.nn.log_softmax(log_mass / 2)
    steps = (jnp.arange(_KEPT) + 0.5) / _KEPT
    chosen = jnp.searchsorted(jnp.cumsum(jnp.exp(log_share)), steps)
    chosen = jnp.minimum(chosen, len(log_share) - 1)
    log_weight = log_mass - log_share - jnp.log(_KEPT)
    return log_weight[chosen], table.statistics[chosen]


@jax.jit
def _moments(tables: tuple[Array, Array], tilt: Array) -> tuple[Array, Array, Array]:
    def one(row: Any) -> tuple[Array, Array, Array]:
        start, values, tilt = row
        log_mass = start + values @ tilt
        log_z = jax.nn.logsumexp(log_mass)
        mass = jnp.exp(log_mass - log_z)
        mean = mass @ values
        centred = values - mean
        covariance = (mass[:, None] * centred).T @ centred
        return log_z - jax.nn.logsumexp(start), mean, covariance

    # One by one on a CPU: XLA has no fast product for a batch of thin matrices there.
    size = None if jax.default_backend() == "cpu" else 256
    return jax.lax.map(one, (*tables, tilt.astype(tables[0].dtype)), batch_size=size)
