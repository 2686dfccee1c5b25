"""Scanning tunnelling microscopy."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gl15.instruments._blur import blur
from gl15.instruments._checks import (
    check_boundary,
    check_channels,
    check_not_negative,
    check_positive,
    checked,
    select,
)
from gl15.instruments._instrument import (
    AbstractInstrument,
    AnyKey,
    Boundary,
    Image,
    Parameter,
)
from gl15.instruments._noise import count_noise, finite


class STM(AbstractInstrument):
    r"""Scanning tunnelling microscope at zero bias.

    $$
    y(r) = \frac{1}{c\,\mathrm{d}x^2}\, \mathrm{Poisson}\big( c\,\mathrm{d}x^2\,
    (G_\sigma * [|\psi_1|^2 + |\psi_2|^2])(r) \big)
    $$

    The local density is taken from both bands (Table II), smeared by a Gaussian tip of
    about a nanometre (section VI.E), and measured by counting. Lengths are those of
    the pixel spacing; `InNanometres` lets them be nanometres.

    Attributes:
        tip_width: standard deviation $\sigma$ of the tip's response, in units of
            length; 0 for a point.
        counts: expected counts $c$ per unit of density and of area, so that smaller
            pixels count less; `None` or infinity for no noise.
        channels: the channels whose sum is seen.
        boundary: how the sample goes on beyond the image: `"open"`, mirrored, or
            `"periodic"`, round the torus.
    """

    tip_width: Parameter = 0.0
    counts: Parameter | None = None
    channels: tuple[int, ...] = eqx.field(static=True, default=(0, 1))
    boundary: Boundary = eqx.field(static=True, default="open")

    def __check_init__(self):
        check_not_negative(tip_width=self.tip_width)
        check_positive(counts=self.counts)
        check_channels(self.channels)
        check_boundary(self.boundary)

    def __call__(
        self, x: Image, *, spacing: float, key: AnyKey | None = None
    ) -> Float[Array, "nx ny 1"]:
        """Measure an image; the result has one channel.

        Args:
            x: the image, channels last.
            spacing: pixel spacing of `x`.
            key: JAX random key of the counts.

        Returns:
            The density seen, `[nx, ny, 1]`.

        Raises:
            ValueError: if the image is no finite image, the tip is wider than it, a
                density to be counted is negative, or a key is missing.
        """
        density = select(checked(x, spacing, "STM"), self.channels, "STM")
        total = jnp.sum(density, axis=-1, keepdims=True)
        seen = blur(total, self.tip_width, spacing, self.boundary, "tip_width")
        counts = finite(self.counts)
        if counts is None:
            return seen
        return count_noise(seen, counts * spacing**2, key, "STM")

    def output_spacing(self, spacing: float) -> float:
        """The pixel spacing of the image itself.

        Args:
            spacing: pixel spacing of the image.

        Returns:
            `spacing`.
        """
        return spacing

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """The one channel it shows.

        Args:
            channels: names of the image's channels.

        Returns:
            `("density",)`.
        """
        del channels
        return ("density",)
