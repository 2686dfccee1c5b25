"""What callers give, checked at the door."""

import numbers
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """A count, as a plain integer.

    Args:
        name: what to call it.
        value: what was given: a Python or NumPy integer.
        least: the smallest that makes sense.

    Returns:
        The number.

    Raises:
        TypeError: if it is no integer.
        ValueError: if it is too small.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"`{name}` must be an integer, got {value!r}.")
    if value < least:
        raise ValueError(f"`{name}` must be at least {least}, got {value}.")
    return int(value)


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuse what is not among some words.

    Args:
        name: what to call it.
        value: what was given.
        choices: the words.

    Raises:
        ValueError: if it is none of them.
    """
    if value not in choices:
        known = " or ".join(map(repr, choices))
        raise ValueError(f"`{name}` must be {known}, got {value!r}.")


def random_key(name: str, value: Any) -> None:
    """Refuse what is no JAX random key.

    Args:
        name: what to call it.
        value: what was given.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(value, jax.Array):
        raise TypeError(
            f"`{name}` must be a JAX random key, such as jax.random.key(0), got "
            f"{value!r}."
        )


def values_by_name(name: str, value: Any, known: tuple[str, ...]) -> None:
    """Refuse what is no dictionary of parameters.

    Args:
        name: what to call it.
        value: what was given.
        known: the parameters.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(value, Mapping):
        example = ", ".join(f'"{one}": ...' for one in known)
        raise TypeError(
            f"`{name}` must be a dictionary of values by name, such as {{{example}}}, "
            f"got {value!r}."
        )


def array_shape(name: str, value: Any) -> tuple[int, ...]:
    """A shape, as plain integers.

    Args:
        name: what to call it.
        value: what was given.

    Returns:
        The shape.

    Raises:
        TypeError: if it is no tuple of integers.
    """
    if not isinstance(value, tuple | list):
        raise TypeError(f"`{name}` must be a tuple, such as (1000,), got {value!r}.")
    return tuple(whole_number(name, one, 0) for one in value)


def local_path(path: str | os.PathLike) -> Path:
    """A folder or file of this machine's file system, `~` resolved.

    Args:
        path: what was given.

    Returns:
        The path.

    Raises:
        ValueError: if it is a URL: what must survive a kill needs a file system that
            renames.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", os.fspath(path)):
        raise ValueError(
            f"`path`={os.fspath(path)!r} is a URL; give a folder of a file system that "
            "this machine sees, and copy it from there."
        )
    return Path(path).expanduser()
