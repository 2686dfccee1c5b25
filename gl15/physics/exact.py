r"""Exact results of the two-band lattice model: what any solver must reproduce.

$\lambda \ge 0$ stands for an eigenvalue of $-\Delta_A$ and $\phi = B\,\mathrm{d}x^2$
for the flux per plaquette. All formulas are for couplings without spatial maps.
"""

from math import gcd

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gl15.physics._material import TwoBand
from gl15.physics._types import Scalar


def mode_matrix(
    material: TwoBand, eigenvalue: Scalar | Float[Array, "..."]
) -> Float[Array, "... 2 2"]:
    r"""Generator of one mode's linear dynamics, $M = -\lambda K - \alpha + \eta X$.

    While $\psi$ is small, $\psi(\lambda)$ obeys $\dot\psi = M(\lambda) \psi$; explicit
    Euler multiplies it by $1 + \mathrm{d}t\,M$ at every step.

    Args:
        material: the couplings.
        eigenvalue: $\lambda$, any shape.

    Returns:
        The matrices, band by band.
    """
    lam = jnp.asarray(eigenvalue)
    (d1, d2), (a1, a2) = material.diffusion, material.alpha
    off = material.josephson - lam * material.drag
    rows = [[-a1 - lam * d1, off], [off, -a2 - lam * d2]]
    return jnp.stack(
        [jnp.stack(jnp.broadcast_arrays(*row), -1) for row in rows], axis=-2
    )


def growth_rates(
    material: TwoBand, eigenvalue: Scalar | Float[Array, "..."]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    r"""Growth rates of the two linear modes at $\lambda$.

    $$
    s_\pm = -\tfrac{\alpha_1 + \alpha_2}{2} - \lambda \tfrac{D_1 + D_2}{2} \pm
    \sqrt{\big(\tfrac{\alpha_1 - \alpha_2}{2} + \lambda\tfrac{D_1 - D_2}{2}\big)^2
    + (\eta - \lambda\nu)^2}
    $$

    Args:
        material: the couplings.
        eigenvalue: $\lambda$, any shape.

    Returns:
        $(s_+, s_-)$.
    """
    lam = jnp.asarray(eigenvalue)
    d1, d2, a1, a2 = map(jnp.asarray, (*material.diffusion, *material.alpha))
    mean = -(a1 + a2) / 2 - lam * (d1 + d2) / 2
    half = (a1 - a2) / 2 + lam * (d1 - d2) / 2
    root = jnp.sqrt(half**2 + (material.josephson - lam * material.drag) ** 2)
    return mean + root, mean - root


def nucleation(material: TwoBand) -> Float[Array, ""]:
    r"""Largest $\lambda$ at which the normal state is unstable: the upper critical one.

    The larger root of $(D_1 D_2 - \nu^2)\lambda^2 + (D_1\alpha_2 + D_2\alpha_1 +
    2\eta\nu)\lambda + \alpha_1\alpha_2 - \eta^2 = 0$. Superconductivity nucleates in
    the bulk where the lowest Landau level, about $B$, lies below it.

    Args:
        material: the couplings.

    Returns:
        $\lambda_{c2}$.
    """
    d1, d2, a1, a2 = map(jnp.asarray, (*material.diffusion, *material.alpha))
    eta, nu = material.josephson, material.drag
    a = d1 * d2 - nu**2
    b = d1 * a2 + d2 * a1 + 2 * eta * nu
    # b^2 - 4 a (alpha_1 alpha_2 - eta^2) without its cancellation, which at equal
    # bands would leave a negative number to take the root of.
    discriminant = (d1 * a2 - d2 * a1) ** 2
    discriminant += 4 * (eta * d1 + nu * a1) * (eta * d2 + nu * a2)
    return (-b + jnp.sqrt(discriminant)) / (2 * a)


def relaxation_rates(
    material: TwoBand, eigenvalue: Scalar | Float[Array, "..."]
) -> Float[Array, "... 4"]:
    r"""Rates at which small deviations from the uniform state change, at $B = 0$.

    For $\alpha_i = -1$, $\beta_i = 1$: amplitude modes $-(2 + 3\eta) -
    \lambda\frac{D_1 + D_2}{2} \pm R$ and phase modes $-\eta -
    \lambda\frac{D_1 + D_2}{2} \pm R$ with $R = \sqrt{\lambda^2 (D_1 - D_2)^2/4 +
    (\eta - \lambda\nu)^2}$. At $\lambda = 0$ the phase modes are the Goldstone mode
    (0) and the Leggett mode ($-2\eta$).

    Args:
        material: the couplings, both bands alike except for $D_i$.
        eigenvalue: $\lambda$, any shape.

    Returns:
        Amplitude +, amplitude -, phase +, phase -.

    Raises:
        ValueError: for other $\alpha_i$ or $\beta_i$, or traced ones.
    """
    if (material.alpha, material.beta) != ((-1.0, -1.0), (1.0, 1.0)):
        raise ValueError(
            "`material` must have `alpha`=(-1.0, -1.0) and `beta`=(1.0, 1.0) for this "
            f"formula, got {material.alpha} and {material.beta}."
        )
    lam = jnp.asarray(eigenvalue)
    d1, d2 = material.diffusion
    eta = material.josephson
    spread = lam * (d1 + d2) / 2
    root = jnp.sqrt((lam * (d1 - d2) / 2) ** 2 + (eta - lam * material.drag) ** 2)
    amplitude, phase = -(2 + 3 * eta) - spread, -eta - spread
    return jnp.stack(
        [amplitude + root, amplitude - root, phase + root, phase - root], -1
    )


def uniform_density(
    time: Scalar | Float[Array, "..."], start: Scalar, josephson: Scalar
) -> Float[Array, "..."]:
    r"""Density of a uniform state as it relaxes, both bands alike and in phase.

    $$
    \rho(t) = \frac{1 + \eta}{1 + \big(\frac{1 + \eta}{\rho_0} - 1\big)
    e^{-2(1 + \eta)t}}
    $$

    for $\alpha_i = -1$, $\beta_i = 1$.

    Args:
        time: $t$.
        start: $\rho_0$, the density at $t = 0$.
        josephson: $\eta$.

    Returns:
        $\rho(t)$.
    """
    top = 1 + jnp.asarray(josephson)
    return top / (1 + (top / start - 1) * jnp.exp(-2 * top * jnp.asarray(time)))


def plane_wave_eigenvalues(
    shape: tuple[int, int], spacing: float
) -> Float[Array, "nx ny"]:
    r"""Eigenvalues of $-\Delta$ on the torus at $B = 0$, in the order of `fft2`.

    $$\lambda = \frac{4}{\mathrm{d}x^2} \sum_\mu \sin^2(k_\mu\,\mathrm{d}x / 2)$$

    Args:
        shape: number of sites.
        spacing: lattice spacing.

    Returns:
        $\lambda$ of each wave vector.
    """
    kx, ky = (2 * jnp.pi * jnp.fft.fftfreq(n) for n in shape)
    laplacian = jnp.sin(kx[:, None] / 2) ** 2 + jnp.sin(ky[None] / 2) ** 2
    return 4 / spacing**2 * laplacian


def landau_level(flux: Scalar, level: int = 0) -> Float[Array, ""]:
    r"""Landau level of the lattice in units of $1/\mathrm{d}x^2$, small flux.

    $(2m + 1)\phi - \phi^2 [(2m + 1)^2 + 1]/16$, and one more order for $m = 0$.

    Args:
        flux: flux per plaquette $\phi$ in radians.
        level: $m$.

    Returns:
        $\lambda\,\mathrm{d}x^2$.
    """
    phi = jnp.abs(jnp.asarray(flux))
    odd = 2 * level + 1
    value = odd * phi - phi**2 * (odd**2 + 1) / 16
    return value + phi**3 / 192 if level == 0 else value


def harper_lowest(sites: int, quanta: int) -> float:
    r"""Lowest eigenvalue of $-\Delta_A\,\mathrm{d}x^2$ on a square torus, to round-off.

    The torus decouples into cyclic Harper chains of length $N^2/\gcd(n, N)$.

    Args:
        sites: number of sites $N$ along each axis.
        quanta: number of flux quanta $n$.

    Returns:
        $\Lambda_0$.
    """
    length = sites**2 // gcd(quanta, sites)
    phi = 2 * np.pi * quanta / sites**2
    chain = np.diag(4 - 2 * np.cos(phi * np.arange(length)))
    index = np.arange(length)
    np.add.at(chain, (index, (index + 1) % length), -1)
    np.add.at(chain, ((index + 1) % length, index), -1)
    return float(np.linalg.eigvalsh(chain)[0])
