"""Neutron scattering."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gl15.instruments._instrument import (
    AbstractInstrument,
    AnyKey,
    check_not_negative,
    check_positive,
    Image,
    Parameter,
    select,
)
from gl15.instruments._noise import count_noise, finite
from gl15.observables import (
    default_edges,
    ring_indices,
    ring_wave_numbers,
    structure_factor,
)


class NeutronScattering(AbstractInstrument):
    r"""Small-angle scattering: the structure factor at finite resolution.

    $$
    y(k) = \int R(k, k')\, S(k')\, \mathrm{d}k', \qquad R(k, k') \propto
    e^{-(k - k')^2 / 2 (r k)^2}
    $$

    with $r = \Delta k/k$ and the resolution function normalised, so that a flat
    spectrum stays flat (Table II and section VI.E). This instrument ends a chain: it
    shows a curve, not an image.

    Attributes:
        resolution: $\Delta k / k$.
        counts: expected number of neutrons in the whole exposure, shared among the
            rings as $S(k)$ times the number of wave vectors; `None` or infinity for no
            noise. A flat image scatters none.
        edges: edges of the rings, as in `gl15.observables.structure_factor`.
        channels: the channels whose sum scatters.
    """

    resolution: Parameter = 0.05
    counts: Parameter | None = None
    edges: tuple[float, ...] | None = eqx.field(static=True, default=None)
    channels: tuple[int, ...] = eqx.field(static=True, default=(0, 1))

    def __check_init__(self):
        check_not_negative(resolution=self.resolution)
        check_positive(counts=self.counts)

    def __call__(
        self, x: Image, *, spacing: float, key: AnyKey | None = None
    ) -> Float[Array, " rings"]:
        """Measure an image.

        Args:
            x: the image, channels last.
            spacing: pixel spacing of `x`.
            key: JAX random key of the counts.

        Returns:
            The smeared structure factor at the wave numbers `wave_numbers` gives.

        Raises:
            ValueError: if the rings do not suit the image, or a key is missing.
        """
        density = jnp.sum(select(x, self.channels, "NeutronScattering"), axis=-1)
        shape = (x.shape[0], x.shape[1])
        edges = self._edges(shape, spacing)
        k, S = structure_factor(density, spacing, edges)
        smear = self._resolution_matrix(k, edges)
        seen = jnp.matmul(smear, S, precision="highest")
        counts = finite(self.counts)
        if counts is None:
            return seen
        rings = ring_indices(shape, spacing, edges)
        members = [np.sum(rings == ring) for ring in range(len(edges) - 1)]
        weights = jnp.asarray(np.array(members), S.dtype)
        total = jnp.sum(seen * weights)
        # A flat image scatters nothing: no neutrons to share, at any exposure.
        exposure = counts * weights / jnp.where(total > 0, total, 1)
        return count_noise(seen, exposure, key, "NeutronScattering")

    def wave_numbers(
        self, shape: tuple[int, int], spacing: float
    ) -> Float[np.ndarray, " rings"]:
        """The wave numbers at which the instrument shows the structure factor.

        Args:
            shape: number of pixels of the image.
            spacing: its pixel spacing.

        Returns:
            Mean wave number of each ring.
        """
        return ring_wave_numbers(shape, spacing, self._edges(shape, spacing))

    def output_spacing(self, spacing: float) -> float:
        """The pixel spacing of the image, which the curve no longer has.

        Args:
            spacing: pixel spacing of the image.

        Returns:
            `spacing`.
        """
        return spacing

    def _edges(self, shape: tuple[int, int], spacing: float) -> tuple[float, ...]:
        if self.edges is not None:
            return self.edges
        return tuple(default_edges(shape, spacing).tolist())

    def _resolution_matrix(
        self, k: Float[Array, " rings"], edges: tuple[float, ...]
    ) -> Float[Array, "rings rings"]:
        breadth = jnp.asarray(np.diff(edges), k.dtype)
        # A resolution far finer than the rings leaves the curve as it is.
        width = jnp.maximum(self.resolution * k, 0.05 * jnp.min(breadth))[:, None]
        weights = jnp.exp(-(((k[:, None] - k) / width) ** 2) / 2) * breadth
        return weights / jnp.sum(weights, axis=1, keepdims=True)
