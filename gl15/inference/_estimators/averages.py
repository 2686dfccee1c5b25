r"""What several estimators say together, and where they contradict each other."""

from collections.abc import Sequence
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.inference._estimators.candidates import candidates
from gl15.inference._estimators.members import EstimatorEnsemble
from gl15.inference._estimators.wrapper import bare
from gl15.simulation import Ensemble, Prior, Theta


MODEL = "model"


def disagreement(
    ensemble: Any,
    x: Any,
    *,
    key: PRNGKeyArray,
    draws: int = 4096,
) -> Float[np.ndarray, "members members"]:
    r"""Divergence between the members' posteriors of one observation.

    $$
    D_{ij} = \int p_i \log \frac{p_i}{p_j}\, d\theta
    $$

    in nats, by weighted draws. Well below one everywhere, the members know what they
    say; where it is not, the mean over members is not to be trusted either: more
    simulations, or an observation unlike those of training.

    Args:
        ensemble: the members; of one that is calibrated or guarded, what is inside.
        x: an observation.
        key: JAX random key.
        draws: number of draws.

    Returns:
        The table, rows i and columns j.
    """
    ensemble = cast(EstimatorEnsemble, bare(ensemble))
    h = ensemble.embed(x)
    prior = ensemble.prior
    u, log_weight = candidates(ensemble, h, key, draws)
    theta = prior.restrict(prior.unstandardize(u))
    each = jax.vmap(lambda one: ensemble.log_ratios(one, h))(theta)
    mean = jax.vmap(lambda one: ensemble.log_ratio(one, h))(theta)
    # Members' weights on the same draws, outside the support still none.
    weights = (log_weight - mean)[:, None] + each
    log_p = jax.nn.log_softmax(weights, axis=0)
    p = jnp.exp(log_p)
    safe = jnp.where(p > 0, log_p, 0.0)
    return np.asarray((p * safe).sum(0)[:, None] - p.T @ safe)


def model_pairs(ensembles: Sequence[Ensemble], *, key: PRNGKeyArray) -> Ensemble:
    r"""Observations of several forward models, with the model for a parameter.

    A ratio estimator for `Prior({"model": dist.Uniform(0, 1)})` that is trained on them
    learns

    $$
    r_k(x) = \frac{p_k(x)}{p_0(x)}, \qquad p_0 = \frac1K \sum_k p_k
    $$

    the evidence of model k over a reference that all models share: ratios of evidences
    are Bayes factors. (An estimator of one model's parameters cannot tell its evidence:
    $\int r\, p(\theta)\, d\theta = 1$ for every x.)

    Args:
        ensembles: one of each model, cut to the length of the shortest.
        key: JAX random key of the order.

    Returns:
        All pairs, shuffled; `model` is (k + 1/2)/K for model k.

    Raises:
        ValueError: if there are fewer than two models, or their images differ in kind.
    """
    if len(ensembles) < 2:
        raise ValueError(
            f"`ensembles` holds {len(ensembles)}; give two models or more."
        )
    kinds = {(one.x.shape[1:], one.spacing, one.channels) for one in ensembles}
    if len(kinds) > 1:
        raise ValueError(f"`ensembles` hold observations of different kinds: {kinds}.")
    size, count = min(map(len, ensembles)), len(ensembles)
    x = jnp.concatenate([jnp.asarray(one.x[:size]) for one in ensembles])
    model = jnp.repeat((jnp.arange(count) + 0.5) / count, size)
    order = jax.random.permutation(key, len(x))
    first = ensembles[0]
    return Ensemble({MODEL: model[order]}, x[order], first.spacing, first.channels)


class ModelAverage(eqx.Module):
    r"""One log-ratio from those of several forward models of the same parameters.

    $$
    r(\theta, x) = \sum_k w_k(x)\, r_k(\theta, x), \qquad
    w_k \propto \pi_k\, \frac{p_k(x)}{p_0(x)}
    $$

    so that the posterior is the models' posteriors weighted by how well each accounts
    for the observation.

    Attributes:
        estimators: one of each model, with equal priors.
        selector: estimator of the model, trained on `model_pairs` in the same order.
        log_prior_odds: $\log \pi_k$ up to a constant.
    """

    estimators: tuple[Any, ...]
    selector: Any
    log_prior_odds: tuple[float, ...] = eqx.field(static=True)

    def __init__(
        self,
        estimators: Sequence[Any],
        selector: Any,
        log_prior_odds: Sequence[float] | None = None,
    ):
        """Put the models together.

        Args:
            estimators: one of each model, with equal priors.
            selector: estimator of the model, trained on `model_pairs`.
            log_prior_odds: log of the models' prior weights; equal by default.
        """
        self.estimators = tuple(estimators)
        self.selector = selector
        count = len(self.estimators)
        odds = [0.0] * count if log_prior_odds is None else log_prior_odds
        self.log_prior_odds = tuple(map(float, odds))

    def __check_init__(self):
        """The models must speak of the same parameters, and the selector of models."""
        if not self.estimators:
            raise ValueError("`estimators` holds no models; give one of each.")
        if len({one.prior for one in self.estimators}) != 1:
            raise ValueError(
                "`estimators` have different priors; models are averaged over the same "
                "parameters with the same prior."
            )
        if self.selector.prior.names != (MODEL,):
            raise ValueError(
                f"`selector` infers {list(self.selector.prior.names)}; train it on "
                f"`model_pairs`, with the prior of `{MODEL}` uniform in (0, 1)."
            )
        if len(self.log_prior_odds) != len(self.estimators):
            raise ValueError(
                f"`log_prior_odds` has {len(self.log_prior_odds)} entries for "
                f"{len(self.estimators)} models."
            )
        if not np.isfinite(self.log_prior_odds).all():
            raise ValueError(
                f"`log_prior_odds` must be finite, got {self.log_prior_odds}; leave "
                "out a model that is impossible."
            )

    @property
    def prior(self) -> Prior:
        """The prior that the ratio refers to."""
        return self.estimators[0].prior

    def weights(self, x: Any) -> Float[Array, " models"]:
        """Posterior probability of each model.

        Args:
            x: an observation.

        Returns:
            The probabilities.
        """
        return jnp.exp(self._log_weights(x))

    def _log_weights(self, x: Any) -> Float[Array, " models"]:
        h, count = self.selector.embed(x), len(self.estimators)
        log_r = jnp.stack(
            [
                self.selector.log_ratio({MODEL: (k + 0.5) / count}, h)
                for k in range(count)
            ]
        )
        return jax.nn.log_softmax(log_r + jnp.asarray(self.log_prior_odds))

    def __call__(self, theta: Theta, x: Any) -> Float[Array, ""]:
        """Averaged log-ratio of one parameter and one observation.

        Args:
            theta: parameter name -> scalar.
            x: an observation.

        Returns:
            The log-ratio.
        """
        return self.log_ratio(theta, self.embed(x))

    def embed(self, x: Any) -> Float[Array, " features"]:
        """The models' log-weights and their features, one after another.

        Args:
            x: an observation.

        Returns:
            The features.
        """
        parts = [one.embed(x) for one in self.estimators]
        sizes = {part.shape for part in parts}
        if len(sizes) != 1:
            raise ValueError(
                f"`estimators` have features of different lengths {sizes}; build them "
                "with one structure."
            )
        return jnp.concatenate([self._log_weights(x).astype(parts[0].dtype), *parts])

    def log_ratio(self, theta: Theta, h: Float[Array, " features"]) -> Float[Array, ""]:
        """Averaged log-ratio from features: the cheap part.

        Args:
            theta: parameter name -> scalar.
            h: features of an observation, from `embed`.

        Returns:
            The log-ratio.
        """
        count = len(self.estimators)
        rows = h[count:].reshape(count, -1)
        each = [
            e.log_ratio(theta, row)
            for e, row in zip(self.estimators, rows, strict=True)
        ]
        return jax.nn.logsumexp(h[:count] + jnp.stack(each))

    def check_image(self, x: Any, **known: Any) -> None:
        """Refuse an observation that the models were not trained for.

        Args:
            x: an observation, or what a caller believes to be one.
            **known: its spacing and channel names, as `RatioEstimator.check_image`.

        Raises:
            ValueError: if it does not suit them.
        """
        for one in (*self.estimators, self.selector):
            one.check_image(x, **known)

    def config(self) -> dict[str, Any]:
        """The arguments that build an average of this structure.

        Returns:
            The arguments.
        """
        return {
            "estimators": self.estimators,
            "selector": self.selector,
            "log_prior_odds": self.log_prior_odds,
        }
