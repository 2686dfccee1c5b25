r"""Is an image like those of training? A p-value that the estimator carries."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gl15.inference._encoders.spectral import SpectralEncoder


class Directions(eqx.Module):
    """Leading directions of vectors, on which expectations depend.

    Attributes:
        center: mean of the vectors.
        axes: one direction a row, divided by the deviation along it.
    """

    center: Float[Array, " size"]
    axes: Float[Array, "count size"]

    def __call__(self, z: Float[Array, " size"]) -> Float[Array, " count"]:
        """Coordinates along the directions, levelling off at four deviations."""
        return 4 * jnp.tanh(self.axes @ (z - self.center) / 4)


class Line(eqx.Module):
    """A regression, kept between limits.

    Attributes:
        weights: one column for each output.
        low: lower limits.
        high: upper limits.
    """

    weights: Float[Array, "terms outputs"]
    low: Float[Array, " outputs"]
    high: Float[Array, " outputs"]

    def __call__(self, terms: Float[Array, " terms"]) -> Float[Array, " outputs"]:
        """The prediction."""
        return jnp.clip(terms @ self.weights, self.low, self.high)


class Detector(eqx.Module):
    r"""How unusual an image's summary is, among summaries alike.

    Images of other parameters have other summaries, so each is held against what is
    usual for its kind: from its position along the leading directions of summaries and
    of features, quadratic regressions predict every entry of the summary, its scatter,
    and the scatter of the score itself. With $y_i$ the residuals, scaled and
    decorrelated,

    $$
    \text{score} = \frac{\log \sum_i \log(1 + y_i^2) - a}{b}, \qquad
    p = \frac{1 + \#\{\text{reference scores} \ge \text{score}\}}{1 + n}
    $$

    The logarithm keeps one wild entry from hiding many that are off. The $n$ reference
    images took no part in the regressions, so $p$ is uniform for an image drawn as
    they were, exactly and whatever the fit: a conformal p-value. Its smallest value is
    $1/(1 + n)$.

    It looks at summaries without trained parameters: features are made to tell
    parameters apart and may be blind to all else. They serve only to say of which kind
    an image is. `misspecification` makes one; `Guarded` lets an estimator carry it.

    Attributes:
        view: what summarises images, if not the estimator's own encoder.
        kinds: leading directions of summaries and of features.
        mean: regression of the summary.
        scatter: regression of the logarithm of its squared residuals.
        shift: mean of the scaled residuals.
        decorrelate: from scaled to decorrelated residuals.
        level: regressions of the score and of the logarithm of its squared residuals.
        scores: of the reference images, ascending.
    """

    view: SpectralEncoder | None
    kinds: tuple[Directions, Directions]
    mean: Line
    scatter: Line
    shift: Float[Array, " size"]
    decorrelate: Float[Array, "size rank"]
    level: tuple[Line, Line]
    scores: Float[Array, " n"]

    def __init__(
        self,
        view: SpectralEncoder | None,
        size: int,
        features: int,
        kinds: tuple[int, int],
        rank: int,
        references: int,
    ):
        """An empty detector of given sizes, for `load`; `misspecification` makes one.

        Args:
            view: what summarises images, if not the estimator's own encoder.
            size: length of a summary.
            features: length of a feature vector.
            kinds: directions of summaries and of features.
            rank: number of decorrelated residuals.
            references: number of reference images.
        """
        terms = len(terms_of(jnp.zeros(sum(kinds))))
        line = lambda n: Line(jnp.zeros((terms, n)), jnp.zeros(n), jnp.zeros(n))  # noqa: E731
        self.view = view
        self.kinds = (
            Directions(jnp.zeros(size), jnp.zeros((kinds[0], size))),
            Directions(jnp.zeros(features), jnp.zeros((kinds[1], features))),
        )
        self.mean, self.scatter = line(size), line(size)
        self.shift = jnp.zeros(size)
        self.decorrelate = jnp.zeros((size, rank))
        self.level = (line(1), line(1))
        self.scores = jnp.zeros(references)

    def config(self) -> dict[str, Any]:
        """The arguments that build a detector of this structure.

        Returns:
            The keyword arguments.
        """
        return {
            "view": self.view,
            "size": self.shift.shape[0],
            "features": self.kinds[1].center.shape[0],
            "kinds": tuple(one.axes.shape[0] for one in self.kinds),
            "rank": self.decorrelate.shape[1],
            "references": self.scores.shape[0],
        }

    def score_of(
        self, z: Float[Array, " size"], h: Float[Array, " features"]
    ) -> Float[Array, ""]:
        """How unusual an image is; higher is more so.

        Args:
            z: its summary.
            h: its features, without what a later calibration adds to them.

        Returns:
            The score.
        """
        kinds = zip(self.kinds, (z, h), strict=True)
        terms = terms_of(jnp.concatenate([kind(one) for kind, one in kinds]))
        residual = (z - self.mean(terms)) / jnp.exp(self.scatter(terms) / 2)
        y = (residual - self.shift) @ self.decorrelate
        raw = jnp.log(jnp.sum(jnp.log1p(y**2)) + jnp.finfo(y.dtype).tiny)
        middle, width = (line(terms)[0] for line in self.level)
        found = (raw - middle) / jnp.exp(width / 2)
        return jnp.where(jnp.isnan(found), jnp.inf, found)

    def p_value(
        self, estimator: Any, x: Any, h: Float[Array, " features"]
    ) -> Float[Array, ""]:
        """Share of reference images that are at least as unusual.

        Args:
            estimator: the estimator that the detector was made for.
            x: an image.
            h: what the estimator's `embed` gave for it.

        Returns:
            The p-value, uniform for images like those of the reference.
        """
        # A calibration fitted later puts numbers of its own after the features.
        own = h[: self.kinds[1].center.shape[0]]
        score = self.score_of(summary(estimator, x, self.view), own)
        n = len(self.scores)
        below: Int[Array, ""] = jnp.searchsorted(self.scores, score)
        return (1 + n - below) / (1 + n)


def summary(
    estimator: Any, x: Any, view: SpectralEncoder | None
) -> Float[Array, " size"]:
    """What a detector sees of an image: numbers without trained parameters.

    Args:
        estimator: the estimator.
        x: an image.
        view: what summarises it; by default the estimator's encoder, and of an
            estimator without encoder the observation itself.

    Returns:
        The summary.
    """
    x = jnp.asarray(x)
    if view is not None:
        return view.summarise(x)
    encoder = getattr(estimator, "encoder", None)
    return x.reshape(-1) if encoder is None else encoder.summarise(x)


def terms_of(y: Float[Array, " k"]) -> Float[Array, " terms"]:
    """The constant, the coordinates, and their products two by two."""
    i, j = np.triu_indices(len(y))
    return jnp.concatenate([jnp.ones(1, y.dtype), y, y[i] * y[j]])


def summaries_and_features(
    estimator: Any, x: Any, view: SpectralEncoder | None, batch_size: int = 64
) -> tuple[Float[np.ndarray, "n size"], Float[np.ndarray, "n features"]]:
    """What a detector is fitted to, of many images.

    Args:
        estimator: the estimator.
        x: images `[n, ...]`; a lazy array is read a batch at a time.
        view: as for `summary`.
        batch_size: images at once.

    Returns:
        Summaries and features.
    """
    both = eqx.filter_jit(
        jax.vmap(lambda one: (summary(estimator, one, view), estimator.embed(one)))
    )
    parts = []
    for start in range(0, len(x), batch_size):
        batch = np.asarray(x[start : start + batch_size])
        filled = np.resize(batch, (min(batch_size, len(x)), *batch.shape[1:]))
        found = both(jnp.asarray(filled))
        parts.append([np.asarray(one)[: len(batch)] for one in found])
    z, h = (np.concatenate(column) for column in zip(*parts, strict=True))
    return z, h
