r"""The early quench, where the dynamics is linear and the likelihood known."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from gl15.simulation._arguments import whole_number
from gl15.simulation._prior import Theta


class LinearQuench(eqx.Module):
    r"""Order parameters of a quench while they are small, mode by mode.

    Without field on the torus, $\hat\psi(t) = (1 + dt\, M(l))^{t/dt} \hat\psi(0)$ with

    $$
    M = -l \begin{pmatrix} D_1 & \nu \\ \nu & D_2 \end{pmatrix} + 1
    + \eta \begin{pmatrix} 0 & 1 \\ 1 & 0 \end{pmatrix}, \qquad
    l = \frac{4}{dx^2} \sum_\mu \sin^2 \frac{k_\mu dx}{2}
    $$

    From white normal noise of unit variance (real and imaginary part each), seen with
    white noise of standard deviation $\sigma$, a mode is complex normal of covariance
    $P(l; \theta) = 2 (G^2 + \sigma^2)$, $G = (1 + dt\,M)^{t/dt}$. The likelihood, and
    so every posterior, is exact. Without $\sigma$ the fast band would be slaved to the
    slow one exactly and give the couplings away to any precision.

    An observation is real, `[size, size, 4]`: real and imaginary part of both bands.

    Attributes:
        size: sites along each side of the torus.
        spacing: lattice spacing dx.
        diffusion: $(D_1, D_2)$.
        t1: time of the snapshot.
        dt: time step.
        noise: $\sigma$, relative to the amplitude at the start.
        drag: $\nu$ where theta does not name `nu`.
    """

    size: int = eqx.field(static=True, default=16)
    spacing: float = 0.5
    diffusion: tuple[float, float] = (4.0, 1.0)
    t1: float = 0.5
    dt: float = 1e-3
    noise: float = 0.1
    drag: float = 0.0

    names: ClassVar[tuple[str, ...]] = ("eta", "nu")
    channels: ClassVar[tuple[str, ...]] = ("Re psi1", "Im psi1", "Re psi2", "Im psi2")

    def __check_init__(self):
        """Lengths and times must be some, and the steps stable."""
        whole_number("size", self.size)
        for name in ("spacing", "t1", "dt"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"`{name}` must be positive and finite, got {getattr(self, name)}."
                )
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"`noise` must not be negative, got {self.noise}.")
        if len(self.diffusion) != 2 or not min(self.diffusion) > 0:
            raise ValueError(
                f"`diffusion` must be two positive numbers, got {self.diffusion}."
            )
        steps = self.t1 / self.dt
        if not math.isclose(steps, round(steps), rel_tol=1e-6):
            raise ValueError(
                f"`t1`={self.t1:g} must be a whole number of steps `dt`={self.dt:g}."
            )
        self._check_drag("drag", np.asarray(self.drag))

    def check(self, theta: Theta) -> None:
        """Refuse parameters of which there is no stable quench.

        Args:
            theta: parameter name -> `[n]`, concrete.

        Raises:
            ValueError: for unknown names, no `eta`, or a drag that leaves the energy
                without a lower bound or the steps unstable.
        """
        self._check_names(theta)
        if "nu" in theta:
            self._check_drag("theta['nu']", np.asarray(theta["nu"]))

    def _check_names(self, theta: Theta) -> None:
        if "eta" not in theta or not set(theta) <= set(self.names):
            raise ValueError(
                f"`theta` names {sorted(theta)}; give `eta`, and `nu` or not."
            )

    def _check_drag(self, name: str, drag: np.ndarray) -> None:
        one, two = self.diffusion
        worst = float(np.abs(drag).max())
        if not worst**2 < one * two:
            raise ValueError(
                f"`{name}` holds {worst:g}, which breaks nu^2 < D1 D2 with `diffusion`="
                f"{self.diffusion}: the energy has no lower bound; give less."
            )
        fastest = (one + two) / 2 + math.hypot((one - two) / 2, worst)
        longest = 2 / (8 / self.spacing**2 * fastest)
        if not self.dt <= longest:
            raise ValueError(
                f"`dt`={self.dt:g} is above the stability limit of explicit Euler at a "
                f"drag of {worst:g}; use `dt` <= {longest:.4g}."
            )

    def __call__(self, theta: Theta, key: PRNGKeyArray) -> Float[Array, "n n 4"]:
        """One snapshot.

        Args:
            theta: `eta`, and `nu` or not, -> scalar.
            key: JAX random key.

        Returns:
            The observation.
        """
        start_key, noise_key = jax.random.split(key)
        shape = (self.size, self.size, 4)
        start = jax.random.normal(start_key, shape)
        psi = jnp.fft.fft2(_complex(start), axes=(0, 1))
        grown = jnp.einsum(
            "xyij,xyj->xyi", self._growth(theta, jnp.asarray(self._l())), psi
        )
        psi = jnp.fft.ifft2(grown, axes=(0, 1))
        seen = jnp.stack([psi.real, psi.imag], -1).reshape(shape)
        return seen + self.noise * jax.random.normal(noise_key, shape)

    def shells(self, x: Float[Array, "n n 4"]) -> Float[Array, "shells 3"]:
        r"""What the likelihood keeps of an observation.

        The means of $|\hat\psi_1|^2$, $|\hat\psi_2|^2$ and
        $\Re \hat\psi_1^* \hat\psi_2$ over each set of modes of the same l.

        Args:
            x: an observation.

        Returns:
            The means, sets by ascending l.
        """
        _, counts, shell = self._shells()
        psi = jnp.fft.fft2(_complex(x), axes=(0, 1), norm="ortho").reshape(-1, 2)
        cross = (jnp.conj(psi[:, 0]) * psi[:, 1]).real
        each = jnp.stack([jnp.abs(psi[:, 0]) ** 2, jnp.abs(psi[:, 1]) ** 2, cross], 1)
        total = jax.ops.segment_sum(each, jnp.asarray(shell), len(counts))
        return total / jnp.asarray(counts)[:, None]

    def log_likelihood(
        self, theta: Theta, x: Float[Array, "n n 4"]
    ) -> Float[Array, ""]:
        r"""$\log p(x \mid \theta)$, up to a constant.

        Args:
            theta: parameter name -> scalar.
            x: an observation.

        Returns:
            The log-density.
        """
        return self.log_likelihood_of(theta, self.shells(x))

    def log_likelihood_of(
        self,
        theta: Theta,
        shells: Float[Array, "shells 3"],
        seen: Bool[Array, " shells"] | None = None,
    ) -> Float[Array, ""]:
        r"""$-\sum_l n_l (\log\det P + \mathrm{tr}\, P^{-1} S_l)$ from the shells.

        Args:
            theta: parameter name -> scalar.
            shells: what `shells` gave.
            seen: which of the shells to take; all by default.

        Returns:
            The log-density, up to a constant.
        """
        values, counts, _ = self._shells()
        growth = self._growth(theta, jnp.asarray(values))
        p = 2 * (growth @ growth + self.noise**2 * jnp.eye(2))
        a, b, c = p[:, 0, 0], p[:, 1, 1], p[:, 0, 1]
        determinant = a * b - c**2
        one, two, cross = shells.T
        trace = (b * one + a * two - 2 * c * cross) / determinant
        each = jnp.asarray(counts) * (jnp.log(determinant) + trace)
        return -each.sum() if seen is None else -(each * seen).sum()

    def _l(self) -> np.ndarray:
        sine = np.sin(np.pi * np.arange(self.size) / self.size) ** 2
        return 4 / self.spacing**2 * (sine[:, None] + sine[None, :])

    def _shells(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The distinct l, how many modes have each, and which one a mode has."""
        rounded = np.round(self._l().ravel(), 9)
        values, shell, counts = np.unique(
            rounded, return_inverse=True, return_counts=True
        )
        return values, counts, shell.ravel()

    def _growth(self, theta: Theta, l: Float[Array, "*n"]) -> Float[Array, "*n 2 2"]:  # noqa: E741
        """G, by the eigenvalues of the symmetric 2 x 2 matrix M."""
        self._check_names(theta)
        eta = jnp.asarray(theta["eta"])
        slope = eta - l * jnp.asarray(theta.get("nu", self.drag))
        one, two = self.diffusion
        middle = 1 - l * (one + two) / 2
        tilt = -l * (one - two) / 2
        steps = round(self.t1 / self.dt)
        power = lambda s: (1 + self.dt * s) ** steps  # noqa: E731
        # Where both eigenvalues meet, their difference quotient is the derivative,
        # and the square root has none.
        apart = tilt**2 + slope**2 > 1e-6
        radius = jnp.sqrt(jnp.where(apart, tilt**2 + slope**2, 1.0))
        high, low = power(middle + radius), power(middle - radius)
        slope_of_power = self.dt * steps * (1 + self.dt * middle) ** (steps - 1)
        quotient = jnp.where(apart, (high - low) / (2 * radius), slope_of_power)
        mean = jnp.where(apart, (high + low) / 2, power(middle))
        off = quotient * slope
        rows = [mean + quotient * tilt, off, off, mean - quotient * tilt]
        flat = jnp.stack(jnp.broadcast_arrays(*rows), -1)
        return flat.reshape(*flat.shape[:-1], 2, 2)


def _complex(x: Float[Array, "n n 4"]) -> Array:
    return jax.lax.complex(x[..., 0::2], x[..., 1::2])
