"""What a posterior needs of an estimator."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable, TypeAlias

from jaxtyping import Array, Float

from gl15.simulation import Prior, Theta


Points: TypeAlias = int | tuple[int, ...] | Mapping[str, int] | None
"""Nodes of a grid: one number for all parameters, one each, by name, or the default."""


@runtime_checkable
class LogRatio(Protocol):
    r"""An estimator of $\log r(\theta, x) = \log p(x \mid \theta) - \log p(x)$.

    Work on the image (`embed`) is apart from work on the parameters (`log_ratio`), so
    that a posterior embeds its image once and then asks for thousands of parameters.
    `RatioEstimator` and `ExactRatio` are such estimators; so is any object with these
    members. All take a single image or parameter set; use `jax.vmap` for a batch.

    Attributes:
        prior: the prior of training. The ratio means nothing outside its support.
    """

    @property
    def prior(self) -> Prior:
        """The prior of training."""
        ...

    def embed(self, x: Any) -> Float[Array, " features"]:
        """The features of an image.

        Args:
            x: one image.

        Returns:
            Its features.
        """
        ...

    def log_ratio(self, theta: Theta, h: Any) -> Float[Array, ""]:
        r"""$\log r$ from the features of an image.

        Args:
            theta: parameter name -> scalar.
            h: what `embed` gave.

        Returns:
            The log-ratio.
        """
        ...

    def check_image(
        self,
        x: Any,
        *,
        spacing: float | None = None,
        channel_names: tuple[str, ...] = (),
    ) -> None:
        """Refuse an image that was not meant for this estimator.

        Args:
            x: one image.
            spacing: its pixel spacing, if known.
            channel_names: names of its channels, if known.

        Raises:
            ValueError: if the image does not suit the estimator.
        """
        ...
