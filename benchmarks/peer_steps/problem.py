"""The sample that every peer integrates, and the interface of a peer."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import gl15


class Missing(Exception):
    """A peer's package or compiler is not there."""


@dataclass(frozen=True)
class Problem:
    """The default sample of gl15 at some size, boundary and drag, in the Landau gauge.

    All in float64 NumPy, for peers that know nothing of gl15.
    """

    shape: tuple[int, int] = (64, 64)
    boundary: Literal["open", "periodic"] = "open"
    drag: float = 0.0
    spacing: float = 0.5
    dt: float = 1e-3
    diffusion: tuple[float, float] = (4.0, 1.0)
    alpha: tuple[float, float] = (-1.0, -1.0)
    beta: tuple[float, float] = (1.0, 1.0)
    josephson: float = 0.8

    @property
    def label(self) -> str:
        name = "open" if self.is_open else "torus"
        return f"{name}, nu {'>' if self.drag else '='} 0"

    @property
    def is_open(self) -> bool:
        return self.boundary == "open"

    @property
    def sites(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def quanta(self) -> int:
        """Flux quanta on the torus: the field nearest to 0.04."""
        area = self.sites * self.spacing**2
        return max(1, round(0.04 * area / (2 * np.pi)))

    @property
    def flux(self) -> float:
        """Flux per plaquette in radians."""
        if self.is_open:
            return 0.04 * self.spacing**2
        return 2 * np.pi * self.quanta / self.sites

    @property
    def field(self) -> float:
        return self.flux / self.spacing**2

    @cached_property
    def links(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """U_x and U_y leaving each site, complex [nx, ny]; 0 where there is no link."""
        nx, ny = self.shape
        u_x = np.ones((nx, ny), complex)
        u_y = np.exp(-1j * self.flux * np.arange(nx))[:, None] * np.ones(ny)
        if self.is_open:
            u_x[-1], u_y[:, -1] = 0, 0
        else:
            u_x[-1] = np.exp(2j * np.pi * (self.quanta * np.arange(ny) % ny) / ny)
        return u_x, u_y

    @cached_property
    def degree(self) -> np.ndarray:
        """Number of neighbours of each site."""
        present = [abs(u) for u in self.links]
        return np.sum([u + np.roll(u, 1, k) for k, u in enumerate(present)], axis=0)

    @property
    def per_cell(self) -> float:
        return self.dt / self.spacing**2

    def material(self, **couplings) -> gl15.TwoBand:
        return gl15.TwoBand(
            self.diffusion,
            self.alpha,
            self.beta,
            **{"josephson": self.josephson, "drag": self.drag, **couplings},
        )

    def lattice(self) -> gl15.Lattice:
        return gl15.Lattice(self.shape, self.spacing, self.boundary)

    def tdgl(self, **couplings) -> gl15.TDGL:
        return gl15.TDGL(self.lattice(), self.material(**couplings), self.field)

    def start(self, batch: int, seed: int = 0) -> np.ndarray:
        """Quenches, complex128 [batch, 2, nx, ny], whose numbers float32 holds."""
        draw = np.random.default_rng(seed).uniform(
            -0.5, 0.5, (batch, 2, *self.shape, 2)
        )
        draw = draw.astype(np.float32).astype(float)
        return draw[..., 0] + 1j * draw[..., 1]


class Peer(ABC):
    """Somebody's Euler loop.

    Attributes:
        name: what the tables call it.
        precision: `"float32"` or `"float64"`.
        batch: simulations that one call advances.
        steps: steps of a call that is timed.
        comparable: whether it integrates the same equations, and can be checked.
        compiles_each: whether another number of steps compiles another program.
    """

    name: str
    precision: str = "float32"
    batch: int = 1
    steps: int = 2_000
    comparable: bool = True
    compiles_each: bool = False

    @abstractmethod
    def start(self, psi: np.ndarray) -> Any:
        """Its own form of the order parameters [batch, 2, nx, ny]."""

    @abstractmethod
    def advance(self, state: Any, steps: int) -> Any:
        """Take steps, and return when they are done. This is what is timed."""

    @abstractmethod
    def finish(self, state: Any) -> np.ndarray:
        """The order parameters."""

    def updates(self, problem: Problem) -> int:
        """Site-updates of one timed call."""
        return problem.sites * self.batch * self.steps
