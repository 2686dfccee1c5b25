"""The structure of an estimator as plain data: class names and arguments, nested."""

import inspect
import sys
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gl15.simulation import Prior


_KEY = "class"


def describe_module(module: eqx.Module) -> dict[str, Any]:
    """`{"class": name, "config": arguments}`, the arguments described likewise.

    The arguments are what the module's own `config()` gives: those that build one of
    the same structure, but for the key. They may hold further modules and priors.

    Args:
        module: an estimator, an encoder, a head, ...

    Returns:
        Nested dictionaries, lists, numbers and strings.

    Raises:
        TypeError: if a part cannot be described.
    """
    return _encode(module, type(module).__name__)


def build_module(description: Mapping[str, Any], key: Any) -> Any:
    """The module that `describe_module` described; its weights are drawn anew.

    Only classes of `gl15.inference` itself are built.

    Args:
        description: what `describe_module` gave.
        key: JAX random key for classes that draw weights.

    Returns:
        The module.

    Raises:
        ValueError: if it names another class, or arguments that the class refuses.
    """
    return _build(_with_priors(description), key)


def build_skeleton(description: Mapping[str, Any]) -> Any:
    """The same with shapes in place of arrays: nothing is computed.

    Args:
        description: what `describe_module` gave.

    Returns:
        The skeleton.

    Raises:
        ValueError: as `build_module`.
    """
    # Priors are built outside: within, the numbers of some of them are traced.
    return eqx.filter_eval_shape(_build, _with_priors(description), jax.random.key(0))


def arrays_of(module: eqx.Module) -> dict[str, np.ndarray]:
    """Every array of a module by its dotted name.

    Args:
        module: the module.

    Returns:
        Name -> array.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(eqx.filter(module, eqx.is_array))
    return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def fill(skeleton: Any, arrays: Mapping[str, np.ndarray], path: str) -> Any:
    """The module of this structure that holds these arrays.

    Args:
        skeleton: a module, its arrays or their shapes.
        arrays: name -> array.
        path: where they are from, for messages.

    Returns:
        The module.

    Raises:
        ValueError: if names or shapes do not fit.
    """
    is_shaped = lambda leaf: hasattr(leaf, "shape") and hasattr(leaf, "dtype")  # noqa: E731
    dynamic, static = eqx.partition(skeleton, is_shaped)
    named, tree = jax.tree_util.tree_flatten_with_path(dynamic)
    expected = {_name(k): leaf.shape for k, leaf in named}
    found = {name: value.shape for name, value in arrays.items()}
    if expected != found:
        wrong = sorted(k for k in expected | found if expected.get(k) != found.get(k))
        raise ValueError(
            f"`path`={path!r} does not fit the estimator's structure at {wrong[:3]}; "
            "was it built with other sizes?"
        )
    leaves = [jnp.asarray(arrays[name]) for name in expected]
    return eqx.combine(jax.tree.unflatten(tree, leaves), static)


def own_class(name: str) -> type[eqx.Module] | None:
    """The class of `gl15.inference` of this name that can be built from a file.

    Args:
        name: its name.

    Returns:
        The class; None if there is none.
    """
    kind = getattr(sys.modules["gl15.inference"], name, None)
    own = isinstance(kind, type) and issubclass(kind, eqx.Module)
    return kind if own and hasattr(kind, "config") else None


def _encode(value: Any, where: str) -> Any:
    if isinstance(value, Prior):
        return {_KEY: "Prior", "config": value.describe()}
    if isinstance(value, eqx.Module):
        if not hasattr(value, "config"):
            raise TypeError(
                f"`{where}` holds a {type(value).__name__}, which has no `config()` "
                "that says how to build it, so it cannot be written to a file."
            )
        arguments = getattr(value, "config")()  # noqa: B009
        config = {k: _encode(one, f"{where}.{k}") for k, one in arguments.items()}
        return {_KEY: type(value).__name__, "config": config}
    if isinstance(value, Mapping):
        return {str(k): _encode(one, f"{where}.{k}") for k, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [_encode(one, where) for one in value]
    if isinstance(value, np.generic) or (eqx.is_array(value) and value.ndim == 0):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"`{where}` is a {type(value).__name__}, which a file of plain arrays and "
        "JSON cannot hold."
    )


def _with_priors(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.get(_KEY) == "Prior":
            return Prior.from_description(value["config"])
        return {k: _with_priors(one) for k, one in value.items()}
    if isinstance(value, list):
        return tuple(_with_priors(one) for one in value)
    return value


def _build(value: Any, key: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_build(one, key) for one in value)
    if not isinstance(value, Mapping):
        return value
    if _KEY not in value:
        return {k: _build(one, key) for k, one in value.items()}
    name, config = value[_KEY], value["config"]
    kind = own_class(name)
    if kind is None:
        raise ValueError(
            f"{name!r} is not one of gl15's own classes; pass `like=`, an estimator "
            "built with it."
        )
    arguments = {k: _build(one, key) for k, one in config.items()}
    if "key" in inspect.signature(kind).parameters:
        arguments["key"] = key
    try:
        return kind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"the file describes a {name} by {sorted(config)}, which this version of "
            f"gl15 does not build ({error})."
        ) from error


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path).lstrip(".")
