r"""Posterior samples by NUTS, for any number of parameters."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpyro
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.infer import MCMC, NUTS

from gl15.posterior._embedding import checked, embed_once
from gl15.posterior._potential import Potential
from gl15.posterior._protocol import LogRatio


_CANDIDATES = 4096  # prior draws among which the chains choose their starts


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
        ValueError: if the image does not suit the estimator.
    """
    image = checked(estimator, x)
    features = embed_once(estimator, image)
    prior = estimator.prior

    def model() -> None:
        theta: dict[str, Any] = {
            name: numpyro.sample(name, value)
            for name, value in prior.distributions.items()
        }
        numpyro.factor("log_ratio", estimator.log_ratio(theta, features))

    key_start, key_run = jax.random.split(key)
    start = _starts(Potential(estimator, features), key_start, num_chains)
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
    """Unconstrained positions: prior draws resampled by their ratios."""
    key_prior, key_choice = jax.random.split(key)
    estimator = energy.estimator
    theta = estimator.prior.sample(key_prior, (_CANDIDATES,))
    log_ratio = jax.lax.map(
        lambda one: estimator.log_ratio(one, energy.features), theta, batch_size=1024
    )
    chosen = jax.random.categorical(key_choice, log_ratio, shape=(count,))
    position = energy.unconstrain({name: theta[name][chosen] for name in theta})
    # A draw that rounding put on the edge of its support would start at infinity.
    return {
        name: jnp.where(jnp.isfinite(value), value, 0)
        for name, value in position.items()
    }
