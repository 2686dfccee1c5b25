"""The couplings of a two-band superconductor."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from gl15.physics._types import Scalar, ScalarOrMap


class TwoBand(eqx.Module):
    r"""Couplings of the energy $F_K$ of two coupled condensates.

    $$
    F_K = \int \mathrm{d}^2 r \Big\{ \sum_{ij} K_{ij} (D\psi_i)^* \cdot (D\psi_j)
    + \sum_i \big[\alpha_i |\psi_i|^2 + \tfrac{\beta_i}{2} |\psi_i|^4\big]
    - 2 \eta\, \mathrm{Re}(\psi_1^* \psi_2) \Big\},
    \qquad K = \begin{pmatrix} D_1 & \nu \\ \nu & D_2 \end{pmatrix}.
    $$

    Equation (2) of the paper is exactly $\partial_t \psi_i = -\delta F_K / \delta
    \psi_i^*$, so $D_i$ are stiffnesses and $\nu$ is the mixed-gradient coupling. The
    energy is bounded below only for $\beta_i > 0$, $D_i > 0$, $\nu^2 < D_1 D_2$.

    Any coupling may be traced. $\alpha_i$, $\beta_i$ and $\eta$ may also be maps
    `[nx, ny]`, which is how disorder and pinning enter.

    Attributes:
        diffusion: stiffnesses $(D_1, D_2)$.
        alpha: $(\alpha_1, \alpha_2)$, negative in the superconducting phase.
        beta: $(\beta_1, \beta_2)$.
        josephson: interband Josephson coupling $\eta$.
        drag: Andreev-Bashkin drag $\nu$.
    """

    diffusion: tuple[Scalar, Scalar] = (4.0, 1.0)
    alpha: tuple[ScalarOrMap, ScalarOrMap] = (-1.0, -1.0)
    beta: tuple[ScalarOrMap, ScalarOrMap] = (1.0, 1.0)
    josephson: ScalarOrMap = 0.0
    drag: Scalar = 0.0

    def __check_init__(self):
        for name in ("diffusion", "alpha", "beta"):
            pair = getattr(self, name)
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise ValueError(
                    f"`{name}` must be a pair, one value per band, got {pair!r}."
                )
        for leaf in (*self.diffusion, self.drag):
            if np.ndim(leaf):
                raise ValueError(
                    "`diffusion` and `drag` must be numbers, got shape "
                    f"{np.shape(leaf)}; `alpha`, `beta` and `josephson` may be maps."
                )
        for name in ("diffusion", "beta"):
            pair = getattr(self, name)
            if _known(pair) and not all(np.all(np.asarray(v) > 0) for v in pair):
                raise ValueError(
                    f"`{name}` must be positive in both bands, got {pair}: the energy "
                    "would not be bounded below."
                )
        for leaf in jax.tree.leaves(self):
            if _known(leaf) and not np.all(np.isfinite(leaf)):
                raise ValueError(f"every coupling must be finite, got {self}.")
        if _known((self.diffusion, self.drag)):
            limit = float(np.sqrt(np.prod(np.asarray(self.diffusion, float))))
            if not abs(float(self.drag)) < limit:
                raise ValueError(
                    f"`drag`={self.drag} and `diffusion`={self.diffusion} break "
                    "nu^2 < D1 D2: the gradient energy would not be positive. Use "
                    f"|drag| < {limit:.6g}."
                )

    @property
    def has_drag(self) -> bool:
        """False only where the drag is known to be exactly zero."""
        return not (isinstance(self.drag, float | int) and self.drag == 0)

    def largest_density(self):
        r"""Bound on $\max_r |\psi_i|^2$ that the flow keeps when $\nu = 0$.

        $\max_i (|\eta| - \alpha_i)/\beta_i$ (maximum principle); $1 + \eta$ at the
        default couplings, the density of the uniform state.

        Returns:
            A scalar.
        """
        eta = jnp.abs(jnp.asarray(self.josephson))
        per_band = [(eta - a) / b for a, b in zip(self.alpha, self.beta, strict=True)]
        return jnp.maximum(0.0, jnp.maximum(*(jnp.max(band) for band in per_band)))


def _known(tree) -> bool:
    """Whether every leaf has a value now, so that it can be checked."""
    leaves = jax.tree.leaves(tree)
    return not any(isinstance(leaf, Tracer) for leaf in leaves)
