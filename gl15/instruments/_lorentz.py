"""Lorentz transmission electron microscopy."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gl15.instruments._blur import blur, check_fits
from gl15.instruments._checks import (
    check_boundary,
    check_channels,
    check_not_negative,
    check_positive,
    checked,
    is_known,
    select,
)
from gl15.instruments._instrument import (
    AbstractInstrument,
    AnyKey,
    Boundary,
    Image,
    Parameter,
)
from gl15.instruments._noise import is_off, read_noise


#: Depths at which the smear is evaluated: Gauss's nodes on [-1, 1], in pairs.
_NODES = 8


class LorentzTEM(AbstractInstrument):
    r"""Lorentz microscope: magnetic flux projected through a thin film.

    $$
    y(r) = \int_{-d/2}^{d/2} (G_{\sigma(z)} * b)(r)\, \mathrm{d}z + s\, \xi(r), \qquad
    b = b_0\, [\nabla \times J]_z, \quad \sigma(z)^2 = \sigma_0^2 + (\alpha z)^2
    $$

    Electrons are deflected by the flux along their path, which the curl of the current
    stands for (Table II); in a thin film it is the same at every depth z. Vortices are
    seen out of focus, which smears them by $\sigma_0$, and away from the film's middle
    plane a beam of half-angle $\alpha$ smears them more: the finite depth of field
    (section VI.E).

    Attributes:
        defocus_width: standard deviation $\sigma_0$ of the smearing, in units of
            length; about the defocus times the beam's half-angle.
        noise: standard deviation s of the noise, in the units of the signal.
        thickness: thickness d of the film, in units of length.
        channel: the channel that holds the curl.
        beam_angle: half-angle $\alpha$ of the beam, in radians; 0 for an infinite
            depth of field.
        field_unit: field $b_0$ that a unit of the curl stands for, such as a number of
            teslas; the signal is then in teslas times the unit of length.
        boundary: how the sample goes on beyond the image: `"open"`, mirrored, or
            `"periodic"`, round the torus.
    """

    defocus_width: Parameter = 0.0
    noise: Parameter = 0.0
    thickness: Parameter = 1.0
    channel: int = eqx.field(static=True, default=2)
    beam_angle: Parameter = 0.0
    field_unit: Parameter = 1.0
    boundary: Boundary = eqx.field(static=True, default="open")

    def __check_init__(self):
        check_not_negative(
            defocus_width=self.defocus_width,
            noise=self.noise,
            beam_angle=self.beam_angle,
        )
        check_positive(
            "1 leaves the signal as it is",
            thickness=self.thickness,
            field_unit=self.field_unit,
        )
        check_channels((self.channel,))
        check_boundary(self.boundary)

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
            ValueError: if the image is no finite image, the smearing is wider than it,
                or a key is missing.
        """
        x = checked(x, spacing, "LorentzTEM")
        curl = select(x, (self.channel,), "LorentzTEM")
        gain = jnp.asarray(self.thickness * self.field_unit, x.dtype)
        seen = self._project(gain * curl, spacing)
        return read_noise(seen, self.noise, key, "LorentzTEM", "noise")

    def _project(
        self, flux: Float[Array, "nx ny 1"], spacing: float
    ) -> Float[Array, "nx ny 1"]:
        width, boundary = self.defocus_width, self.boundary
        shape = (flux.shape[0], flux.shape[1])
        check_fits("defocus_width", width, shape, spacing)
        if is_off(self.beam_angle):
            return blur(flux, width, spacing, boundary, "defocus_width")
        nodes, weights = np.polynomial.legendre.leggauss(_NODES)
        half = _NODES // 2  # the other half lies as deep on the other side
        reach = self.beam_angle * self.thickness / 2
        if is_known(reach):
            check_fits("beam_angle * thickness / 2", reach, shape, spacing)
        # The last digits keep the root from zero, where it has no derivative.
        floor = (1e-3 * spacing) ** 2
        planes = [
            float(weight)
            * blur(
                flux,
                jnp.sqrt(jnp.square(width) + jnp.square(node * reach) + floor),
                spacing,
                boundary,
                "defocus_width",
            )
            for node, weight in zip(nodes[:half], weights[:half], strict=True)
        ]
        return jnp.sum(jnp.stack(planes), axis=0)

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
            `("projected_flux",)`.
        """
        del channels
        return ("projected_flux",)
