"""The encoder, run as rarely as can be."""

import functools
import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float

from gl15.inference._calibration.guarded import embedded, warn_if_unusual
from gl15.posterior._protocol import LogRatio
from gl15.simulation._observation import image_of


_CHUNK = 64  # images embedded at once


def embed_once(
    estimator: LogRatio, x: Float[Array, "..."], lead: tuple[int, ...] = ()
) -> Float[Array, "*lead features"]:
    """Features of the image `x`, or of a batch of them with leading axes `lead`.

    Where image and estimator are concrete they are computed now, even if a trace is
    under way: a sampler then compiles the features as a constant, and the encoder is in
    no compiled loop. Where they are traced the encoder joins the trace.
    """
    arrays = [leaf for leaf in jax.tree.leaves(estimator) if eqx.is_array(leaf)]
    traced = any(isinstance(leaf, Tracer) for leaf in (x, *arrays))
    with nullcontext() if traced else _now():
        return _embed_compiled(estimator, x, lead) if lead else embedded(estimator, x)


def _now() -> AbstractContextManager:
    """Where nothing joins a trace that may be under way.

    Without one it is no context: programs are compiled for one, and would be again.
    """
    traced = isinstance(jnp.zeros(()), Tracer)
    return jax.ensure_compile_time_eval() if traced else nullcontext()


@eqx.filter_jit
def _embed_compiled(
    estimator: LogRatio, x: Float[Array, "..."], lead: tuple[int, ...]
) -> Float[Array, "..."]:
    flat = x.reshape(math.prod(lead), *x.shape[len(lead) :])
    if len(flat) <= _CHUNK:
        h = jax.vmap(estimator.embed)(flat)
    else:
        h = jax.lax.map(estimator.embed, flat, batch_size=_CHUNK)
    return h.reshape(*lead, *h.shape[1:])


def checked(
    estimator: LogRatio, x: Any, lead: tuple[int, ...] = ()
) -> Float[Array, "..."]:
    """`x` as an array, each image of it passed by `estimator.check_image`.

    An `Observation` is checked with its spacing and channels. An estimator that can
    tell images apart, as `Guarded` can, is asked about each that is concrete.
    """
    image, known = image_of(x)
    check = functools.partial(estimator.check_image, **known)
    if isinstance(image, Tracer):
        shape = jax.ShapeDtypeStruct(image.shape[len(lead) :], image.dtype)
        jax.eval_shape(check, shape)
        return image
    with _now():
        for one in image.reshape(math.prod(lead), *image.shape[len(lead) :]):
            check(one)
            warn_if_unusual(estimator, one)
    return image
