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


def silent(mlp: eqx.nn.MLP) -> eqx.nn.MLP:
    """The perceptron with a last layer of zeros: it says nothing before training.

    Args:
        mlp: the perceptron.

    Returns:
        The same with another last layer.
    """
    last = lambda one: (one.layers[-1].weight, one.layers[-1].bias)  # noqa: E731
    return eqx.tree_at(last, mlp, replace_fn=jnp.zeros_like)
