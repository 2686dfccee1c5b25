"""What every instrument is: an image goes in, what a laboratory would see comes out."""

import abc
from typing import Literal, TypeAlias

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Key, Shaped, UInt32


AnyKey: TypeAlias = Key[Array, ""] | UInt32[Array, "2"]

#: A parameter of an instrument, which may be traced.
Parameter: TypeAlias = Float[Array, ""] | float | int

#: An image `[nx, ny, channels]` as an instrument takes it, counts of a camera included;
#: `checked` refuses what is none, with the remedy.
Image: TypeAlias = Shaped[Array, "..."] | Shaped[np.ndarray, "..."]

#: How an image goes on beyond its edges: mirrored, or round the torus.
Boundary: TypeAlias = Literal["open", "periodic"]


class AbstractInstrument(eqx.Module):
    """An instrument: a random function of an image.

    Lengths are physical, in the units of the pixel spacing, so that an instrument
    means the same at every resolution; `InNanometres` lets them be nanometres.
    Instruments differentiate in the image and in their parameters; the noise of counts
    does so as its Gaussian limit.
    """

    @abc.abstractmethod
    def __call__(
        self, x: Image, *, spacing: float, key: AnyKey | None = None
    ) -> Float[Array, "..."]:
        """Measure an image.

        Args:
            x: the image, channels last.
            spacing: pixel spacing of `x`.
            key: JAX random key; may be left out where there is no noise.

        Returns:
            What the instrument shows.
        """

    @abc.abstractmethod
    def output_spacing(self, spacing: float) -> float:
        """Pixel spacing of what the instrument shows.

        Args:
            spacing: pixel spacing of the image.

        Returns:
            The new pixel spacing.
        """

    @abc.abstractmethod
    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the channels of what the instrument shows.

        Args:
            channels: names of the image's channels; empty if unknown.

        Returns:
            The new names; empty if unknown, or if it shows a curve.
        """
