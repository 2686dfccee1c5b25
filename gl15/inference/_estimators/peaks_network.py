"""From the features of an observation to where its peaks are."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.inference._estimators.limits import Limits
from gl15.inference._estimators.peaks import Peaks, solve_rows


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
        limits: of the parameters, which the peaks keep within; None without any.
    """

    mlp: eqx.nn.MLP
    dimensions: int = eqx.field(static=True)
    components: int = eqx.field(static=True)
    members: int = eqx.field(static=True)
    limits: Limits | None = eqx.field(static=True)

    def __init__(
        self,
        features: int,
        dimensions: int,
        components: int,
        members: int,
        *,
        width: int,
        centre: Float[Array, " d"],
        limits: Limits | None = None,
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
            limits: of the parameters, standardised; None without any.
            key: JAX random key for the initial weights.
        """
        weight_key, frame_key, member_key = jax.random.split(key, 3)
        d = self.dimensions = dimensions
        self.components, self.members, self.limits = components, members, limits
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
        factor = _triangular(one[:, 1 + d :], d)
        return Peaks(weight, one[:, 1 : 1 + d], factor, self.limits)

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
        each = jnp.repeat(frames.factor, self.members, axis=0)
        offset = solve_rows(each, within[..., 1 : 1 + d].reshape(-1, d))
        offset = offset.reshape(self.components, self.members, d)
        location = frames.location[:, None] + offset
        factor = _triangular(within[..., 1 + d :], d) @ frames.factor[:, None]
        weight = frames.log_weight[:, None] + jax.nn.log_softmax(within[..., 0], 1)
        location, factor = location.reshape(-1, d), factor.reshape(-1, d, d)
        return Peaks(weight.ravel(), location, factor, self.limits)


def _triangular(numbers: Float[Array, "*m n"], d: int) -> Float[Array, "*m d d"]:
    """Lower triangular matrices: the diagonal's logarithm, then the rows' shear."""
    # Bounded on both sides: wider than any prior, sharper than float32 can tell.
    diagonal = jnp.exp(jnp.clip(numbers[..., :d], -3, 12))
    rows, columns = np.tril_indices(d, -1)
    shear = jnp.zeros((*numbers.shape[:-1], d, d), numbers.dtype)
    shear = shear.at[..., rows, columns].set(numbers[..., d:])
    return (jnp.eye(d, dtype=numbers.dtype) + shear) * diagonal[..., :, None]
