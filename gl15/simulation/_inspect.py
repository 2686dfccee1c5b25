"""Simulations that came out strange: not finite, constant, or far from the others."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from gl15.simulation._ensemble import Ensemble
from gl15.simulation._nonfinite import finite_rows
from gl15.simulation._stored import StoredEnsemble


_TOWARDS_ZERO = 2.5  # what a deviation below the median is divided by
_PIECE = 4096  # simulations of an ensemble in memory looked at together


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What is strange about an ensemble.

    `str(inspection)` is a report.

    Attributes:
        n: how many simulations were looked at.
        missing: how many are not there yet.
        nonfinite: which are not finite.
        constant: which observations have no contrast at all.
        outliers: which are far from all others.
        score: how far, in robust standard deviations, for each of `outliers`.
        theta: parameter name -> values of the whole ensemble, also of what is missing.
    """

    n: int
    missing: int
    nonfinite: np.ndarray
    constant: np.ndarray
    outliers: np.ndarray
    score: np.ndarray
    theta: dict[str, np.ndarray]

    def __str__(self) -> str:
        """A line for every simulation that is strange, with its theta."""
        lines = [f"{self.n} simulations, {self.missing} missing"]
        kinds = {"not finite": self.nonfinite, "constant": self.constant}
        rows = [(int(i), kind) for kind, index in kinds.items() for i in index]
        rows += [
            (int(i), f"outlier, {score:.1f} deviations")
            for i, score in zip(self.outliers, self.score, strict=True)
        ]
        for i, kind in sorted(rows):
            theta = {name: float(value[i]) for name, value in self.theta.items()}
            at = ", ".join(f"{name}={value:.6g}" for name, value in theta.items())
            lines.append(f"{i}: {kind}, at {at}")
        return "\n".join(lines if rows else [*lines, "nothing strange"])


def inspect_ensemble(
    ensemble: Ensemble | StoredEnsemble, *, threshold: float = 8.0
) -> Inspection:
    r"""Find simulations that are not finite, constant, or far from all others.

    Of every observation and channel two statistics are taken, the logarithms of the
    mean magnitude and of the standard deviation over the pixels, and compared with
    those of the other simulations:

    $$
    z = \frac{|s - \mathrm{median}(s)|}{1.4826\,\mathrm{MAD}(s)} .
    $$

    The median and the median absolute deviation are not moved by the outliers they
    are to find. Below the median z counts for less, 1/2.5: a magnitude that passes
    evenly through zero, such as the current's at a field from U(-b, b), has an
    exponential tail there. So weighed, that tail passes z = 8 with a probability of
    3e-7, a Gaussian one with 1e-15, and a theta spread evenly over an octave or a
    decade never does (z is 1 to 3): past it stands what blew up or died out, not what
    is rare. An observation that is wrong but of ordinary magnitude is not found.

    Args:
        ensemble: in memory, or on disk; there it is read shard by shard, and what is
            missing is left out.
        threshold: the smallest z that counts.

    Returns:
        What is strange.
    """
    n = len(ensemble)
    seen, finite, constant = (np.zeros(n, bool) for _ in range(3))
    statistics = None
    for rows, x in _pieces(ensemble):
        seen[rows], finite[rows] = True, finite_rows(x)
        values, flat = _statistics(x)
        constant[rows] = flat
        if statistics is None:
            statistics = np.full((n, values.shape[1]), np.nan)
        statistics[rows] = values
    usable = seen & finite & ~constant
    score = np.zeros(n)
    if statistics is not None and usable.any():
        score[usable] = _distance(statistics[usable])
    outliers = np.flatnonzero(score > threshold)
    return Inspection(
        n=int(seen.sum()),
        missing=int(n - seen.sum()),
        nonfinite=np.flatnonzero(seen & ~finite),
        constant=np.flatnonzero(seen & finite & constant),
        outliers=outliers,
        score=score[outliers],
        theta={name: np.asarray(value) for name, value in ensemble.theta.items()},
    )


def _pieces(ensemble: Ensemble | StoredEnsemble) -> Iterator[tuple[slice, np.ndarray]]:
    """What there is, so much at a time as fits in memory."""
    if isinstance(ensemble, StoredEnsemble):
        missing = {rows.start for rows in ensemble.missing}
        for rows in ensemble.shards:
            if rows.start not in missing:
                yield rows, ensemble.observations(rows)
        return
    for start in range(0, len(ensemble), _PIECE):
        rows = slice(start, min(start + _PIECE, len(ensemble)))
        yield rows, np.asarray(ensemble.x[rows])


def _statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two statistics of each channel, and which observations are constant."""
    # A last axis of pictures is that of the channels; other observations have one.
    channels = x.shape[-1] if x.ndim > 2 else 1
    pixels = x.reshape(len(x), -1, channels).astype(float)
    with np.errstate(all="ignore"):
        values = np.concatenate([np.abs(pixels).mean(1), pixels.std(1)], axis=1)
        # One number has no contrast to lose.
        flat = (pixels == pixels[:, :1]).all((1, 2)) & (pixels.shape[1] > 1)
        return np.log(np.maximum(values, np.finfo(float).tiny)), flat


def _distance(values: np.ndarray) -> np.ndarray:
    """The largest robust deviation of each row."""
    away = values - np.median(values, axis=0)
    scale = 1.4826 * np.median(np.abs(away), axis=0)
    away = np.where(away > 0, away, -away / _TOWARDS_ZERO)
    # A statistic that most share is no measure of anything.
    return np.where(scale > 1e-6, away / np.maximum(scale, 1e-6), 0.0).max(1)
