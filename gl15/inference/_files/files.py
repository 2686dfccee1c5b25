"""Estimators on disk: one `.npz` of plain arrays with a JSON header in it."""

import os
from collections.abc import Mapping
from typing import Any

from gl15.inference._files.archive import digest_of, read_archive, write_archive
from gl15.inference._files.structure import (
    arrays_of,
    build_skeleton,
    describe_module,
    fill,
    own_class,
)


_FORMAT = "gl15 ratio estimator"
_FORMAT_VERSION = 2


def save(
    path: str | os.PathLike,
    estimator: Any,
    *,
    provenance: Mapping[str, Any] | None = None,
    calibration: Mapping[str, Any] | None = None,
) -> str:
    """Write an estimator, whole or not at all.

    The file holds the weights, the standardisation, the prior, the structure (the
    encoder, the head, an ensemble's members, a calibration), the pixel spacing and
    channel names, and the version of gl15.

    Args:
        path: where to write; the usual suffix is `.npz`.
        estimator: what to write.
        provenance: where it comes from, in terms of JSON: the key, the plan, the data.
        calibration: how well it did on held-out pairs, in terms of JSON.

    Returns:
        The SHA-256 of what the file holds, which `load` checks.

    Raises:
        TypeError: if the prior or a part of the estimator cannot be described by
            numbers alone, or JSON cannot hold what is noted beside it.
    """
    if isinstance(estimator, str | os.PathLike):
        raise TypeError("the path comes first: save(path, estimator).")
    structure, arrays = describe_module(estimator), arrays_of(estimator)
    header = {
        "structure": structure,
        "prior": estimator.prior.describe(),
        "spacing": getattr(estimator, "spacing", None),
        "channel_names": list(getattr(estimator, "channel_names", ())),
        "estimator_sha256": digest_of(structure, arrays),
        "provenance": provenance,
        "calibration": calibration,
    }
    return write_archive(
        path, header, arrays, kind=_FORMAT, format_version=_FORMAT_VERSION
    )


def load(path: str | os.PathLike, *, like: Any = None) -> Any:
    """Read an estimator that `save` wrote. No code is run from the file.

    Args:
        path: the file.
        like: an estimator of the same structure, needed where the encoder is not one
            of gl15's own; its weights are not used.

    Returns:
        The estimator, equal to the last bit.

    Raises:
        FileNotFoundError: if there is no file.
        ValueError: if the file is not an estimator, is damaged, or is newer than this
            version of gl15 can read.
    """
    header, arrays = _read(path, with_arrays=True)
    structure, name = _structure(header), os.fspath(path)
    if like is None:
        skeleton = build_skeleton(structure)
    else:
        skeleton = like
        given, stored = skeleton.prior.describe(), header["prior"]
        if given != stored:
            raise ValueError(
                f"`like` has the prior {given}, but the estimator in `path`={name!r} "
                f"has {stored}; give `like` that one."
            )
    estimator = fill(skeleton, arrays, name)
    if hasattr(estimator, "trained_on"):
        known = header["spacing"], tuple(header["channel_names"])
        estimator = estimator.trained_on(*known)
    return estimator


def describe(path: str | os.PathLike) -> dict[str, Any]:
    """What an estimator's file says of itself, without reading the weights.

    Args:
        path: a file that `save` wrote.

    Returns:
        The header: `structure`, `prior`, `spacing`, `channel_names`, the version
        `gl15`, `provenance`, `calibration`, and the checksums `sha256` of the file and
        `estimator_sha256` of the estimator alone, see `fingerprint`. The checksums are
        not checked here; `load` does.

    Raises:
        FileNotFoundError: if there is no file.
        ValueError: if the file is not an estimator, or newer.
    """
    return _read(path, with_arrays=False)[0]


def fingerprint(estimator: Any) -> str:
    """SHA-256 of an estimator: its structure, prior and weights.

    To be written down beside what was computed with it.

    Args:
        estimator: the estimator.

    Returns:
        The digest; `describe` has it as `estimator_sha256`.

    Raises:
        TypeError: if a part cannot be described by numbers alone.
    """
    return digest_of(describe_module(estimator), arrays_of(estimator))


def _read(path: Any, *, with_arrays: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    options: dict[str, Any] = {"kind": _FORMAT, "format_version": _FORMAT_VERSION}
    try:
        return read_archive(path, **options, with_arrays=with_arrays)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"`path`={os.fspath(path)!r}: there is no such file; "
            "`gl15.inference.pretrained_path(name)` is that of an estimator that comes "
            "with gl15."
        ) from error


def _structure(header: Mapping[str, Any]) -> dict[str, Any]:
    """The structure a header describes, in any format."""
    if header["format_version"] >= 2:
        return header["structure"]
    encoder = {"class": header["encoder"], "config": header["encoder_config"]}
    if own_class(header["encoder"]) is None:
        encoder["config"] = {}
    return {
        "class": "RatioEstimator",
        "config": {
            "prior": {"class": "Prior", "config": header["prior"]},
            "encoder": encoder,
            "width": header["width"],
            "depth": header["depth"],
            "spacing": header["spacing"],
            "channel_names": header["channel_names"],
        },
    }
