"""How training data shall be used, and what all kinds of data share."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
from jaxtyping import Array, PRNGKeyArray

from gl15.inference._estimators.standardization import Standardization
from gl15.inference._training import data as training_data
from gl15.inference._training.sharding import Placement
from gl15.inference._training.sources import Redraw
from gl15.simulation import Ensemble


class Keys(NamedTuple):
    """JAX random keys.

    Attributes:
        split: which pairs are held out.
        shuffle: the order of an epoch, and what is drawn anew at every epoch.
        train: what is drawn for the standardisation.
        held_out: what is drawn for the held-out pairs.
    """

    split: PRNGKeyArray
    shuffle: PRNGKeyArray
    train: PRNGKeyArray
    held_out: PRNGKeyArray


class Wanted(NamedTuple):
    """How the data shall be used.

    Attributes:
        validation: fraction of the pairs to hold out, or pairs of their own.
        key: JAX random key: the split, the shuffling.
        batch_size: pairs per step.
        contrasts: mismatched thetas per observation.
        steps: number of steps.
        redraw: makes other pairs of the pairs.
        cache: bytes of summaries to keep in memory.
        scratch: folder for the summaries that memory has no room for.
        standardize: whether to fit the standardisation, or keep the estimator's.
        whiten: whether to rotate the standardised summaries until no two are alike.
        placement: where batches go.
    """

    validation: Any
    key: PRNGKeyArray
    batch_size: int
    contrasts: int
    steps: int
    redraw: Redraw | None
    cache: int
    scratch: Any
    standardize: bool
    whiten: bool
    placement: Placement

    @property
    def keys(self) -> Keys:
        """What the key is split into."""
        split, shuffle = jax.random.split(self.key)
        train, held_out = jax.random.split(jax.random.fold_in(split, 1))
        return Keys(split, shuffle, train, held_out)

    @property
    def of_source(self) -> dict[str, Any]:
        """What every source is told, by keyword."""
        return {
            "key": self.keys.shuffle,
            "batch_size": self.batch_size,
            "placement": self.placement,
        }

    def check_sizes(self, train: int | None, held_out: int) -> None:
        """Refuse too few pairs, see `data.check_sizes`.

        Args:
            train: number of training pairs; None where there is no end to them.
            held_out: number of held-out pairs.

        Raises:
            ValueError: if they are too few.
        """
        training_data.check_sizes(train, held_out, self.batch_size, self.contrasts)

    def standardised(self, estimator: Any, z: Array) -> tuple[Any, Array]:
        """Fit the standardisation to summaries, unless the estimator's own is kept.

        Args:
            estimator: the estimator.
            z: the summaries of all training pairs.

        Returns:
            The estimator and the standardised summaries.
        """
        if self.standardize:
            fitted = Standardization.fit(z, estimator.encoder.limit)
            if self.whiten:
                fitted = fitted.whitening(z)
            estimator = eqx.tree_at(lambda e: e.standardization, estimator, fitted)
        return estimator, estimator.standardization(z)

    def refuse_whitening(self) -> None:
        """Refuse what takes all summaries at once.

        Raises:
            ValueError: if the summaries shall be whitened.
        """
        if self.whiten:
            raise ValueError(
                "`whiten` needs the summaries of all training pairs in memory: give an "
                "ensemble, or a store whose summaries fit in `cache`."
            )


def held_out_pairs(estimator: Any, held_out: Ensemble) -> tuple[dict[str, Any], Array]:
    """Theta and standardised summaries.

    Args:
        estimator: whose encoder summarises, standardised already.
        held_out: the pairs.

    Returns:
        Both.
    """
    return held_out.theta, training_data.standardised(estimator, held_out)
