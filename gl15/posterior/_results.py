"""Results in the containers that other libraries read."""

import warnings
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray
from numpyro.infer import MCMC

from gl15.posterior._grid_posterior import GridPosterior


def to_arviz(
    posterior: MCMC | GridPosterior,
    *,
    key: PRNGKeyArray | None = None,
    draws: int = 1000,
    chains: int = 4,
    **groups: Any,
) -> Any:
    """ArviZ `InferenceData` of a posterior, for its plots, summaries and files.

    A `GridPosterior` enters as independent draws, dealt out to chains so that
    diagnostics which compare chains apply. The log-likelihood group is left out: a
    ratio lacks the evidence, so LOO and WAIC would be wrong.

    Args:
        posterior: a finished `MCMC`, or a `GridPosterior`.
        key: random key of the draws; a `GridPosterior` needs one.
        draws: draws per chain from a `GridPosterior`.
        chains: chains that they are dealt out to.
        **groups: passed to `arviz.from_numpyro` or `arviz.from_dict`, such as
            `posterior_predictive=` or `prior=`.

    Returns:
        The `arviz.InferenceData`, with the draws in its `posterior` group.

    Raises:
        ValueError: if a `GridPosterior` comes without a `key`.
        ModuleNotFoundError: if ArviZ is not installed (`pip install "gl15[plots]"`).
    """
    arviz = _import_arviz()
    if isinstance(posterior, MCMC):
        return arviz.from_numpyro(posterior, log_likelihood=False, **groups)
    if key is None:
        raise ValueError(
            "`key` must be a random key for a GridPosterior, got None; give "
            "`key=jax.random.key(...)` to draw with."
        )
    samples = posterior.sample(key, (chains, draws))
    arrays = {name: np.asarray(value) for name, value in samples.items()}
    return arviz.from_dict(posterior=arrays, **groups)


def _import_arviz() -> Any:
    # Late, because it takes seconds and most sessions do without it; and without the
    # notice of its next version that it shows once a day.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            import arviz
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "`to_arviz` makes InferenceData of ArviZ, but ArviZ is not installed: "
            '`pip install "gl15[plots]"`.'
        ) from error
    return arviz
