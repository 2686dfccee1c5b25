"""Encoders: from an observation to a short vector of features."""

import abc
import math
from typing import Any, ClassVar, TYPE_CHECKING

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray


if TYPE_CHECKING:
    from typing import ClassVar as AbstractClassVar
else:
    from equinox import AbstractClassVar


class AbstractEncoder(eqx.Module):
    """Turns one observation into features, in two parts.

    `summarise` has no trainable parameters and is applied once to every observation,
    before training; its output is standardised entry by entry of the last axis.
    Calling the encoder maps that to features and is what training changes.

    Attributes:
        ndim: number of axes of an observation.
        limit: standard deviations of a summary beyond which nothing counts.
        begins_linear: whether the first layer of `mlp` is all that sees the summary:
            what is linear before it can become part of it.
        fitted: names of arrays that were fitted before, and that training leaves alone.
        channels: length of its last axis.
        size: length of the last axis of the summary.
        features: length of the feature vector.
    """

    ndim: AbstractClassVar[int]
    limit: ClassVar[float] = math.inf
    begins_linear: ClassVar[bool] = False
    fitted: ClassVar[tuple[str, ...]] = ()
    channels: eqx.AbstractVar[int]
    size: eqx.AbstractVar[int]
    features: eqx.AbstractVar[int]

    def drawn_anew(self, key: PRNGKeyArray) -> "AbstractEncoder":
        """An encoder of this structure with other initial weights.

        Args:
            key: JAX random key.

        Returns:
            The encoder.
        """
        return type(self)(**self.config(), key=key)  # pyright: ignore[reportCallIssue]

    @abc.abstractmethod
    def config(self) -> dict[str, Any]:
        """The arguments, but for the key, that build an encoder of this structure.

        Returns:
            The keyword arguments, ready for JSON.
        """

    @abc.abstractmethod
    def summarise(self, x: Float[Array, "..."]) -> Float[Array, "*summary size"]:
        """The parameter-free part, from an observation to its summary.

        Args:
            x: one observation, `ndim` axes with `channels` on the last.

        Returns:
            Its summary, `size` entries on the last axis.
        """

    @abc.abstractmethod
    def __call__(self, summary: Float[Array, "*summary size"]) -> Float[Array, " f"]:
        """The trainable part, from a standardised summary to features.

        Args:
            summary: a standardised summary.

        Returns:
            The features, `[features]`.
        """
