"""What is built around an estimator and still is one."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from gl15.inference._estimators.peaks import Peaks
from gl15.simulation import Prior, Theta


class AbstractWrapper(eqx.Module):
    """An estimator around another, of which it keeps what it does not change.

    Attributes:
        estimator: the estimator within.
    """

    estimator: eqx.AbstractVar[Any]

    @property
    def prior(self) -> Prior:
        """The prior that the ratio refers to."""
        return self.estimator.prior

    @property
    def spacing(self) -> float | None:
        """Pixel spacing of the training images, if known."""
        return getattr(self.estimator, "spacing", None)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels of the training images, if known."""
        return getattr(self.estimator, "channel_names", ())

    @property
    def encoder(self) -> Any:
        """The image branch of the estimator within."""
        return self.estimator.encoder

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """Shape of an observation, where the estimator within has a fixed one."""
        return getattr(self.estimator, "image_shape", None)

    def __call__(self, theta: Theta, x: Any) -> Float[Array, ""]:
        """Log-ratio of one parameter and one observation.

        Args:
            theta: parameter name -> scalar.
            x: an observation.

        Returns:
            The log-ratio.
        """
        return self.log_ratio(theta, self.embed(x))

    def embed(self, x: Any) -> Float[Array, " features"]:
        """Features of an observation.

        Args:
            x: an observation.

        Returns:
            The features.
        """
        return self.estimator.embed(x)

    def log_ratio(self, theta: Theta, h: Float[Array, " features"]) -> Float[Array, ""]:
        """Log-ratio from features: the cheap part.

        Args:
            theta: parameter name -> scalar.
            h: features of an observation, from `embed`.

        Returns:
            The log-ratio.
        """
        return self.estimator.log_ratio(theta, h)

    def peaks(self, h: Float[Array, " features"]) -> Peaks | None:
        """The peaks of the quadratic head within, where proposals are drawn from.

        Args:
            h: features of an observation, from `embed`.

        Returns:
            The peaks; None if there is no such head.
        """
        inside = getattr(self.estimator, "peaks", None)
        return None if inside is None else inside(h)

    def check_image(self, x: Any, **known: Any) -> None:
        """Refuse an observation that the estimator within was not trained for.

        Args:
            x: an observation, or what a caller believes to be one.
            **known: its spacing and channel names, if known.

        Raises:
            ValueError: if the observation does not suit the estimator.
        """
        self.estimator.check_image(x, **known)


def bare(estimator: Any) -> Any:
    """What is inside a calibration, a guard and the like: what was trained.

    Args:
        estimator: an estimator.

    Returns:
        The estimator within; itself if it is none of these.
    """
    while isinstance(estimator, AbstractWrapper):
        estimator = estimator.estimator
    return estimator
