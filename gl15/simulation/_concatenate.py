"""Ensembles of several kinds of sample in one."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from gl15.simulation._ensemble import Ensemble
from gl15.simulation._stored import StoredEnsemble


def concatenate(ensembles: Sequence[Ensemble | StoredEnsemble]) -> Ensemble:
    """The pairs of several ensembles, one after the other.

    Images of different sizes have no common array, but their summaries do: an estimator
    for samples of any size is trained on ensembles of `gl15.inference.Summarised`
    simulators, one for each size. `fit` shuffles them.

    Args:
        ensembles: in memory or on disk, of the same parameters, spacing and channels.

    Returns:
        All pairs, in memory.

    Raises:
        ValueError: if there are none, or they do not go together.
    """
    if not ensembles:
        raise ValueError("`ensembles` is empty; give at least one.")
    whole = [
        one.load() if isinstance(one, StoredEnsemble) else one for one in ensembles
    ]
    first = whole[0]
    for i, one in enumerate(whole):
        if one.x.shape[1:] != first.x.shape[1:]:
            raise ValueError(
                f"`ensembles[{i}]` holds observations of shape {one.x.shape[1:]}, the "
                f"first {first.x.shape[1:]}; of images of different sizes simulate the "
                "summaries: `gl15.inference.Summarised(simulator, encoder)`."
            )
        kinds = (set(one.theta), one.spacing, one.channels)
        if kinds != (set(first.theta), first.spacing, first.channels):
            raise ValueError(
                f"`ensembles[{i}]` has parameters {sorted(one.theta)}, spacing "
                f"{one.spacing} and channels {one.channels}, but the first "
                f"{sorted(first.theta)}, {first.spacing} and {first.channels}."
            )
    return Ensemble(
        {k: jnp.concatenate([one.theta[k] for one in whole]) for k in first.theta},
        jnp.asarray(np.concatenate([np.asarray(one.x) for one in whole])),
        first.spacing,
        first.channels,
    )
