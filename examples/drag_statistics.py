"""Statistics of the drag's fingerprint: ratios of spectra, and information on nu."""

import numpy as np
from scipy.stats import chi2


# %% [markdown]
# ## Ratios
# Runs with and without drag that began from the same noise are drawn together in the
# bootstrap: much of what differs between runs is common to both. The unpaired error is
# that of an experiment, which cannot repeat a quench.


# %%
def ratios(
    drag: np.ndarray, none: np.ndarray, draws: np.ndarray, others: np.ndarray
) -> dict[str, np.ndarray]:
    """Ratio of two means over runs `[runs, ...]`, its 95% band and its significance.

    `draws` and `others` `[resamples, runs]` are the runs in each resample; the second
    is that of the runs without drag where the two are not paired.
    """
    paired = np.stack([drag[i].mean(0) / none[i].mean(0) for i in draws])
    pairs = zip(draws, others, strict=True)
    unpaired = np.stack([drag[i].mean(0) / none[j].mean(0) for i, j in pairs])
    ratio = drag.mean(0) / none.mean(0)
    low, high = np.quantile(paired, (0.025, 0.975), axis=0)
    return {
        "ratio": ratio,
        "low": low,
        "high": high,
        "error": paired.std(0),
        "error_unpaired": unpaired.std(0),
        # Of the logarithm, which is closer to normal.
        "sigma": -np.log(ratio) / np.log(paired).std(0),
        "sigma_unpaired": -np.log(ratio) / np.log(unpaired).std(0),
        "resamples": paired,
    }


def course(times: np.ndarray, one: dict[str, np.ndarray]) -> dict:
    """When the suppression begins, is deepest and fades; None for what does not come.

    `one` holds the entries of `ratios` as curves over `times`.
    """
    ratio, at = one["ratio"], int(np.argmin(one["ratio"]))
    after = np.arange(len(times)) > at
    fades = [recovery(times, curve) for curve in one["resamples"]]
    # Without an error where some of the resamples never rise so far.
    known = [fade for fade in fades if fade is not None]
    return {
        "begins": first(times, one["sigma"] > 3),
        "begins_unpaired": first(times, one["sigma_unpaired"] > 3),
        "peak": peak(times, ratio),
        "peak_error": float(np.std([peak(times, c) for c in one["resamples"]])),
        "ratio": float(ratio[at]),
        "error": float(one["error"][at]),
        "sigma": float(one["sigma"][at]),
        "sigma_unpaired": float(one["sigma_unpaired"][at]),
        "fades": recovery(times, ratio),
        "fades_error": float(np.std(known)) if len(known) == len(fades) else None,
        "ends": first(times, after & (one["sigma"] < 2)),
        "ends_unpaired": first(times, after & (one["sigma_unpaired"] < 2)),
        "last": float(ratio[-1]),
        "last_error": float(one["error"][-1]),
    }


def first(times: np.ndarray, where: np.ndarray) -> float | None:
    """The first time of those marked."""
    return float(times[np.argmax(where)]) if where.any() else None


def peak(times: np.ndarray, ratio: np.ndarray) -> float:
    """When a curve is lowest: the vertex of a parabola through three saved times."""
    at = int(np.argmin(ratio))
    if at in (0, len(times) - 1):
        return float(times[at])
    near = slice(at - 1, at + 2)
    curvature, slope, _ = np.polyfit(times[near], np.log(ratio[near]), 2)
    return float(-slope / (2 * curvature))


def recovery(times: np.ndarray, ratio: np.ndarray, level: float = 0.9) -> float | None:
    """When a curve rises through `level` after its minimum, between saved times."""
    at = int(np.argmin(ratio))
    above = np.flatnonzero(ratio[at:] > level)
    if not above.size or above[0] == 0:
        return None
    pair = slice(at + above[0] - 1, at + above[0] + 1)
    return float(np.interp(level, ratio[pair], times[pair]))


def compare(
    drags: np.ndarray,
    none: np.ndarray,
    published: np.ndarray,
    count: int,
    generator: np.random.Generator,
    resamples: int,
) -> dict:
    """Hold ratios `[nu, times]` against those that others had from `count` runs.

    `drags` is `[nu, runs, times]`, `none` is `[runs, times]`. Whether they paired their
    runs is not known: both are tried. Their errors are those of as few runs of these,
    with the rounding to two digits; all points are correlated, hence one chi-square.
    """
    runs, found = len(none), {}
    ratio = drags.mean(1) / none.mean(0)
    half = np.sqrt(1 / 12) * 0.01
    for name in ("paired", "unpaired"):
        covariance = half**2 * np.eye(ratio.size)
        # Their few runs are new ones; the error of these runs, paired, is added.
        for size, kind in ((count, name), (runs, "paired")):
            draws = generator.integers(0, runs, (2, resamples, size))
            others = draws[0] if kind == "paired" else draws[1]
            drawn = [
                (drags[:, i].mean(1) / none[j].mean(0)).reshape(-1)
                for i, j in zip(draws[0], others, strict=True)
            ]
            covariance = covariance + np.cov(np.transpose(drawn))
        off = (ratio - published).reshape(-1)
        square = float(off @ np.linalg.solve(covariance, off))
        found[name] = {
            "error": np.sqrt(np.diag(covariance)).reshape(ratio.shape).tolist(),
            "off": (off / np.sqrt(np.diag(covariance))).reshape(ratio.shape).tolist(),
            "chi_square": square,
            "p": float(chi2.sf(square, off.size)),
        }
    return {"ratio": ratio.tolist(), "published": published.tolist(), **found}


# %% [markdown]
# ## Information
# Whatever the law of the columns, its Fisher information is at least
# $F = (\partial\mu)^T C^{-1}\, \partial\mu$ with their mean $\mu$ and covariance C: the
# information of the best linear reading. With p columns and n runs the inverse of a
# sample covariance is too large by (n-1)/(n-p-2) (Hartlap), and the error of a mean
# derivative adds its own square; both are taken off.


# %%
def fisher(base: np.ndarray, slopes: np.ndarray, blur: float = 0.0) -> np.ndarray:
    """Information `[d, d]` from columns `[n, p]` and their derivatives `[d, n, p]`.

    `blur` is an independent error of every column on top of what differs by run.
    """
    runs, columns = base.shape
    if runs < columns + 4:
        raise ValueError(
            f"`base` holds {runs} runs of {columns} columns, too few for an inverse "
            "covariance; simulate more runs, or read fewer columns."
        )
    covariance = np.cov(base.T).reshape(columns, columns)
    precision = np.linalg.inv(covariance + blur**2 * np.eye(columns))
    precision *= (runs - columns - 2) / (runs - 1)
    mean = slopes.mean(1)
    rest = slopes - mean[:, None]
    noise = np.einsum("anp,pq,bnq->ab", rest, precision, rest) / (runs * (runs - 1))
    return mean @ precision @ mean.T - noise


def cramer_rao(
    base: np.ndarray, slopes: np.ndarray, blur: float = 0.0, groups: int = 20
) -> dict[str, float | None]:
    """Smallest error of the first parameter, with its own error by the jackknife.

    `known` is with the others known, `joint` with none known; None where the
    information does not rise above its noise.
    """

    def errors(keep: np.ndarray) -> np.ndarray:
        F = fisher(base[keep], slopes[:, keep], blur)
        # One column cannot tell two parameters apart.
        apart = base.shape[1] >= len(F) and np.linalg.det(F) > 0
        joint = np.linalg.inv(F)[0, 0] if apart else np.nan
        variances = np.array([1 / F[0, 0], joint])
        return np.sqrt(np.where(variances > 0, variances, np.nan))

    member = np.arange(len(base)) % groups
    value = errors(member >= 0)
    left_out = np.array([errors(member != group) for group in range(groups)])
    scatter = np.sqrt((groups - 1) * left_out.var(0))
    names = ("known", "joint", "known_error", "joint_error")
    pairs = zip(names, (*value, *scatter), strict=True)
    return {name: float(v) if np.isfinite(v) else None for name, v in pairs}


def regression_error(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Error of a quadratic ridge regression on runs left out, and its own error.

    Each run is left out in turn, in closed form, at the strength of the penalty that
    serves all of them best. `x` is `[n, p]`, `y` is `[n]`.
    """
    z = (x - x.mean(0)) / x.std(0)
    values, vectors = np.linalg.eigh((1 + z @ z.T / z.shape[1]) ** 2)
    turned = vectors.T @ (y - y.mean())
    tried = []
    for strength in np.logspace(-6, 2, 33):
        weights = 1 / (np.maximum(values, 0) + strength)
        left_out = (vectors @ (weights * turned)) / (vectors**2 @ weights)
        tried.append(left_out**2)
    squares = min(tried, key=np.mean)
    error = float(np.sqrt(squares.mean()))
    return error, float(squares.std() / np.sqrt(len(y)) / (2 * error))


def information_bits(width: float, error: float) -> float:
    r"""Mutual information that a reading with this error proves, in bits.

    For a uniform prior $I(\nu; x) \ge h(\nu) - \tfrac12 \log_2(2\pi e\,\epsilon^2)$:
    no law with mean square $\epsilon^2$ has more entropy than the normal one.
    """
    return max(0.0, float(np.log2(width / (np.sqrt(2 * np.pi * np.e) * error))))
