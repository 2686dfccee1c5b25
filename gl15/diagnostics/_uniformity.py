r"""Are ranks uniform? Distances to the uniform distribution, with their null.

A number such as "mean deviation 0.03" says nothing alone: even perfectly calibrated
posteriors deviate, by about $0.31/\sqrt n$ on average over $n$ images. Every number
here comes with the distribution it has under exact calibration.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.diagnostics._coverage import named_ranks, Ranks


@dataclasses.dataclass(frozen=True)
class RankCheck:
    """How far ranks are from uniform, against exactly uniform ranks.

    Attributes:
        count: number of ranks.
        deviation: name -> mean absolute deviation of the ranks' distribution function.
        null_mean: the mean deviation of as many uniform ranks.
        null_quantile: its 95% quantile: a larger deviation rejects calibration.
        deviation_p: name -> share of uniform rank sets that deviate more.
        ks: name -> Kolmogorov-Smirnov statistic, the largest deviation.
        ks_p: name -> its p-value.
    """

    count: int
    deviation: dict[str, float]
    null_mean: float
    null_quantile: float
    deviation_p: dict[str, float]
    ks: dict[str, float]
    ks_p: dict[str, float]

    @property
    def calibrated(self) -> bool:
        """Whether neither test rejects a parameter at 5%, shared among the parameters.

        The two tests agree more often than not: exact posteriors fail one of them in
        some 6 of 100 ensembles.
        """
        level = 0.05 / len(self.deviation)
        return all(
            min(self.deviation_p[name], self.ks_p[name]) >= level
            for name in self.deviation
        )

    def to_markdown(self) -> str:
        """A table with one row for each parameter.

        Returns:
            The table, in Markdown.
        """
        lines = [
            f"Uniformity of {self.count} ranks; of exactly uniform ranks the mean "
            f"deviation is {self.null_mean:.4f}, its 95% quantile "
            f"{self.null_quantile:.4f}",
            "",
            "| parameter | mean deviation | p | largest deviation (KS) | p |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {name} | {self.deviation[name]:.4f} | {self.deviation_p[name]:.3f} "
            f"| {self.ks[name]:.4f} | {self.ks_p[name]:.3f} |"
            for name in self.deviation
        ]
        return "\n".join(lines)


def rank_deviation(ranks: Float[Any, " n"]) -> Float[Array, ""]:
    r"""Mean absolute deviation of the ranks' distribution function from uniform.

    $$
    \int_0^1 \Big| \frac{\#\{i : \mathrm{rank}_i \le u\}}{n} - u \Big|\,du
    $$

    exactly, which is what the mean over a fine uniform grid of $u$ tends to.

    Args:
        ranks: the ranks of one parameter, `[n]`.

    Returns:
        The deviation, a scalar from 0 to 1/2.
    """
    return _deviation_of_sorted(jnp.sort(jnp.asarray(ranks, float)))


def null_deviations(
    n: int, *, key: PRNGKeyArray, draws: int = 10_000
) -> Float[Array, " draws"]:
    """`rank_deviation` of many sets of `n` exactly uniform ranks.

    Args:
        n: number of ranks in a set.
        key: random key.
        draws: number of sets.

    Returns:
        The deviation of each set, `[draws]`.
    """
    return _null_deviations(n, key, draws)


def null_deviation_quantile(
    n: int, q: float = 0.95, *, key: PRNGKeyArray, draws: int = 10_000
) -> float:
    r"""Quantile of `rank_deviation` under exact calibration, by Monte Carlo.

    It scales as $1/\sqrt n$: the 95% quantile is 0.026 for 500 ranks and 0.0092 for
    4,000.

    Args:
        n: number of ranks.
        q: probability.
        key: random key.
        draws: number of simulated sets of ranks.

    Returns:
        The quantile.
    """
    return float(jnp.quantile(null_deviations(n, key=key, draws=draws), q))


def check_ranks(ranks: Ranks, *, key: PRNGKeyArray, draws: int = 10_000) -> RankCheck:
    """Test ranks for uniformity, each parameter by two distances and their nulls.

    Args:
        ranks: what `sbc_ranks` gave: a dictionary by name, or one array.
        key: random key of the null distribution.
        draws: number of simulated sets of ranks.

    Returns:
        A `RankCheck`; an array without a name goes by "joint".

    Raises:
        ValueError: if ranks lie outside 0 to 1.
    """
    named = named_ranks(ranks)
    count = len(next(iter(named.values())))
    null = np.asarray(null_deviations(count, key=key, draws=draws))
    deviation = {name: float(rank_deviation(value)) for name, value in named.items()}
    tests = {
        name: scipy.stats.kstest(value, "uniform") for name, value in named.items()
    }
    return RankCheck(
        count=count,
        deviation=deviation,
        null_mean=float(null.mean()),
        null_quantile=float(np.quantile(null, 0.95)),
        deviation_p={
            name: float(np.mean(null >= value)) for name, value in deviation.items()
        },
        ks={name: float(test.statistic) for name, test in tests.items()},
        ks_p={name: float(test.pvalue) for name, test in tests.items()},
    )


def ecdf_band(
    n: int,
    *,
    key: PRNGKeyArray,
    level: float = 0.95,
    points: int = 101,
    draws: int = 2000,
) -> tuple[
    Float[np.ndarray, " points"],
    Float[np.ndarray, " points"],
    Float[np.ndarray, " points"],
]:
    """Band that holds the whole distribution function of `n` uniform ranks.

    Simultaneous: with probability `level` the function stays inside at all `points` at
    once. Pointwise binomial intervals, widened until that holds of simulated ranks.

    Args:
        n: number of ranks.
        key: random key of the simulated ranks.
        level: probability to stay inside.
        points: number of equidistant points within 0 and 1.
        draws: number of simulated sets of ranks.

    Returns:
        `(u, low, high)`: the points and the ends of the band there, each `[points]`.

    Reference:
        Säilynoja, Bürkner and Vehtari, Graphical test for discrete uniformity and its
        applications, Statistics and Computing 32 (2022), arXiv 2103.10522.
    """
    u = np.linspace(0, 1, points + 2)[1:-1]
    counts = np.asarray(_null_counts(n, key, draws, jnp.asarray(u)))
    below = scipy.stats.binom.cdf(counts, n, u)
    above = scipy.stats.binom.sf(counts - 1, n, u)
    smallest = np.minimum(1, 2 * np.minimum(below, above)).min(axis=1)
    tail = np.quantile(smallest, 1 - level) / 2
    low, high = (scipy.stats.binom.ppf(q, n, u) / n for q in (tail, 1 - tail))
    return u, low, high


def _deviation_of_sorted(ranks: Float[Array, " n"]) -> Float[Array, ""]:
    n = len(ranks)
    edges = jnp.concatenate([jnp.zeros(1), ranks, jnp.ones(1)])
    height = jnp.arange(n + 1) / n
    # The primitive of |u - c| is (u - c)|u - c| / 2, on each step of the function.
    above, below = edges[1:] - height, edges[:-1] - height
    return jnp.sum(above * jnp.abs(above) - below * jnp.abs(below)) / 2


def _sorted_uniform(key: PRNGKeyArray, n: int) -> Float[Array, " n"]:
    # The spacings of uniform variables are exponential ones over their sum: no sorting.
    steps = jnp.cumsum(jax.random.exponential(key, (n + 1,)))
    return steps[:-1] / steps[-1]


@eqx.filter_jit
def _null_deviations(n: int, key: PRNGKeyArray, draws: int) -> Float[Array, " draws"]:
    keys = jax.random.split(key, draws)
    return jax.lax.map(
        lambda one: _deviation_of_sorted(_sorted_uniform(one, n)), keys, batch_size=256
    )


@eqx.filter_jit
def _null_counts(
    n: int, key: PRNGKeyArray, draws: int, u: Float[Array, " points"]
) -> Any:
    keys = jax.random.split(key, draws)
    return jax.lax.map(
        lambda one: jnp.searchsorted(_sorted_uniform(one, n), u, side="right"),
        keys,
        batch_size=256,
    )
