"""Vortices as tables that other libraries read: pandas and xarray."""

from typing import Any

import numpy as np
from jaxtyping import Array, Float

from gl15.observables._matching import BandMatching
from gl15.observables._tracking import Tracks
from gl15.observables._vortices import Vortices


def vortex_table(
    vortices: Vortices | Tracks,
    *,
    matching: BandMatching | None = None,
    times: Float[Array | np.ndarray, " frames"] | None = None,
) -> Any:
    """A pandas table with one row per vortex.

    The columns `band`, `slot`, `x`, `y`, `charge`; with several frames `frame` and
    `time` before them; of tracks also `identity`, `born`, `lost`, `born_with` and
    `lost_with`; with a matching `partner` (slot in the other band, -1 for a fractional
    vortex) and `separation`.

    Args:
        vortices: the vortices of one state or of several frames, or their tracks.
        matching: what `match_bands` found for them, of frames through `jax.vmap`.
        times: time of each frame; of tracks their own.

    Returns:
        The `pandas.DataFrame`.

    Raises:
        ValueError: if `times` are not those of the frames.
        ModuleNotFoundError: if pandas is not installed (`pip install "gl15[plots]"`).
    """
    pandas = _import("pandas", "vortex_table")
    columns, mask = _columns(vortices, matching, times)
    return pandas.DataFrame({name: value[mask] for name, value in columns.items()})


def vortex_dataset(
    vortices: Vortices | Tracks,
    *,
    matching: BandMatching | None = None,
    times: Float[Array | np.ndarray, " frames"] | None = None,
) -> Any:
    """An xarray data set of vortices, in their slots.

    The columns of `vortex_table` as variables over (`time`,) `band` and `slot`; `mask`
    says which slots hold a vortex, and x, y and the separation are NaN in the others.
    The lengths of the box and its boundary are attributes.

    Args:
        vortices: as in `vortex_table`.
        matching: as in `vortex_table`.
        times: as in `vortex_table`.

    Returns:
        The `xarray.Dataset`.

    Raises:
        ValueError: if `times` are not those of the frames.
        ModuleNotFoundError: if xarray is not installed (`pip install "gl15[plots]"`).
    """
    xarray = _import("xarray", "vortex_dataset")
    columns, mask = _columns(vortices, matching, times)
    box = (vortices.vortices if isinstance(vortices, Tracks) else vortices).box
    dims = ("time", "band", "slot")[3 - mask.ndim :]
    coords = {"band": [0, 1], "slot": np.arange(mask.shape[-1])}
    if mask.ndim == 3:
        coords["time"] = columns["time"][:, 0, 0]
    own = ("frame", "time", "band", "slot")
    variables = {
        name: (dims, value) for name, value in columns.items() if name not in own
    }
    variables["mask"] = (dims, mask)
    attributes = {
        "lengths": list(box.lengths),
        "boundary": "periodic" if box.periodic else "open",
    }
    return xarray.Dataset(variables, coords=coords, attrs=attributes)


def _columns(
    source: Vortices | Tracks,
    matching: BandMatching | None,
    times: Float[Array | np.ndarray, " frames"] | None,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The columns, all of the shape of the mask, and the mask."""
    tracks = source if isinstance(source, Tracks) else None
    vortices = source.vortices if isinstance(source, Tracks) else source
    mask = np.asarray(vortices.mask)
    columns: dict[str, np.ndarray] = {}
    if mask.ndim == 3:
        frames = np.arange(len(mask))
        if tracks is not None:
            when = np.asarray(tracks.times)
        else:
            when = frames.astype(float) if times is None else np.asarray(times)
        if when.shape != frames.shape:
            raise ValueError(
                f"`times` must be one for each of {len(mask)} frames, got shape "
                f"{when.shape}."
            )
        columns["frame"] = np.broadcast_to(frames[:, None, None], mask.shape)
        columns["time"] = np.broadcast_to(when[:, None, None], mask.shape)
    columns["band"] = np.broadcast_to(np.arange(2)[:, None], mask.shape)
    columns["slot"] = np.broadcast_to(np.arange(mask.shape[-1]), mask.shape)
    positions = np.asarray(vortices.positions)
    columns |= {"x": positions[..., 0], "y": positions[..., 1]}
    columns["charge"] = np.asarray(vortices.charges)
    if tracks is not None:
        for name in ("identity", "born", "lost", "born_with", "lost_with"):
            columns[name] = np.asarray(getattr(tracks, name))
    if matching is not None:
        columns |= _matched(matching, mask)
    return columns, mask


def _matched(matching: BandMatching, mask: np.ndarray) -> dict[str, np.ndarray]:
    partner = np.full(mask.shape, -1)
    separation = np.full(mask.shape, np.nan)
    first = np.asarray(matching.partner)
    if first.shape != mask[..., 0, :].shape:
        raise ValueError(
            f"`matching` is of slots {first.shape}, the vortices of "
            f"{mask[..., 0, :].shape}; match the same ones."
        )
    apart = np.asarray(matching.separation)
    partner[..., 0, :] = first
    separation[..., 0, :] = apart
    for index in np.argwhere(first >= 0):
        *frame, slot = index
        other = (*frame, 1, first[tuple(index)])
        partner[other] = slot
        separation[other] = apart[tuple(index)]
    return {"partner": partner, "separation": separation}


def _import(name: str, user: str) -> Any:
    # Late: few sessions need them, and they take long to import.
    try:
        return __import__(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"`{user}` needs {name}, which is not installed: "
            '`pip install "gl15[plots]"`.'
        ) from error
