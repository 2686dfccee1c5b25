"""Two branches meeting in a perceptron."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


def two_branches(
    mlp: eqx.nn.MLP, h: Float[Array, " f"], t: Float[Array, " w"]
) -> Float[Array, ""]:
    """`mlp` of both side by side.

    The first layer's product is taken apart, so that under `vmap` over pairs each
    branch's half is computed once per observation and once per theta.

    Args:
        mlp: the perceptron.
        h: features of the observation.
        t: features of the parameters.

    Returns:
        The logit.
    """
    first, *others = mlp.layers
    if not others:
        return mlp(jnp.concatenate([h, t]))
    size = h.shape[0]
    assert first.bias is not None
    hidden = first.weight[:, :size] @ h + (first.weight[:, size:] @ t + first.bias)
    for layer in others:
        hidden = layer(mlp.activation(hidden))
    return hidden
