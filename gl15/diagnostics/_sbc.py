"""Simulation-based calibration: the rank of the truth within its posterior."""

from jaxtyping import Array, Float

from gl15.diagnostics._posteriors import HeldOut, map_posteriors
from gl15.posterior import GridPosterior, LogRatio, Points


def sbc_ranks(
    estimator: LogRatio,
    ensemble: HeldOut,
    points: Points = None,
    *,
    batch_size: int = 64,
    features: Float[Array, "n features"] | None = None,
) -> dict[str, Float[Array, " n"]]:
    r"""Rank of every true parameter within its posterior.

    $$
    \mathrm{rank}_i = \int_{-\infty}^{\theta_i^*} p(\theta \mid x_i)\,d\theta
    $$

    If the posteriors are calibrated and the pairs are drawn from the prior, the ranks
    are uniform on $[0, 1]$; `check_ranks` tests it and `coverage` reads it as coverage.

    Args:
        estimator: a trained `RatioEstimator`, or any `LogRatio`, of one to three
            parameters.
        ensemble: held-out pairs, their parameters drawn from the estimator's prior.
        points: nodes of each posterior, as in `grid_posterior`.
        batch_size: images embedded at once.
        features: what `embed_ensemble` gave for `ensemble.x`, to save computing it.

    Returns:
        Name -> ranks `[n]`.

    Raises:
        ValueError: if the ensemble does not suit the estimator: wrong, missing or
            non-finite parameters or images, or another pixel spacing or channels.

    Reference:
        Talts et al., Validating Bayesian inference algorithms with simulation-based
        calibration, arXiv 1804.06788.
    """
    return map_posteriors(
        _rank,
        estimator,
        ensemble,
        points=points,
        batch_size=batch_size,
        features=features,
    )


def _rank(
    posterior: GridPosterior, theta: dict[str, Float[Array, ""]]
) -> dict[str, Float[Array, ""]]:
    return posterior.cdf(theta)
