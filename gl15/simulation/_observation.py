"""One image with what is needed to read it, on disk and in memory."""

import os
import zipfile
from pathlib import Path

import equinox as eqx
import numpy as np
from jaxtyping import Float


class Observation(eqx.Module):
    """An image as a laboratory would hand it over.

    Attributes:
        x: the image `[nx, ny, channels]`.
        spacing: pixel spacing, in the units of the lattice's.
        channels: names of the channels; empty if unknown.
    """

    x: Float[np.ndarray, "nx ny channels"]
    spacing: float = eqx.field(static=True)
    channels: tuple[str, ...] = eqx.field(static=True, default=())


def save_observation(path: str | os.PathLike, observation: Observation) -> None:
    """Write an image as an `.npz` of `x`, `spacing` and `channels`.

    Args:
        path: where to write; the suffix must be `.npz`.
        observation: what to write.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        allow_pickle=False,
        x=observation.x,
        spacing=np.asarray(observation.spacing),
        channels=np.asarray(observation.channels, dtype=np.str_),
    )


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
    name = os.fspath(path)
    if not Path(path).exists():
        raise FileNotFoundError(f"`path`={name!r}: there is no such image file.")
    if Path(path).stat().st_size == 0:
        raise ValueError(f"`path`={name!r} is an empty file; write the image again.")
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ValueError("it is not an .npz archive")
        with loaded as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"`path`={name!r} cannot be read as an image ({error}); write one with "
            "`numpy.savez(path, x=x, spacing=spacing)`."
        ) from error
    missing = [key for key in ("x", "spacing") if key not in arrays]
    if missing:
        raise ValueError(
            f"`path`={name!r} lacks {missing}; it holds {sorted(arrays)}. Write it with "
            "`numpy.savez(path, x=x, spacing=spacing)`."
        )
    x = arrays["x"]
    if x.ndim != 3 or not np.issubdtype(x.dtype, np.number) or np.iscomplexobj(x):
        raise ValueError(
            f"`x` in {name!r} must be a real image (nx, ny, channels), got shape "
            f"{x.shape} of {x.dtype}."
        )
    spacing = np.asarray(arrays["spacing"])
    if spacing.size != 1 or not (np.isfinite(spacing).all() and spacing.item() > 0):
        raise ValueError(
            f"`spacing` in {name!r} must be one positive length, got {spacing}."
        )
    if not np.isfinite(x).all():
        raise ValueError(
            f"`x` in {name!r} holds {int((~np.isfinite(x)).sum())} values that are NaN "
            f"or infinite, of {x.size}; mend or crop the image first."
        )
    channels = tuple(str(c) for c in np.atleast_1d(arrays.get("channels", ())))
    if not np.issubdtype(x.dtype, np.floating):
        x = x.astype(np.float32)
    return Observation(x, float(spacing.item()), channels)
