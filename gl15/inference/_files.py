"""Estimators on disk: one `.npz` of plain arrays with a JSON header in it."""

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gl15.inference._encoders import AbstractEncoder, ConvEncoder, MLPEncoder
from gl15.inference._estimator import RatioEstimator
from gl15.inference._spectral import SpectralEncoder
from gl15.simulation import Prior


_FORMAT = "gl15 ratio estimator"
_FORMAT_VERSION = 1
_ENCODERS: dict[str, Callable[..., AbstractEncoder]] = {
    kind.__name__: kind for kind in (ConvEncoder, MLPEncoder, SpectralEncoder)
}


def save(path: str | os.PathLike, estimator: RatioEstimator) -> str:
    """Write an estimator, whole or not at all.

    The file holds the weights, the standardisation, the prior, the encoder's
    structure, the pixel spacing and channel names, and the version of gl15.

    Args:
        path: where to write; the usual suffix is `.npz`.
        estimator: what to write.

    Returns:
        The SHA-256 of what the file holds, which `load` checks.

    Raises:
        TypeError: if the prior cannot be described by numbers alone.
    """
    arrays = _arrays(estimator)
    header = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "gl15": version("gl15"),
        "prior": estimator.prior.describe(),
        "encoder": type(estimator.encoder).__name__,
        "encoder_config": estimator.encoder.config(),
        "width": estimator.head.width_size,
        "depth": estimator.head.depth,
        "spacing": estimator.spacing,
        "channel_names": estimator.channel_names,
    }
    digest = _digest(header, arrays)
    header["sha256"] = digest
    text = np.asarray(json.dumps(header))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with open(partial, "wb") as file:
        np.savez(file, allow_pickle=False, header=text, **arrays)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    return digest


def load(
    path: str | os.PathLike, *, like: RatioEstimator | None = None
) -> RatioEstimator:
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
    try:
        # NumPy leaves a damaged archive open that it opened itself.
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                raise ValueError("it is one array, not an .npz archive of several")
            header = json.loads(str(loaded["header"]))
            arrays = {name: loaded[name] for name in loaded.files if name != "header"}
    except FileNotFoundError:
        raise
    # A flipped byte may claim another compression or spoil a compressed stream.
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f"`path`={os.fspath(path)!r} is not an estimator that `gl15.save` wrote, "
            f"or it is damaged ({error})."
        ) from error
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise ValueError(f"`path`={os.fspath(path)!r} does not hold an estimator.")
    if header["format_version"] > _FORMAT_VERSION:
        raise ValueError(
            f"`path`={os.fspath(path)!r} has format {header['format_version']}, newer "
            f"than this gl15 {version('gl15')} reads ({_FORMAT_VERSION}); it was "
            f"written by gl15 {header['gl15']}: upgrade."
        )
    digest = header.pop("sha256", None)
    if _digest(header, arrays) != digest:
        raise ValueError(
            f"`path`={os.fspath(path)!r} is damaged or was edited: it does not match "
            "its checksum."
        )
    prior = Prior.from_description(header["prior"])
    if like is not None and like.prior != prior:
        raise ValueError(
            f"`like` has the prior {like.prior.describe()}, but the estimator in "
            f"`path`={os.fspath(path)!r} has {prior.describe()}; give `like` that one."
        )
    # The prior is built outside: within, the numbers of some distributions are traced.
    skeleton = eqx.filter_eval_shape(_build, header, prior) if like is None else like
    estimator = _fill(skeleton, arrays, os.fspath(path))
    return estimator.trained_on(header["spacing"], tuple(header["channel_names"]))


def _build(header: dict[str, Any], prior: Prior) -> RatioEstimator:
    name = header["encoder"]
    if name not in _ENCODERS:
        raise ValueError(
            f"the estimator's encoder {name!r} is not one of gl15's own "
            f"({sorted(_ENCODERS)}); pass `like=`, an estimator built with it."
        )
    key = jax.random.key(0)
    config = {k: _tuples(value) for k, value in header["encoder_config"].items()}
    return RatioEstimator(
        prior,
        _ENCODERS[name](**config, key=key),
        width=header["width"],
        depth=header["depth"],
        spacing=header["spacing"],
        channel_names=tuple(header["channel_names"]),
        key=key,
    )


def _arrays(estimator: RatioEstimator) -> dict[str, np.ndarray]:
    arrays = eqx.filter(estimator, eqx.is_array)
    leaves, _ = jax.tree_util.tree_flatten_with_path(arrays)
    return {jax.tree_util.keystr(path).lstrip("."): np.asarray(a) for path, a in leaves}


def _fill(skeleton: Any, arrays: dict[str, np.ndarray], path: str) -> RatioEstimator:
    is_shaped = lambda leaf: hasattr(leaf, "shape") and hasattr(leaf, "dtype")  # noqa: E731
    dynamic, static = eqx.partition(skeleton, is_shaped)
    named, tree = jax.tree_util.tree_flatten_with_path(dynamic)
    expected = {jax.tree_util.keystr(k).lstrip("."): leaf.shape for k, leaf in named}
    found = {name: value.shape for name, value in arrays.items()}
    if expected != found:
        wrong = sorted(k for k in expected | found if expected.get(k) != found.get(k))
        raise ValueError(
            f"`path`={path!r} does not fit the estimator's structure at {wrong[:3]}; "
            "was it built with other sizes?"
        )
    leaves = [jnp.asarray(arrays[name]) for name in expected]
    return eqx.combine(jax.tree.unflatten(tree, leaves), static)


def _digest(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {value.dtype} {value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value
