"""gl15's own encoder: what the images look like, wavelength by wavelength."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from gl15.inference._encoders.encoder import AbstractEncoder


_QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
# Added to powers, deviations and densities before their logarithm. The same in any
# precision: what is trained in one is used in another.
FLOOR = float(np.finfo(np.float32).eps)


class SpectralEncoder(AbstractEncoder):
    r"""Ring-averaged spectra and quantiles of an image, then a perceptron.

    Where $D_1 > D_2$ the fast band is slaved to the slow one,
    $\psi_1(k) \approx \frac{\eta - \nu l}{(D_1 - D_2)\, l} \psi_2(k)$ at large
    $l = k^2$: the ratio of the bands at short wavelengths carries the couplings almost
    without noise. Spectra hand that ratio over; pooling would throw it away.

    The summary of an image holds, in rings of physical wavenumber up to Nyquist and
    after a Hann window, the logarithm of each channel's power and the coherence of
    each pair of channels; and quantiles of every channel and, for pairs of
    non-negative channels, of their local log-ratio. All are averages over pixels or
    modes, so the encoder takes images of any size with the spacing it was made for.

    Attributes:
        channels: channels of the image.
        size: length of the summary.
        features: length of the feature vector.
        rings: number of rings of wavenumber.
        ratios: pairs of non-negative channels whose log-ratio is summarised.
        mlp: the trainable part.
    """

    channels: int = eqx.field(static=True)
    size: int = eqx.field(static=True)
    features: int = eqx.field(static=True)
    rings: int = eqx.field(static=True)
    ratios: tuple[tuple[int, int], ...] = eqx.field(static=True)
    mlp: eqx.nn.MLP
    ndim: ClassVar[int] = 3
    begins_linear: ClassVar[bool] = True

    def __init__(
        self,
        channels: int = 3,
        *,
        rings: int = 21,
        ratios: tuple[tuple[int, int], ...] | None = None,
        features: int = 64,
        width: int = 128,
        depth: int = 2,
        key: PRNGKeyArray,
    ):
        """Build the encoder.

        Args:
            channels: channels of the image.
            rings: number of rings of wavenumber between 0 and Nyquist.
            ratios: pairs of channels, both non-negative, whose local log-ratio is
                summarised: for vortex images the two densities.
            features: length of the feature vector.
            width: width of the hidden layers.
            depth: number of hidden layers.
            key: JAX random key for the initial weights.

        Raises:
            ValueError: if `ratios` names a channel that there is not.
        """
        if ratios is None:
            ratios = ((0, 1),) if channels > 1 else ()
        if any(not 0 <= c < channels for pair in ratios for c in pair):
            raise ValueError(
                f"`ratios`={ratios} names channels outside 0..{channels - 1}."
            )
        maps = channels + len(ratios)
        pairs = maps * (maps - 1) // 2
        self.channels = channels
        self.rings = rings
        self.ratios = tuple((int(a), int(b)) for a, b in ratios)
        self.size = rings * (maps + pairs) + maps * (2 + len(_QUANTILES))
        self.features = features
        self.mlp = eqx.nn.MLP(
            self.size,
            features,
            width,
            depth,
            activation=jax.nn.gelu,
            final_activation=jax.nn.gelu,
            key=key,
        )

    def config(self) -> dict[str, Any]:
        """The arguments, but for the key, that build an encoder of this structure.

        Returns:
            The keyword arguments, ready for JSON.
        """
        return {
            "channels": self.channels,
            "rings": self.rings,
            "ratios": self.ratios,
            "features": self.features,
            "width": self.mlp.width_size,
            "depth": self.mlp.depth,
        }

    def summarise(self, x: Float[Array, "nx ny channels"]) -> Float[Array, " size"]:
        """Log-powers, coherences, moments and quantiles of an image.

        Args:
            x: an image.

        Returns:
            The summary.

        Raises:
            ValueError: if the image is too small for so many rings.
        """
        maps = [x[..., c] for c in range(self.channels)]
        for a, b in self.ratios:
            maps.append(jnp.log(maps[a] + FLOOR) - jnp.log(maps[b] + FLOOR))
        flat = jnp.stack([one.ravel() for one in maps])
        mean, std = flat.mean(1), flat.std(1)
        quantiles = jnp.quantile(flat, jnp.asarray(_QUANTILES, x.dtype), axis=1)
        spectra = self._spectra(jnp.stack(maps))
        return jnp.concatenate([spectra, mean, jnp.log(std + FLOOR), quantiles.ravel()])

    def __call__(self, summary: Float[Array, " size"]) -> Float[Array, " features"]:
        """Features of a standardised summary.

        Args:
            summary: a standardised summary `[size]`.

        Returns:
            The features, `[features]`.
        """
        return self.mlp(summary)

    def _spectra(self, maps: Float[Array, "maps nx ny"]) -> Float[Array, " s"]:
        _, nx, ny = maps.shape
        ring = _ring_average(nx, ny, self.rings, maps.dtype)
        window = np.hanning(nx + 2)[1:-1, None] * np.hanning(ny + 2)[None, 1:-1]
        window = jnp.asarray(window / np.sqrt(np.mean(window**2)), maps.dtype)
        centred = maps - maps.mean((1, 2), keepdims=True)
        modes: Complex[Array, "maps nx ky"] = jnp.fft.rfft2(window * centred)
        modes = modes.reshape(len(maps), -1) / np.sqrt(nx * ny)
        power = jnp.abs(modes) ** 2 @ ring + FLOOR
        a, b = np.triu_indices(len(maps), 1)
        cross = jnp.real(modes[a] * jnp.conj(modes[b])) @ ring
        coherence = cross / jnp.sqrt(power[a] * power[b])
        return jnp.concatenate([jnp.log(power).ravel(), coherence.ravel()])


def _ring_average(nx: int, ny: int, rings: int, dtype) -> Float[Array, "modes rings"]:
    """Weights that average the modes of `rfft2` over rings of wavenumber."""
    kx, ky = np.fft.fftfreq(nx)[:, None], np.fft.rfftfreq(ny)[None]
    k = 2 * np.hypot(kx, ky).ravel()  # 1 at Nyquist
    # All but the first column stand for two modes, those in the rings: for even ny the
    # last column does not, but lies at Nyquist.
    twice = np.full(ky.shape[1], 2.0)
    twice[0] = 1
    weight = np.broadcast_to(twice, (nx, ky.shape[1])).ravel()
    index = np.clip((k * rings).astype(int), 0, rings)
    member = (index[:, None] == np.arange(rings)) & (k > 0)[:, None]
    table = member * weight[:, None]
    total = table.sum(0)
    if not total.all():
        raise ValueError(
            f"`x` is {nx} x {ny} pixels, too small for `rings`={rings}: no wavenumber "
            f"falls into ring {int(np.argmin(total))}. It needs more than {2 * rings} "
            "pixels a side, or fewer rings."
        )
    return jnp.asarray(table / total, dtype)
