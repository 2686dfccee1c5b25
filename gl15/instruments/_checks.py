"""What instruments refuse, with the remedy: before anything is measured."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from gl15.instruments._instrument import Image, Parameter


def check_not_negative(**parameters: Parameter) -> None:
    """Refuse parameters that are negative or NaN, where they have values.

    Args:
        **parameters: the parameters by name.

    Raises:
        ValueError: naming the parameter.
    """
    for name, value in parameters.items():
        # NumPy, as JAX would trace the comparison inside a transformation.
        if is_known(value) and not np.all(np.asarray(value) >= 0):
            raise ValueError(
                f"`{name}` must not be negative, got {value}; 0 switches the effect "
                "off."
            )


def check_positive(
    remedy: str = "None switches the effect off", /, **parameters: Parameter | None
) -> None:
    """Refuse parameters that are zero, negative or NaN, where they have values.

    Args:
        remedy: what the message says to do.
        **parameters: the parameters by name; None passes.

    Raises:
        ValueError: naming the parameter.
    """
    for name, value in parameters.items():
        if value is None or not is_known(value):
            continue
        if not np.all(np.asarray(value) > 0):
            raise ValueError(f"`{name}` must be positive, got {value}; {remedy}.")


def check_boundary(boundary: str) -> None:
    """Refuse a boundary that does not exist.

    Args:
        boundary: its name.

    Raises:
        ValueError: if there is none of this name.
    """
    if boundary not in ("open", "periodic"):
        raise ValueError(
            '`boundary` must be "open" (mirrored at the edges) or "periodic" (a '
            f"torus), got {boundary!r}."
        )


def check_channels(channels: tuple[int, ...]) -> None:
    """Refuse channels that no image can have.

    Args:
        channels: which ones.

    Raises:
        ValueError: if there is none, or one is negative.
    """
    if not channels or min(channels) < 0:
        raise ValueError(
            f"`channels` must name at least one, counted from 0, got {channels}."
        )


def checked(x: Image, spacing: float, instrument: str) -> Float[Array, "nx ny c"]:
    """An image fit to be measured, as an array of floating-point numbers.

    Args:
        x: the image.
        spacing: its pixel spacing.
        instrument: who measures, for the message.

    Returns:
        The image.

    Raises:
        ValueError: if it is no image, holds NaN or infinity where its values are
            known, or if the spacing is not a length.
    """
    shape = jnp.shape(x)
    if len(shape) != 3 or 0 in shape:
        raise ValueError(
            f"{instrument} takes one image (nx, ny, channels), but `x` has shape "
            f"{shape}; give a single channel an axis with `x[..., None]`, and use "
            "`jax.vmap` or `gl15.simulation.observe_with` for several images."
        )
    if not (np.isfinite(spacing) and spacing > 0):
        raise ValueError(f"`spacing` must be a positive length, got {spacing}.")
    if is_known(x) and (bad := int(np.sum(~np.isfinite(np.asarray(x))))):
        raise ValueError(
            f"`x` holds {bad} values that are NaN or infinite, of {np.size(x)}, and "
            f"{instrument} would spread them; mend or crop the image first, or look "
            "for the simulation that diverged."
        )
    image = jnp.asarray(x)
    if not jnp.issubdtype(image.dtype, jnp.floating):
        image = image.astype(float)
    return image


def select(
    x: Float[Array, "nx ny c"], channels: tuple[int, ...], instrument: str
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


def is_known(value: object) -> bool:
    """Whether a value is there to be looked at, and not only traced."""
    return not isinstance(value, Tracer)
