"""The steps of training, many in one compiled loop."""

import functools
import operator
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from gl15.inference._losses.contrast import contrast, pair_logits
from gl15.inference._losses.losses import AbstractLoss
from gl15.inference._losses.near_misses import NearMisses
from gl15.inference._training.sharding import Placement


class Trainer(eqx.Module):
    """What happens in a block of steps, compiled once.

    Attributes:
        optimizer: turns gradients into steps.
        loss: the loss of a batch.
        averaging: decay per step of the average of the weights.
        placement: where the arrays lie.
    """

    optimizer: optax.GradientTransformation = eqx.field(static=True)
    loss: AbstractLoss
    averaging: float = eqx.field(static=True)
    placement: Placement = eqx.field(static=True)

    def start(self, weights: Any) -> Any:
        """Weights, their average, and the optimiser's state before the first step."""
        return self.placement.whole((weights, weights, self.optimizer.init(weights)))

    @eqx.filter_jit
    def steps(
        self,
        progressed: Any,
        frozen: Any,
        theta: Mapping[str, Array],
        z: Array,
        rows: Array | None,
    ) -> tuple[Any, Float[Array, " k"]]:
        """Several steps.

        Args:
            progressed: weights, their average, and the optimiser's state.
            frozen: the rest of the estimator.
            theta: batches, name -> `[k, b]`; or all pairs, `[n]`, where `rows` is
                given.
            z: their standardised summaries.
            rows: which pairs make up the batches, `[k, b]`.

        Returns:
            `progressed` after the steps, and the loss of each.
        """

        def step(progressed: Any, batch: Any) -> tuple[Any, Array]:
            weights, average, state = progressed
            if rows is not None:
                batch = {k: v[batch] for k, v in theta.items()}, z[batch]
            value, gradient = self._value_and_gradient(weights, frozen, *batch)
            updates, state = self.optimizer.update(gradient, state, weights)
            weights = optax.apply_updates(weights, updates)
            decay = self._decay(state)
            average = optax.incremental_update(weights, average, 1 - decay)
            return self.placement.keep_whole((weights, average, state)), value

        batches = (dict(theta), z) if rows is None else rows
        progressed, values = jax.lax.scan(step, progressed, batches)
        return progressed, self.placement.keep_whole(values)

    @eqx.filter_jit
    def score(
        self, weights: Any, frozen: Any, theta: Mapping[str, Array], z: Array
    ) -> Float[Array, ""]:
        """Mean loss over held-out batches, name -> `[m, b]` and `[m, b, ...]`."""
        one = lambda batch: self._loss(weights, frozen, *batch)  # noqa: E731
        values = jax.lax.map(one, (dict(theta), z))
        return self.placement.keep_whole(values.mean())

    def _decay(self, state: Any) -> Any:
        """Of the average: small at first, so that untrained weights are forgotten."""
        if not self.averaging:
            return 0.0
        taken = _count(state).astype(jnp.result_type(float))
        return jnp.minimum(self.averaging, taken / (9 + taken))

    def _value_and_gradient(
        self, weights: Any, frozen: Any, theta: Any, z: Any
    ) -> tuple[Float[Array, ""], Any]:
        """The loss of a batch and its gradient."""
        # Of members, and of contrasts that the batch decides, no part can be told.
        whole = isinstance(self.loss, NearMisses) or hasattr(frozen, "each_member")
        if self.placement.mesh is None or whole:
            return jax.value_and_grad(self._loss)(weights, frozen, theta, z)
        # Weights as one vector: the devices add up their gradients in one message a
        # step. One for each of the weights costs more than the step where processes
        # share cores, some milliseconds each.
        vector, shaped = ravel_pytree(weights)
        arrays, rest = eqx.partition(frozen, eqx.is_array)

        def logits(held: Any, z: Array, first: Array) -> Array:
            vector, arrays, theta = held
            estimator = eqx.combine(shaped(vector), arrays, rest)
            turned = {name: jnp.roll(value, -first) for name, value in theta.items()}
            return pair_logits(estimator, turned, z, self.loss.contrasts)

        def loss(vector: Array) -> Array:
            held = vector, arrays, dict(theta)
            found = self.placement.by_rows(logits, held, z)
            return self.loss(found[:, 0], found[:, 1:])

        value, gradient = jax.value_and_grad(loss)(vector)
        return value, shaped(gradient)

    def _loss(self, weights: Any, frozen: Any, theta: Any, z: Any) -> Float[Array, ""]:
        return contrast(eqx.combine(weights, frozen), theta, z, self.loss)


def trainable(estimator: Any, *, freeze_encoder: bool = False) -> Any:
    """Which leaves training may change: the weights, not the standardisation.

    Args:
        estimator: an estimator.
        freeze_encoder: whether the encoder stays as it is too.

    Returns:
        The estimator's tree with a bool in place of every leaf.
    """
    spec = jax.tree.map(eqx.is_inexact_array, estimator)
    parts = ["standardization"] + ["encoder"] * freeze_encoder
    parts += [f"encoder.{name}" for name in estimator.encoder.fitted]
    for part in map(operator.attrgetter, parts):
        still = jax.tree.map(lambda _: False, part(estimator))
        spec = eqx.tree_at(part, spec, still)
    return spec


@functools.lru_cache(maxsize=16)
def optimizer(
    learning_rate: float | optax.Schedule,
    total: int,
    weight_decay: float,
    gradient_clip: float | None,
) -> optax.GradientTransformation:
    """AdamW, after the gradient was clipped.

    The same object for the same options: what was compiled with it serves again.

    Args:
        learning_rate: the highest rate, or a schedule, see `schedule`.
        total: number of steps.
        weight_decay: decoupled weight decay of the weight matrices.
        gradient_clip: largest norm of the gradient, or None.

    Returns:
        The optimiser.
    """
    clip = optax.identity()
    if gradient_clip is not None:
        clip = optax.clip_by_global_norm(gradient_clip)
    rate = schedule(learning_rate, total)
    return optax.chain(
        clip, optax.adamw(rate, weight_decay=weight_decay, mask=_is_matrix)
    )


def schedule(rate: float | optax.Schedule, total: int) -> optax.Schedule:
    """A warm-up over 5% of the steps and a cosine decay to 0, if it is a number.

    Args:
        rate: the highest rate, or a schedule of one's own.
        total: number of steps.

    Returns:
        Learning rate at every step.
    """
    if callable(rate):
        return rate
    warm_up = min(max(1, total // 20), total - 1)
    return optax.warmup_cosine_decay_schedule(0.0, rate, warm_up, total)


def steps_taken(state: Any) -> int:
    """How many steps an optimiser has taken.

    Args:
        state: its state.

    Returns:
        The number.
    """
    return int(_count(state))


def _count(state: Any) -> Array:
    (_, taken), *_ = optax.tree_utils.tree_get_all_with_path(state, "count")
    return taken


def _is_matrix(weights: Any) -> Any:
    """Biases are left alone by weight decay; a convolution's has three axes."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf.ndim > 1 and getattr(path[-1], "name", "") != "bias",
        weights,
    )
