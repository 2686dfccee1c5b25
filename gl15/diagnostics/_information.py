r"""How much images tell about parameters, in nats."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.diagnostics._posteriors import embed_ensemble, HeldOut
from gl15.diagnostics._summary import summarize, Summary
from gl15.posterior import LogRatio, Points
from gl15.simulation._arguments import random_key, whole_number


@dataclasses.dataclass(frozen=True)
class Information:
    r"""Lower bounds on the mutual information of parameters and images, in nats.

    Attributes:
        gain: mean of $\log p(\theta^* \mid x) - \log p(\theta^*)$, the expected gain
            of information: a lower bound for any posterior, equal to the mutual
            information for the exact one only. Differences between estimators on the
            same pairs are their differences in mean divergence from the exact.
        log_ratio: mean of $\log r$ at the matching pairs: the same without
            normalisation, and no bound where the ratio is not normalised.
        contrastive: the bound that the contrastive loss maximises,
            $\log(K + 1) + \langle\log\frac{r_0}{\sum_{k=0}^K r_k}\rangle$.
        ceiling: $\log(K + 1)$, which `contrastive` cannot pass: at it, take more K.
        gain_error: standard error of `gain`.
        log_ratio_error: that of `log_ratio`.
        contrastive_error: that of `contrastive`.
        count: number of pairs.
    """

    gain: float
    log_ratio: float
    contrastive: float
    ceiling: float
    gain_error: float
    log_ratio_error: float
    contrastive_error: float
    count: int


def information(
    estimator: LogRatio,
    ensemble: HeldOut,
    *,
    key: PRNGKeyArray,
    contrasts: int = 1023,
    points: Points = None,
    features: Float[Array, "n features"] | None = None,
    summary: Summary | None = None,
) -> Information:
    r"""Mutual information of parameters and images, bounded from below.

    $$
    I(\theta; x) = \Big\langle \log \frac{p(\theta \mid x)}{p(\theta)} \Big\rangle
    $$

    Args:
        estimator: a trained `RatioEstimator`, or any `LogRatio`, of one to three
            parameters.
        ensemble: held-out pairs.
        key: random key of the mismatched parameters.
        contrasts: mismatched parameters for each image, drawn from the prior.
        points: nodes of each posterior, as in `grid_posterior`.
        features: what `embed_ensemble` gave for `ensemble.x`, to save computing it.
        summary: what `summarize` gave for the ensemble, to save computing it.

    Returns:
        An `Information`.

    Raises:
        ValueError: if the ensemble does not suit the estimator.

    Reference:
        Barber and Agakov, NIPS 2003; van den Oord et al., arXiv 1807.03748; Poole et
        al., On variational bounds of mutual information, ICML 2019.
    """
    random_key("key", key)
    whole_number("contrasts", contrasts)
    prior = estimator.prior
    if features is None:
        features = embed_ensemble(estimator, ensemble.x)
    if summary is None:
        summary = summarize(estimator, ensemble, points=points, features=features)
    theta = {name: jnp.asarray(ensemble.theta[name], float) for name in prior.names}
    gain = np.asarray(summary.log_prob - prior.log_prob(theta), float)
    keys = jax.random.split(key, len(features))
    found = _bounds(estimator, theta, features, keys, contrasts)
    ratio, contrastive = (np.asarray(one, float) for one in found)
    (one, one_error), (two, two_error), (three, three_error) = (
        (float(v.mean()), float(v.std(ddof=1) / np.sqrt(len(v))))
        for v in (gain, ratio, contrastive)
    )
    return Information(
        gain=one,
        log_ratio=two,
        contrastive=three,
        ceiling=float(np.log(contrasts + 1)),
        gain_error=one_error,
        log_ratio_error=two_error,
        contrastive_error=three_error,
        count=len(gain),
    )


@eqx.filter_jit
def _bounds(
    estimator: LogRatio,
    theta: Any,
    features: Float[Array, "n features"],
    keys: Any,
    contrasts: int,
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    def one(row: Any) -> tuple[Array, Array]:
        theta, h, key = row
        joint = estimator.log_ratio(theta, h)
        others = estimator.prior.sample(key, (contrasts,))
        marginal = jax.vmap(estimator.log_ratio, (0, None))(others, h)
        total = jax.nn.logsumexp(jnp.append(marginal, joint))
        return joint, jnp.log(contrasts + 1.0) + joint - total

    return jax.lax.map(one, (theta, features, keys), batch_size=32)
