r"""Peaks: where an observation puts the parameters, and how sharply.

All parameters here are standardised by the prior (`Prior.standardize`) and written u.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray


class Peaks(eqx.Module):
    r"""A mixture of normal peaks over standardised parameters.

    $$
    q(u) = \sum_m w_m \, |L_m| \, (2\pi)^{-d/2}\, e^{-|L_m (u - \mu_m)|^2 / 2}
    $$

    Attributes:
        log_weight: $\log w_m$, of sum one.
        location: $\mu_m$.
        factor: $L_m$, lower triangular with a positive diagonal; the precision is
            $L_m^\top L_m$.
    """

    log_weight: Float[Array, " m"]
    location: Float[Array, "m d"]
    factor: Float[Array, "m d d"]

    def log_prob(self, u: Float[Array, " d"]) -> Float[Array, ""]:
        r"""Log-density $\log q(u)$.

        Args:
            u: standardised parameters.

        Returns:
            The log-density.
        """
        distance = jnp.einsum("mij,mj->mi", self.factor, u - self.location)
        diagonal = jnp.diagonal(self.factor, axis1=1, axis2=2)
        volume = jnp.log(diagonal).sum(1) - u.shape[0] / 2 * math.log(2 * math.pi)
        each = self.log_weight + volume - (distance**2).sum(1) / 2
        return jax.nn.logsumexp(each)

    def local(self, u: Float[Array, " d"]) -> Float[Array, " md"]:
        r"""Where u is as the peaks see it: $L_m (u - \mu_m)$, bounded, of all peaks.

        Args:
            u: standardised parameters.

        Returns:
            Coordinates of order one, $2\tanh(\cdot/4)$ of each distance.
        """
        distance = jnp.einsum("mij,mj->mi", self.factor, u - self.location)
        return 2 * jnp.tanh(distance / 4).ravel()

    def sample(self, key: PRNGKeyArray, count: int) -> Float[Array, "count d"]:
        """Independent draws.

        Args:
            key: JAX random key.
            count: how many.

        Returns:
            The draws, `[count, d]`.
        """
        peak_key, noise_key = jax.random.split(key)
        m, d = self.location.shape
        noise = jax.random.normal(noise_key, (count, d), self.location.dtype)
        if m == 1:
            return self.location[0] + _solve(self.factor[0], noise)
        peak = jax.random.categorical(peak_key, self.log_weight, shape=(count,))
        # All peaks solved and one kept: gathering a matrix for each draw costs more.
        every = jax.vmap(_solve, (0, None))(self.factor, noise) + self.location[:, None]
        return jnp.take_along_axis(every, peak[None, :, None], 0)[0]

    def highest(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """Location and covariance of the peak of greatest weight.

        Returns:
            The location `[d]` and the covariance `[d, d]`.
        """
        best = jnp.argmax(self.log_weight)
        d = self.location.shape[1]
        spread = _solve(self.factor[best], jnp.eye(d, dtype=self.factor.dtype))
        return self.location[best], spread.T @ spread


def _solve(
    factor: Float[Array, "d d"], right: Float[Array, "n d"]
) -> Float[Array, "n d"]:
    """Solutions y of L y = b for every row b, by forward substitution.

    Written out: under `vmap` a CPU's own solver takes small systems one by one.
    """
    solved: list[Array] = []
    for i in range(right.shape[1]):
        known = sum(factor[i, j] * solved[j] for j in range(i))
        solved.append((right[:, i] - known) / factor[i, i])
    return jnp.stack(solved, axis=1)


class PeaksNetwork(eqx.Module):
    r"""From the features of an observation to its `Peaks`, as one flat vector.

    Peaks come in families. A family has a frame $(\mu, L)$, and each of its members a
    place and a shape within that frame: $\mu + L^{-1} \delta_j$ and $F_j L$. Members
    begin apart in units of the frame, so that they stay apart while it shrinks from
    the prior's width to the posterior's; peaks placed freely meet on the way and move
    as one from then on.

    Attributes:
        mlp: the network.
        dimensions: number of parameters d.
        components: number of families.
        members: number of peaks in each.
    """

    mlp: eqx.nn.MLP
    dimensions: int = eqx.field(static=True)
    components: int = eqx.field(static=True)
    members: int = eqx.field(static=True)

    def __init__(
        self,
        features: int,
        dimensions: int,
        components: int,
        members: int,
        *,
        width: int,
        centre: Float[Array, " d"],
        key: PRNGKeyArray,
    ):
        """Build the network; untrained, its peaks are as wide as the prior.

        Args:
            features: length of the features.
            dimensions: number of parameters d.
            components: number of families.
            members: number of peaks in each.
            width: width of the hidden layer.
            centre: where the prior is, standardised, `[d]`.
            key: JAX random key for the initial weights.
        """
        weight_key, frame_key, member_key = jax.random.split(key, 3)
        d = self.dimensions = dimensions
        self.components, self.members = components, members
        one = 1 + d + d * (d + 1) // 2
        count = components * (1 + (members if members > 1 else 0))
        mlp = eqx.nn.MLP(
            features, count * one, width, 1, activation=jax.nn.gelu, key=weight_key
        )
        frames = jnp.zeros((components, one)).at[:, 1 + d : 1 + 2 * d].set(1.0)
        scatter = 0.2 * jax.random.normal(frame_key, (components, d))
        place = centre + (scatter if components > 1 else 0)
        parts = [frames.at[:, 1 : 1 + d].set(place).ravel()]
        if members > 1:
            within = jnp.zeros((components, members, one))
            apart = jax.random.normal(member_key, (components, members, d))
            within = within.at[..., 1 : 1 + d].set(apart)
            parts.append(within.at[..., 1 + d : 1 + 2 * d].set(0.5).ravel())
        bias = jnp.concatenate(parts)
        self.mlp = eqx.tree_at(lambda one: one.layers[-1].bias, mlp, bias)

    @property
    def size(self) -> int:
        """Numbers that describe all peaks."""
        d = self.dimensions
        count = self.components * (1 + (self.members if self.members > 1 else 0))
        return count * (1 + d + d * (d + 1) // 2)

    def __call__(self, h: Float[Array, " f"]) -> Float[Array, " size"]:
        """The peaks as one vector.

        Args:
            h: features of an observation.

        Returns:
            The vector, for `peaks` and `frames`.
        """
        return self.mlp(h)

    def frames(self, flat: Float[Array, " size"]) -> Peaks:
        """One peak for each family: its frame.

        Args:
            flat: what calling the network gave.

        Returns:
            The frames.
        """
        d = self.dimensions
        one = flat[: self.components * (1 + d + d * (d + 1) // 2)]
        one = one.reshape(self.components, -1)
        weight = jax.nn.log_softmax(one[:, 0])
        return Peaks(weight, one[:, 1 : 1 + d], _triangular(one[:, 1 + d :], d))

    def peaks(self, flat: Float[Array, " size"]) -> Peaks:
        """The peaks that a vector describes.

        Args:
            flat: what calling the network gave.

        Returns:
            The peaks, of one family after another.
        """
        frames, d = self.frames(flat), self.dimensions
        if self.members == 1:
            return frames
        size = 1 + d + d * (d + 1) // 2
        within = flat[self.components * size :]
        within = within.reshape(self.components, self.members, size)
        offset = jax.vmap(_solve)(frames.factor, within[..., 1 : 1 + d])
        location = frames.location[:, None] + offset
        factor = _triangular(within[..., 1 + d :], d) @ frames.factor[:, None]
        weight = frames.log_weight[:, None] + jax.nn.log_softmax(within[..., 0], 1)
        return Peaks(weight.ravel(), location.reshape(-1, d), factor.reshape(-1, d, d))


def _triangular(numbers: Float[Array, "*m n"], d: int) -> Float[Array, "*m d d"]:
    """Lower triangular matrices: the diagonal's logarithm, then the rows' shear."""
    # Bounded on both sides: wider than any prior, sharper than float32 can tell.
    diagonal = jnp.exp(jnp.clip(numbers[..., :d], -3, 12))
    rows, columns = np.tril_indices(d, -1)
    shear = jnp.zeros((*numbers.shape[:-1], d, d), numbers.dtype)
    shear = shear.at[..., rows, columns].set(numbers[..., d:])
    return (jnp.eye(d, dtype=numbers.dtype) + shear) * diagonal[..., :, None]
