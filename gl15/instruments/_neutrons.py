"""Neutron scattering."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Float

from gl15.instruments._checks import (
    check_channels,
    check_not_negative,
    check_positive,
    checked,
    is_known,
    select,
)
from gl15.instruments._instrument import AbstractInstrument, AnyKey, Image, Parameter
from gl15.instruments._noise import count_noise, finite
from gl15.observables import (
    default_edges,
    ring_counts,
    ring_wave_numbers,
    structure_factor,
)
from gl15.observables._windows import check_window, Window


class NeutronScattering(AbstractInstrument):
    r"""Small-angle scattering: the structure factor at finite resolution.

    $$
    y(k) = \int R(k, k')\, S(k')\, \mathrm{d}k', \qquad R(k, k') \propto
    e^{-(k - k')^2 / 2 (r k)^2}
    $$

    with $r = \Delta k/k$ and the resolution function normalised, so that a flat
    spectrum stays flat (Table II and section VI.E). This instrument ends a chain: it
    shows a curve, not an image. Neutrons see the field rather than the density:
    `channels=(2,)` scatters from the curl.

    Attributes:
        resolution: $\Delta k / k$, a standard deviation; 2.355 times less than a full
            width at half maximum.
        counts: expected number of neutrons in the whole exposure, shared among the
            rings as $S(k)$ times the number of wave vectors; `None` or infinity for no
            noise. A flat image scatters none.
        edges: edges of the rings, as in `gl15.observables.structure_factor`.
        channels: the channels whose sum scatters.
        window: `"hann"` for an open sample, as in `structure_factor`; `None` for a
            torus.
    """

    resolution: Parameter = 0.05
    counts: Parameter | None = None
    edges: tuple[float, ...] | None = eqx.field(static=True, default=None)
    channels: tuple[int, ...] = eqx.field(static=True, default=(0, 1))
    window: Window = eqx.field(static=True, default=None)

    def __check_init__(self):
        check_not_negative(resolution=self.resolution)
        check_positive(counts=self.counts)
        check_channels(self.channels)
        check_window(self.window)
        if is_known(self.resolution) and float(self.resolution) > 1:
            raise ValueError(
                f"`resolution`={float(self.resolution):g} is wider than the wave "
                "number itself; it is a fraction, 0.05 for 5 per cent."
            )

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
            ValueError: if the image is no finite image, the rings do not suit it, or a
                key is missing.
        """
        x = checked(x, spacing, "NeutronScattering")
        density = jnp.sum(select(x, self.channels, "NeutronScattering"), axis=-1)
        shape = (x.shape[0], x.shape[1])
        edges = self._edges(shape, spacing)
        k, S = structure_factor(density, spacing, edges, window=self.window)
        weights = ring_counts(shape, spacing, edges).astype(float)
        return self.scatter(k, S, edges=edges, weights=weights, key=key)

    def scatter(
        self,
        k: Float[Array, " rings"],
        S: Float[Array, " rings"],
        *,
        edges: tuple[float, ...] | Float[np.ndarray, " edges"],
        weights: Float[np.ndarray, " rings"] | None = None,
        key: AnyKey | None = None,
    ) -> Float[Array, " rings"]:
        """Measure a structure factor known otherwise, such as that of the vortices.

        For example that of `gl15.observables.point_structure_factor`.

        Args:
            k: wave number of each ring.
            S: structure factor there.
            edges: edges of the rings.
            weights: number of wave vectors in each ring, which share the counts; by
                default the areas of the rings.
            key: JAX random key of the counts.

        Returns:
            The structure factor as measured.

        Raises:
            ValueError: if there are not as many rings as values, S is known to be NaN,
                or a key is missing.
        """
        borders = np.asarray(edges, float)
        if borders.shape != (S.shape[0] + 1,) or np.any(np.diff(borders) <= 0):
            raise ValueError(
                f"`edges` must be {S.shape[0] + 1} rising wave numbers for the "
                f"{S.shape[0]} values of `S`, got {borders}."
            )
        if is_known(S) and (bad := int(np.sum(~np.isfinite(S)))):
            raise ValueError(
                f"`S` holds {bad} values that are NaN or infinite, of {S.size}; give "
                "wider rings, or a pattern with vortices in it."
            )
        smear = self._resolution_matrix(k, borders)
        seen = jnp.matmul(smear, S, precision="highest")
        counts = finite(self.counts)
        if counts is None:
            return seen
        shares = np.diff(borders**2) if weights is None else weights
        shares = jnp.asarray(shares, S.dtype)
        total = jnp.sum(seen * shares)
        # A flat image scatters nothing: no neutrons to share, at any exposure.
        exposure = counts * shares / jnp.where(total > 0, total, 1)
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

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """None: a curve has no channels.

        Args:
            channels: names of the image's channels.

        Returns:
            `()`.
        """
        del channels
        return ()

    def _edges(self, shape: tuple[int, int], spacing: float) -> tuple[float, ...]:
        if self.edges is not None:
            return self.edges
        return tuple(default_edges(shape, spacing).tolist())

    def _resolution_matrix(
        self, k: Float[Array, " rings"], edges: Float[np.ndarray, " edges"]
    ) -> Float[Array, "rings rings"]:
        """What each ring gives to each: the normal law's share of its breadth."""
        # Far finer than the rings it leaves the curve as it is, without a 0/0.
        finest = 1e-3 * float(np.min(np.diff(edges)))
        width = jnp.maximum(jnp.asarray(self.resolution, k.dtype) * k, finest)
        borders = (jnp.asarray(edges, k.dtype) - k[:, None]) / width[:, None]
        shares = jnp.diff(ndtr(borders), axis=1)
        return shares / jnp.sum(shares, axis=1, keepdims=True)
