r"""Power spectra of images, in two dimensions and averaged over rings.

Wave vectors are physical, $k = 2\pi m / (N\,\mathrm{d}x)$. An image is transformed as
if it were periodic, which a torus is, exactly; for an open sample there are windows.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Complex, Float

from gl15.observables._image import densities
from gl15.observables._rings import (
    check_spacing,
    default_edges,
    Edges,
    ring_average,
    ring_indices,
    ring_wave_numbers,
)
from gl15.observables._windows import check_window, white_power, Window, window_weights
from gl15.physics import TDGL


def structure_factor(
    rho: Float[Array, "nx ny"],
    spacing: float = 0.5,
    edges: Edges | None = None,
    *,
    window: Window = None,
) -> tuple[Float[Array, " rings"], Float[Array, " rings"]]:
    r"""Static structure factor, radially averaged.

    $$
    S(k) = \Big\langle \frac{|\delta\hat\rho(\mathbf{k})|^2}{n_x n_y} \Big\rangle_{
    |\mathbf{k}| \in \text{ring}}, \qquad \delta\rho = \rho - \langle\rho\rangle
    $$

    with the unnormalised discrete transform: for values that are independent from
    pixel to pixel, S is their variance at every k, with a window or without.

    Args:
        rho: density, or any channel of an image.
        spacing: pixel spacing.
        edges: edges of the rings, rising; a ring is (low, high]. By default rings of
            width $2\pi/L$ centred on multiples of it, up to the Nyquist wave number.
        window: `"hann"` for an open sample, whose opposite edges do not continue each
            other; `None` is exact for a torus. A window mixes neighbouring wave
            vectors: the first ring then says little of its own.

    Returns:
        Mean wave number of each ring, and S there.

    Raises:
        ValueError: if a ring reaches beyond the Nyquist wave number or is narrower
            than the spacing of the wave vectors, or if `rho` is not one image or not
            finite.
    """
    check_images(rho=rho)
    return _radial(rho, rho, spacing, edges, window)


def cross_structure_factor(
    first: Float[Array, "nx ny"],
    second: Float[Array, "nx ny"],
    spacing: float = 0.5,
    edges: Edges | None = None,
    *,
    window: Window = None,
) -> tuple[Float[Array, " rings"], Float[Array, " rings"]]:
    r"""Cross spectrum of two images, real part, radially averaged.

    $S_{12}(k) = \mathrm{Re}\langle \delta\hat\rho_1 \delta\hat\rho_2^* \rangle / (n_x
    n_y)$: positive where the two fluctuate together, negative where against.

    Args:
        first: an image.
        second: another.
        spacing: pixel spacing.
        edges: edges of the rings, as in `structure_factor`.
        window: as in `structure_factor`.

    Returns:
        Mean wave number of each ring, and the cross spectrum there.

    Raises:
        ValueError: as `structure_factor` does.
    """
    check_images(first=first, second=second)
    return _radial(first, second, spacing, edges, window)


def structure_factor_map(
    rho: Float[Array, "nx ny"],
    spacing: float = 0.5,
    *,
    other: Float[Array, "nx ny"] | None = None,
    window: Window = None,
) -> tuple[Float[Array, " nx"], Float[Array, " ny"], Float[Array, "nx ny"]]:
    r"""Static structure factor at every wave vector, $S(k_x, k_y)$.

    Bragg peaks and anisotropy show here that a radial average would hide.

    Args:
        rho: density, or any channel of an image.
        spacing: pixel spacing.
        other: another image: then the cross spectrum of the two, real part.
        window: as in `structure_factor`.

    Returns:
        $k_x$ and $k_y$, rising, with zero in the middle, and S there.

    Raises:
        ValueError: if an image is none or not finite, or `spacing` is no length.
    """
    second = rho if other is None else other
    check_images(rho=rho, other=second)
    check_spacing(spacing)
    S = jnp.fft.fftshift(jnp.real(cross_power(rho, second, window)))
    k_x, k_y = (
        jnp.asarray(np.fft.fftshift(2 * np.pi * np.fft.fftfreq(n, spacing)), S.dtype)
        for n in rho.shape
    )
    return k_x, k_y, S


class DensitySpectra(eqx.Module):
    """Structure factors of the two densities, averaged over rings.

    Attributes:
        k: mean wave number of each ring.
        bands: structure factor of each band's density.
        cross: cross spectrum of the two, real part.
    """

    k: Float[Array, " rings"]
    bands: Float[Array, "2 rings"]
    cross: Float[Array, " rings"]

    @property
    def total(self) -> Float[Array, "*runs rings"]:
        r"""Structure factor of $\rho_1 + \rho_2$, $S_{11} + S_{22} + 2 S_{12}$."""
        return jnp.sum(self.bands, axis=-2) + 2 * self.cross

    @property
    def coherence(self) -> Float[Array, "*runs rings"]:
        r"""$S_{12}/\sqrt{S_{11} S_{22}}$, from -1 to 1; NaN for flat bands."""
        return self.cross / jnp.sqrt(jnp.prod(self.bands, axis=-2))


def density_spectra(
    tdgl: TDGL, psi: Complex[Array, "2 nx ny"], edges: Edges | None = None
) -> DensitySpectra:
    """Density-density structure factors of a state: per band, cross and total.

    Exact on a torus; in an open sample through Hann's window.

    Args:
        tdgl: the sample, for its spacing and its boundary.
        psi: order parameters.
        edges: edges of the rings, as in `structure_factor`.

    Returns:
        The structure factors.

    Raises:
        ValueError: as `structure_factor` does.
    """
    tdgl.check_psi(psi)
    check_finite("psi", psi)
    first, second = densities(psi)
    spacing = tdgl.lattice.spacing
    window = "hann" if tdgl.lattice.is_open else None
    pairs = ((first, first), (second, second), (first, second))
    spectra = [_radial(*pair, spacing, edges, window) for pair in pairs]
    bands = jnp.stack([S for _, S in spectra[:2]])
    return DensitySpectra(k=spectra[0][0], bands=bands, cross=spectra[2][1])


def cross_power(
    first: Float[Array, "nx ny"],
    second: Float[Array, "nx ny"],
    window: Window = None,
) -> Complex[Array, "nx ny"]:
    r"""Cross spectrum $\delta\hat\rho_1 \delta\hat\rho_2^* / (n_x n_y)$ of two images.

    Args:
        first: an image.
        second: another; the same one gives the power, as a complex number.
        window: as in `structure_factor`; the spectrum is divided by what white noise
            shows through it, instead of by the number of pixels.

    Returns:
        The spectrum in the order of `jnp.fft.fft2`; without a window its mean is the
        covariance of the pixels.
    """
    shape = (first.shape[0], first.shape[1])
    weights = window_weights(shape, window)
    norm = (
        first.size if window is None else jnp.asarray(white_power(weights), first.dtype)
    )
    weights = jnp.asarray(weights, first.dtype)
    images = [weights * (rho - jnp.mean(weights * rho)) for rho in (first, second)]
    transforms = [jnp.fft.fft2(image) for image in images]
    return transforms[0] * transforms[1].conj() / norm


def check_finite(name: str, values: Float[Array, "..."] | Complex[Array, "..."]):
    """Refuse arrays that hold NaN or infinity, where their values are known.

    Args:
        name: what the caller calls them.
        values: the array.

    Raises:
        ValueError: if it is not finite.
    """
    if isinstance(values, Tracer) or np.all(np.isfinite(values)):
        return
    raise ValueError(
        f"`{name}` holds {int(np.sum(~np.isfinite(values)))} values of {values.size} "
        "that are not finite, and they would spread to all that is made of it; did the "
        "simulation diverge? Mask or redo it."
    )


def check_images(**images: Float[Array, "nx ny"]) -> None:
    """Refuse what is not one image and another of the same shape, all finite.

    Args:
        **images: the images by name.

    Raises:
        ValueError: naming the one that is not right.
    """
    shape = next(iter(images.values())).shape
    for name, image in images.items():
        if image.ndim != 2 or image.shape != shape or 0 in shape:
            raise ValueError(
                f"`{name}` must be one image (nx, ny), like any other beside it, got "
                f"shapes {[one.shape for one in images.values()]}; take one channel, "
                "`x[..., 0]`, and `jax.vmap` over several images."
            )
        if jnp.iscomplexobj(image):
            raise ValueError(
                f"`{name}` is complex; give a density, `abs(psi[0]) ** 2`."
            )
        check_finite(name, image)


def _radial(
    first: Float[Array, "nx ny"],
    second: Float[Array, "nx ny"],
    spacing: float,
    edges: Edges | None,
    window: Window,
) -> tuple[Float[Array, " rings"], Float[Array, " rings"]]:
    check_window(window)
    shape = (first.shape[0], first.shape[1])
    edges = default_edges(shape, spacing) if edges is None else np.asarray(edges, float)
    k = ring_wave_numbers(shape, spacing, edges)
    S = _average(first, second, spacing, tuple(edges.tolist()), window)
    return jnp.asarray(k, S.dtype), S


@partial(jax.jit, static_argnames=("spacing", "edges", "window"))
def _average(
    first: Float[Array, "nx ny"],
    second: Float[Array, "nx ny"],
    spacing: float,
    edges: tuple[float, ...],
    window: Window,
) -> Float[Array, " rings"]:
    rings = ring_indices((first.shape[0], first.shape[1]), spacing, edges)
    power = jnp.real(cross_power(first, second, window))
    return ring_average(power, rings, len(edges) - 1)
