"""One image with what is needed to read it, on disk and in memory."""

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


_REMEDY = "write one with `numpy.savez(path, x=x, spacing=spacing)`."


class Observation(eqx.Module):
    """An image as a laboratory would hand it over.

    Attributes:
        x: the image `[nx, ny, channels]`, finite.
        spacing: pixel spacing, in the units of the lattice's.
        channels: names of the channels; empty if unknown.
    """

    x: Float[np.ndarray, "nx ny channels"]
    spacing: float = eqx.field(static=True)
    channels: tuple[str, ...] = eqx.field(static=True, default=())

    def __check_init__(self):
        if not (np.isfinite(self.spacing) and self.spacing > 0):
            raise ValueError(
                f"`spacing` must be one positive length, got {self.spacing}."
            )
        if self.channels and len(self.channels) != self.x.shape[-1]:
            raise ValueError(
                f"`channels` names {len(self.channels)} channels {self.channels}, but "
                f"`x` has {self.x.shape[-1]}; name each or none."
            )
        bad = int((~np.isfinite(self.x)).sum())
        if bad:
            raise ValueError(
                f"`x` holds {bad} values that are NaN or infinite, of {self.x.size}; "
                "mend the image first."
            )


def image_of(x: Any) -> tuple[Float[Array, "..."], dict[str, Any]]:
    """An image as an array, and what is known of it.

    Args:
        x: an array, or an `Observation`.

    Returns:
        The array (counts become floats, any float type stays), and the options of an
        estimator's `check_image` that an `Observation` knows.
    """
    known: dict[str, Any] = {}
    if isinstance(x, Observation):
        known["spacing"] = x.spacing
        if x.channels:
            known["channel_names"] = x.channels
        x = x.x
    image = jnp.asarray(x)
    floating = jnp.issubdtype(image.dtype, jnp.inexact)
    return (image if floating else image.astype(float)), known


def save_observation(path: str | os.PathLike, observation: Observation) -> None:
    """Write an image as an `.npz` of `x`, `spacing` and `channels`, or not at all.

    Args:
        path: where to write; the usual suffix is `.npz`.
        observation: what to write.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with open(partial, "wb") as file:
        np.savez(
            file,
            allow_pickle=False,
            x=observation.x,
            spacing=np.asarray(observation.spacing),
            channels=np.asarray(observation.channels, dtype=np.str_),
        )
    os.replace(partial, path)


def load_observation(path: str | os.PathLike) -> Observation:
    """Read an image from an `.npz` with `x`, `spacing` and, if known, `channels`.

    Anybody can write one: `numpy.savez(path, x=x, spacing=0.5)`.

    Args:
        path: the file.

    Returns:
        The image.

    Raises:
        FileNotFoundError: if there is no file.
        ValueError: if it is empty, damaged, lacks an array, or holds no finite image.
    """
    name = f"`path`={os.fspath(path)!r}"
    if not Path(path).exists():
        raise FileNotFoundError(f"{name}: there is no such image file.")
    if Path(path).stat().st_size == 0:
        raise ValueError(f"{name} is an empty file; {_REMEDY}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{name} is not an .npz archive; {_REMEDY}")
    try:
        # NumPy leaves a damaged archive open that it opened itself.
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = {key: loaded[key] for key in loaded.files}
    # A flipped byte may claim another compression or spoil a compressed stream.
    except (
        OSError,
        ValueError,
        EOFError,
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f"{name} is no image that can be read ({error}); {_REMEDY}"
        ) from error
    missing = [key for key in ("x", "spacing") if key not in arrays]
    if missing:
        raise ValueError(
            f"{name} lacks {missing}; it holds {sorted(arrays)}; {_REMEDY}"
        )
    x, spacing = arrays["x"], arrays["spacing"]
    if x.ndim != 3 or x.size == 0 or x.dtype.kind not in "fiu":
        raise ValueError(
            f"{name}: `x` must be a real image (nx, ny, channels), got shape {x.shape} "
            f"of {x.dtype}."
        )
    if spacing.size != 1 or spacing.dtype.kind not in "fiu":
        raise ValueError(
            f"{name}: `spacing` must be one positive length, got {spacing}."
        )
    if x.dtype.kind != "f":
        x = x.astype(np.float32)
    channels = tuple(str(one) for one in np.atleast_1d(arrays.get("channels", ())))
    try:
        return Observation(x, float(spacing.item()), channels)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
