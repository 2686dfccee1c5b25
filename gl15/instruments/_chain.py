"""Instruments one after the other."""

from collections.abc import Sequence

import jax
from jaxtyping import Array, Float

from gl15.instruments._checks import checked
from gl15.instruments._instrument import AbstractInstrument, AnyKey, Image


class Chain(AbstractInstrument):
    """Instruments one after the other, each seeing what the one before shows.

    For example `Chain((STM(tip_width=1.0), Detector(binning=2)))`. The pixel spacing
    is handed on, and each instrument has noise of its own.

    Attributes:
        instruments: the instruments, in the order in which the signal meets them.
    """

    instruments: tuple[AbstractInstrument, ...]

    def __init__(self, instruments: Sequence[AbstractInstrument]):
        """Put instruments in a row.

        Args:
            instruments: the instruments, at least one.

        Raises:
            ValueError: if there is none.
        """
        if not instruments:
            raise ValueError("`instruments` is empty; a chain needs at least one.")
        self.instruments = tuple(instruments)

    def __call__(
        self, x: Image, *, spacing: float, key: AnyKey | None = None
    ) -> Float[Array, "..."]:
        """Measure an image with all instruments.

        Args:
            x: the image, channels last.
            spacing: pixel spacing of `x`.
            key: JAX random key, split among the instruments.

        Returns:
            What the last instrument shows.

        Raises:
            ValueError: if the image is no finite image, or an instrument refuses what
                the one before it shows.
        """
        x = checked(x, spacing, "Chain")
        number = len(self.instruments)
        keys = [None] * number if key is None else list(jax.random.split(key, number))
        signal: Float[Array, ...] = x
        for instrument, own in zip(self.instruments, keys, strict=True):
            if signal.ndim != 3:
                raise ValueError(
                    f"{type(instrument).__name__} needs an image, but the instrument "
                    f"before it shows an array of shape {signal.shape}; let that one "
                    "be the last of the chain."
                )
            signal = instrument(signal, spacing=spacing, key=own)
            spacing = instrument.output_spacing(spacing)
        return signal

    def output_spacing(self, spacing: float) -> float:
        """The pixel spacing after the last instrument.

        Args:
            spacing: pixel spacing of the image.

        Returns:
            What each instrument in turn makes of it.
        """
        for instrument in self.instruments:
            spacing = instrument.output_spacing(spacing)
        return spacing

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the channels after the last instrument.

        Args:
            channels: names of the image's channels.

        Returns:
            What each instrument in turn makes of them.
        """
        for instrument in self.instruments:
            channels = instrument.output_channels(channels)
        return channels
