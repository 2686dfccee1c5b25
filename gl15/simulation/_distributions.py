"""Which distributions make a prior."""

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.core import Tracer

from gl15.simulation._description import Fixed


def check_distribution(name: Any, value: Any) -> None:
    """Refuse what is no distribution of one continuous parameter.

    Args:
        name: the parameter.
        value: what was given for it.

    Raises:
        TypeError: if the name is no string, or the value no NumPyro distribution.
        ValueError: if it is not scalar, discrete or traced.
    """
    if not isinstance(name, str):
        raise TypeError(f"`distributions` has the key {name!r}: names are strings.")
    if not isinstance(value, dist.Distribution):
        raise TypeError(
            f"`distributions[{name!r}]` is {value!r}, not a NumPyro distribution; "
            "give for instance numpyro.distributions.Uniform(0.0, 1.5)."
        )
    if value.batch_shape != () or value.event_shape != ():
        raise ValueError(
            f"`distributions[{name!r}]` is not scalar: batch_shape "
            f"{value.batch_shape}, event_shape {value.event_shape}; give every "
            "component a name of its own."
        )
    if value.is_discrete:
        raise ValueError(
            f"`distributions[{name!r}]` is discrete ({type(value).__name__}); only "
            "continuous parameters are inferred."
        )
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value)):
        raise ValueError(
            f"`distributions[{name!r}]` holds traced values; build the prior outside "
            "jit, vmap and grad."
        )


def check_draws(name: str, value: Any) -> None:
    """Refuse a distribution whose numbers make none, such as Uniform(1.5, 0).

    Args:
        name: the parameter.
        value: its distribution.

    Raises:
        ValueError: if its draws have no finite density.
    """
    # The key only serves to try: no draw of the caller's is spent.
    draws = value.sample(jax.random.key(0), (16,))
    good = jnp.isfinite(draws) & value.support(draws)
    if good.all():
        good = jnp.isfinite(value.log_prob(draws))
    if not good.all():
        raise ValueError(
            f"`distributions[{name!r}]`={Fixed(value)} is no distribution: its draws, "
            f"such as {float(draws[~good][0]):g}, have no finite density. Are its "
            "limits finite and in order, its scale positive?"
        )
