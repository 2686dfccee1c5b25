"""Posterior summaries of every image of an ensemble."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gl15.diagnostics._coverage import check_levels
from gl15.diagnostics._posteriors import HeldOut, map_posteriors
from gl15.posterior import GridPosterior, LogRatio, Points


class Summary(eqx.Module):
    """One line per held-out pair: the truth, and what its posterior says.

    Attributes:
        names: the parameters.
        levels: credibility levels of the intervals.
        truth: name -> true value, `[n]`.
        mean: name -> posterior mean.
        std: name -> posterior standard deviation.
        rank: name -> posterior probability below the truth.
        low: name -> lower ends of the equal-tailed intervals, `[n, levels]`.
        high: name -> upper ends.
        log_prob: joint log-density at the true parameters, `[n]`: the score of a
            probabilistic forecast, higher is better.
        normalisation: mean ratio over the prior, 1 for a perfect estimator, `[n]`.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    levels: tuple[float, ...] = eqx.field(static=True)
    truth: dict[str, Float[Array, " n"]]
    mean: dict[str, Float[Array, " n"]]
    std: dict[str, Float[Array, " n"]]
    rank: dict[str, Float[Array, " n"]]
    low: dict[str, Float[Array, "n levels"]]
    high: dict[str, Float[Array, "n levels"]]
    log_prob: Float[Array, " n"]
    normalisation: Float[Array, " n"]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.log_prob)

    def error(self, name: str) -> Float[Array, " n"]:
        """Absolute error of the posterior mean.

        Args:
            name: the parameter.

        Returns:
            The error for each image, `[n]`.
        """
        return jnp.abs(self.mean[name] - self.truth[name])

    def width(self, name: str, level: float) -> Float[Array, " n"]:
        """Width of the interval at one of `levels`.

        Args:
            name: the parameter.
            level: the credibility level.

        Returns:
            The width for each image, `[n]`.

        Raises:
            ValueError: if there are no intervals at `level`.
        """
        index = self._index(level)
        return self.high[name][:, index] - self.low[name][:, index]

    def covered(self, name: str, level: float) -> Bool[Array, " n"]:
        """Whether the interval at one of `levels` holds the truth.

        Args:
            name: the parameter.
            level: the credibility level.

        Returns:
            A flag for each image, `[n]`.

        Raises:
            ValueError: if there are no intervals at `level`.
        """
        # By rank, not by the rounded ends: the truth may lie on an end, at the edge of
        # the prior.
        self._index(level)
        return jnp.abs(self.rank[name] - 0.5) <= level / 2

    def _index(self, level: float) -> int:
        if level not in self.levels:
            raise ValueError(
                f"`level` must be in {self.levels}, got {level}; give `levels` to "
                "`summarize` for others."
            )
        return self.levels.index(level)


def summarize(
    estimator: LogRatio,
    ensemble: HeldOut,
    *,
    points: Points = None,
    levels: tuple[float, ...] = (0.68, 0.95),
    batch_size: int = 64,
    features: Float[Array, "n features"] | None = None,
) -> Summary:
    """Grid posterior of every image, and its moments, intervals, ranks and scores.

    Each image is embedded once; the posteriors are computed in one compiled loop.

    Args:
        estimator: a trained `RatioEstimator`, or any `LogRatio`, of one to three
            parameters.
        ensemble: held-out pairs.
        points: nodes of each posterior, as in `grid_posterior`.
        levels: credibility levels of the intervals.
        batch_size: images embedded at once.
        features: what `embed_ensemble` gave for `ensemble.x`, to save computing it.

    Returns:
        A `Summary`.

    Raises:
        ValueError: if the ensemble does not suit the estimator: wrong, missing or
            non-finite parameters or images, or another pixel spacing or channels; or if
            `levels` are no probabilities.
    """
    levels = tuple(levels)
    check_levels(levels)
    columns = map_posteriors(
        Row(levels),
        estimator,
        ensemble,
        points=points,
        batch_size=batch_size,
        features=features,
    )
    return Summary(names=estimator.prior.names, levels=levels, **columns)


class Row(eqx.Module):
    """What a `Summary` holds of one image.

    Attributes:
        levels: credibility levels of the intervals.
    """

    levels: tuple[float, ...] = eqx.field(static=True)

    def __call__(
        self, posterior: GridPosterior, theta: dict[str, Float[Array, ""]]
    ) -> dict[str, Any]:
        """The columns of one image."""
        intervals = posterior.interval(jnp.asarray(self.levels, float))
        return {
            "truth": theta,
            "mean": posterior.mean(),
            "std": posterior.std(),
            "rank": posterior.cdf(theta),
            "low": {name: ends[0] for name, ends in intervals.items()},
            "high": {name: ends[1] for name, ends in intervals.items()},
            "log_prob": posterior.log_prob(theta),
            "normalisation": posterior.normalisation,
        }
