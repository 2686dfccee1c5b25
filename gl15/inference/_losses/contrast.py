"""The loss of a batch: every observation against its own and against other thetas."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gl15.inference._losses.losses import AbstractLoss
from gl15.inference._losses.near_misses import NearMisses


# Part of the batch's pairs that must be wanted for the table of all of them to be the
# cheaper way: in the table each theta's branch runs once, in rolled pairs once a pair.
_WORTH_A_TABLE = 0.4


def contrast(
    estimator: Any,
    theta: Mapping[str, Float[Array, " b"]],
    z: Float[Array, "b ..."],
    loss: AbstractLoss,
) -> Float[Array, ""]:
    """Loss of one batch of pairs.

    Observation i of the batch meets its own theta and those of i+1, ..., i+K around
    the batch: no pair is its own contrast. Its features are computed once.

    Args:
        estimator: what is trained; of a stack of members, the mean of their losses.
        theta: parameter name -> values `[b]`.
        z: standardised summaries, `[b, ...]`.
        loss: the loss; its `contrasts` must be fewer than b.

    Returns:
        The loss, a scalar.
    """
    each = getattr(estimator, "each_member", None)
    if each is not None:
        return each(lambda member: contrast(member, theta, z, loss)).mean()
    if isinstance(loss, NearMisses):
        return loss.of_batch(estimator, theta, z)
    logits = pair_logits(estimator, theta, z, loss.contrasts)
    return loss(logits[:, 0], logits[:, 1:])


def pair_logits(
    estimator: Any,
    theta: Mapping[str, Float[Array, " b"]],
    z: Float[Array, "rows ..."],
    contrasts: int,
    *,
    table: bool | None = None,
) -> Float[Array, "rows pairs"]:
    """Logits of each observation i with the thetas i, i+1, ..., i+K around the batch.

    Args:
        estimator: a single estimator.
        theta: parameter name -> values `[b]`.
        z: standardised summaries of the first of them, or of all, `[rows, ...]`.
        contrasts: the number K.
        table: whether to compute all b x b pairs; by default where most are wanted.

    Returns:
        The logits, `[rows, K + 1]`, matching pairs first.
    """
    h = jax.vmap(estimator.features)(z)
    rows, size = len(z), len(next(iter(theta.values())))
    if table is None:
        table = contrasts + 1 > _WORTH_A_TABLE * size
    if not table:

        def rolled(shift: Array) -> Float[Array, " rows"]:
            moved = {k: jnp.roll(value, -shift)[:rows] for k, value in theta.items()}
            return jax.vmap(estimator.log_ratio)(moved, h)

        return jax.vmap(rolled)(jnp.arange(contrasts + 1)).T

    def row(one: Array) -> Float[Array, " b"]:
        return jax.vmap(lambda value: estimator.log_ratio(value, one))(dict(theta))

    every = jax.vmap(row)(h)
    # Row i turned left by i, by reading two copies side by side in longer rows.
    twice = jnp.concatenate([every, every], 1).ravel()
    turned = jnp.pad(twice, (0, rows)).reshape(rows, 2 * size + 1)
    return turned[:, : contrasts + 1]
