"""Where training runs: one device, several, or those of several processes."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gl15.inference._training.peers import leave, Peers


class Placement:
    """How the arrays of training lie on its devices: weights whole, batches split.

    Attributes:
        mesh: the devices, one axis; None for JAX's default device alone.
    """

    def __init__(self, devices: Sequence[Any] | Mesh | None, batch_size: int):
        """Choose the devices.

        Args:
            devices: the devices, or a mesh of them; None for the default device, or
                for all there are where `jax.distributed` joins several processes.
            batch_size: pairs per step.

        Raises:
            TypeError: if they are a word.
            ValueError: if there are none, or `batch_size` does not split evenly.
        """
        self.mesh = None
        if devices is None:
            if jax.process_count() == 1:
                return
            devices = jax.devices()
        if isinstance(devices, str):
            raise TypeError(
                f"`devices`={devices!r} must be a list of devices, such as "
                f"jax.devices({devices!r}), or a mesh."
            )
        if isinstance(devices, Mesh):
            devices = list(devices.devices.ravel())
        count = len(devices)
        if count == 0 or batch_size % count:
            fits = [n for n in range(1, count) if batch_size % n == 0]
            raise ValueError(
                f"`batch_size`={batch_size} cannot be split evenly over {count} "
                "`devices`; "
                + (
                    f"use a multiple of {count}, or {fits[-1]} devices."
                    if fits
                    else "give at least one."
                )
            )
        # Explicit axes, the default of `jax.make_mesh`, would have to be named in
        # every operation of an encoder.
        self.mesh = Mesh(np.asarray(devices), ("batch",), axis_types=(AxisType.Auto,))

    def __eq__(self, other: object) -> bool:
        """Whether both are of the same devices: what was compiled serves again."""
        return isinstance(other, Placement) and self.mesh == other.mesh

    def __hash__(self) -> int:
        """Hash of the devices."""
        return hash(self.mesh)

    @property
    def spans_processes(self) -> bool:
        """Whether devices of other processes take part."""
        return self.mesh is not None and len(self._processes()) > 1

    @property
    def writes(self) -> bool:
        """Whether this process writes files and shows progress: the first one does."""
        if not self.spans_processes:
            return True
        return jax.process_index() == min(self._processes())

    def whole(self, tree: Any) -> Any:
        """A tree of arrays, on every device.

        Args:
            tree: arrays, the same in every process; other leaves stay.

        Returns:
            The tree.
        """
        if self.mesh is None:
            return tree
        sharding = NamedSharding(self.mesh, PartitionSpec())

        def put(leaf: Any) -> Any:
            if not isinstance(leaf, (jax.Array, np.ndarray)):
                return leaf
            host = np.asarray(leaf)
            return jax.make_array_from_callback(
                host.shape, sharding, lambda index: host[index]
            )

        return jax.tree.map(put, tree)

    def batches(self, values: Any, rows: np.ndarray | None = None) -> Any:
        """Batches `[k, b, ...]`, each split over the devices; only own parts are read.

        Args:
            values: batches `[k, b, ...]`; or `[n, ...]` where `rows` is given.
            rows: which of them make up the batches, `[k, b]`.

        Returns:
            The array.
        """
        if self.mesh is None:
            return jnp.asarray(values if rows is None else values[rows])
        shape = values.shape if rows is None else (*rows.shape, *values.shape[1:])
        even = shape[1] % self.mesh.size == 0
        spec = PartitionSpec(None, "batch") if even else PartitionSpec()

        def part(index: Any) -> np.ndarray:
            if rows is None:
                return np.asarray(values[index])
            return np.asarray(values[rows[index[:2]]])

        sharding = NamedSharding(self.mesh, spec)
        return jax.make_array_from_callback(shape, sharding, part)

    def keep_whole(self, tree: Any) -> Any:
        """Inside a compiled function: results that every device shall hold.

        Args:
            tree: traced arrays.

        Returns:
            The same.
        """
        if self.mesh is None:
            return tree
        return jax.lax.with_sharding_constraint(
            tree, NamedSharding(self.mesh, PartitionSpec())
        )

    def by_rows(self, function: Callable[..., Any], whole: Any, z: Any) -> Any:
        """Inside a compiled function: what each device makes of its part of a batch.

        Args:
            function: `(whole, z, first)` to an array with the rows of z, which begin
                at the row `first` of the batch.
            whole: traced arrays that every device holds. A gradient with respect to
                one of them is summed over the devices once.
            z: a batch.

        Returns:
            The array of the whole batch, on every device.
        """
        assert self.mesh is not None
        names = PartitionSpec(*self.mesh.axis_names)
        split = jax.shard_map(
            lambda whole, z: function(whole, z, jax.lax.axis_index(*names) * len(z)),
            mesh=self.mesh,
            in_specs=(PartitionSpec(), names),
            out_specs=names,
            check_vma=False,  # or every loop of an encoder had to say what varies
        )
        return self.keep_whole(split(whole, z))

    def home(self, tree: Any) -> Any:
        """Whole arrays back on the default device of this process.

        Args:
            tree: arrays that every device holds.

        Returns:
            The tree.
        """
        if self.mesh is None:
            return tree
        return jax.tree.map(
            lambda leaf: (
                jnp.asarray(np.asarray(leaf)) if isinstance(leaf, jax.Array) else leaf
            ),
            tree,
        )

    def share(self, content: bytes | None) -> bytes | None:
        """What the writing process holds, in all of them.

        Args:
            content: some bytes, or None; only the writing process's counts.

        Returns:
            The same in every process.
        """
        if not self.spans_processes:
            return content
        from jax.experimental.multihost_utils import broadcast_one_to_all

        length = -1 if content is None else len(content)
        length = int(broadcast_one_to_all(np.asarray(length), is_source=self.writes))
        if length < 0:
            return None
        data = np.zeros(length, np.uint8)
        if self.writes and content is not None:
            data = np.frombuffer(content, np.uint8)
        found = broadcast_one_to_all(data, is_source=self.writes)
        return np.asarray(found, np.uint8).tobytes()

    @contextmanager
    def watched(self, remedy: Callable[[], str]):
        """Says clearly that another process was lost, where that ends the run.

        Args:
            remedy: says how to go on.

        Yields:
            Nothing.

        Raises:
            RuntimeError: instead of what JAX raises.
        """
        if not self.spans_processes:
            yield
            return

        def say(why: str) -> str:
            return (
                f"process {jax.process_index()} of {jax.process_count()} lost another "
                f"process of this training, or the connection to it ({why}). {remedy()}"
            )

        peers, done, lost = None, False, False
        try:
            peers = Peers(self.share, self.writes)
            peers.watch(lambda: say("it is gone"))
            yield
            done = True
        except jax.errors.JaxRuntimeError as error:
            lost = True
            raise RuntimeError(say(str(error).splitlines()[0])) from error
        finally:
            if peers is not None:
                peers.close(done=done, lost=lost)
            elif lost:  # before there was a connection
                leave()

    def _processes(self) -> set[int]:
        assert self.mesh is not None
        return {device.process_index for device in self.mesh.devices.ravel()}
