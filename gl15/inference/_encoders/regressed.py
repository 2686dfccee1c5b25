r"""What a linear regression knows, beside what a network learns.

Couplings are written in small differences between summaries that are large and alike:
directions of little variance, which gradient descent finds late and normal equations
find at once.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.inference._encoders.encoder import AbstractEncoder
from gl15.simulation import Ensemble, Prior


_FAR = 8.0  # standard deviations beyond which an entry says no more
_ROWS = 4096  # summaries at once


class RegressedEncoder(AbstractEncoder):
    r"""The features of an encoder, and predictions of a linear regression after them.

    $$
    h = (h_\text{encoder}(z),\; W z)
    $$

    `regressed` fits $W$ to pairs; training leaves it as it is.

    Attributes:
        encoder: what summarises, and what is trained.
        outputs: number of predictions.
        channels: channels of the image.
        size: length of the summary.
        features: length of the feature vector.
        weights: $W$.
    """

    encoder: AbstractEncoder
    outputs: int = eqx.field(static=True)
    channels: int = eqx.field(static=True)
    size: int = eqx.field(static=True)
    features: int = eqx.field(static=True)
    weights: Float[Array, "outputs size"]
    ndim: ClassVar[int] = 3
    limit: ClassVar[float] = _FAR
    fitted: ClassVar[tuple[str, ...]] = ("weights",)

    def __init__(self, encoder: AbstractEncoder, outputs: int):
        """An encoder whose regression predicts nothing yet; `regressed` fits one.

        Args:
            encoder: makes vectors of images, such as `JetEncoder`.
            outputs: number of predictions.

        Raises:
            ValueError: if `encoder` takes no images, or nothing is to be predicted.
        """
        if encoder.ndim != self.ndim or outputs < 1:
            raise ValueError(
                "`encoder` must take images and `outputs` be positive, got a "
                f"{type(encoder).__name__} and {outputs}."
            )
        self.encoder = encoder
        self.outputs = outputs
        self.channels, self.size = encoder.channels, encoder.size
        self.features = encoder.features + outputs
        self.weights = jnp.zeros((outputs, encoder.size))

    def drawn_anew(self, key: PRNGKeyArray) -> "RegressedEncoder":
        """The same regression beside an encoder with other initial weights.

        Args:
            key: JAX random key.

        Returns:
            The encoder.
        """
        return eqx.tree_at(lambda one: one.encoder, self, self.encoder.drawn_anew(key))

    def config(self) -> dict[str, Any]:
        """The arguments that build an encoder of this structure.

        Returns:
            The keyword arguments.
        """
        return {"encoder": self.encoder, "outputs": self.outputs}

    def summarise(self, x: Float[Array, "nx ny channels"]) -> Float[Array, " size"]:
        """The encoder's summary.

        Args:
            x: an image.

        Returns:
            The summary.

        Raises:
            ValueError: if the encoder refuses the image.
        """
        return self.encoder.summarise(x)

    def __call__(self, summary: Float[Array, " size"]) -> Float[Array, " features"]:
        """Features of a standardised summary.

        Args:
            summary: a standardised summary `[size]`.

        Returns:
            The encoder's features, and the predictions.
        """
        known = self.weights.astype(summary.dtype) @ summary
        return jnp.append(self.encoder(summary), known)


def regressed(
    encoder: AbstractEncoder, pairs: Ensemble, prior: Prior, *, ridge: float = 1e-4
) -> RegressedEncoder:
    r"""An encoder with the best linear predictions of the parameters in its features.

    Of the parameters, standardised by the prior and centred, and of their products two
    by two; each prediction is scaled to variance 1. A regression of thousands of
    entries needs several times as many pairs.

    ```python
    encoder = gl15.inference.regressed(encoder, pairs, prior)
    estimator = gl15.RatioEstimator(prior, encoder, head="quadratic", key=key)
    ```

    Args:
        encoder: makes vectors of images, such as `JetEncoder`.
        pairs: images, or their summaries as `Summarised` makes them; those that the
            estimator will be trained on will do.
        prior: the prior of the parameters.
        ridge: what is added to the variance of every standardised entry.

    Returns:
        The encoder.

    Raises:
        ValueError: if there are too few pairs, or `encoder` makes no vectors.
    """
    n, size = len(pairs), encoder.size
    if n < 2 * size:
        raise ValueError(
            f"`pairs` are {n}; a regression of {size} entries needs {2 * size} at the "
            "least, and is good with ten times as many."
        )
    u = np.asarray(jax.vmap(prior.standardize)(dict(pairs.theta)))
    u = u - u.mean(0)
    first, second = np.triu_indices(u.shape[1])
    targets = np.concatenate([u, u[:, first] * u[:, second]], 1)
    total, squares = np.zeros(size), np.zeros(size)
    for z, _ in _summaries(encoder, pairs):
        total, squares = total + z.sum(0), squares + (z**2).sum(0)
    mean = total / n
    std = np.sqrt(np.maximum(squares / n - mean**2, 0))
    std = np.where(std > 1e-6 * np.abs(mean), std, 1.0)
    gram, products = np.zeros((size, size)), np.zeros((size, targets.shape[1]))
    targets = targets - targets.mean(0)
    for z, rows in _summaries(encoder, pairs):
        z = np.clip((z - mean) / std, -_FAR, _FAR).astype(np.float32)
        gram += z.T @ z
        products += z.T @ targets[rows].astype(np.float32)
    gram, products = gram / n, products / n
    weights = np.linalg.solve(gram + ridge * np.eye(size), products)
    scale = np.sqrt(np.einsum("io,ij,jo->o", weights, gram, weights))
    found = RegressedEncoder(encoder, targets.shape[1])
    rows = jnp.asarray((weights / scale).T, found.weights.dtype)
    return eqx.tree_at(lambda one: one.weights, found, rows)


def _summaries(encoder: AbstractEncoder, pairs: Ensemble):
    """Summaries in double precision, and which rows they are."""
    summarise = eqx.filter_jit(lambda x: jax.vmap(encoder.summarise)(x))
    for start in range(0, len(pairs), _ROWS):
        x = np.asarray(pairs.x[start : start + _ROWS])
        if x.ndim == 1 + encoder.ndim:
            x = [summarise(jnp.asarray(part)) for part in np.array_split(x, 16)]
            x = np.concatenate(x)
        if x.ndim != 2 or x.shape[1] != encoder.size:
            raise ValueError(
                f"`pairs` have observations of shape {x.shape[1:]}, and `encoder` "
                f"makes vectors of {encoder.size} entries of images alone."
            )
        yield x.astype(np.float64), slice(start, start + len(x))
