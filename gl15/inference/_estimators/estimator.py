"""The ratio estimator: a network that knows what it was trained on."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.inference._encoders.encoder import AbstractEncoder
from gl15.inference._estimators.branches import silent, two_branches
from gl15.inference._estimators.images import check_image
from gl15.inference._estimators.limits import limits_of
from gl15.inference._estimators.peaks import Peaks
from gl15.inference._estimators.peaks_network import PeaksNetwork
from gl15.inference._estimators.standardization import Standardization
from gl15.simulation import Prior, Theta
from gl15.simulation._arguments import one_of, whole_number
from gl15.simulation._observation import image_of


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
        quadratic: from the image's features to the peaks, if there are any.
        standardization: of the encoder's summaries, fitted on training data.
        spacing: pixel spacing of the training images, if known.
        channel_names: names of their channels, if known.
    """

    prior: Prior
    encoder: AbstractEncoder
    parameter_mlp: eqx.nn.MLP
    head: eqx.nn.MLP
    quadratic: PeaksNetwork | None
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
        head: Literal["mlp", "quadratic"] = "mlp",
        components: int = 1,
        members: int = 1,
        spacing: float | None = None,
        channel_names: tuple[str, ...] = (),
        key: PRNGKeyArray,
    ):
        """Build an untrained estimator; `gl15.fit` trains it.

        Args:
            prior: the prior of the training parameters.
            encoder: the image branch, such as `ConvEncoder` or `SpectralEncoder`.
            width: width of the parameter branch and of the head; the paper's 64.
            depth: hidden layers of the head; the paper's 2.
            head: `"mlp"`, the paper's; `"quadratic"` adds normal peaks.
            components: peaks of the quadratic head: one for each mode there may be.
            members: peaks that make up each, for modes that are no normals.
            spacing: pixel spacing; `fit` takes it from the ensemble.
            channel_names: names of the channels; `fit` takes them from the ensemble.
            key: JAX random key for the initial weights.

        Raises:
            ValueError: for another `head`, a size that is none, or peaks without the
                quadratic head.
        """
        one_of("head", head, ("mlp", "quadratic"))
        for name, size in (("components", components), ("members", members)):
            if whole_number(name, size) > 1 and head == "mlp":
                raise ValueError(
                    f"`{name}`={size} counts peaks of the quadratic head, but `head` is"
                    ' "mlp"; give head="quadratic".'
                )
        width, depth = whole_number("width", width), whole_number("depth", depth, 0)
        if spacing is not None and not 0 < spacing < float("inf"):
            raise ValueError(f"`spacing` must be one positive length, got {spacing}.")
        theta_key, head_key = jax.random.split(key)
        self.prior = prior
        self.encoder = encoder
        d, relu = len(prior.names), jax.nn.relu
        self.parameter_mlp = eqx.nn.MLP(
            d, width, width, depth=1, final_activation=relu, key=theta_key
        )
        local = d * components if head == "quadratic" else 0
        mlp = eqx.nn.MLP(
            encoder.features + width + local, "scalar", width, depth, key=head_key
        )
        self.head, self.quadratic = mlp, None
        if head == "quadratic":
            self.head = silent(mlp)  # The ratio begins as that of the peaks.
            draws = prior.standardize(prior.sample(jax.random.key(0), (256,)))
            self.quadratic = PeaksNetwork(
                encoder.features,
                d,
                components,
                members,
                width=max(width, encoder.features),
                centre=draws.mean(0),
                limits=limits_of(prior),
                key=jax.random.fold_in(key, 2),
            )
        self.standardization = Standardization.identity(encoder.size, encoder.limit)
        self.spacing = spacing
        self.channel_names = channel_names

    def __call__(self, theta: Theta, x: Any) -> Float[Array, ""]:
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

    def embed(self, x: Any) -> Float[Array, " features"]:
        r"""Features $h_x$ of an observation: run once, use for every theta.

        Args:
            x: an observation.

        Returns:
            The features.

        Raises:
            ValueError: for a wrong image, see `check_image`.
        """
        image, known = image_of(x)
        self.check_image(image, **known)
        return self.features(self.standardization(self.encoder.summarise(image)))

    def features(self, z: Float[Array, "..."]) -> Float[Array, " features"]:
        """Features from a standardised summary, and any peaks after them.

        Args:
            z: a standardised summary.

        Returns:
            The features.
        """
        h = self.encoder(z)
        return h if self.quadratic is None else jnp.append(h, self.quadratic(h))

    def peaks(self, h: Float[Array, " features"]) -> Peaks | None:
        """The peaks of the quadratic head, over standardised parameters.

        Args:
            h: features of an observation, from `embed`.

        Returns:
            The peaks; None without that head.
        """
        network = self.quadratic
        return None if network is None else network.peaks(h[-network.size :])

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
        g, peaks = self.correction(theta, h), self.peaks(h)
        if peaks is None:
            return g
        log_q = peaks.log_prob(self.prior.standardize(theta).astype(h.dtype))
        return g + log_q - self.prior.standard_log_prob(theta).astype(h.dtype)

    def correction(
        self, theta: Theta, h: Float[Array, " features"]
    ) -> Float[Array, ""]:
        r"""What the branches say: $g$, or the log-ratio where there are no peaks.

        Args:
            theta: parameter name -> scalar.
            h: features of an observation, from `embed`.

        Returns:
            The logit.
        """
        scaled = self.prior.standardize(theta).astype(h.dtype)
        t = self.parameter_mlp(scaled)
        if self.quadratic is None:
            return two_branches(self.head, h, t)
        own, flat = h[: -self.quadratic.size], h[-self.quadratic.size :]
        fixed = jax.lax.stop_gradient(self.quadratic.frames(flat))
        return two_branches(self.head, own, jnp.append(t, fixed.local(scaled)))

    def config(self) -> dict[str, Any]:
        """Arguments, but for the key, that build an estimator of this structure."""
        quadratic = self.quadratic
        named = ("prior", "encoder", "spacing", "channel_names")
        return {
            **{name: getattr(self, name) for name in named},
            "width": self.head.width_size,
            "depth": self.head.depth,
            "head": "mlp" if quadratic is None else "quadratic",
            "components": 1 if quadratic is None else quadratic.components,
            "members": 1 if quadratic is None else quadratic.members,
        }

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
        x: Any,
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
        check_image(self, x, spacing, channel_names)
