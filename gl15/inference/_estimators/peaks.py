r"""Peaks: where an observation puts the parameters, and how sharply.

All parameters here are standardised by the prior (`Prior.standardize`) and written u.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.inference._estimators.limits import (
    ends_of,
    Limits,
    log_mass,
    normal_within,
)


_EDGE = 1e-3  # of the prior's width: how near to a limit a start may be


class Peaks(eqx.Module):
    r"""A mixture of normal peaks over standardised parameters, within their limits.

    $$
    q(u) = \sum_m w_m \prod_j \frac{L_{m,jj}\, \varphi(z_{mj})}
    {\Phi(b_{mj}) - \Phi(a_{mj})}, \qquad z_m = L_m (u - \mu_m)
    $$

    Every parameter, given those before it, is a normal cut off at its limits, which lie
    at $a$ and $b$ in units of its width: a posterior that leans on an edge of the prior
    is of this form, and no draw falls outside. Without limits, and where they are far
    away, the peaks are normals of precision $L_m^\top L_m$.

    Attributes:
        log_weight: $\log w_m$, of sum one.
        location: $\mu_m$, which may lie beyond a limit.
        factor: $L_m$, lower triangular with a positive diagonal.
        limits: lowest and highest value of every parameter, infinite where there is
            none; None without any.
    """

    log_weight: Float[Array, " m"]
    location: Float[Array, "m d"]
    factor: Float[Array, "m d d"]
    limits: Limits | None = eqx.field(static=True, default=None)

    def log_prob(self, u: Float[Array, " d"]) -> Float[Array, ""]:
        r"""Log-density $\log q(u)$, for u within the limits.

        Args:
            u: standardised parameters.

        Returns:
            The log-density.
        """
        distance = jnp.einsum("mij,mj->mi", self.factor, u - self.location)
        diagonal = jnp.diagonal(self.factor, axis1=1, axis2=2)
        volume = jnp.log(diagonal) - math.log(2 * math.pi) / 2
        each = (volume - distance**2 / 2).sum(1)
        if self.limits is not None:
            low, high = ends_of(self.limits, u.dtype)
            below, above = diagonal * (low - u), diagonal * (high - u)
            each = each - log_mass(distance + below, distance + above).sum(1)
        return jax.nn.logsumexp(self.log_weight + each)

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
        if m == 1:
            location, factor = self.location, self.factor
        else:
            peak = jax.random.categorical(peak_key, self.log_weight, shape=(count,))
            # A product in place of a gather, which a CPU does draw by draw.
            chosen = jax.nn.one_hot(peak, m, dtype=self.location.dtype)
            location = chosen @ self.location
            factor = (chosen @ self.factor.reshape(m, -1)).reshape(-1, d, d)
        if self.limits is None:
            noise = jax.random.normal(noise_key, (count, d), location.dtype)
            solved = solve_rows(jnp.broadcast_to(factor, (count, d, d)), noise)
            return location + solved
        level = jax.random.uniform(noise_key, (d, count), location.dtype)
        low, high = ends_of(self.limits, location.dtype)

        def draw(drawn: Array, of: tuple[Array, ...]) -> tuple[Array, None]:
            j, row, level = of
            # Those not drawn yet are at their location, and say nothing.
            scale, before = row[:, j], (row * (drawn - location)).sum(1)
            centre = location[:, j] - before / scale
            ends = scale * (low[j] - centre), scale * (high[j] - centre)
            one = jnp.clip(
                centre + normal_within(level, *ends) / scale, low[j], high[j]
            )
            return drawn.at[:, j].set(one), None

        start = jnp.broadcast_to(location, (count, d))
        rows = jnp.broadcast_to(jnp.moveaxis(factor, 1, 0), (d, count, d))
        # A loop, not written out: each draw is a long formula, and all in one longer.
        return jax.lax.scan(draw, start, (jnp.arange(d), rows, level))[0]

    def highest(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """Location and covariance of the peak of greatest weight.

        Returns:
            The location `[d]`, the nearest one within the limits, and the covariance
            `[d, d]` without them.
        """
        best = jnp.argmax(self.log_weight)
        d = self.location.shape[1]
        unit = jnp.eye(d, dtype=self.factor.dtype)
        spread = solve_rows(jnp.broadcast_to(self.factor[best], (d, d, d)), unit)
        location = self.location[best]
        if self.limits is not None:
            low, high = ends_of(self.limits, location.dtype)
            room = _EDGE * jnp.minimum(high - low, 1.0)
            location = jnp.clip(location, low + room, high - room)
        return location, spread.T @ spread


def solve_rows(
    factor: Float[Array, "n d d"], right: Float[Array, "n d"]
) -> Float[Array, "n d"]:
    """Solutions y of L y = b for every row, by forward substitution.

    Written out: under `vmap` a CPU's own solver takes small systems one by one.

    Args:
        factor: lower triangular matrices L.
        right: right-hand sides b.

    Returns:
        The solutions, a row each.
    """
    solved: list[Array] = []
    for i in range(right.shape[1]):
        known = sum(factor[:, i, j] * solved[j] for j in range(i))
        solved.append((right[:, i] - known) / factor[:, i, i])
    return jnp.stack(solved, axis=1)
