r"""Losses of ratio estimation, from logits of matching and of mismatched pairs.

A batch of b pairs gives the logits of its own pairs, `joint` `[b]`, and of each
observation with K other thetas of the batch, `marginal` `[b, K]`: draws from
$p(\theta, x)$ and from $p(\theta)\,p(x)$.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class AbstractLoss(eqx.Module):
    """A loss whose minimiser is the log-ratio.

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
