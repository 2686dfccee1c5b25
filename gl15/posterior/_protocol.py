"""What a posterior needs of an estimator."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float

from gl15.simulation import Prior, Theta


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

    def embed(self, x: Any) -> Float[Array, "features"]:
        """The features of an image."""
        ...

    def log_ratio(self, theta: Theta, h: Any) -> Float[Array, ""]:
        r"""$\log r$ from the features of an image."""
        ...

    def check_image(self, x: Any) -> None:
        """Raise `ValueError` for an image that was not meant for this estimator."""
        ...
