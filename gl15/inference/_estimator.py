"""The ratio estimator: a network that knows what it was trained on."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.inference._encoders import AbstractEncoder
from gl15.inference._standardize import Standardization
from gl15.simulation import Prior, Theta


class RatioEstimator(eqx.Module):
    r"""Neural estimate of the log likelihood-to-evidence ratio.

    $$
    s_\phi(\theta, x) \approx \log r(\theta, x) = \log \frac{p(x \mid \theta)}{p(x)},
    \qquad p(\theta \mid x) \propto r(\theta, x)\, p(\theta)
    $$

    (Eqs. 4-7). Two branches (section IV.B, Appendix C): an encoder turns x into
    features $h_x$, a perceptron turns the scaled parameters into $h_\theta$, and a
    head turns both into one logit. `embed` is the expensive part and depends on x
    alone; `log_ratio` is cheap and differentiable in theta. Both take one sample: use
    `jax.vmap` for several.

    Attributes:
        prior: the prior that the ratio refers to.
        encoder: the image branch.
        parameter_mlp: the parameter branch.
        head: from both to the logit.
        standardization: of the encoder's summaries, fitted on training data.
        spacing: pixel spacing of the training images, if known.
        channel_names: names of their channels, if known.
    """

    prior: Prior
    encoder: AbstractEncoder
    parameter_mlp: eqx.nn.MLP
    head: eqx.nn.MLP
    standardization: Standardization
    spacing: float | None = eqx.field(static=True)
    channel_names: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        prior: Prior,
        encoder: AbstractEncoder,
        *,
        width: int = 64,
        depth: int = 2,
        spacing: float | None = None,
        channel_names: tuple[str, ...] = (),
        key: PRNGKeyArray,
    ):
        """Build an untrained estimator; `gl15.fit` trains it.

        Args:
            prior: the prior of the training parameters.
            encoder: the image branch, such as `ConvEncoder` or `SpectralEncoder`.
            width: width of the parameter branch and of the head; the paper's 64.
            depth: number of hidden layers of the head; the paper's 2.
            spacing: pixel spacing; `fit` takes it from the ensemble.
            channel_names: names of the channels; `fit` takes them from the ensemble.
            key: JAX random key for the initial weights.
        """
        theta_key, head_key = jax.random.split(key)
        self.prior = prior
        self.encoder = encoder
        self.parameter_mlp = eqx.nn.MLP(
            len(prior.names),
            width,
            width,
            depth=1,
            final_activation=jax.nn.relu,
            key=theta_key,
        )
        self.head = eqx.nn.MLP(
            encoder.features + width, "scalar", width, depth, key=head_key
        )
        self.standardization = Standardization.identity(encoder.size)
        self.spacing = spacing
        self.channel_names = channel_names

    def __call__(self, theta: Theta, x: Float[Array, "..."]) -> Float[Array, ""]:
        r"""Log-ratio $\log r(\theta, x)$ of one parameter and one observation.

        Args:
            theta: parameter name -> scalar.
            x: an observation.

        Returns:
            The log-ratio.

        Raises:
            ValueError: for unknown parameters or a wrong image, see `check_image`.
        """
        return self.log_ratio(theta, self.embed(x))

    def embed(self, x: Float[Array, "..."]) -> Float[Array, " features"]:
        r"""Features $h_x$ of an observation: run once, use for every theta.

        Args:
            x: an observation.

        Returns:
            The features.

        Raises:
            ValueError: for a wrong image, see `check_image`.
        """
        self.check_image(x)
        return self.encoder(self.standardization(self.encoder.summarise(x)))

    def log_ratio(self, theta: Theta, h: Float[Array, " features"]) -> Float[Array, ""]:
        """Log-ratio from features: the cheap part.

        Args:
            theta: parameter name -> scalar.
            h: features of an observation, from `embed`.

        Returns:
            The log-ratio.

        Raises:
            ValueError: if `theta` names other parameters than the prior.
        """
        scaled = self.prior.standardize(theta).astype(h.dtype)
        return self.head(jnp.concatenate([h, self.parameter_mlp(scaled)]))

    def trained_on(
        self, spacing: float | None, channel_names: tuple[str, ...]
    ) -> "RatioEstimator":
        """The same estimator, saying that it was trained on such images.

        Args:
            spacing: their pixel spacing, if known.
            channel_names: names of their channels, if known.

        Returns:
            The estimator.
        """
        # Static fields are out of reach of `eqx.tree_at`.
        leaves, tree = jax.tree.flatten(self)
        copy = jax.tree.unflatten(tree, leaves)
        object.__setattr__(copy, "spacing", spacing)
        object.__setattr__(copy, "channel_names", channel_names)
        return copy

    def check_image(
        self,
        x: Float[Array, "..."] | np.ndarray,
        *,
        spacing: float | None = None,
        channel_names: tuple[str, ...] = (),
    ) -> None:
        """Refuse an observation that this estimator was not trained for.

        Args:
            x: an observation, or what a caller believes to be one.
            spacing: its pixel spacing, if known.
            channel_names: names of its channels, if known.

        Raises:
            ValueError: for a wrong number of axes or channels, another spacing, or
                values that are not finite.
        """
        shape = jnp.shape(x)
        axes = "(nx, ny, channels)" if self.encoder.ndim == 3 else "(size,)"
        if len(shape) != self.encoder.ndim:
            raise ValueError(
                f"`x` has shape {shape}, but this estimator takes one observation "
                f"{axes}; use `jax.vmap` for several."
            )
        if shape[-1] != self.encoder.channels:
            named = f" {self.channel_names}" if self.channel_names else ""
            raise ValueError(
                f"`x` has {shape[-1]} channels (shape {shape}), but this estimator was "
                f"made for {self.encoder.channels}{named}; "
                "`gl15.observe` makes such images."
            )
        if self.channel_names and channel_names not in ((), self.channel_names):
            raise ValueError(
                f"`x` has channels {channel_names}, but this estimator was trained on "
                f"{self.channel_names}, in this order."
            )
        if (
            spacing is not None
            and self.spacing is not None
            and not math.isclose(spacing, self.spacing, rel_tol=1e-5)
        ):
            raise ValueError(
                f"`spacing`={spacing:g} of the image, but this estimator was trained "
                f"at {self.spacing:g}; resample the image to that spacing."
            )
        if not isinstance(x, Tracer):
            bad = int(np.size(x) - np.isfinite(np.asarray(x)).sum())
            if bad:
                raise ValueError(
                    f"`x` holds {bad} values that are NaN or infinite, of "
                    f"{np.size(x)}; mend or crop the image first."
                )
