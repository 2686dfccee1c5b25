"""The detector at the end of every instrument that makes images."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gl15.instruments._instrument import (
    AbstractInstrument,
    AnyKey,
    check_not_negative,
    check_positive,
    Image,
    Parameter,
)
from gl15.instruments._noise import read_noise


class Detector(AbstractInstrument):
    r"""A detector: pixels of its own, a largest signal, and noise of reading out.

    Each pixel shows the mean of $b \times b$ pixels of the image, clipped to
    $[-s, s]$, plus Gaussian noise that knows nothing of the signal.

    Attributes:
        binning: number b of image pixels along each side of a detector pixel.
        saturation: largest signal s; `None` for no limit.
        readout_noise: standard deviation of the noise, in the units of the signal.
    """

    binning: int = eqx.field(static=True, default=1)
    saturation: Parameter | None = None
    readout_noise: Parameter = 0.0

    def __check_init__(self):
        check_not_negative(readout_noise=self.readout_noise)
        check_positive(saturation=self.saturation)
        if self.binning < 1:
            raise ValueError(f"`binning` must be at least 1 pixel, got {self.binning}.")

    def __call__(
        self, x: Image, *, spacing: float, key: AnyKey | None = None
    ) -> Float[Array, "px py channels"]:
        """Measure an image.

        Args:
            x: the image, channels last.
            spacing: pixel spacing of `x`; the detector's is `binning` times it.
            key: JAX random key of the noise.

        Returns:
            The image on the detector's pixels, same channels.

        Raises:
            ValueError: if the pixels do not divide the image, or a key is missing.
        """
        nx, ny, channels = x.shape
        b = self.binning
        if nx % b or ny % b:
            raise ValueError(
                f"`binning`={b} does not divide the image of {nx} x {ny} pixels; crop "
                f"it to {nx // b * b} x {ny // b * b}, or choose another `binning`."
            )
        binned = x.reshape(nx // b, b, ny // b, b, channels).mean((1, 3))
        if self.saturation is not None:
            binned = jnp.clip(binned, -self.saturation, self.saturation)
        noise = self.readout_noise
        return read_noise(binned, noise, key, "Detector", "readout_noise")

    def output_spacing(self, spacing: float) -> float:
        """The spacing of the detector's pixels.

        Args:
            spacing: pixel spacing of the image.

        Returns:
            `spacing` times `binning`.
        """
        return spacing * self.binning
