"""Coverage part by part of the range, each share beside what chance allows."""

import dataclasses
from typing import Any, Literal

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float, Int

from gl15.diagnostics._coverage import check_levels
from gl15.diagnostics._summary import Summary


@dataclasses.dataclass(frozen=True)
class BinnedCoverage:
    """Coverage of central intervals in bins of one parameter, and over all.

    Attributes:
        name: the parameter.
        by: what the bins are of: true values, or posterior means.
        levels: the credibility levels.
        edges: of the bins.
        count: images in each bin; in the last row all images.
        covered: share of the truths inside, a row for each bin and one for all.
        low: smallest share that exact calibration gives with probability `confidence`.
        high: largest such share.
        confidence: probability that a share of exact posteriors is in its range.
    """

    name: str
    by: str
    levels: tuple[float, ...]
    edges: Float[np.ndarray, " edges"]
    count: Int[np.ndarray, " rows"]
    covered: Float[np.ndarray, "rows levels"]
    low: Float[np.ndarray, "rows levels"]
    high: Float[np.ndarray, "rows levels"]
    confidence: float

    @property
    def passed(self) -> Bool[np.ndarray, "rows levels"]:
        """Whether each share is in its range; a bin without images passes."""
        inside = (self.low <= self.covered) & (self.covered <= self.high)
        return inside | (self.count == 0)[:, None]

    def to_markdown(self) -> str:
        """A table with one row for each bin, and one for all images.

        Returns:
            The table, in Markdown; shares out of their range are in bold.
        """
        head = [f"{self.by} {self.name}", "images"]
        for level in self.levels:
            head += [f"{level:.0%} holds", f"if exact ({self.confidence:.0%})"]
        rows = [head, ["---"] * len(head)]
        for row in range(len(self.count)):
            last = row == len(self.count) - 1
            ends = [f"{edge:.3g}" for edge in self.edges[row : row + 2]]
            cells = ["all" if last else " to ".join(ends), f"{self.count[row]}"]
            for level in range(len(self.levels)):
                mark = "" if self.passed[row, level] else "**"
                cells += [
                    f"{mark}{self.covered[row, level]:.1%}{mark}",
                    f"{self.low[row, level]:.1%} to {self.high[row, level]:.1%}",
                ]
            rows.append(cells)
        return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def binned_coverage(
    summary: Summary,
    name: str | None = None,
    *,
    bins: int | Any = 5,
    levels: tuple[float, ...] = (0.68, 0.95),
    by: Literal["truth", "mean"] = "truth",
    confidence: float = 0.99,
) -> BinnedCoverage:
    """Coverage in each part of a parameter's range, with binomial verdicts.

    Averages over the prior hide a posterior that is too narrow in one place and too
    wide in another. Bins of the **truth** answer how often intervals hold for samples
    of a given kind; even exact posteriors then miss the level a little, within about a
    posterior's width of the ends of the prior. Bins of the posterior **mean** are exact
    for exact posteriors: conditional on an image, the truth is a posterior draw.

    Args:
        summary: what `summarize(estimator, ensemble)` gave.
        name: the parameter; may be left out if there is only one.
        bins: number of equal bins over the range of the values, or the bins' edges.
        levels: credibility levels; any, as they are read off the ranks.
        by: what is sorted into bins, `"truth"` or `"mean"`.
        confidence: probability of the ranges that chance allows to single shares.

    Returns:
        A `BinnedCoverage`.

    Raises:
        ValueError: if `name` is unknown or needed, or `by` or `levels` make no sense.
    """
    check_levels(levels)
    if name is None and len(summary.names) == 1:
        name = summary.names[0]
    if name is None or name not in summary.names:
        raise ValueError(f"`name` must be in {list(summary.names)}, got {name!r}.")
    if by not in ("truth", "mean"):
        raise ValueError(f'`by` must be "truth" or "mean", got {by!r}.')
    values = np.asarray((summary.truth if by == "truth" else summary.mean)[name], float)
    edges = np.asarray(np.histogram_bin_edges(values, bins), float)
    row = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    row = np.where((values >= edges[0]) & (values <= edges[-1]), row, -1)
    level = np.asarray(levels, float)
    rank = np.asarray(summary.rank[name], float)
    inside = 2 * np.abs(rank - 0.5)[:, None] <= level
    groups = [row == one for one in range(len(edges) - 1)] + [row >= 0]
    count = np.asarray([group.sum() for group in groups])
    held = np.stack([inside[group].sum(0) for group in groups])
    size = np.maximum(count, 1)[:, None]
    tail = (1 - confidence) / 2
    return BinnedCoverage(
        name=name,
        by="true" if by == "truth" else "mean",
        levels=tuple(map(float, levels)),
        edges=edges,
        count=count,
        covered=held / size,
        low=scipy.stats.binom.ppf(tail, size, level) / size,
        high=scipy.stats.binom.ppf(1 - tail, size, level) / size,
        confidence=confidence,
    )
