"""How often credible regions hold the truth."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float


Ranks: TypeAlias = Mapping[str, Any] | Any
"""Ranks of one parameter, an array `[n]`, or of several, a dictionary of them."""


@dataclasses.dataclass(frozen=True)
class Coverage:
    """Empirical coverage of credible regions, with its uncertainty.

    Attributes:
        levels: the credibility levels.
        empirical: name -> share of the truths inside, one for each level.
        low: name -> lower end of the exact (Clopper-Pearson) 95% confidence interval of
            the true coverage.
        high: name -> its upper end.
        count: number of truths.
    """

    levels: tuple[float, ...]
    empirical: dict[str, Float[np.ndarray, " levels"]]
    low: dict[str, Float[np.ndarray, " levels"]]
    high: dict[str, Float[np.ndarray, " levels"]]
    count: int

    @property
    def standard_error(self) -> Float[np.ndarray, " levels"]:
        """Binomial standard error of the share if the coverage is right."""
        level = np.asarray(self.levels)
        return np.sqrt(level * (1 - level) / self.count)

    def consistent(self) -> dict[str, Bool[np.ndarray, " levels"]]:
        """Whether each level lies in the confidence interval of its coverage.

        Returns:
            Name -> one flag for each level.
        """
        level = np.asarray(self.levels)
        return {
            name: (self.low[name] <= level) & (level <= self.high[name])
            for name in self.empirical
        }

    def to_markdown(self) -> str:
        """A table with one row for each parameter and level.

        Returns:
            The table, in Markdown.
        """
        lines = [
            f"Coverage of {self.count} truths",
            "",
            "| parameter | level | covered | 95% confidence |",
            "|---|---|---|---|",
        ]
        for name, share in self.empirical.items():
            rows = zip(self.levels, share, self.low[name], self.high[name], strict=True)
            lines += [
                f"| {name} | {level:.1%} | {one:.1%} | {low:.1%} to {high:.1%} |"
                for level, one, low, high in rows
            ]
        return "\n".join(lines)


def coverage(
    ranks: Ranks,
    levels: tuple[float, ...] = (0.5, 0.68, 0.9, 0.95),
    *,
    kind: Literal["central", "credibility"] = "central",
) -> Coverage:
    r"""Coverage that ranks imply: the share of truths inside regions of each level.

    Args:
        ranks: what `sbc_ranks`, `hpd_ranks` or `tarp(...).fractions` gave: an array, or
            a dictionary of them by name.
        levels: credibility levels.
        kind: `"central"` for ranks within a marginal posterior, where the equal-tailed
            interval of level $c$ holds the truth if $|\mathrm{rank} - 1/2| \le c/2$;
            `"credibility"` for ranks that are themselves the level of the smallest
            region that holds the truth, as those of `hpd_ranks`.

    Returns:
        A `Coverage`; an array without a name goes by "joint".

    Raises:
        ValueError: if ranks or levels lie outside 0 to 1, or `kind` is unknown.
    """
    if kind not in ("central", "credibility"):
        raise ValueError(f'`kind` must be "central" or "credibility", got {kind!r}.')
    check_levels(levels)
    level = np.asarray(levels, float)
    named = named_ranks(ranks)
    empirical, low, high = {}, {}, {}
    for name, rank in named.items():
        distance = 2 * np.abs(rank - 0.5) if kind == "central" else rank
        inside = (distance[:, None] <= level).sum(axis=0)
        outside = len(rank) - inside
        empirical[name] = inside / len(rank)
        # At 0 and n successes the beta distribution degenerates to the end itself.
        low[name] = np.nan_to_num(scipy.stats.beta.ppf(0.025, inside, outside + 1))
        upper = scipy.stats.beta.ppf(0.975, inside + 1, outside)
        high[name] = np.where(outside == 0, 1.0, upper)
    count = len(next(iter(named.values())))
    return Coverage(tuple(map(float, levels)), empirical, low, high, count)


def check_levels(levels: tuple[float, ...]) -> None:
    """Refuse credibility levels that are no probabilities."""
    level = np.asarray(levels, float)
    if not np.all((level > 0) & (level < 1)):
        raise ValueError(
            f"`levels` must be probabilities in (0, 1), got {levels}; give 0.95 for "
            "95%."
        )


def named_ranks(ranks: Ranks) -> dict[str, Float[np.ndarray, " n"]]:
    """Ranks as NumPy arrays by name, checked to be probabilities.

    Args:
        ranks: what `sbc_ranks`, `hpd_ranks` or `tarp(...).fractions` gave.

    Returns:
        Name -> ranks `[n]`; an array without a name goes by "joint".

    Raises:
        ValueError: if ranks are no list of numbers from 0 to 1.
    """
    named = dict(ranks) if isinstance(ranks, Mapping) else {"joint": ranks}
    named = {name: np.asarray(value, float) for name, value in named.items()}
    for name, value in named.items():
        if value.ndim != 1 or len(value) == 0:
            raise ValueError(
                f"`ranks` of `{name}` must be one rank per image, `[n]`, got shape "
                f"{value.shape}."
            )
        outside = value[~((value >= 0) & (value <= 1))]
        if len(outside):
            raise ValueError(
                f"`ranks` of `{name}` must be probabilities in [0, 1], got "
                f"{outside[0]}; give what `sbc_ranks` or `hpd_ranks` returns."
            )
    return named
