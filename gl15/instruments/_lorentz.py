"""Lorentz transmission electron microscopy."""

import equinox as eqx
from jaxtyping import Array, Float

from gl15.instruments._blur import blur
from gl15.instruments._instrument import (
    AbstractInstrument,
    AnyKey,
    check_not_negative,
    Image,
    Parameter,
    select,
)
from gl15.instruments._noise import read_noise


class LorentzTEM(AbstractInstrument):
    r"""Lorentz microscope: magnetic flux through a thin film.

    $$
    y(r) = d\, (G_\sigma * [\nabla \times J]_z)(r) + s\, \xi(r)
    $$

    Electrons are deflected by the flux along their path, which the curl of the current
    stands for (Table II); the film is thin, so that the path integral is a product
    with the thickness d. Vortices are seen out of focus, which smears them.

    Attributes:
        defocus_width: standard deviation $\sigma$ of the smearing, in units of length.
        noise: standard deviation s of the noise, in the units of the signal.
        thickness: thickness d of the film, in units of length.
        channel: the channel that holds the curl.
    """

    defocus_width: Parameter = 0.0
    noise: Parameter = 0.0
    thickness: Parameter = 1.0
    channel: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        check_not_negative(
            defocus_width=self.defocus_width,
            noise=self.noise,
            thickness=self.thickness,
        )

    def __call__(
        self, x: Image, *, spacing: float, key: AnyKey | None = None
    ) -> Float[Array, "nx ny 1"]:
        """Measure an image; the result has one channel.

        Args:
            x: the image, channels last.
            spacing: pixel spacing of `x`.
            key: JAX random key of the noise.

        Returns:
            The flux seen, `[nx, ny, 1]`, on the plaquettes like the curl itself.

        Raises:
            ValueError: if the smearing is wider than the image, or a key is missing.
        """
        flux = self.thickness * select(x, (self.channel,), "LorentzTEM")
        seen = blur(flux, self.defocus_width, spacing, "defocus_width")
        return read_noise(seen, self.noise, key, "LorentzTEM", "noise")

    def output_spacing(self, spacing: float) -> float:
        """The pixel spacing of the image itself.

        Args:
            spacing: pixel spacing of the image.

        Returns:
            `spacing`.
        """
        return spacing
