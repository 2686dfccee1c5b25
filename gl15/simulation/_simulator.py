"""What a simulator is, and how many of its simulations are run by one call."""

import functools
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PRNGKeyArray, UInt32

from gl15.simulation._prior import Theta


Keys: TypeAlias = Key[Array, " n"] | UInt32[Array, "n 2"]
"""A random key each."""


@runtime_checkable
class Simulator(Protocol):
    """Anything that turns parameters and a key into an observation.

    Optional attributes are used where there are any: `names`, the parameters it
    knows; `check(theta)`, which refuses a theta before time is spent on it;
    `batch(theta, keys)`, faster than `jax.vmap` of a call; `batch_varied(theta, keys,
    each)`, the same where numbers that the simulator holds vary, see `Randomised`;
    `batch_size`, how many suit the machine; `spacing` and `channels`, which describe
    its images.
    """

    def __call__(self, theta: Theta, key: PRNGKeyArray, /) -> Float[Array, "..."]:
        """Draw an observation."""
        ...


def run_batch(simulator: Simulator, theta: Theta, keys: Keys, each: Any = None):
    """Several simulations side by side.

    Args:
        simulator: the simulator.
        theta: parameter name -> `[batch]`.
        keys: a key for each.
        each: a simulator of what differs from one simulation to the next, with an axis
            of simulations, and None in place of all else; or None.

    Returns:
        The observations `[batch, ...]`.
    """
    if not jax.tree.leaves(each):
        batch = getattr(simulator, "batch", None) or jax.vmap(simulator)
        return batch(theta, keys)
    if (varied := getattr(simulator, "batch_varied", None)) is not None:
        return varied(theta, keys, each)

    def one(theta: Theta, key: Any, own: Any) -> Float[Array, "..."]:
        return eqx.combine(own, simulator)(theta, key)

    return jax.vmap(one)(theta, keys, each)


def trace_batch(
    simulator: Simulator, names: Sequence[str], key: PRNGKeyArray
) -> jax.ShapeDtypeStruct:
    """What one simulation gives, without running it.

    Args:
        simulator: the simulator.
        names: the parameters.
        key: a key like those it will get.

    Returns:
        Shape `[1, ...]` and type of the observation.
    """
    number = jax.ShapeDtypeStruct((1,), jnp.result_type(float))
    keys = jax.ShapeDtypeStruct((1, *key.shape), key.dtype)
    call = simulator, dict.fromkeys(names, number), keys
    leaves, tree = jax.tree.flatten(call)
    arrays, rest = eqx.partition(leaves, _is_array_or_shape)
    return _traced.eval_shape(arrays, tuple(rest), tree)


def _is_array_or_shape(leaf) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _traced(arrays, rest, tree):
    # Not `eqx.filter_eval_shape`: JAX remembers what it traced here, and a second
    # call costs nothing.
    leaves = eqx.combine(arrays, list(rest))
    return run_batch(*jax.tree.unflatten(tree, leaves))
