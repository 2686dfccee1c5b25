"""All that decides what a training does, as plain data."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from gl15.inference._files.archive import digest_of
from gl15.inference._files.structure import arrays_of, describe_module
from gl15.simulation import Ensemble, StoredEnsemble
from gl15.simulation._plan import describe_plan


def training_plan(
    estimator: Any,
    data: Any,
    validation: Any,
    *,
    key: PRNGKeyArray,
    parts: Mapping[str, Any],
    numbers: Mapping[str, Any],
) -> dict[str, Any]:
    """What two trainings must share for one to go on where the other stopped.

    Neither the devices nor the versions of libraries are part of it: with others,
    training goes on to rounding.

    Args:
        estimator: what is trained, as it is before.
        data: what it is trained on.
        validation: held-out pairs, or the fraction of them.
        key: JAX random key.
        parts: objects that take part: the loss, `redraw`.
        numbers: options that are plain numbers.

    Returns:
        Nested dictionaries, lists, numbers and strings.
    """
    described = {name: describe_plan(part, {}, 0, key) for name, part in parts.items()}
    precision = next(iter(described.values()))["precision"]
    return {
        "estimator": _describe_estimator(estimator),
        "data": describe_data(data),
        "validation": describe_data(validation),
        "key": describe_plan(None, {}, 0, key)["key"],
        "precision": precision,
        **{name: one["simulator"] for name, one in described.items()},
        **numbers,
    }


def describe_data(data: Any) -> Any:
    """Pairs by their number, shape and checksums.

    Args:
        data: an ensemble, a store, an iterable, or a fraction.

    Returns:
        A dictionary, or the fraction.
    """
    if data is None or isinstance(data, (int, float)):
        return data
    if isinstance(data, (Ensemble, StoredEnsemble)):
        stored = isinstance(data, StoredEnsemble)
        found = {
            "pairs": len(data),
            "shape": list(data.x_shape if stored else data.x.shape[1:]),
            "spacing": data.spacing,
            "channels": list(data.channels),
            "theta": {k: _checksum(v) for k, v in sorted(data.theta.items())},
        }
        if not stored:
            return {**found, "x": _checksum(data.x)}
        # Not how many there are by now: a store may grow, and what is read of it stays.
        made = {name: value for name, value in data.plan.items() if name != "n"}
        return {**found, "plan": made}
    plan = getattr(data, "plan", None)
    return {
        "type": type(data).__name__,
        "plan": plan if isinstance(plan, dict) else None,
    }


def _describe_estimator(estimator: Any) -> dict[str, Any]:
    try:
        structure: Any = describe_module(estimator)
    except TypeError:
        structure = type(estimator).__name__
    # Two entries: a difference then tells which of them it is.
    return {"structure": structure, "weights": digest_of({}, arrays_of(estimator))}


def _checksum(values: Any) -> str:
    array = np.ascontiguousarray(values)
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    digest.update(array.data)
    return digest.hexdigest()
