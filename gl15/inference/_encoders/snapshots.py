"""One encoder's summaries of several snapshots, side by side."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.inference._encoders.encoder import AbstractEncoder


class SnapshotEncoder(AbstractEncoder):
    """The summaries that an encoder makes of every snapshot, then a perceptron.

    For images of `gl15.simulation.Snapshots`, the channels of every snapshot side by
    side. What the snapshots have in common, such as their couplings, the perceptron
    finds by comparing their summaries.

    Attributes:
        encoder: what summarises a snapshot, without its weights.
        snapshots: how many there are.
        channels: channels of all snapshots together.
        size: length of all summaries together.
        features: length of the feature vector.
        mlp: the trainable part.
    """

    encoder: AbstractEncoder
    snapshots: int = eqx.field(static=True)
    channels: int = eqx.field(static=True)
    size: int = eqx.field(static=True)
    features: int = eqx.field(static=True)
    mlp: eqx.nn.MLP
    ndim: ClassVar[int] = 3
    limit: ClassVar[float] = 8.0
    begins_linear: ClassVar[bool] = True

    def __init__(
        self,
        encoder: AbstractEncoder,
        snapshots: int = 2,
        *,
        features: int = 64,
        width: int = 256,
        depth: int = 2,
        key: PRNGKeyArray,
    ):
        """Build the encoder.

        Args:
            encoder: what makes a vector of one snapshot, such as `JetEncoder`.
            snapshots: how many there are.
            features: length of the feature vector.
            width: width of the hidden layers.
            depth: number of hidden layers.
            key: JAX random key for the initial weights.

        Raises:
            ValueError: if there is no snapshot, or `encoder` takes no images.
        """
        if snapshots < 1:
            raise ValueError(f"`snapshots` must be positive, got {snapshots}.")
        if encoder.ndim != self.ndim:
            raise ValueError(
                f"`encoder` is a {type(encoder).__name__}, which takes observations "
                f"of {encoder.ndim} axes; a snapshot is an image (nx, ny, channels)."
            )
        # Only its summaries are used, and they do not depend on its weights.
        self.encoder = eqx.filter(encoder, eqx.is_array, inverse=True)
        self.snapshots = snapshots
        self.channels = snapshots * encoder.channels
        self.size = snapshots * encoder.size
        self.features = features
        self.mlp = eqx.nn.MLP(
            self.size,
            features,
            width,
            depth,
            activation=jax.nn.gelu,
            final_activation=jax.nn.gelu,
            key=key,
        )

    def config(self) -> dict[str, Any]:
        """The arguments, but for the key, that build an encoder of this structure.

        Returns:
            The keyword arguments.
        """
        return {
            "encoder": self.encoder,
            "snapshots": self.snapshots,
            "features": self.features,
            "width": self.mlp.width_size,
            "depth": self.mlp.depth,
        }

    def summarise(self, x: Float[Array, "nx ny channels"]) -> Float[Array, " size"]:
        """Summaries of the snapshots, one after the other.

        Args:
            x: the snapshots, the channels of one after those of another.

        Returns:
            The summaries.

        Raises:
            ValueError: if the encoder refuses a snapshot, or makes no vector of it.
        """
        each = jnp.split(x, self.snapshots, axis=-1)
        parts = [self.encoder.summarise(one) for one in each]
        if parts[0].ndim != 1:
            raise ValueError(
                f"`encoder` is a {type(self.encoder).__name__}, whose summaries have "
                f"the shape {parts[0].shape}; snapshots need one that makes vectors."
            )
        return jnp.concatenate(parts)

    def __call__(self, summary: Float[Array, " size"]) -> Float[Array, " features"]:
        """Features of a standardised summary.

        Args:
            summary: a standardised summary `[size]`.

        Returns:
            The features, `[features]`.
        """
        return self.mlp(summary)
