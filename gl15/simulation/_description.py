"""Distributions as plain data: for comparison, hashing and files."""

import inspect
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import truncated


class Fixed:
    """A distribution with concrete numbers, equal to another that describes the same.

    Only what can be hashed may be static in a pytree; NumPyro's distributions compare
    by value and so do not hash.
    """

    def __init__(self, distribution: Any):
        """Freeze `distribution`, its scalar arrays turned into Python floats."""
        self.distribution = jax.tree.map(_plain, distribution)
        try:
            self._identity: Any = _freeze(describe(self.distribution))
        except TypeError:
            self._identity = id(self.distribution)

    def __eq__(self, other: object) -> bool:
        """Whether both describe the same distribution."""
        return isinstance(other, Fixed) and self._identity == other._identity

    def __hash__(self) -> int:
        """Hash of the description."""
        return hash(self._identity)

    def __repr__(self) -> str:
        """The distribution's own text."""
        try:
            return _text(describe(self.distribution))
        except TypeError:
            return repr(self.distribution)


def describe(distribution: Any) -> dict[str, Any]:
    """`{"distribution": class name, argument: number or nested description}`.

    Raises:
        TypeError: if the distribution is not one of NumPyro's own, or takes an
            argument that is neither a number nor a distribution.
    """
    kind = type(distribution)
    if getattr(dist, kind.__name__, None) is not kind and not hasattr(
        truncated, kind.__name__
    ):
        raise TypeError(
            f"{kind.__name__} is not one of numpyro.distributions, so it cannot be "
            "described by numbers alone."
        )
    description: dict[str, Any] = {"distribution": kind.__name__}
    for name in inspect.signature(kind.__init__).parameters:
        if name in ("self", "validate_args"):
            continue
        value = getattr(distribution, name, None)
        if isinstance(value, dist.Distribution):
            description[name] = describe(value)
        elif value is not None and np.ndim(value) == 0:
            description[name] = _number(kind, name, value)
        elif value is not None:
            raise TypeError(
                f"{kind.__name__}({name}=...) is not a number, so this prior cannot "
                "be described by numbers alone."
            )
    return description


def rebuild(description: Mapping[str, Any]) -> Any:
    """The distribution that `describe` described."""
    arguments = {
        name: rebuild(value) if isinstance(value, Mapping) else value
        for name, value in description.items()
        if name != "distribution"
    }
    name = description["distribution"]
    kind = getattr(dist, name, None) or getattr(truncated, name, None)
    if not (isinstance(kind, type) and issubclass(kind, dist.Distribution)):
        raise ValueError(
            f"`distribution` {name!r} is not one of numpyro.distributions."
        )
    return kind(**arguments)


def _number(kind: type, name: str, value: Any) -> float:
    try:
        return float(value)
    except TypeError:
        raise TypeError(
            f"{kind.__name__}({name}={value!r}) is not a number, so this prior cannot "
            "be described by numbers alone."
        ) from None


def _plain(leaf: Any) -> Any:
    return float(leaf) if np.ndim(leaf) == 0 else np.asarray(leaf)


def _freeze(description: Any) -> Any:
    if isinstance(description, dict):
        return tuple((name, _freeze(value)) for name, value in description.items())
    return description


def _text(description: Any) -> str:
    if not isinstance(description, dict):
        return f"{description:g}"
    arguments = ", ".join(
        f"{name}={_text(value)}"
        for name, value in description.items()
        if name != "distribution"
    )
    return f"{description['distribution']}({arguments})"
