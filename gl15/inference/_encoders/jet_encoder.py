"""gl15's sharpest encoder: local relations and spectra of an image."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.inference._encoders.cosine import cosine_spectra, RINGS
from gl15.inference._encoders.encoder import AbstractEncoder
from gl15.inference._encoders.jets import jet_size, jet_summary, to_sites


_FLOOR = 1e-3
# Where the distribution of each map is asked for, in standard deviations.
_LEVELS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)


class JetEncoder(AbstractEncoder):
    r"""Correlations of local fields, spectra and distributions, then a perceptron.

    The bands' equations tie values to derivatives at the same place with the couplings
    as coefficients; correlations and partial correlations among local fields such as
    $n_a$, $\nabla^2 n_a$, $\nabla u_a \cdot \nabla u_b$, $u_a \nabla^2 u_b$ ($n_a =
    u_a^2$) are such coefficients, and vary little from image to image. Powers and
    coherences in rings of wavenumber say how far the quench has come. All are averages
    over pixels or modes: images of any size with the spacing it was made for.

    Attributes:
        channels: channels of the image.
        size: length of the summary.
        features: length of the feature vector.
        densities: channels that are not negative, such as $|\psi_1|^2$.
        vorticities: channels that change sign under reflections, such as curl J.
        extent: whether the summary tells the size of the image.
        mlp: the trainable part.
    """

    channels: int = eqx.field(static=True)
    size: int = eqx.field(static=True)
    features: int = eqx.field(static=True)
    densities: tuple[int, ...] = eqx.field(static=True)
    vorticities: tuple[int, ...] = eqx.field(static=True)
    extent: bool = eqx.field(static=True)
    mlp: eqx.nn.MLP
    ndim: ClassVar[int] = 3
    limit: ClassVar[float] = 8.0
    begins_linear: ClassVar[bool] = True

    def __init__(
        self,
        channels: int = 3,
        *,
        densities: tuple[int, ...] = (0, 1),
        vorticities: tuple[int, ...] = (2,),
        extent: bool = False,
        features: int = 64,
        width: int = 256,
        depth: int = 2,
        key: PRNGKeyArray,
    ):
        """Build the encoder.

        Args:
            channels: channels of the image.
            densities: which of them are not negative.
            vorticities: which of them change sign under reflections.
            extent: whether to summarise the number of pixels, too: trained on samples
                of several sizes, an estimator then knows that the averages over a
                larger one scatter less, and its posteriors are narrower.
            features: length of the feature vector.
            width: width of the hidden layers.
            depth: number of hidden layers.
            key: JAX random key for the initial weights.

        Raises:
            ValueError: if the channels named are not there, or none is a density.
        """
        named = (*densities, *vorticities)
        if any(not 0 <= c < channels for c in named) or not densities:
            raise ValueError(
                f"`densities`={densities} and `vorticities`={vorticities} must name "
                f"channels out of 0..{channels - 1}, one density at least."
            )
        self.channels = channels
        self.densities = tuple(int(c) for c in densities)
        self.vorticities = tuple(int(c) for c in vorticities)
        self.extent = bool(extent)
        maps = 3 * len(densities) + len(vorticities)
        spectra = RINGS * maps * (maps + 1) // 2
        jets = jet_size(len(densities), len(vorticities))
        self.size = jets + spectra + maps * (2 + len(_LEVELS)) + self.extent
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
            The keyword arguments, ready for JSON.
        """
        config = {
            "channels": self.channels,
            "densities": self.densities,
            "vorticities": self.vorticities,
            "features": self.features,
            "width": self.mlp.width_size,
            "depth": self.mlp.depth,
        }
        # Files of encoders without it stay what they were.
        return {**config, "extent": True} if self.extent else config

    def summarise(self, x: Float[Array, "nx ny channels"]) -> Float[Array, " size"]:
        """Correlations of local fields, log-powers, coherences and distributions.

        Args:
            x: an image.

        Returns:
            The summary.

        Raises:
            ValueError: if the image is too small.
        """
        n = jnp.maximum(jnp.moveaxis(x[..., self.densities], -1, 0), 0)
        c = to_sites(jnp.moveaxis(x[..., self.vorticities], -1, 0))
        maps = jnp.concatenate([n, c, jnp.log(n + _FLOOR), jnp.sqrt(n + _FLOOR**2)])
        power, coherence = cosine_spectra(maps)
        mean, std = maps.mean((1, 2)), maps.std((1, 2)) + _FLOOR**2
        scaled = (maps - mean[:, None, None]) / std[:, None, None]
        # A softened distribution function: smooth, and no sorting.
        below = [jax.nn.sigmoid(4 * (one - scaled)).mean((1, 2)) for one in _LEVELS]
        extent = jnp.full(int(self.extent), math.log(maps[0].size), maps.dtype)
        return jnp.concatenate(
            [
                jet_summary(n, c),
                jnp.log(power).ravel(),
                jnp.arctanh(jnp.clip(coherence, -0.9999, 0.9999)).ravel(),
                mean,
                jnp.log(std),
                *below,
                extent,
            ]
        )

    def __call__(self, summary: Float[Array, " size"]) -> Float[Array, " features"]:
        """Features of a standardised summary.

        Args:
            summary: a standardised summary `[size]`.

        Returns:
            The features, `[features]`.
        """
        return self.mlp(summary)
