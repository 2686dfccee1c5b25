r"""Contrasts drawn where they are hard: from the estimator's own peaks.

In a batch of draws from the prior hardly any theta comes near a posterior that is a
hundred times narrower, and what a classifier never sees it cannot learn. Draws from the
peaks q(u | x) of the quadratic head are all near misses, and their density is known.
"""

import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from gl15.inference._estimators.peaks import Peaks
from gl15.inference._losses.losses import AbstractLoss, Contrastive, Softmax


class NearMisses(AbstractLoss):
    r"""A loss whose contrasts are partly drawn from the peaks of the quadratic head.

    Each of K contrasts is with probability $\alpha$ a draw $u \sim q(u \mid x)$ from
    the peaks as they are, else a theta of the batch, a draw of the prior: of density
    $m(u) = \alpha\, q(u \mid x) + (1 - \alpha)\, p(u)$. The inner loss sees the logits

    $$
    s'(\theta, x) = s(\theta, x) + \log p(u) - \log m(u \mid x)
    $$

    whose best value is $\log p(\theta \mid x)/m$; so s is the log-ratio still, however
    good or bad the peaks, which are held fixed here. A draw outside the prior's
    support is a contrast that the estimator is known to reject. The peaks themselves
    learn by $-\langle \log q(u \mid x) \rangle$ over the matching pairs, added.

    Attributes:
        loss: the loss of the shifted logits, `Contrastive(16)` by default.
        share: $\alpha$.
        contrasts: number K of contrasts for each observation: that of `loss`.
    """

    loss: AbstractLoss
    share: float = eqx.field(static=True)
    contrasts: int = eqx.field(static=True)

    def __init__(self, loss: AbstractLoss | None = None, share: float = 0.75):
        """Draw a share of the contrasts of `loss` from the peaks."""
        self.loss = Contrastive(contrasts=16) if loss is None else loss
        self.share = share
        self.contrasts = self.loss.contrasts

    def __check_init__(self):
        """Both kinds of contrasts must be there: each sees what the other misses."""
        if hasattr(self.loss, "of_batch"):
            raise ValueError(
                f"`loss` is {type(self.loss).__name__}, which draws contrasts itself; "
                "give one of the batch's, such as Contrastive(16)."
            )
        if isinstance(self.loss, Softmax):
            raise ValueError(
                "`loss` is Softmax, whose logits hold an unknown function of x: peaks "
                "that are shifted by it are not the log-ratio; use Contrastive(16)."
            )
        if not 0 < self.share < 1:
            raise ValueError(
                f"`share`={self.share:g} must be between 0 and 1: near misses alone "
                "leave the ratio free where the peaks are not."
            )

    def __call__(
        self, joint: Float[Array, " b"], marginal: Float[Array, "b K"]
    ) -> Float[Array, ""]:
        """The inner loss, of logits that are shifted already.

        Args:
            joint: logits of the matching pairs, `[b]`.
            marginal: logits with the contrasts, `[b, K]`.

        Returns:
            The mean loss, a scalar.
        """
        return self.loss(joint, marginal)

    def of_batch(
        self,
        estimator: Any,
        theta: Mapping[str, Float[Array, " b"]],
        z: Float[Array, "b ..."],
    ) -> Float[Array, ""]:
        """Loss of one batch, near misses drawn.

        The draws follow from the batch: a held-out batch meets the same ones each
        time, a training batch others whenever it is put together anew.

        Args:
            estimator: a single estimator with the quadratic head.
            theta: parameter name -> values `[b]`.
            z: standardised summaries.

        Returns:
            The loss, a scalar.

        Raises:
            ValueError: if the estimator has no quadratic head.
        """
        if estimator.quadratic is None:
            raise ValueError(
                "`loss` is NearMisses, which draws from the peaks of the quadratic "
                'head; build the estimator with `head="quadratic"`.'
            )
        u = estimator.prior.standardize(theta).astype(z.dtype)
        h = jax.vmap(estimator.features)(z)
        peaks = jax.vmap(estimator.peaks)(h)
        learned = -jax.vmap(lambda one, at: one.log_prob(at))(peaks, u).mean()
        fixed = jax.lax.stop_gradient(peaks)
        draw_key, choice_key = jax.random.split(_key_of(u))
        keys, count = jax.random.split(draw_key, len(u)), self.contrasts
        drawn = jax.vmap(lambda one, key: one.sample(key, count))(fixed, keys)
        rolled = [jnp.roll(u, -k, axis=0) for k in range(count + 1)]
        every = jnp.stack(rolled, 1)
        # Each contrast is of either kind by chance, for the mixture's density to be
        # that of every single one, as the losses take for granted.
        near = jax.random.bernoulli(choice_key, self.share, (len(u), count))
        near = jnp.pad(near, ((0, 0), (1, 0)))
        drawn = jnp.concatenate([u[:, None], drawn], 1)
        every = jnp.where(near[..., None], drawn, every)
        logits = jax.vmap(lambda *one: self._shifted(estimator, *one))(
            h, every, near, fixed
        )
        return self.loss(logits[:, 0], logits[:, 1:]) + learned

    def _shifted(
        self,
        estimator: Any,
        h: Array,
        u: Float[Array, "k d"],
        near: Bool[Array, " k"],
        fixed: Peaks,
    ) -> Float[Array, " k"]:
        prior = estimator.prior
        theta = prior.unstandardize(u)
        # A theta of the batch is inside, even if rounding puts it across an edge.
        inside = prior.contains(theta) | ~near
        theta = prior.restrict(theta)
        logit = jax.vmap(lambda one: estimator.correction(one, h))(theta)
        log_q = jax.vmap(fixed.log_prob)(u)
        log_p = prior.standard_log_prob(theta).astype(u.dtype)
        mixture = jnp.logaddexp(
            math.log(self.share) + log_q, math.log1p(-self.share) + log_p
        )
        never = jnp.finfo(u.dtype).min / 4
        return jnp.where(inside, logit + log_q - mixture, never)


def _key_of(u: Float[Array, "b d"]) -> PRNGKeyArray:
    """A key that the numbers of a batch decide."""
    bits = jax.lax.bitcast_convert_type(u.astype(jnp.float32), jnp.uint32)
    # Odd multipliers tell apart batches of the same pairs in another order.
    rank = jnp.arange(bits.size, dtype=jnp.uint32) * 2 + 1
    return jax.random.fold_in(jax.random.key(0), (bits.ravel() * rank).sum())
