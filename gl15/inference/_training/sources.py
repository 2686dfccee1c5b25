"""Where batches come from: pairs in memory, shuffled at every epoch."""

import abc
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from gl15.inference._training import data as training_data
from gl15.inference._training.sharding import Placement
from gl15.simulation import Ensemble


Redraw: TypeAlias = Callable[[Ensemble, PRNGKeyArray], Ensemble]
"""What makes other pairs of pairs, given a key."""

# A block is long enough for the calls between blocks not to count, and short enough
# not to take much memory.
_LONGEST = 100
_BLOCK_BYTES = 2**24


class Block(NamedTuple):
    """Some batches, as a trainer takes them.

    Attributes:
        theta: name -> `[k, b]`, or all pairs, name -> `[n]`.
        z: standardised summaries `[k, b, ...]`, or of all pairs.
        rows: where all pairs are given, those of each batch, `[k, b]`.
    """

    theta: dict[str, Array]
    z: Array
    rows: Array | None


class AbstractSource(abc.ABC):
    """What is trained on.

    Attributes:
        batches: steps in an epoch.
        batch_size: pairs per step.
        longest: steps in a block.
    """

    batches: int
    batch_size: int
    longest: int

    @abc.abstractmethod
    def blocks(self, epoch: int, start: int) -> Generator[Block, None, None]:
        """The batches of an epoch, a function of its number alone.

        Args:
            epoch: number of the epoch.
            start: how many of its steps were taken before.

        Returns:
            The blocks that are left.
        """

    def close(self) -> None:  # noqa: B027
        """Let go of what is running."""


class Resident(AbstractSource):
    """Pairs in memory."""

    def __init__(
        self,
        theta: Mapping[str, Any],
        z: Any,
        *,
        key: PRNGKeyArray,
        batch_size: int,
        placement: Placement,
        renew: Callable[[PRNGKeyArray], tuple[Mapping[str, Any], Any]] | None = None,
    ):
        """Prepare them.

        Args:
            theta: name -> `[n]`.
            z: standardised summaries `[n, ...]`.
            key: JAX random key of the shuffling.
            batch_size: pairs per step.
            placement: where batches go.
            renew: other theta and summaries, given a key, for every epoch but the
                first.
        """
        self.batches = z.shape[0] // batch_size
        self.longest = block_length(z.shape[1:], z.dtype, batch_size)
        self._n, self.batch_size = z.shape[0], batch_size
        self._key, self._renew, self._placement = key, renew, placement
        self._hold(theta, z)

    def blocks(self, epoch: int, start: int) -> Generator[Block, None, None]:
        """The batches of an epoch, all pairs shuffled anew; see `AbstractSource`."""
        key = jax.random.fold_in(self._key, epoch)
        if self._renew is not None and epoch > 0:
            key, draw_key = jax.random.split(key)
            self._hold(*self._renew(draw_key))
        order = jax.random.permutation(key, self._n)
        table = order[: self.batches * self.batch_size].reshape(self.batches, -1)
        for first in range(start, self.batches, self.longest):
            rows = table[first : first + self.longest]
            if self._placement.mesh is None:
                yield Block(self._theta, self._z, rows)
            else:
                at = np.asarray(rows)
                theta = {k: v[at] for k, v in self._theta.items()}
                z = self._placement.batches(self._z, at)
                yield Block(self._placement.whole(theta), z, None)

    def _hold(self, theta: Mapping[str, Any], z: Any) -> None:
        # Batches for several devices are gathered by the host.
        keep = jnp.asarray if self._placement.mesh is None else np.asarray
        self._theta: dict[str, Any] = {k: keep(v) for k, v in theta.items()}
        self._z: Any = keep(z)


def renewal(
    estimator: Any, pairs: Ensemble, redraw: Redraw
) -> Callable[[PRNGKeyArray], tuple[dict[str, Array], Array]]:
    """What `Resident` calls at every epoch.

    Args:
        estimator: whose encoder summarises, standardised already.
        pairs: what is given to `redraw`.
        redraw: makes other pairs of them.

    Returns:
        From a key to theta and standardised summaries.
    """

    def renew(key: PRNGKeyArray) -> tuple[dict[str, Array], Array]:
        drawn = redraw(pairs, key)
        return dict(drawn.theta), training_data.standardised(estimator, drawn)

    return renew


def held_out_batches(
    theta: Mapping[str, Any], z: Any, batch_size: int, placement: Placement
) -> tuple[dict[str, Array], Array]:
    """Whole batches of held-out pairs in the order given, so with fixed contrasts.

    Args:
        theta: name -> `[n]`.
        z: standardised summaries `[n, ...]`.
        batch_size: pairs per batch.
        placement: where they go.

    Returns:
        Theta, name -> `[m, b]`, and summaries `[m, b, ...]`.
    """
    size = min(batch_size, z.shape[0])
    rows = np.arange(z.shape[0] // size * size).reshape(-1, size)
    values = z if placement.mesh is None else np.asarray(z)
    columns = {name: jnp.asarray(value)[rows] for name, value in theta.items()}
    return placement.whole(columns), placement.batches(values, rows)


def block_length(shape: tuple[int, ...], dtype: Any, batch_size: int) -> int:
    """Steps in a block.

    Args:
        shape: of one summary.
        dtype: of it.
        batch_size: pairs per step.

    Returns:
        The number.
    """
    size = batch_size * int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize
    return int(np.clip(_BLOCK_BYTES // max(size, 1), 1, _LONGEST))
