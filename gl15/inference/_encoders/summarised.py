"""Simulators that keep an image's summary alone: ensembles beyond images."""

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.inference._encoders.encoder import AbstractEncoder
from gl15.simulation import Simulator, Theta
from gl15.simulation._simulator import Keys


class Summarised(eqx.Module):
    """A simulator whose observations are the summaries that an encoder makes of them.

    The summary of an image is all that training sees of it, and may be a hundred times
    smaller: `gl15.simulate(Summarised(simulator, encoder), prior, 300_000, key=key)`
    makes an ensemble that `fit` takes in place of one of images, for an estimator with
    that encoder. The posterior of an image needs no more than the image.

    Attributes:
        simulator: draws an observation at theta.
        encoder: what summarises it, without its weights.
    """

    simulator: Simulator
    encoder: AbstractEncoder

    def __init__(self, simulator: Simulator, encoder: AbstractEncoder):
        """Put an encoder's summary behind a simulator.

        Args:
            simulator: the simulator.
            encoder: the encoder.
        """
        self.simulator = simulator
        # A summary does not depend on the weights, nor should a store of summaries.
        self.encoder = eqx.filter(encoder, eqx.is_array, inverse=True)

    @property
    def names(self) -> tuple[str, ...] | None:
        """The parameters of the simulator; None if it does not say."""
        return getattr(self.simulator, "names", None)

    @property
    def spacing(self) -> float | None:
        """Pixel spacing of the images summarised."""
        return getattr(self.simulator, "spacing", None)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels of the images summarised."""
        return tuple(getattr(self.simulator, "channels", ()))

    @property
    def batch_size(self) -> int:
        """The simulator's own choice."""
        return getattr(self.simulator, "batch_size", 256)

    def check(self, theta: Theta) -> None:
        """Refuse theta, if the simulator does.

        Args:
            theta: parameter name -> `[n]`.

        Raises:
            ValueError: if the simulator refuses it.
        """
        if (check := getattr(self.simulator, "check", None)) is not None:
            check(theta)

    def __call__(self, theta: Theta, key: PRNGKeyArray) -> Float[Array, "*summary"]:
        """Simulate one observation and summarise it.

        Args:
            theta: parameter name -> scalar.
            key: JAX random key of the simulator.

        Returns:
            The summary.

        Raises:
            ValueError: if the simulator refuses theta.
        """
        return self.encoder.summarise(self.simulator(theta, key))

    def batch(self, theta: Theta, keys: Keys) -> Float[Array, "batch *summary"]:
        """Simulate and summarise several, the simulator's fast way if it has one.

        Args:
            theta: parameter name -> `[batch]`.
            keys: a key for each.

        Returns:
            Their summaries.
        """
        batch = getattr(self.simulator, "batch", None) or jax.vmap(self.simulator)
        return jax.vmap(self.encoder.summarise)(batch(theta, keys))
