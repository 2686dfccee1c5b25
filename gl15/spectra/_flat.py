"""A symmetric operator on any arrays, as a function of one flat vector."""

from collections.abc import Callable

import jax
import jax.flatten_util
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float, PyTree


def flatten(
    H: lx.AbstractLinearOperator,
) -> tuple[
    Float[Array, " n"],
    Callable[[Float[Array, " n"]], Float[Array, " n"]],
    Callable[[Float[Array, " n"]], PyTree],
]:
    """See an operator as a matrix without writing the matrix.

    Args:
        H: the operator.

    Returns:
        A vector of zeros, the product with a flat vector, and the function that gives
        a flat vector the operator's own shape.

    Raises:
        ValueError: if `H` is not known to be symmetric, or not real.
    """
    if not lx.is_symmetric(H):
        raise ValueError(
            "`H` is not tagged symmetric, and its spectrum is asked for; if it is, "
            "build it with `lineax.symmetric_tag`."
        )
    structure = H.in_structure()
    if not all(
        np.issubdtype(leaf.dtype, np.floating) for leaf in jax.tree.leaves(structure)
    ):
        raise ValueError(
            f"`H` acts on {structure}, not on real arrays; use real and imaginary "
            "parts as coordinates (`gl15.spectra.to_real`)."
        )
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), structure)
    zero, unflatten = jax.flatten_util.ravel_pytree(zeros)

    def product(vector: Float[Array, " n"]) -> Float[Array, " n"]:
        return jax.flatten_util.ravel_pytree(H.mv(unflatten(vector)))[0]

    return zero, product, unflatten
