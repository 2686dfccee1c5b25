"""Several estimators as one: members of one structure, trained side by side."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.inference._encoders.encoder import AbstractEncoder
from gl15.inference._estimators.estimator import RatioEstimator
from gl15.inference._estimators.peaks import Peaks
from gl15.inference._estimators.standardization import Standardization
from gl15.simulation import Prior, Theta
from gl15.simulation._observation import image_of


class EstimatorEnsemble(eqx.Module):
    r"""Members of one structure and different initial weights, averaged.

    $$
    r = \frac1M \sum_m r_m \quad (\texttt{"ratio"}), \qquad
    \log r = \frac1M \sum_m \log r_m \quad (\texttt{"log"})
    $$

    The mean of ratios is a mixture of the members' posteriors: wider than each where
    they differ, which mends overconfidence. The mean of logarithms is the sharper one,
    and loses the normalisation. `gl15.fit` trains all members at once, each from its
    own start on the same batches; summaries and their standardisation are shared.

    Attributes:
        members: a `RatioEstimator` whose weights have a leading axis for the members.
        average: which mean is taken.
    """

    members: RatioEstimator
    average: Literal["ratio", "log"] = eqx.field(static=True)

    def __init__(
        self,
        build: Callable[[PRNGKeyArray], RatioEstimator] | RatioEstimator,
        count: int = 5,
        *,
        average: Literal["ratio", "log"] = "ratio",
        key: PRNGKeyArray,
    ):
        """Build the members; untrained.

        Args:
            build: makes an estimator of a key; or one estimator, for members of its
                structure that share its prior and differ in their weights.
            count: number of members.
            average: `"ratio"` or `"log"`.
            key: JAX random key of the initial weights.

        Raises:
            ValueError: for another `average`, or no members.
        """
        if average not in ("ratio", "log") or count < 1:
            raise ValueError(
                f'`average` must be "ratio" or "log" and `count` positive, got '
                f"{average!r} and {count}."
            )
        make = _like(build) if isinstance(build, RatioEstimator) else build
        stacked = eqx.filter_vmap(make)(jax.random.split(key, count))
        self.members = eqx.tree_at(
            lambda e: e.standardization,
            stacked,
            jax.tree.map(lambda leaf: leaf[0], stacked.standardization),
        )
        self.average = average

    @staticmethod
    def stack(
        estimators: Sequence[RatioEstimator],
        *,
        average: Literal["ratio", "log"] = "ratio",
    ) -> "EstimatorEnsemble":
        """An ensemble of estimators that were trained on the same pairs.

        Args:
            estimators: of one structure, with equal standardisations.
            average: `"ratio"` or `"log"`.

        Returns:
            The ensemble.

        Raises:
            ValueError: if they differ in more than their weights.
        """
        first = estimators[0]
        for other in estimators[1:]:
            same = jax.tree.structure(first) == jax.tree.structure(other) and bool(
                eqx.tree_equal(first.standardization, other.standardization)
            )
            if not same:
                raise ValueError(
                    "`estimators` differ in structure, prior or standardisation; "
                    "train them on the same pairs, or use `ModelAverage`."
                )
        arrays = [eqx.filter(one, eqx.is_array) for one in estimators]
        static = eqx.filter(first, eqx.is_array, inverse=True)
        stacked = eqx.combine(jax.tree.map(lambda *a: jnp.stack(a), *arrays), static)
        ensemble = EstimatorEnsemble(first, 1, average=average, key=jax.random.key(0))
        members = eqx.tree_at(
            lambda e: e.standardization, stacked, first.standardization
        )
        return eqx.tree_at(lambda e: e.members, ensemble, members)

    @property
    def count(self) -> int:
        """Number of members."""
        return self.members.head.layers[0].weight.shape[0]

    @property
    def prior(self) -> Prior:
        """The prior that the ratio refers to."""
        return self.members.prior

    @property
    def encoder(self) -> AbstractEncoder:
        """The members' encoders: good to summarise with, which takes no weights."""
        return self.members.encoder

    @property
    def standardization(self) -> Standardization:
        """Of the summaries, shared by all members."""
        return self.members.standardization

    @property
    def spacing(self) -> float | None:
        """Pixel spacing of the training images, if known."""
        return self.members.spacing

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels of the training images, if known."""
        return self.members.channel_names

    def each_member(self, function: Callable[..., Any], *rows: Array) -> Any:
        """A function of every member, its results stacked.

        Args:
            function: takes a single estimator, and a row of each of `rows`.
            *rows: arrays with a leading axis for the members.

        Returns:
            What it gave, with a leading axis.
        """
        axes = jax.tree.map(
            lambda leaf: 0 if eqx.is_array(leaf) else None, self.members
        )
        shared = jax.tree.map(lambda _: None, self.members.standardization)
        axes = eqx.tree_at(lambda e: e.standardization, axes, shared)
        each = eqx.filter_vmap(function, in_axes=(axes, *[0] * len(rows)))
        return each(self.members, *rows)

    def __call__(self, theta: Theta, x: Any) -> Float[Array, ""]:
        """Averaged log-ratio of one parameter and one observation.

        Args:
            theta: parameter name -> scalar.
            x: an observation.

        Returns:
            The log-ratio.
        """
        return self.log_ratio(theta, self.embed(x))

    def embed(self, x: Any) -> Float[Array, " features"]:
        """Features of an observation, those of the members one after another.

        Args:
            x: an observation.

        Returns:
            The features.
        """
        image, known = image_of(x)
        self.check_image(image, **known)
        z = self.standardization(self.encoder.summarise(image))
        return self.each_member(lambda one: one.features(z)).ravel()

    def log_ratios(
        self, theta: Theta, h: Float[Array, " features"]
    ) -> Float[Array, " members"]:
        """Log-ratio that each member gives.

        Args:
            theta: parameter name -> scalar.
            h: features of an observation, from `embed`.

        Returns:
            The members' log-ratios.
        """
        rows = h.reshape(self.count, -1)
        return self.each_member(lambda one, row: one.log_ratio(theta, row), rows)

    def log_ratio(self, theta: Theta, h: Float[Array, " features"]) -> Float[Array, ""]:
        """Averaged log-ratio from features: the cheap part.

        Args:
            theta: parameter name -> scalar.
            h: features of an observation, from `embed`.

        Returns:
            The log-ratio.
        """
        each = self.log_ratios(theta, h)
        if self.average == "log":
            return each.mean()
        return jax.nn.logsumexp(each) - math.log(self.count)

    def peaks(self, h: Float[Array, " features"]) -> Peaks | None:
        """The peaks of all members' quadratic heads, of equal weight in all.

        Args:
            h: features of an observation, from `embed`.

        Returns:
            The peaks; None without that head.
        """
        quadratic = self.members.quadratic
        if quadratic is None:
            return None
        flat = h.reshape(self.count, -1)[:, -quadratic.size :]
        each = jax.vmap(quadratic.peaks)(flat)
        merge = lambda leaf: leaf.reshape(-1, *leaf.shape[2:])  # noqa: E731
        merged = jax.tree.map(merge, each)
        lowered = merged.log_weight - math.log(self.count)
        return eqx.tree_at(lambda one: one.log_weight, merged, lowered)

    def trained_on(
        self, spacing: float | None, channel_names: tuple[str, ...]
    ) -> "EstimatorEnsemble":
        """The same, saying that it was trained on such images.

        Args:
            spacing: their pixel spacing, if known.
            channel_names: names of their channels, if known.

        Returns:
            The ensemble.
        """
        members = self.members.trained_on(spacing, channel_names)
        return eqx.tree_at(lambda e: e.members, self, members)

    def check_image(self, x: Any, **known: Any) -> None:
        """Refuse an observation that the members were not trained for.

        Args:
            x: an observation, or what a caller believes to be one.
            **known: its spacing and channel names, as `RatioEstimator.check_image`.

        Raises:
            ValueError: if it does not suit them.
        """
        self.members.check_image(x, **known)

    def config(self) -> dict[str, Any]:
        """The arguments, but for the key, that build an ensemble of this structure.

        Returns:
            The keyword arguments.
        """
        return {"build": self.members, "count": self.count, "average": self.average}


def _like(estimator: RatioEstimator) -> Callable[[PRNGKeyArray], RatioEstimator]:
    config = estimator.config()
    encoder, prior = config.pop("encoder"), config.pop("prior")

    def make(key: PRNGKeyArray) -> RatioEstimator:
        one, two = jax.random.split(key)
        fresh = encoder.drawn_anew(one)
        return RatioEstimator(prior, fresh, **config, key=two)

    return make
