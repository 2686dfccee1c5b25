r"""Truncation: simulate again only where one observation allows the parameters.

A posterior that fills a thousandth of its prior wastes all but a thousandth of the
simulations. A second round inside the box that holds the posterior makes it wide again
relative to what is simulated, and the same network sharp. What is trained there serves
observations of the kind it was truncated for, and no others.

Reference: Miller et al., *Truncated marginal neural ratio estimation*, NeurIPS 2021
(arXiv 2107.01214).
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.inference._calibration.guarded import warn_if_unusual
from gl15.inference._estimators.candidates import candidates, log_joint, resampled
from gl15.inference._training.fit import fit
from gl15.simulation import Ensemble, Prior, simulate, Simulator, truncated_prior
from gl15.simulation._observation import image_of


_CANDIDATES = 50_000
# Draws moved away from where they are by so many standard deviations of all of them:
# the threshold lies five of them out, where a posterior's own draws never are.
_REACH = (0.5, 1.0, 2.0, 3.0)
_ROUNDS = 3


class TruncationWarning(UserWarning):
    """An observation's posterior leans on an edge that only the truncation made."""


def truncate(
    estimator: Any,
    x: Any,
    *,
    key: PRNGKeyArray,
    threshold: float = 1e-6,
    margin: float = 0.1,
) -> Prior:
    r"""The prior truncated to the box of parameters that an observation allows.

    $$
    \{\theta : r(\theta, x) > \epsilon \max_{\theta'} r(\theta', x)\}
    $$

    is enclosed in the smallest box, widened by a margin: at $\epsilon = 10^{-6}$ a
    normal posterior keeps 5.3 standard deviations to each side.

    Args:
        estimator: a trained estimator, or any log-ratio.
        x: the observation, an array or an `Observation`.
        key: JAX random key of the search.
        threshold: $\epsilon$.
        margin: part of the box's width to add on each side, within the prior.

    Returns:
        The truncated prior.

    Raises:
        ValueError: if the observation does not suit the estimator, or an option is out
            of range.
    """
    if not 0 < threshold < 1 or not margin >= 0:
        raise ValueError(
            f"`threshold`={threshold} must be between 0 and 1, and `margin`={margin} "
            "not negative."
        )
    x, known = image_of(x)
    estimator.check_image(x, **known)
    warn_if_unusual(estimator, x)
    low, high = _region(estimator, x, key, math.log(threshold))
    prior = estimator.prior
    width = margin * (high - low)
    ends = (prior.unstandardize(low - width), prior.unstandardize(high + width))
    bounds = {name: tuple(float(one[name]) for one in ends) for name in prior.names}
    limits = _limits(prior)
    box = {
        name: (max(ends[0], limits[name][0]), min(ends[1], limits[name][1]))
        for name, ends in bounds.items()
    }
    return truncated_prior(prior, box)


@eqx.filter_jit
def _region(
    estimator: Any, x: Array, key: PRNGKeyArray, log_threshold: float
) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
    """Corners of the box around what is above the threshold, standardised."""
    h = estimator.embed(x)
    first_key, *keys = jax.random.split(key, _ROUNDS + 1)
    u, log_weight = candidates(estimator, h, first_key, _CANDIDATES)
    value = _log_ratio(estimator, h, u)
    for one in keys:
        choice_key, step_key = jax.random.split(one)
        draws = resampled(u, log_weight, choice_key, _CANDIDATES // 4)
        centred = draws - draws.mean(0)
        covariance = centred.T @ centred / len(draws)
        spread = jnp.linalg.cholesky(covariance + 1e-12 * jnp.eye(u.shape[1]))
        reach = jnp.asarray(_REACH)[jnp.arange(len(draws)) % len(_REACH), None]
        noise = jax.random.normal(step_key, draws.shape)
        outside = (draws + reach * noise @ spread.T).astype(u.dtype)
        # Draws beyond the threshold say nothing and would crowd out the others.
        more = _log_ratio(estimator, h, outside)
        u, value = jnp.concatenate([u, outside]), jnp.concatenate([value, more])
        # Spread evenly over what is allowed, so that the next look starts from edges.
        allowed = value > value.max() + log_threshold
        log_weight = jnp.where(allowed, 0.0, -jnp.inf)
    allowed = (value > value.max() + log_threshold)[:, None]
    return (
        jnp.where(allowed, u, jnp.inf).min(0),
        jnp.where(allowed, u, -jnp.inf).max(0),
    )


def _log_ratio(estimator: Any, h: Array, u: Array) -> Float[Array, " n"]:
    prior = estimator.prior
    log_prior = prior.standard_log_prob(prior.unstandardize(u)).astype(u.dtype)
    return log_joint(estimator, h, u) - log_prior


def leaning(
    estimator: Any,
    x: Any,
    whole: Prior,
    *,
    key: PRNGKeyArray,
    threshold: float = 1e-3,
) -> tuple[str, ...]:
    """Parameters whose posterior leans on an edge that truncation made.

    Args:
        estimator: an estimator trained on a truncated prior.
        x: an observation.
        whole: the prior before truncation.
        key: JAX random key.
        threshold: how high the ratio may be at such an edge, of its greatest.

    Returns:
        Their names: empty where the truncation cut off nothing.
    """
    x, known = image_of(x)
    estimator.check_image(x, **known)
    low, high = _region(estimator, x, key, math.log(threshold))
    inner, outer = _limits(estimator.prior), _limits(whole)
    found = []
    for name in estimator.prior.names:
        ends = [estimator.prior.unstandardize(v)[name] for v in (low, high)]
        room = 0.01 * (inner[name][1] - inner[name][0])
        for end, edge, old in zip(ends, inner[name], outer[name], strict=True):
            made = not np.isclose(edge, old) if math.isfinite(old) else True
            if made and abs(float(end) - edge) < room:
                found.append(name)
                break
    return tuple(found)


def truncated_rounds(
    simulator: Simulator,
    prior: Prior,
    x: Any,
    build: Callable[[Prior, PRNGKeyArray], Any],
    *,
    key: PRNGKeyArray,
    rounds: int = 2,
    n: int = 10_000,
    threshold: float = 1e-6,
    margin: float = 0.1,
    simulate_options: dict[str, Any] | None = None,
    **fit_options: Any,
) -> list[Any]:
    """Simulate, train and truncate to one observation, several times over.

    Args:
        simulator: the simulator.
        prior: the whole prior, of the first round.
        x: the observation.
        build: untrained estimator of a prior and a key, such as `lambda prior, key:
            RatioEstimator(prior, MLPEncoder(12, key=key), key=key)`.
        key: JAX random key.
        rounds: number of rounds; the first is on the whole prior.
        n: simulations of each round.
        threshold: as in `truncate`.
        margin: as in `truncate`.
        simulate_options: passed to `gl15.simulate`, such as `batch_size`.
        **fit_options: passed to `gl15.fit`, such as `loss` and `steps`.

    Returns:
        The estimators of all rounds. Each carries its own prior, the box that it is
        good in. `TruncationWarning` says where the last one's is too small.
    """
    if rounds < 1:
        raise ValueError(f"`rounds` must be positive, got {rounds}.")
    estimators: list[Any] = []
    inside = prior
    for number in range(rounds):
        keys = jax.random.split(jax.random.fold_in(key, number), 4)
        if estimators:
            inside = truncate(
                estimators[-1], x, key=keys[0], threshold=threshold, margin=margin
            )
        pairs: Ensemble = simulate(
            simulator, inside, n, key=keys[1], **(simulate_options or {})
        )
        trained, _ = fit(build(inside, keys[2]), pairs, key=keys[3], **fit_options)
        estimators.append(trained)
    if rounds > 1 and (
        names := leaning(estimators[-1], x, prior, key=jax.random.fold_in(key, rounds))
    ):
        warnings.warn(
            f"the posterior leans on an edge that truncation made, in {list(names)}: "
            "the round before was wrong there; use more simulations or a larger "
            "`margin`.",
            TruncationWarning,
            stacklevel=2,
        )
    return estimators


def _limits(prior: Prior) -> dict[str, tuple[float, float]]:
    """Ends of the support, infinite where there are none."""
    return {
        name: (
            float(getattr(value, "lower_bound", -math.inf)),
            float(getattr(value, "upper_bound", math.inf)),
        )
        for name, value in prior.support.items()
    }
