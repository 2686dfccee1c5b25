"""Physical units: what the lengths and fields of a simulation are in a laboratory."""

import math

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from gl15.instruments._checks import is_known
from gl15.instruments._instrument import AbstractInstrument, AnyKey, Image
from gl15.physics import TwoBand


#: The flux quantum h/2e, in T nm^2.
FLUX_QUANTUM = 2067.833848


class Units(eqx.Module):
    r"""What one unit of length of a simulation is, in nanometres.

    The unit of the field follows, as a flux quantum is a flux of $2\pi$ in the
    simulation: $B = 1$ is $\Phi_0 / 2\pi\ell^2$.

    Attributes:
        length_nm: the unit of length $\ell$, in nanometres.
    """

    length_nm: float = eqx.field(static=True)

    def __check_init__(self):
        if not (np.isfinite(self.length_nm) and self.length_nm > 0):
            raise ValueError(
                f"`length_nm` must be a positive length, got {self.length_nm}."
            )

    @staticmethod
    def from_coherence_length(
        coherence_length_nm: float, material: TwoBand, band: int = 0
    ) -> "Units":
        r"""The units in which a band has a given coherence length.

        That of the band by itself, $\xi_i = \sqrt{D_i/|\alpha_i|}$.

        Args:
            coherence_length_nm: $\xi_i$ in nanometres.
            material: the couplings, numbers.
            band: which band, 0 or 1.

        Returns:
            The units.

        Raises:
            ValueError: if the coherence length is no length, or differs from place to
                place.
        """
        couplings = (material.diffusion[band], material.alpha[band])
        if not all(is_known(one) and np.ndim(one) == 0 for one in couplings):
            raise ValueError(
                f"`material` has a map or a traced value for band {band}, so no one "
                "coherence length; give `Units(length_nm=...)`."
            )
        diffusion, alpha = (float(one) for one in couplings)
        if alpha == 0:
            raise ValueError(
                f"`material` has `alpha`=0 in band {band}: its coherence length is "
                "infinite; give `Units(length_nm=...)`."
            )
        return Units(coherence_length_nm / math.sqrt(diffusion / abs(alpha)))

    @property
    def field_tesla(self) -> float:
        """The unit of the magnetic field, in teslas."""
        return FLUX_QUANTUM / (2 * math.pi * self.length_nm**2)

    @property
    def wave_number_per_nm(self) -> float:
        """The unit of wave numbers, in inverse nanometres."""
        return 1 / self.length_nm


class InNanometres(AbstractInstrument):
    """An instrument whose lengths are in nanometres, for images in any units.

    The pixel spacing stays in the units of the simulation, as ensembles and estimators
    know it. All lengths of the instrument, or of a whole chain, are nanometres: its
    widths, its pixels and its drift; areas and wave numbers likewise.

    For example `InNanometres(Chain((STM(tip_width=1.0), Detector(pixel_size=2.0))),
    Units(10.0))`.

    Attributes:
        instrument: the instrument.
        units: what the images' unit of length is.
    """

    instrument: AbstractInstrument
    units: Units

    def __call__(
        self, x: Image, *, spacing: float, key: AnyKey | None = None
    ) -> Float[Array, "..."]:
        """Measure an image.

        Args:
            x: the image, channels last.
            spacing: pixel spacing of `x`, in the simulation's units.
            key: JAX random key.

        Returns:
            What the instrument shows.

        Raises:
            ValueError: if the instrument refuses; lengths in the message are
                nanometres.
        """
        return self.instrument(x, spacing=spacing * self.units.length_nm, key=key)

    def output_spacing(self, spacing: float) -> float:
        """Pixel spacing of what the instrument shows, in the simulation's units.

        Args:
            spacing: pixel spacing of the image.

        Returns:
            The new pixel spacing.
        """
        unit = self.units.length_nm
        return self.instrument.output_spacing(spacing * unit) / unit

    def output_channels(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the channels of what the instrument shows.

        Args:
            channels: names of the image's channels.

        Returns:
            The instrument's own.
        """
        return self.instrument.output_channels(channels)
