r"""Tabulate a posterior: where to put the nodes, and what to put on them."""

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gl15.inference._calibration.tabulate import tabulate
from gl15.posterior._embedding import checked, embed_once
from gl15.posterior._grid_posterior import GridPosterior
from gl15.posterior._protocol import LogRatio, Points


Bounds: TypeAlias = Mapping[str, tuple[float, float]] | None

_DEFAULT_POINTS = {1: 512, 2: 128, 3: 48}
_MOST_NODES = 2**24
_CHUNK = 2**14  # nodes evaluated at once: a head of width 256 then takes 16 MB


def grid_posterior(
    estimator: LogRatio,
    x: Any,
    points: Points = None,
    *,
    bounds: Bounds = None,
    refine: bool = True,
) -> GridPosterior:
    r"""Posterior of one image, tabulated over one to three parameters.

    $$
    p(\theta \mid x) = \frac{r(\theta, x)\,p(\theta)}{\int r\,p\,d\theta}
    $$

    The image is embedded once; its features meet every node of the grid. The integral
    is the trapezoidal rule on the grid, so the posterior is exactly normalised, and its
    `normalisation` reports the integral.

    Args:
        estimator: a trained `RatioEstimator`, or any `LogRatio`.
        x: one image, an array or an `Observation`, whose spacing and channels are
            then compared with those of training.
        points: nodes per parameter: one number for all, a tuple in the order of
            `estimator.prior.names`, or a dictionary by name. By default 512 for
            one parameter, 128 each for two, 48 each for three.
        bounds: name -> (low, high) to tabulate instead of `prior.bounds`. The posterior
            is normalised inside: narrower bounds truncate it.
        refine: place three quarters of the nodes where a first, coarser pass finds the
            posterior, and spread the rest over the prior; a posterior hundreds of times
            narrower than the prior is then still resolved. If false the nodes are
            equidistant.

    Returns:
        A `GridPosterior`.

    Raises:
        ValueError: if the image does not suit the estimator, there are more than three
            parameters (use `sample_posterior`), or `points` or `bounds` make no grid.
    """
    image = checked(estimator, x)
    shape, box = _plan(estimator, points, bounds)
    features = embed_once(estimator, image)
    return _tabulate(estimator, features, shape, box, refine)


def grid_posterior_from_features(
    estimator: LogRatio,
    h: Float[Array, " features"],
    points: Points = None,
    *,
    bounds: Bounds = None,
    refine: bool = True,
) -> GridPosterior:
    """As `grid_posterior`, from features `h = estimator.embed(x)`.

    Under `jax.vmap` over `h` it tabulates many posteriors at once.

    Args:
        estimator: a trained `RatioEstimator`, or any `LogRatio`.
        h: the features of one image, `[features]`.
        points: nodes per parameter, as in `grid_posterior`.
        bounds: name -> (low, high) to tabulate, as in `grid_posterior`.
        refine: whether to place most nodes where the posterior is.

    Returns:
        A `GridPosterior`.

    Raises:
        ValueError: if there are more than three parameters, or `points` or `bounds`
            make no grid.
    """
    shape, box = _plan(estimator, points, bounds)
    return _tabulate(estimator, h, shape, box, refine)


@eqx.filter_jit
def _tabulate(
    estimator: LogRatio,
    h: Float[Array, " features"],
    shape: tuple[int, ...],
    box: tuple[tuple[float, float], ...],
    refine: bool,
) -> GridPosterior:
    nodes, log_density, log_weight = tabulate(
        lambda axes: _log_joint(estimator, h, axes), box, shape, refine=refine
    )
    log_evidence = jax.nn.logsumexp(log_density + log_weight)
    return GridPosterior(
        names=estimator.prior.names,
        nodes=nodes,
        log_density=log_density - log_evidence,
        normalisation=jnp.exp(log_evidence),
    )


def _log_joint(
    estimator: LogRatio, h: Float[Array, " features"], nodes: tuple[Array, ...]
) -> Float[Array, "..."]:
    """Log of ratio times prior at every node."""
    names = estimator.prior.names
    mesh = jnp.meshgrid(*nodes, indexing="ij")
    theta = {name: one.reshape(-1) for name, one in zip(names, mesh, strict=True)}

    def at(theta_one):
        return estimator.log_ratio(theta_one, h) + estimator.prior.log_prob(theta_one)

    if mesh[0].size <= 2 * _CHUNK:
        values = jax.vmap(at)(theta)
    else:
        values = jax.lax.map(at, theta, batch_size=_CHUNK)
    return values.reshape(mesh[0].shape)


def _plan(
    estimator: LogRatio, points: Points, bounds: Bounds
) -> tuple[tuple[int, ...], tuple[tuple[float, float], ...]]:
    """Check the grid's shape and box, and make them hashable."""
    names = estimator.prior.names
    dims = len(names)
    if dims > 3:
        raise ValueError(
            f"a grid serves one to three parameters, but the prior has {dims}: "
            f"{list(names)}; use `sample_posterior`."
        )
    if points is None:
        points = _DEFAULT_POINTS[dims]
    if isinstance(points, Mapping):
        estimator.prior.check_names(points)
        shape = tuple(points[name] for name in names)
    else:
        shape = (points,) * dims if isinstance(points, int) else tuple(points)
    if len(shape) != dims or min(shape) < 4:
        raise ValueError(
            f"`points` is {points}; give at least 4 for each of {list(names)}."
        )
    if math.prod(shape) > _MOST_NODES:
        raise ValueError(
            f"`points` is {points}: a grid of {math.prod(shape):,} nodes; give at most "
            f"{int(_MOST_NODES ** (1 / dims))} per parameter."
        )
    limits = dict(bounds) if bounds is not None else {}
    if unknown := sorted(set(limits) - set(names)):
        raise ValueError(f"`bounds` names {unknown}; the parameters are {list(names)}.")
    if len(limits) < dims:
        limits = {**estimator.prior.bounds, **limits}
    box = tuple((float(limits[name][0]), float(limits[name][1])) for name in names)
    for name, (low, high) in zip(names, box, strict=True):
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                f"`bounds` of `{name}` is ({low}, {high}); give low < high."
            )
    return shape, box
