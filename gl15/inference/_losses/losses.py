r"""Losses of ratio estimation, from logits of matching and of mismatched pairs.

A batch of b pairs gives the logits of its own pairs, `joint` `[b]`, and of each
observation with K other thetas of the batch, `marginal` `[b, K]`: draws from
$p(\theta, x)$ and from $p(\theta)\,p(x)$.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float

from gl15.simulation._arguments import whole_number


class AbstractLoss(eqx.Module):
    """A loss whose minimiser is the log-ratio (`Softmax`: up to a function of x).

    Every loss works on logits and keeps its gradient at any of them: a pair that is
    wrong with certainty pulls hardest.

    Attributes:
        contrasts: number K of mismatched thetas for each observation.
    """

    contrasts: eqx.AbstractVar[int]

    @abc.abstractmethod
    def __call__(
        self, joint: Float[Array, " b"], marginal: Float[Array, "b K"]
    ) -> Float[Array, ""]:
        """The loss of a batch.

        Args:
            joint: logits of the matching pairs, `[b]`.
            marginal: logits with the mismatched thetas, `[b, K]`.

        Returns:
            The mean loss, a scalar.
        """


class BinaryCrossEntropy(AbstractLoss):
    r"""Classify pairs as joint or permuted (NRE-A; section IV.A).

    $$
    \ell = \langle \log(1 + e^{-s}) \rangle_{p(\theta, x)}
    + \langle \log(1 + e^{s}) \rangle_{p(\theta) p(x)}
    $$

    In the softplus form, which keeps its gradient at any logit.

    Attributes:
        contrasts: permuted thetas per observation; the paper's 1. More lower the
            noise of the second average.
    """

    contrasts: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        """Some contrasts must be there."""
        whole_number("contrasts", self.contrasts)

    def __call__(
        self, joint: Float[Array, " b"], marginal: Float[Array, "b K"]
    ) -> Float[Array, ""]:
        """The loss of a batch.

        Args:
            joint: logits of the matching pairs, `[b]`.
            marginal: logits with the mismatched thetas, `[b, K]`.

        Returns:
            The mean loss, a scalar.
        """
        return jax.nn.softplus(-joint).mean() + jax.nn.softplus(marginal).mean()


class Contrastive(AbstractLoss):
    r"""Pick the matching theta out of K + 1, or none (NRE-C).

    With $q_k = \gamma e^{s_k} / (K + \gamma \sum_j e^{s_j})$ and $q_0$ the rest, the
    loss is $-\frac{1}{1 + \gamma}\langle\log q_0\rangle$ over K permuted thetas, minus
    $\frac{\gamma}{1 + \gamma}\langle\log q_1\rangle$ over the matching one among K - 1
    permuted. Its minimiser is the ratio itself, as for binary cross-entropy, and many
    contrasts show it the near misses that make narrow posteriors sharp.

    Reference: Miller, Weniger, Forré, *Contrastive neural ratio estimation*,
    NeurIPS 2022 (arXiv 2210.06170).

    Attributes:
        contrasts: number K of thetas among which to choose.
        gamma: odds $\gamma$ that the matching one is there.
    """

    contrasts: int = eqx.field(static=True, default=63)
    gamma: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        """Some contrasts must be there, and odds that the matching theta is."""
        whole_number("contrasts", self.contrasts)
        if not self.gamma > 0:
            raise ValueError(f"`gamma` must be positive, got {self.gamma}.")

    def __call__(
        self, joint: Float[Array, " b"], marginal: Float[Array, "b K"]
    ) -> Float[Array, ""]:
        """The loss of a batch.

        Args:
            joint: logits of the matching pairs, `[b]`.
            marginal: logits with the mismatched thetas, `[b, K]`.

        Returns:
            The mean loss, a scalar.
        """
        k = marginal.shape[1]
        log_k, log_gamma = jnp.log(float(k)), jnp.log(self.gamma)

        def log_total(logits: Float[Array, "b K"]) -> Float[Array, " b"]:
            none = jnp.full((*logits.shape[:1], 1), log_k, logits.dtype)
            all_of_them = jnp.concatenate([none, log_gamma + logits], 1)
            return jax.nn.logsumexp(all_of_them, axis=1)

        among = jnp.concatenate([joint[:, None], marginal[:, 1:]], 1)
        absent = log_k - log_total(marginal)
        present = log_gamma + joint - log_total(among)
        weight = self.gamma / (1 + self.gamma)
        return -((1 - weight) * absent.mean() + weight * present.mean())


class Softmax(AbstractLoss):
    r"""Pick the matching theta out of K + 1 (NRE-B).

    $$
    \ell = -\left\langle \log \frac{e^{s_0}}{\sum_{k=0}^{K} e^{s_k}} \right\rangle
    $$

    with $s_0$ the logit of the matching pair. Adding any $c(x)$ to the logits changes
    nothing, so what is learned is $\log r(\theta, x) + c(x)$ with $c$ unknown. A
    posterior, which is normalised anyway, does not notice; evidences, averages over
    models or members, and a product over several observations' normalisations do.

    Reference: Durkan, Murray, Papamakarios, *On contrastive learning for
    likelihood-free inference*, ICML 2020 (arXiv 2002.03712).

    Attributes:
        contrasts: number K of mismatched thetas for each observation.
    """

    contrasts: int = eqx.field(static=True, default=63)

    def __check_init__(self):
        """Some contrasts must be there."""
        whole_number("contrasts", self.contrasts)

    def __call__(
        self, joint: Float[Array, " b"], marginal: Float[Array, "b K"]
    ) -> Float[Array, ""]:
        """The loss of a batch.

        Args:
            joint: logits of the matching pairs, `[b]`.
            marginal: logits with the mismatched thetas, `[b, K]`.

        Returns:
            The mean loss, a scalar.
        """
        every = jnp.concatenate([joint[:, None], marginal], 1)
        return (jax.nn.logsumexp(every, axis=1) - joint).mean()


class Balanced(AbstractLoss):
    r"""A loss that also asks for balance, and so leans to wide posteriors (BNRE).

    $$
    \ell + \lambda \left( \langle\sigma(s)\rangle_{p(\theta, x)}
    + \langle\sigma(s)\rangle_{p(\theta) p(x)} - 1 \right)^2
    $$

    The exact log-ratio is balanced, so the minimiser stays the same; among classifiers
    that are not exact, balanced ones are the more conservative on average. A large
    $\lambda$ slows the start: train without it first, then go on with it (`strength`
    is a leaf of the pytree, so changing it compiles nothing anew). `loss` must be one
    whose minimiser is the ratio itself: not `Softmax`.

    Reference: Delaunoy et al., *Towards reliable simulation-based inference with
    balanced neural ratio estimation*, NeurIPS 2022 (arXiv 2208.13624).

    Attributes:
        loss: the loss to add to.
        strength: $\lambda$; the reference's 100.
        contrasts: number of mismatched thetas for each observation: that of `loss`.
    """

    loss: AbstractLoss
    strength: Float[Array, ""] | float
    contrasts: int = eqx.field(static=True)

    def __init__(
        self,
        loss: AbstractLoss | None = None,
        strength: Float[Array, ""] | float = 100.0,
    ):
        """Add a penalty of this strength to `loss`, binary cross-entropy by default."""
        self.loss = BinaryCrossEntropy() if loss is None else loss
        self.strength = strength
        self.contrasts = self.loss.contrasts

    def __check_init__(self):
        """The logits must be log-ratios, without an unknown function of x."""
        if isinstance(self.loss, Softmax):
            raise ValueError(
                "`loss` is Softmax, whose logits hold an unknown function of x, so "
                "that their balance means nothing; use BinaryCrossEntropy or "
                "Contrastive."
            )
        if hasattr(self.loss, "of_batch"):
            raise ValueError(
                f"`loss` is {type(self.loss).__name__}, which shifts logits itself; "
                "put Balanced inside it, as its `loss`."
            )
        traced = isinstance(self.strength, Tracer)
        if not traced and not 0 <= float(self.strength) < float("inf"):
            raise ValueError(
                f"`strength` must be finite and not negative, got {self.strength}; the "
                "reference's is 100."
            )

    def __call__(
        self, joint: Float[Array, " b"], marginal: Float[Array, "b K"]
    ) -> Float[Array, ""]:
        """The loss of a batch.

        Args:
            joint: logits of the matching pairs, `[b]`.
            marginal: logits with the mismatched thetas, `[b, K]`.

        Returns:
            The mean loss, a scalar.
        """
        total = jax.nn.sigmoid(joint).mean() + jax.nn.sigmoid(marginal).mean()
        return self.loss(joint, marginal) + self.strength * (total - 1) ** 2
