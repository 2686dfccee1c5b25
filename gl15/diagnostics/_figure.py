"""A number beside the range that it has for exact posteriors."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.stats


@dataclasses.dataclass(frozen=True)
class Figure:
    """One number of a report, beside what exact calibration would give.

    Attributes:
        name: what it is.
        value: the number.
        low: smallest value that exact posteriors give with 99% (95% where a quantile is
            named); NaN if there is no such limit.
        high: largest such value.
        error: its standard error, NaN where `low` and `high` say it all.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    error: float = math.nan

    @property
    def passed(self) -> bool | None:
        """Whether the number is as of exact posteriors; None if there is no limit."""
        if math.isnan(self.low) and math.isnan(self.high):
            return None
        return not (self.value < self.low or self.value > self.high)

    @property
    def limits(self) -> str:
        """The range of exact posteriors, in words."""
        if math.isnan(self.low) and math.isnan(self.high):
            return ""
        if math.isnan(self.low):
            return f"at most {self.high:.4g}"
        if math.isnan(self.high):
            return f"at least {self.low:.4g}"
        return f"{self.low:.4g} to {self.high:.4g}"


def mean(name: str, values: Any) -> Figure:
    """A mean, with its standard error.

    Args:
        name: what it is.
        values: of each pair.

    Returns:
        The figure, which has no limits.
    """
    values = np.asarray(values, float)
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    return Figure(name, float(values.mean()), error=error)


def shares(name: str, ranks: Any, levels: Sequence[float]) -> list[Figure]:
    """Shares of ranks up to each level, with their binomial ranges.

    Args:
        name: what they are ranks of.
        ranks: uniform ones, if posteriors are exact.
        levels: the levels.

    Returns:
        A figure for each.
    """
    found, count = [], len(ranks)
    for level in levels:
        ends = scipy.stats.binom.interval(0.99, count, level)
        low, high = (float(end / count) for end in ends)
        share = float(np.mean(np.asarray(ranks) <= level))
        found.append(Figure(f"{name} {level:.0%}", share, low, high))
    return found


def plain(value: float) -> float | None:
    """A number for JSON, which knows no NaN.

    Args:
        value: the number.

    Returns:
        The same, or None.
    """
    return float(value) if math.isfinite(value) else None
