"""The parameters and keys of simulation i: whatever n, the batches and the machine."""

import functools
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from numpyro.distributions import Distribution

from gl15.simulation._prior import Prior
from gl15.simulation._simulator import Keys


# Drawn in blocks of one size, by one program: a number may be rounded otherwise at
# another place of a loop of another length.
_BLOCK = 1024


class Draws:
    """Theta and keys by the number of the simulation.

    Attributes:
        columns: theta of the first simulations, name -> `[n]`. What a store holds may
            be put in its place, drawn on a machine that rounds otherwise.
    """

    def __init__(
        self, prior: Prior | Mapping[str, np.ndarray], key: PRNGKeyArray, n: int
    ):
        """Draw the theta of `n` simulations.

        Args:
            prior: what theta is drawn from, or the theta, name -> `[n]`.
            key: JAX random key.
            n: how many.
        """
        self._prior, self._key = prior, key
        self.columns = self._draw(0, n)

    def theta(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Parameters of the simulations from `start` up to `stop`.

        Args:
            start: the first.
            stop: the one after the last; it may be past n. Where theta was given, the
                last of them is repeated then.

        Returns:
            Parameter name -> values.
        """
        known = {name: value[start:stop] for name, value in self.columns.items()}
        (count,) = {len(value) for value in known.values()}
        if count == stop - start:
            return known
        more = self._draw(start + count, stop)
        return {name: np.append(known[name], more[name]) for name in known}

    def keys(self, start: int, stop: int) -> Keys:
        """Keys of the simulations from `start` up to `stop`.

        Args:
            start: the first.
            stop: the one after the last.

        Returns:
            A key each.
        """
        return _keys(self._key, jnp.asarray(start), stop - start)

    def _draw(self, start: int, stop: int) -> dict[str, np.ndarray]:
        if not isinstance(self._prior, Prior):
            return {
                name: value[np.arange(start, stop).clip(max=len(value) - 1)]
                for name, value in self._prior.items()
            }
        first = start // _BLOCK
        blocks = [
            _block(self._prior, self._key, jnp.asarray(block * _BLOCK))
            for block in range(first, -(-stop // _BLOCK))
        ]
        rows = slice(start - first * _BLOCK, stop - first * _BLOCK)
        return {
            name: np.concatenate([np.asarray(one[name]) for one in blocks])[rows]
            for name in self._prior.names
        }


def given(theta: Mapping[str, Any], n: int | None) -> dict[str, Array]:
    """Theta as columns of one length.

    Args:
        theta: parameter name -> values.
        n: how many there should be, if that is known.

    Returns:
        Parameter name -> `[n]`.

    Raises:
        TypeError: if there are none, or distributions in their place.
        ValueError: if they are not.
    """
    if not isinstance(theta, Mapping) or not theta:
        raise TypeError(
            "`prior` must be a gl15.Prior, or the theta to simulate at as a mapping of "
            f"parameter name -> values; got {theta!r}."
        )
    if any(isinstance(value, Distribution) for value in theta.values()):
        raise TypeError(
            "`prior` is a mapping of distributions; make it a prior: gl15.Prior(...)."
        )
    columns = {k: jnp.atleast_1d(jnp.asarray(v, float)) for k, v in theta.items()}
    shapes = {name: value.shape for name, value in columns.items()}
    if len(set(shapes.values())) != 1 or len(next(iter(shapes.values()))) != 1:
        raise ValueError(
            f"`prior` gives theta of shapes {shapes}; give each parameter as many "
            "values, in one dimension."
        )
    (count,) = next(iter(shapes.values()))
    if n is not None and n != count:
        raise ValueError(f"`n`={n}, but theta holds {count} values; leave `n` out.")
    return columns


def _two_keys(key: PRNGKeyArray, start: Any, count: int):
    """Keys of theta, and of the simulations."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(start + jnp.arange(count))
    return jax.vmap(jax.random.split, out_axes=1)(keys)


@eqx.filter_jit
def _block(prior: Prior, key: PRNGKeyArray, start: Array) -> dict[str, Array]:
    return jax.vmap(prior.sample)(_two_keys(key, start, _BLOCK)[0])


@functools.partial(jax.jit, static_argnums=2)
def _keys(key: PRNGKeyArray, start: Array, count: int):
    return _two_keys(key, start, count)[1]
