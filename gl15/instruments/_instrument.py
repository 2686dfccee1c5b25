"""What every instrument is: an image goes in, what a laboratory would see comes out."""

import abc
from typing import TypeAlias

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Key, UInt32


AnyKey: TypeAlias = Key[Array, ""] | UInt32[Array, "2"]

#: A parameter of an instrument, which may be traced.
Parameter: TypeAlias = Float[Array, ""] | float | int

Image: TypeAlias = Float[Array, "nx ny channels"]


class AbstractInstrument(eqx.Module):
    """An instrument: a random function of an image.

    Lengths are physical, in the units of the pixel spacing, so that an instrument
    means the same at every resolution. Instruments differentiate in the image and in
    their parameters; the noise of counts does so as its Gaussian limit.
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


def check_not_negative(**parameters: Parameter) -> None:
    """Refuse parameters that are negative or NaN, where they have values.

    Args:
        **parameters: the parameters by name.

    Raises:
        ValueError: naming the parameter.
    """
    for name, value in parameters.items():
        # NumPy, as JAX would trace the comparison inside a transformation.
        if not isinstance(value, Tracer) and not np.all(np.asarray(value) >= 0):
            raise ValueError(
                f"`{name}` must not be negative, got {value}; 0 switches the effect "
                "off."
            )


def check_positive(**parameters: Parameter | None) -> None:
    """Refuse parameters that are zero, negative or NaN, where they have values.

    Args:
        **parameters: the parameters by name; None passes.

    Raises:
        ValueError: naming the parameter.
    """
    for name, value in parameters.items():
        if value is None or isinstance(value, Tracer):
            continue
        if not np.all(np.asarray(value) > 0):
            raise ValueError(
                f"`{name}` must be positive, got {value}; None switches the effect off."
            )


def select(
    x: Image, channels: tuple[int, ...], instrument: str
) -> Float[Array, "nx ny selected"]:
    """The channels an instrument looks at.

    Args:
        x: the image.
        channels: which ones.
        instrument: its name, for the message.

    Returns:
        Those channels.

    Raises:
        ValueError: if the image does not have them.
    """
    if max(channels) >= x.shape[-1]:
        raise ValueError(
            f"{instrument} looks at channels {channels}, but `x` has shape {x.shape}; "
            "give it the image that `gl15.observe` makes, or choose `channels`."
        )
    return x[..., jnp.asarray(channels)]
