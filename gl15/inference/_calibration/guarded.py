"""An estimator that says when an image is unlike those of its training."""

import warnings
from typing import Any

import equinox as eqx
import jax
from jax.core import Tracer
from jaxtyping import Array, Float

from gl15.inference._calibration.detector import Detector
from gl15.inference._estimators.wrapper import AbstractWrapper
from gl15.simulation._observation import image_of


UNUSUAL = 1e-3  # p-value below which an image is spoken of


class MisspecificationWarning(UserWarning):
    """An image is unlike those that the estimator learned from."""


class Guarded(AbstractWrapper):
    """An estimator that knows the images of its training from others.

    Posteriors of an image whose p-value is below 0.001 come with a
    `MisspecificationWarning`; under `jit`, where images are traced, there is no check
    and no cost. Guard last: other wrappers go inside, where `calibrate` puts its own.

    Attributes:
        estimator: the estimator.
        detector: what tells images apart.
    """

    estimator: Any
    detector: Detector

    def config(self) -> dict[str, Any]:
        """The arguments that build an estimator of this structure.

        Returns:
            The keyword arguments.
        """
        return {"estimator": self.estimator, "detector": self.detector}

    def p_value(self, x: Any) -> Float[Array, ""]:
        """Share of reference images that are at least as unusual as this one.

        Args:
            x: one image, an array or an `Observation`.

        Returns:
            The p-value; small ones speak against the posterior of this image.

        Raises:
            ValueError: if it is not one finite image that suits the estimator.
        """
        image, known = image_of(x)
        self.check_image(image, **known)
        return _p_value(self, image, embedded(self, image))


@eqx.filter_jit
def _p_value(guarded: Guarded, x: Any, h: Array) -> Float[Array, ""]:
    return guarded.detector.p_value(guarded.estimator, x, h)


def embedded(estimator: Any, x: Any) -> Float[Array, " features"]:
    """What `estimator.embed` gives, by one compiled program for whoever asks.

    An encoder takes seconds to compile: a guard and the posterior it stands before
    share it.

    Args:
        estimator: any log-ratio.
        x: an image.

    Returns:
        The features.
    """
    while isinstance(estimator, Guarded):
        estimator = estimator.estimator
    return _embedded(estimator, x)


@eqx.filter_jit
def _embedded(estimator: Any, x: Any) -> Float[Array, " features"]:
    return estimator.embed(x)


def warn_if_unusual(estimator: Any, image: Any) -> None:
    """Ask an estimator that can tell whether an image is like those of its training.

    Args:
        estimator: any log-ratio; one with a `p_value`, as `Guarded` has, is asked.
        image: an image.
    """
    p_value = getattr(estimator, "p_value", None)
    arrays = [leaf for leaf in jax.tree.leaves(estimator) if eqx.is_array(leaf)]
    if p_value is None or any(isinstance(leaf, Tracer) for leaf in arrays):
        return
    p = float(p_value(image))
    if p < UNUSUAL:
        warnings.warn(
            f"`x` is unlike the images that this estimator learned from (p = {p:.1g}):"
            " its posterior is an extrapolation. Compare noise, resolution, sample and "
            "field with those of the simulations, or train on images like this one.",
            MisspecificationWarning,
            stacklevel=4,
        )
