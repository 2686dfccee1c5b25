r"""Posterior samples by NUTS, for any number of parameters."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpyro
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.infer import MCMC, NUTS

from gl15.inference._estimators.candidates import candidates
from gl15.posterior._embedding import checked, embed_once
from gl15.posterior._laplace import _laplace
from gl15.posterior._potential import Potential
from gl15.posterior._protocol import LogRatio
from gl15.simulation._arguments import random_key, whole_number


_CANDIDATES = 4096  # draws among which the chains choose their starts


def sample_posterior(
    estimator: LogRatio,
    x: Any,
    *,
    key: PRNGKeyArray,
    num_warmup: int = 500,
    num_samples: int = 1000,
    num_chains: int = 4,
    chain_method: Literal["vectorized", "sequential", "parallel"] = "vectorized",
    progress: bool = False,
    **nuts_options: Any,
) -> MCMC:
    r"""Draw from $p(\theta \mid x) \propto r(\theta, x)\,p(\theta)$ with NUTS.

    The image is embedded once, before the chains start. The chains start at draws from
    the prior, resampled by their ratios: where a posterior is much narrower than its
    prior the log-ratio is flat over most of it, and a chain started there would wander.
    An estimator with peaks (the quadratic head) gives starts of its own, and the mass
    matrix to begin with; both are only where the adaptation starts.
    Two separate peaks therefore share the chains by their weights, but a chain does not
    cross between them.

    Args:
        estimator: a trained `RatioEstimator`, or any `LogRatio`.
        x: one image, an array or an `Observation`, whose spacing and channels are
            then compared with those of training.
        key: random key.
        num_warmup: adaptation steps of each chain.
        num_samples: draws kept of each chain.
        num_chains: number of chains.
        chain_method: how NumPyro runs them.
        progress: whether to show NumPyro's progress bar.
        **nuts_options: passed to `numpyro.infer.NUTS`, such as `target_accept_prob`.

    Returns:
        The finished `numpyro.infer.MCMC`: `.get_samples()["eta"]`, `.print_summary()`.

    Raises:
        ValueError: if the image does not suit the estimator, or a number is no count.
    """
    random_key("key", key)
    whole_number("num_warmup", num_warmup, 0)
    whole_number("num_samples", num_samples)
    whole_number("num_chains", num_chains)
    image = checked(estimator, x)
    features = embed_once(estimator, image)
    prior = estimator.prior

    def model() -> None:
        theta: dict[str, Any] = {
            name: numpyro.sample(name, value)
            for name, value in prior.distributions.items()
        }
        numpyro.factor("log_ratio", estimator.log_ratio(theta, features))

    key_start, key_run, key_fit = jax.random.split(key, 3)
    start = _starts(Potential(estimator, features), key_start, num_chains)
    if _has_peaks(estimator, features) and "inverse_mass_matrix" not in nuts_options:
        fitted = _laplace(estimator, features, key_fit)
        nuts_options.setdefault("dense_mass", True)
        nuts_options["inverse_mass_matrix"] = {fitted.names: fitted.covariance}
    if num_chains == 1:
        start = {name: value[0] for name, value in start.items()}
    mcmc = MCMC(
        NUTS(model, **nuts_options),
        num_warmup=num_warmup,
        num_samples=num_samples,
        num_chains=num_chains,
        chain_method=chain_method,
        progress_bar=progress,
    )
    mcmc.run(key_run, init_params=start)
    return mcmc


def _starts(
    energy: Potential, key: PRNGKeyArray, count: int
) -> dict[str, Float[Array, " count"]]:
    """Unconstrained positions: candidates resampled by their weights."""
    draw_key, choice_key = jax.random.split(key)
    estimator = energy.estimator
    prior = estimator.prior
    u, log_weight = candidates(estimator, energy.features, draw_key, _CANDIDATES)
    chosen = jax.random.categorical(choice_key, log_weight, shape=(count,))
    position = energy.unconstrain(prior.restrict(prior.unstandardize(u[chosen])))
    # A draw that rounding put on the edge of its support would start at infinity.
    return {
        name: jnp.where(jnp.isfinite(value), value, 0)
        for name, value in position.items()
    }


def _has_peaks(estimator: Any, features: Any) -> bool:
    return hasattr(estimator, "peaks") and estimator.peaks(features) is not None
