"""The detector at the end of every instrument that makes images."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gl15.instruments._checks import (
    check_boundary,
    check_not_negative,
    check_positive,
    checked,
    is_known,
)
from gl15.instruments._instrument import (
    AbstractInstrument,
    AnyKey,
    Boundary,
    Image,
    Parameter,
)
from gl15.instruments._motion import smear
from gl15.instruments._noise import baseline_noise, read_noise
from gl15.instruments._pixels import bin_pixels, resample


class Detector(AbstractInstrument):
    r"""A detector: pixels of its own, a largest signal, drift, and readout noise.

    The image moves steadily by `drift` while it is exposed. Each pixel shows its mean
    over the pixel's area, clipped to $[-s, s]$. Row after row is then read: a zero
    level that wanders and Gaussian noise are added, which know nothing of the signal.

    Attributes:
        binning: number b of image pixels along each side of a detector pixel.
        saturation: largest signal s; `None` for no limit.
        readout_noise: standard deviation of the noise, in the units of the signal.
        pixel_size: side of a detector pixel in units of length, instead of `binning`;
            as many pixels as fit, in the middle of the image.
        drift: how far the image moves during the exposure along x and y, in units of
            length.
        baseline_drift: standard deviation that the zero level has gained by the last
            row, in the units of the signal.
        boundary: where the moving image goes at its edges: `"open"`, thrown back, or
            `"periodic"`, round the torus.
    """

    binning: int = eqx.field(static=True, default=1)
    saturation: Parameter | None = None
    readout_noise: Parameter = 0.0
    pixel_size: float | None = eqx.field(static=True, default=None)
    drift: tuple[Parameter, Parameter] = (0.0, 0.0)
    baseline_drift: Parameter = 0.0
    boundary: Boundary = eqx.field(static=True, default="open")

    def __check_init__(self):
        check_not_negative(
            readout_noise=self.readout_noise, baseline_drift=self.baseline_drift
        )
        check_positive(saturation=self.saturation, pixel_size=self.pixel_size)
        check_boundary(self.boundary)
        if self.binning < 1 or self.binning % 1:
            raise ValueError(
                f"`binning` must be at least 1 pixel and a whole number, got "
                f"{self.binning}; for others give `pixel_size`."
            )
        if self.pixel_size is not None and self.binning != 1:
            raise ValueError(
                f"`binning`={self.binning} and `pixel_size`={self.pixel_size:g} both "
                "give the size of a pixel; choose one."
            )
        if len(self.drift) != 2 or any(
            is_known(one) and not np.isfinite(one) for one in self.drift
        ):
            raise ValueError(
                f"`drift` must be two finite lengths, along x and y, got {self.drift}."
            )

    def __call__(
        self, x: Image, *, spacing: float, key: AnyKey | None = None
    ) -> Float[Array, "px py channels"]:
        """Measure an image.

        Args:
            x: the image, channels last.
            spacing: pixel spacing of `x`.
            key: JAX random key of the noise.

        Returns:
            The image on the detector's pixels, same channels.

        Raises:
            ValueError: if the image is no finite image, the pixels do not suit it, it
                moves further than it is wide, or a key is missing.
        """
        x = checked(x, spacing, "Detector")
        seen = smear(x, self.drift, spacing, self.boundary)
        if self.pixel_size is None:
            seen = bin_pixels(seen, self.binning)
        else:
            seen = resample(seen, self.pixel_size, spacing)
        if self.saturation is not None:
            largest = jnp.asarray(self.saturation, seen.dtype)
            seen = jnp.clip(seen, -largest, largest)
        level_key, noise_key = (None, None) if key is None else jax.random.split(key)
        seen = baseline_noise(
            seen, self.baseline_drift, level_key, "Detector", "baseline_drift"
        )
        return read_noise(
            seen, self.readout_noise, noise_key, "Detector", "readout_noise"
        )

    def output_spacing(self, spacing: float) -> float:
        """The spacing of the detector's pixels.

        Args:
            spacing: pixel spacing of the image.

        Returns:
            `pixel_size`, or `spacing` times `binning`.
        """
        return spacing * self.binning if self.pixel_size is None else self.pixel_size

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """The channels of the image.

        Args:
            channels: names of the image's channels.

        Returns:
            `channels`.
        """
        return channels
