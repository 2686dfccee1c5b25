"""Is this an image that an estimator was trained for?"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from gl15.simulation import Observation


def check_image(
    estimator: Any, x: Any, spacing: float | None, channel_names: tuple[str, ...]
) -> None:
    """Refuse an observation that an estimator was not trained for.

    Args:
        estimator: a `RatioEstimator`.
        x: an observation, or what a caller believes to be one.
        spacing: its pixel spacing, if known.
        channel_names: names of its channels, if known.

    Raises:
        ValueError: for a wrong number of axes or channels, another spacing, or values
            that are not finite.
    """
    if isinstance(x, Observation):
        spacing = x.spacing if spacing is None else spacing
        x, channel_names = x.x, channel_names or x.channels
    shape = jnp.shape(x)
    axes = "(nx, ny, channels)" if estimator.encoder.ndim == 3 else "(size,)"
    if len(shape) != estimator.encoder.ndim:
        raise ValueError(
            f"`x` has shape {shape}, but this estimator takes one observation "
            f"{axes}; use `jax.vmap` for several."
        )
    if shape[-1] != estimator.encoder.channels:
        named = f" {estimator.channel_names}" if estimator.channel_names else ""
        raise ValueError(
            f"`x` has {shape[-1]} channels (shape {shape}), but this estimator was "
            f"made for {estimator.encoder.channels}{named}; "
            "`gl15.observe` makes such images."
        )
    if estimator.channel_names and channel_names not in ((), estimator.channel_names):
        raise ValueError(
            f"`x` has channels {channel_names}, but this estimator was trained on "
            f"{estimator.channel_names}, in this order."
        )
    if (
        spacing is not None
        and estimator.spacing is not None
        and not math.isclose(spacing, estimator.spacing, rel_tol=1e-5)
    ):
        raise ValueError(
            f"`spacing`={spacing:g} of the image, but this estimator was trained "
            f"at {estimator.spacing:g}; `gl15.simulation.resample(observation, "
            f"{estimator.spacing:g})` brings finer images to that spacing."
        )
    if not isinstance(x, Tracer):
        bad = int(np.size(x) - np.isfinite(np.asarray(x)).sum())
        if bad:
            raise ValueError(
                f"`x` holds {bad} values that are NaN or infinite, of "
                f"{np.size(x)}; mend the image first."
            )
