"""Everything that one held-out ensemble tells of an estimator, in one object."""

import dataclasses
import json
import math
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.diagnostics._binned import binned_coverage, BinnedCoverage
from gl15.diagnostics._figure import Figure, mean, plain, shares
from gl15.diagnostics._information import information
from gl15.diagnostics._local import local_test, to_normal
from gl15.diagnostics._posteriors import (
    embed_ensemble,
    HeldOut,
    map_posteriors,
    Together,
)
from gl15.diagnostics._summary import Row, Summary
from gl15.diagnostics._tarp import Credibility, DRAWS, Fraction, Tarp, tarp_of
from gl15.diagnostics._uniformity import check_ranks, ecdf_band
from gl15.inference import fingerprint
from gl15.posterior import LogRatio, Points
from gl15.simulation._arguments import random_key


_LEVELS = (0.5, 0.68, 0.9, 0.95)


@dataclasses.dataclass(frozen=True)
class Report:
    """Errors, sharpness and calibration of an estimator on held-out pairs.

    Attributes:
        count: number of pairs.
        figures: the numbers, each with its null.
        binned: parameter -> coverage in each part of its range.
        summary: posterior summaries of every image.
        hpd: ranks by highest density, `[n]`.
        tarp: the test with random points.
        estimator_sha256: whose report it is, see `gl15.inference.fingerprint`; None of
            what cannot be described by numbers alone.
    """

    count: int
    figures: tuple[Figure, ...]
    binned: dict[str, BinnedCoverage]
    summary: Summary
    hpd: Float[Array, " n"]
    tarp: Tarp
    estimator_sha256: str | None = None

    @property
    def calibrated(self) -> bool:
        """Whether no number and no bin is out of what exact posteriors give.

        Of some twenty numbers, some at the 95% and most at the 99% level, exact
        posteriors have one out in about every fourth report: look at which and by how
        much.
        """
        figures = all(one.passed is not False for one in self.figures)
        return figures and all(bool(one.passed.all()) for one in self.binned.values())

    def __getitem__(self, name: str) -> Figure:
        """The number of this name."""
        for one in self.figures:
            if one.name == name:
                return one
        raise KeyError(f"{name!r}; the report has {[one.name for one in self.figures]}")

    def to_markdown(self) -> str:
        """Tables of all numbers and of the coverage part by part.

        Returns:
            The tables, in Markdown.
        """
        lines = [
            f"Report on {self.count} held-out pairs",
            "",
            "| | value | if exact | |",
            "|---|---|---|---|",
        ]
        verdict = {True: "yes", False: "**no**", None: ""}
        for one in self.figures:
            error = "" if math.isnan(one.error) else f" ± {one.error:.2g}"
            lines.append(
                f"| {one.name} | {one.value:.4g}{error} | {one.limits} "
                f"| {verdict[one.passed]} |"
            )
        for table in self.binned.values():
            lines += ["", table.to_markdown()]
        return "\n".join(lines)

    def to_json(self, **options: Any) -> str:
        """All numbers, for a file; NaN and infinity become null.

        Args:
            **options: for `json.dumps`, such as `indent=2`.

        Returns:
            The text.
        """
        return json.dumps(self.as_dict(), **options)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, for `gl15.save(..., calibration=...)`.

        Returns:
            Dictionaries, lists, numbers and strings.
        """
        figures = {
            one.name: {
                "value": plain(one.value),
                "if_exact": [plain(one.low), plain(one.high)],
                "standard_error": plain(one.error),
                "passed": one.passed,
            }
            for one in self.figures
        }
        binned = {
            name: {
                "edges": table.edges.tolist(),
                "levels": list(table.levels),
                "count": table.count.tolist(),
                "covered": table.covered.tolist(),
                "low": table.low.tolist(),
                "high": table.high.tolist(),
                "passed": table.passed.tolist(),
            }
            for name, table in self.binned.items()
        }
        return {
            "count": self.count,
            "estimator_sha256": self.estimator_sha256,
            "figures": figures,
            "coverage_by_bin": binned,
        }


def report(
    estimator: LogRatio,
    held_out: HeldOut,
    *,
    key: PRNGKeyArray,
    bins: int | Any = 5,
    points: Points = None,
    local: bool = True,
    features: Float[Array, "n features"] | None = None,
) -> Report:
    """Check an estimator on held-out pairs in every way that needs nothing else.

    Errors, coverage of central and of highest-density regions, rank tests with their
    bands, TARP, bounds on the information, the normalisation, coverage part by part of
    the range, and local tests. Each number stands beside the range it has for exact
    posteriors on as many pairs.

    Args:
        estimator: a trained `RatioEstimator`, or any `LogRatio`, of one to three
            parameters.
        held_out: pairs it was neither trained nor calibrated on, parameters drawn from
            its prior.
        key: random key.
        bins: parts of each parameter's range, a number or edges.
        points: nodes of each posterior, as in `grid_posterior`.
        local: whether to run `local_c2st`.
        features: what `embed_ensemble` gave for `held_out.x`, to save computing it.

    Returns:
        A `Report`.

    Raises:
        ValueError: if the ensemble does not suit the estimator.
    """
    random_key("key", key)
    if features is None:
        features = embed_ensemble(estimator, held_out.x)
    prior, count = estimator.prior, len(features)
    hpd_key, tarp_key, check_key, known_key, local_key = jax.random.split(key, 5)
    asked: list[tuple[Any, tuple[Any, ...]]] = [
        (Row(_LEVELS), ()),
        (Credibility(DRAWS), (jax.random.split(hpd_key, count),)),
        (Fraction(prior, DRAWS), (jax.random.split(tarp_key, count),)),
        *([(to_normal, ())] if local else []),
    ]
    functions, extra = zip(*asked, strict=True)
    together = Together(functions)
    rows, hpd, fractions, *mapped = map_posteriors(
        together, estimator, held_out, *extra, points=points, features=features
    )
    summary, points_test = Summary(prior.names, _LEVELS, **rows), tarp_of(fractions)
    ranks = {name: np.asarray(value, float) for name, value in summary.rank.items()}
    figures: list[Figure] = []
    for name in summary.names:
        figures += [
            mean(f"{name}: mean absolute error", summary.error(name)),
            mean(f"{name}: posterior std", summary.std[name]),
        ]
    for name, rank in ranks.items():
        figures += shares(f"{name}: central", 2 * np.abs(rank - 0.5), _LEVELS)
    figures += shares("highest density", hpd, _LEVELS)
    check = check_ranks(ranks, key=check_key)
    u, low, high = ecdf_band(count, key=jax.random.fold_in(check_key, 1))
    for name, rank in ranks.items():
        height = (rank[:, None] <= u).mean(0)
        outside = float(np.mean((height < low) | (height > high)))
        figures += [
            Figure(
                f"{name}: rank deviation (95%)",
                check.deviation[name],
                high=check.null_quantile,
            ),
            Figure(f"{name}: KS p", check.ks_p[name], low=0.01),
            Figure(f"{name}: share outside the 95% band", outside, high=0.0),
        ]
    reach = 2.576 * points_test.atc_standard_error
    figures.append(Figure("TARP: area to curve", points_test.atc, -reach, reach))
    known = information(
        estimator, held_out, key=known_key, summary=summary, features=features
    )
    figures += [
        mean("log posterior density", summary.log_prob),
        Figure("information gain, nats", known.gain, error=known.gain_error),
        Figure("mean log-ratio", known.log_ratio, error=known.log_ratio_error),
        Figure(
            f"contrastive bound (below {known.ceiling:.2f})",
            known.contrastive,
            error=known.contrastive_error,
        ),
        mean("normalisation", summary.normalisation),
    ]
    if mapped:
        found = local_test(mapped[0], key=local_key)
        figures += [
            Figure("local C2ST: p of all", found.p_overall, low=0.01),
            Figure("local C2ST: share rejected at 5%", found.rejected),
        ]
    binned = {name: binned_coverage(summary, name, bins=bins) for name in summary.names}
    return Report(
        count, tuple(figures), binned, summary, hpd, points_test, _sha256(estimator)
    )


def _sha256(estimator: Any) -> str | None:
    try:
        return fingerprint(estimator)
    except (AttributeError, TypeError):
        return None  # any log-ratio will do
