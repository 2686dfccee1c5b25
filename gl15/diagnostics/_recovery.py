"""How well parameters are recovered, over the range of their true values."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from gl15.diagnostics._summary import Summary


@dataclasses.dataclass(frozen=True)
class Column:
    """A mean over the images of each row, and its standard error (NaN for one image).

    Attributes:
        value: the means.
        standard_error: their standard errors.
    """

    value: Float[np.ndarray, " rows"]
    standard_error: Float[np.ndarray, " rows"]


@dataclasses.dataclass(frozen=True)
class RecoveryTable:
    """Recovery of one parameter: a row for each true value, or bin of true values.

    Attributes:
        name: the parameter.
        true: the true value of each row; the mean of them for a bin.
        count: images in each row.
        mean: posterior mean.
        std: posterior standard deviation.
        error: absolute error of the posterior mean.
        width: credibility level -> width of the equal-tailed interval.
        covered: credibility level -> number of images whose interval holds the truth.
        total_error: mean absolute error over all images, and its standard error.
    """

    name: str
    true: Float[np.ndarray, " rows"]
    count: Int[np.ndarray, " rows"]
    mean: Column
    std: Column
    error: Column
    width: dict[float, Column]
    covered: dict[float, Int[np.ndarray, " rows"]]
    total_error: tuple[float, float]

    def to_markdown(self) -> str:
        """The table, and a line over all images.

        Returns:
            Both, in Markdown.
        """
        levels = list(self.width)
        head = [f"true {self.name}", "images", "posterior mean", "posterior std"]
        head += ["mean abs error", *(f"{level:.0%} width" for level in levels)]
        head += [f"{level:.0%} covered" for level in levels]
        lines = [_row(head), _row(["---"] * len(head))]
        for row in range(len(self.true)):
            columns = [self.mean, self.std, self.error, *self.width.values()]
            cells = [f"{self.true[row]:.3f}", f"{self.count[row]}"]
            cells += [_cell(column, row) for column in columns]
            cells += [
                f"{self.covered[level][row]}/{self.count[row]}" for level in levels
            ]
            lines.append(_row(cells))
        images = int(self.count.sum())
        shares = ", ".join(
            f"{level:.0%} intervals hold {int(self.covered[level].sum())}/{images}"
            for level in levels
        )
        error, spread = self.total_error
        lines += [
            "",
            f"Over all {images} images: mean absolute error {error:.4f} ± {spread:.4f}"
            f" (standard error); {shares}.",
        ]
        return "\n".join(lines)


def recovery_table(
    summary: Summary,
    name: str | None = None,
    *,
    bins: int | Any | None = None,
) -> RecoveryTable:
    r"""Posterior mean, spread, error and interval widths against the true value.

    Every entry is a mean over the images that share a true value, with its standard
    error.

    Args:
        summary: what `summarize(estimator, ensemble)` gave.
        name: the parameter; may be left out if there is only one.
        bins: how to group true values that are not repeated: a number of equal bins
            over their range, or the bins' edges. By default rows are the distinct
            values.

    Returns:
        A `RecoveryTable`.

    Raises:
        ValueError: if `name` is unknown or needed, or there are too many distinct true
            values for a table without `bins`.
    """
    if name is None:
        if len(summary.names) != 1:
            raise ValueError(f"`name` is needed; give one of {list(summary.names)}.")
        name = summary.names[0]
    if name not in summary.names:
        raise ValueError(f"`name` must be in {list(summary.names)}, got {name!r}.")
    truth = np.asarray(summary.truth[name], float)
    row = _rows(truth, bins)
    kept, row = row >= 0, row[row >= 0]
    _, row = np.unique(row, return_inverse=True)
    group = _Groups(row, kept)
    error = np.asarray(summary.error(name), float)[kept]
    return RecoveryTable(
        name=name,
        true=group.column(truth).value,
        count=group.count,
        mean=group.column(summary.mean[name]),
        std=group.column(summary.std[name]),
        error=group.column(summary.error(name)),
        width={
            level: group.column(summary.width(name, level)) for level in summary.levels
        },
        covered={
            level: group.total(summary.covered(name, level)) for level in summary.levels
        },
        total_error=(float(error.mean()), _standard_error(error)),
    )


def _rows(truth: Float[np.ndarray, " n"], bins: Any) -> Int[np.ndarray, " n"]:
    """Row of each image; -1 outside the bins."""
    if bins is None:
        values, row = np.unique(truth, return_inverse=True)
        if len(values) > 50:
            raise ValueError(
                f"{len(values)} distinct true values make no table; give `bins`, such "
                "as bins=10, to group them."
            )
        return row
    edges = np.histogram_bin_edges(truth, bins)
    row = np.clip(np.searchsorted(edges, truth, side="right") - 1, 0, len(edges) - 2)
    return np.where((truth >= edges[0]) & (truth <= edges[-1]), row, -1)


class _Groups:
    """Reductions over the images of each row."""

    def __init__(self, row: Any, kept: Any):
        self.row, self.kept = row, kept
        self.count = np.bincount(row)

    def column(self, values: Any) -> Column:
        kept = np.asarray(values, float)[self.kept]
        return Column(self._reduce(np.mean, kept), self._reduce(_standard_error, kept))

    def total(self, flags: Any) -> Int[np.ndarray, " rows"]:
        return self._reduce(np.sum, np.asarray(flags)[self.kept])

    def _reduce(self, function: Callable[..., Any], values: Any) -> Any:
        rows = range(len(self.count))
        return np.asarray([function(values[self.row == one]) for one in rows])


def _standard_error(values: Float[np.ndarray, " n"]) -> float:
    if len(values) < 2:
        return float("nan")
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _cell(column: Column, row: int) -> str:
    value, error = column.value[row], column.standard_error[row]
    return f"{value:.4f}" if np.isnan(error) else f"{value:.4f} ± {error:.4f}"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
