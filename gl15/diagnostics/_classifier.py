"""Small classifiers that tell two samples apart."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray


def quadratic_terms(x: Float[Array, "n d"]) -> Float[Array, "n terms"]:
    """The constant, the columns, and their products two by two."""
    i, j = np.triu_indices(x.shape[1])
    return jnp.concatenate([jnp.ones_like(x[:, :1]), x, x[:, i] * x[:, j]], axis=1)


def logistic(
    terms: Float[Array, "n terms"],
    label: Float[Array, " n"],
    *,
    ridge: float | Float[Array, ""] = 1.0,
    steps: int = 12,
) -> Float[Array, " terms"]:
    """Logistic regression with a ridge, by Newton's method; it can be mapped.

    Args:
        terms: inputs, with their constant.
        label: 0 or 1.
        ridge: weight of the squared coefficients in the loss, summed over samples.
        steps: Newton steps.

    Returns:
        The coefficients.
    """
    penalty = ridge * jnp.eye(terms.shape[1], dtype=terms.dtype)

    def step(_: Any, w: Float[Array, " terms"]) -> Float[Array, " terms"]:
        p = jax.nn.sigmoid(terms @ w)
        gradient = terms.T @ (label - p) - penalty @ w
        curvature = (terms * (p * (1 - p))[:, None]).T @ terms + penalty
        move = jnp.linalg.solve(curvature, gradient)
        # Far from the optimum a full step may overshoot: keep logits' changes bounded.
        return w + move * jnp.minimum(1, 4 / (jnp.abs(terms @ move).max() + 1e-6))

    return jax.lax.fori_loop(0, steps, step, jnp.zeros(terms.shape[1], terms.dtype))


@eqx.filter_jit
def perceptron(
    x: Float[Array, "n d"],
    label: Float[Array, " n"],
    *,
    key: PRNGKeyArray,
    width: int,
    epochs: int = 60,
    steps: int = 4000,
    batch_size: int = 200,
    rate: float = 1e-3,
) -> eqx.nn.MLP:
    """Two hidden layers of rectifiers, trained by Adam.

    Args:
        x: standardised inputs.
        label: 0 or 1.
        key: random key of the weights and batches.
        width: of the hidden layers.
        epochs: passes over the data, at least.
        steps: steps, at least: small data take more passes.
        batch_size: samples per step.
        rate: learning rate; it falls to zero along a cosine.

    Returns:
        The network, from inputs `[d]` to a logit.
    """
    key, key_init = jax.random.split(key)
    mlp = eqx.nn.MLP(x.shape[1], "scalar", width, 2, key=key_init, dtype=x.dtype)
    weights, static = eqx.partition(mlp, eqx.is_inexact_array)
    size = min(batch_size, len(x))
    per_epoch = len(x) // size
    epochs = max(epochs, -(-steps // per_epoch))
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, epochs * per_epoch))

    def loss(weights: Any, rows: Any) -> Float[Array, ""]:
        logit = jax.vmap(eqx.combine(weights, static))(x[rows])
        return optax.sigmoid_binary_cross_entropy(logit, label[rows]).mean()

    def step(state: Any, rows: Any) -> tuple[Any, None]:
        weights, memory = state
        change, memory = optimiser.update(jax.grad(loss)(weights, rows), memory)
        return (optax.apply_updates(weights, change), memory), None

    def epoch(state: Any, key: Any) -> tuple[Any, None]:
        order = jax.random.permutation(key, len(x))[: per_epoch * size]
        return jax.lax.scan(step, state, order.reshape(per_epoch, size))

    start = (weights, optimiser.init(weights))
    (weights, _), _ = jax.lax.scan(epoch, start, jax.random.split(key, epochs))
    return eqx.combine(weights, static)
