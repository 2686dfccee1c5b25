"""Encoders that are networks from the first pixel on."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.inference._encoders.encoder import AbstractEncoder


class MLPEncoder(AbstractEncoder):
    """A multilayer perceptron for observations that are vectors.

    Attributes:
        channels: length of an observation.
        size: the same.
        features: length of the feature vector.
        mlp: the network.
    """

    channels: int = eqx.field(static=True)
    size: int = eqx.field(static=True)
    features: int = eqx.field(static=True)
    mlp: eqx.nn.MLP
    ndim: ClassVar[int] = 1
    begins_linear: ClassVar[bool] = True

    def __init__(
        self,
        size: int,
        *,
        features: int = 64,
        width: int = 128,
        depth: int = 2,
        key: PRNGKeyArray,
    ):
        """Build the encoder.

        Args:
            size: length of an observation.
            features: length of the feature vector.
            width: width of the hidden layers.
            depth: number of hidden layers.
            key: JAX random key for the initial weights.
        """
        self.channels = self.size = size
        self.features = features
        self.mlp = eqx.nn.MLP(
            size, features, width, depth, final_activation=jax.nn.relu, key=key
        )

    def config(self) -> dict[str, Any]:
        """The arguments, but for the key, that build an encoder of this structure.

        Returns:
            The keyword arguments, ready for JSON.
        """
        return {
            "size": self.size,
            "features": self.features,
            "width": self.mlp.width_size,
            "depth": self.mlp.depth,
        }

    def summarise(self, x: Float[Array, " size"]) -> Float[Array, " size"]:
        """The observation itself.

        Args:
            x: an observation `[size]`.

        Returns:
            The same.
        """
        return x

    def __call__(self, summary: Float[Array, " size"]) -> Float[Array, " features"]:
        """Features of a standardised observation.

        Args:
            summary: a standardised observation `[size]`.

        Returns:
            The features, `[features]`.
        """
        return self.mlp(summary)


class ConvEncoder(AbstractEncoder):
    r"""The paper's convolutional encoder (Table III).

    Blocks of a $3\times3$ convolution with "same" padding, ReLU and $2\times2$ max
    pooling; then the global average and the global maximum of every channel side by
    side, and a dense layer with ReLU. The global pooling makes it independent of the
    image's size.

    Attributes:
        channels: channels of the image.
        size: the same.
        features: length of the feature vector.
        convolutions: one per block.
        dense: from the pooled channels to the features.
    """

    channels: int = eqx.field(static=True)
    size: int = eqx.field(static=True)
    features: int = eqx.field(static=True)
    convolutions: tuple[eqx.nn.Conv2d, ...]
    dense: eqx.nn.Linear
    ndim: ClassVar[int] = 3

    def __init__(
        self,
        channels: int = 3,
        *,
        widths: tuple[int, ...] = (64, 128, 128, 256),
        features: int = 64,
        key: PRNGKeyArray,
    ):
        """Build the encoder.

        Args:
            channels: channels of the image.
            widths: filters of each block.
            features: length of the feature vector.
            key: JAX random key for the initial weights.
        """
        *keys, dense_key = jax.random.split(key, len(widths) + 1)
        self.channels = self.size = channels
        self.features = features
        self.convolutions = tuple(
            eqx.nn.Conv2d(before, after, 3, padding="SAME", key=one)
            for before, after, one in zip(
                (channels, *widths), widths, keys, strict=False
            )
        )
        self.dense = eqx.nn.Linear(2 * widths[-1], features, key=dense_key)

    def config(self) -> dict[str, Any]:
        """The arguments, but for the key, that build an encoder of this structure.

        Returns:
            The keyword arguments, ready for JSON.
        """
        return {
            "channels": self.channels,
            "widths": tuple(int(one.out_channels) for one in self.convolutions),
            "features": self.features,
        }

    def summarise(
        self, x: Float[Array, "nx ny channels"]
    ) -> Float[Array, "nx ny channels"]:
        """The image itself.

        Args:
            x: an image `[nx, ny, channels]`.

        Returns:
            The same.
        """
        return x

    def __call__(
        self, summary: Float[Array, "nx ny channels"]
    ) -> Float[Array, " features"]:
        """Features of a standardised image.

        Args:
            summary: the image, at least 2 pixels a side for every block to halve.

        Returns:
            The feature vector.

        Raises:
            ValueError: if the image is too small.
        """
        smallest = 2 ** len(self.convolutions)
        if min(summary.shape[:2]) < smallest:
            raise ValueError(
                f"`x` is {summary.shape[0]} x {summary.shape[1]} pixels, too small for "
                f"{len(self.convolutions)} poolings; it needs {smallest} a side."
            )
        image = summary
        for convolution in self.convolutions:
            image = _halve(jax.nn.relu(_convolve(convolution, image)))
        pooled = jnp.concatenate([image.mean((0, 1)), image.max((0, 1))])
        return jax.nn.relu(self.dense(pooled))


def _convolve(
    convolution: eqx.nn.Conv2d, image: Float[Array, "nx ny c"]
) -> Float[Array, "nx ny d"]:
    """A 3 x 3 convolution with "same" padding, channels last.

    On a CPU as one product of matrices: XLA runs those on every core, also inside a
    compiled loop, where its convolutions lose their threads (28 times slower under
    `lax.map`, and 1.7 times in a training step outside).
    """
    weight, bias = convolution.weight, convolution.bias
    assert bias is not None
    return bias[:, 0, 0] + jax.lax.platform_dependent(
        image, weight, cpu=_product, default=_convolution
    )


def _product(
    image: Float[Array, "nx ny c"], weight: Float[Array, "d c 3 3"]
) -> Float[Array, "nx ny d"]:
    nx, ny, _ = image.shape
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)))
    patches = [padded[i : i + nx, j : j + ny] for i in range(3) for j in range(3)]
    kernel = jnp.transpose(weight, (2, 3, 1, 0)).reshape(-1, weight.shape[0])
    return jnp.concatenate(patches, -1) @ kernel


def _convolution(
    image: Float[Array, "nx ny c"], weight: Float[Array, "d c 3 3"]
) -> Float[Array, "nx ny d"]:
    layout = ("NHWC", "OIHW", "NHWC")
    one = jax.lax.conv_general_dilated(
        image[None], weight, (1, 1), "SAME", dimension_numbers=layout
    )
    return one[0]


def _halve(image: Float[Array, "nx ny c"]) -> Float[Array, "mx my c"]:
    """2 x 2 max pooling; a last odd row or column is left out, as usual.

    By reshaping: the gradient of XLA's windowed maximum is slow on a CPU.
    """
    nx, ny, c = image.shape
    even = image[: nx // 2 * 2, : ny // 2 * 2]
    return even.reshape(nx // 2, 2, ny // 2, 2, c).max((1, 3))
