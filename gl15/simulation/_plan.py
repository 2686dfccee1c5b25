"""What an ensemble is made from, as plain data: to write down and to compare."""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from gl15.simulation._prior import Prior


_LARGE = 16  # arrays of more numbers are known by their checksum
_DEPTH = 8  # no simulator nests deeper, and an object may hold itself


def describe_plan(
    simulator: Any, prior: Prior | Mapping[str, Any], n: int, key: PRNGKeyArray
) -> dict[str, Any]:
    """Everything that decides what `n` simulations come out as, ready for JSON.

    A simulator that is an `eqx.Module`, a dataclass or another object is described by
    its class's name and its attributes; a function by its name alone.

    Args:
        simulator: the simulator.
        prior: the prior, or the theta to simulate at.
        n: number of simulations.
        key: JAX random key.

    Returns:
        Nested dictionaries, lists, numbers and strings.
    """
    return {
        "n": n,
        "key": _describe(key),
        "prior": _describe_prior(prior),
        "simulator": _describe(simulator),
        "spacing": _describe(getattr(simulator, "spacing", None)),
        "channels": list(getattr(simulator, "channels", ())),
        "units": _describe(getattr(simulator, "units", "dimensionless")),
        # Other bits are drawn in double precision.
        "precision": str(jnp.result_type(float)),
    }


def differences(
    given: Any, stored: Any, name: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Where two plans differ.

    Args:
        given: one plan.
        stored: the other.
        name: what they are called.

    Yields:
        Dotted name, the one value, the other value.
    """
    if not (isinstance(given, dict) and isinstance(stored, dict)):
        if given != stored:
            yield name, given, stored
        return
    for key in given | stored:
        dotted = f"{name}.{key}" if name else key
        yield from differences(given.get(key), stored.get(key), dotted)


def _describe_prior(prior: Prior | Mapping[str, Any]) -> Any:
    if not isinstance(prior, Prior):
        return {name: "given values" for name in prior}
    try:
        return prior.describe()
    except TypeError:
        # The draws themselves are compared as well.
        return {name: type(one).__name__ for name, one in prior.distributions.items()}


def _describe(value: Any, depth: int = 0) -> Any:
    nested = functools.partial(_describe, depth=depth + 1)
    if isinstance(value, Prior):
        return _describe_prior(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        return _describe_array(value)
    if isinstance(value, functools.partial):
        called = [nested(value.args), nested(value.keywords)]
        return {"type": "partial", "of": nested(value.func), "with": called}
    if (name := getattr(value, "__qualname__", None)) is not None:
        held = _held(value)
        return {"type": name, "with": nested(held)} if held and depth < _DEPTH else name
    if depth == _DEPTH:
        return {"type": type(value).__qualname__}
    if isinstance(value, Mapping):
        return {str(key): nested(one) for key, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [nested(one) for one in value]
    if dataclasses.is_dataclass(value):
        fields = [field.name for field in dataclasses.fields(value)]
    else:
        fields = list(getattr(value, "__dict__", ()))
    parts = {name: nested(getattr(value, name, None)) for name in fields}
    return {"type": type(value).__qualname__, **parts}


def _held(function: Any) -> list[Any]:
    """The values that a function carries: of its closure, and its defaults."""
    cells = getattr(function, "__closure__", None) or ()
    defaults = getattr(function, "__defaults__", None) or ()
    named = getattr(function, "__kwdefaults__", None) or {}
    held = []
    for cell in cells:
        try:
            held.append(cell.cell_contents)
        except ValueError:  # not given a value yet
            continue
    return [*held, *defaults, *named.values()]


def _describe_array(value: Any) -> Any:
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        data = _describe_array(jax.random.key_data(value))
        return {"type": str(jax.random.key_impl(value)), "data": data}
    array = np.ascontiguousarray(value)
    if np.size(value) <= _LARGE:
        return _describe(np.asarray(value).tolist())
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    return {"type": str(array.dtype), "shape": list(array.shape), "sha256": digest}
