"""The forward model: from couplings to a picture of vortices."""

from typing import ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from gl15.observables import CHANNELS, observe
from gl15.physics import evolve, evolve_batch, Lattice, quench, TDGL, TwoBand
from gl15.physics._stability import reach
from gl15.physics._types import Scalar, ScalarOrMap
from gl15.simulation._prior import Theta, ThetaValue
from gl15.simulation._simulate import Keys


class VortexSimulator(eqx.Module):
    r"""Stochastic forward model $\theta = (\eta, B, \nu) \mapsto x$ (section III).

    A random quench is evolved to `t1` and observed as the three-channel image
    $(|\psi_1|^2, |\psi_2|^2, [\nabla \times J]_z)$ of Eq. (8). Whichever of `eta`,
    `B` and `nu` a theta names overrides the material's Josephson coupling, the field
    and the material's drag; the rest stays as given.

    Attributes:
        lattice: the sample.
        material: the couplings that theta does not name.
        field: magnetic field where theta does not name `B`.
        t1: time of the snapshot.
        dt: time step.
        amplitude: half-width of the quench noise.
        temperature: temperature of the Langevin noise.
        solver: a Diffrax solver; explicit Euler by default.
        stepsize_controller: adapts the steps, see `evolve`. Simulations side by side
            then take the same steps, and an image depends on its companions to within
            the tolerance: prefer fixed steps.
    """

    lattice: Lattice
    material: TwoBand
    field: Scalar = 0.04
    t1: float = 2.0
    dt: float = 1e-3
    amplitude: float = 0.5
    temperature: float = 0.0
    solver: diffrax.AbstractSolver | None = None
    stepsize_controller: diffrax.AbstractStepSizeController | None = None

    names: ClassVar[tuple[str, ...]] = ("eta", "B", "nu")
    channels: ClassVar[tuple[str, ...]] = CHANNELS

    @property
    def spacing(self) -> float:
        """Pixel spacing of the images: the lattice's."""
        return self.lattice.spacing

    @property
    def batch_size(self) -> int:
        """Simulations side by side that suit the machine.

        As many as stay in the cache of a CPU core and fill its vector registers; an
        accelerator wants to be filled.
        """
        nx, ny = self.lattice.shape
        if jax.default_backend() == "cpu":
            return max(1, min(16, 2**15 // (nx * ny)))
        return max(1, 2**24 // (nx * ny))

    def tdgl(self, theta: Theta) -> TDGL:
        """The dynamics at `theta`.

        Args:
            theta: parameter name -> scalar.

        Returns:
            The dynamics.

        Raises:
            ValueError: if `theta` names something this simulator does not know.
        """
        self._check_names(theta)
        field = _scalar(theta.get("B", self.field))
        return TDGL(self.lattice, self._material(theta), field)

    def _material(self, theta: Theta) -> TwoBand:
        return TwoBand(
            self.material.diffusion,
            self.material.alpha,
            self.material.beta,
            _scalar(theta.get("eta", self.material.josephson)),
            _scalar(theta.get("nu", self.material.drag)),
        )

    def __call__(self, theta: Theta, key: PRNGKeyArray) -> Float[Array, "nx ny 3"]:
        """Simulate one image.

        Args:
            theta: parameter name -> scalar, names out of `eta`, `B`, `nu`.
            key: JAX random key: the quench and the thermal noise.

        Returns:
            The image.

        Raises:
            ValueError: for unknown names, an unstable `dt`, couplings without a lower
                bound on the energy, or a field that the torus cannot carry.
        """
        tdgl = self.tdgl(theta)
        quench_key, noise_key = jax.random.split(key)
        psi0 = quench(self.lattice, key=quench_key, amplitude=self.amplitude)
        solution = evolve(
            tdgl,
            psi0,
            t1=self.t1,
            dt=self.dt,
            solver=self.solver,
            stepsize_controller=self.stepsize_controller,
            temperature=self.temperature,
            key=noise_key,
        )
        return observe(tdgl, solution.ys[-1])  # pyright: ignore[reportOptionalSubscript]

    def batch(self, theta: Theta, keys: Keys) -> Float[Array, "batch nx ny 3"]:
        """Simulate several images side by side, in the layout made for speed.

        Equal to `jax.vmap` of a call, to rounding, and several times faster. Steps
        are not checked for stability, see `check`.

        Args:
            theta: parameter name -> `[batch]`.
            keys: a key for each.

        Returns:
            The images.
        """
        theta = {name: jnp.asarray(value) for name, value in theta.items()}
        quench_keys, noise_keys = jax.vmap(jax.random.split, out_axes=1)(keys)

        def start(key: PRNGKeyArray) -> Complex[Array, "2 nx ny"]:
            return quench(self.lattice, key=key, amplitude=self.amplitude)

        solution = evolve_batch(
            self._side_by_side(theta),
            jax.vmap(start)(quench_keys),
            t1=self.t1,
            dt=self.dt,
            solver=self.solver,
            stepsize_controller=self.stepsize_controller,
            temperature=self.temperature,
            keys=noise_keys,
        )
        return jax.vmap(lambda one, psi: observe(self.tdgl(one), psi))(
            theta,
            solution.ys[-1],  # pyright: ignore[reportOptionalSubscript]
        )

    def _side_by_side(self, theta: Theta) -> TDGL:
        """The dynamics at every theta, an axis of simulations on what theta names.

        All else stays shared: the solver reads one number where one serves all.
        """
        each = eqx.filter_vmap(self.tdgl)(theta)
        shared = TDGL(self.lattice, self.material, 0.0 if "B" in theta else self.field)
        named = {
            "eta": lambda tdgl: tdgl.material.josephson,
            "nu": lambda tdgl: tdgl.material.drag,
            "B": lambda tdgl: tdgl.links,
        }
        for name in theta:
            shared = eqx.tree_at(named[name], shared, named[name](each))
        return shared

    def check(self, theta: Theta) -> None:
        """Refuse parameters that cannot be simulated, before any time is spent.

        Args:
            theta: parameter name -> `[n]`, concrete.

        Raises:
            ValueError: for unknown names, an unstable `dt`, couplings without a lower
                bound on the energy, or a field that the torus cannot carry; with the
                first offending theta.
        """
        self._check_names(theta)
        columns = {name: np.asarray(value) for name, value in theta.items()}
        for name, value in columns.items():
            if (unknown := np.flatnonzero(~np.isfinite(value))).size:
                raise ValueError(
                    f"`theta` holds {unknown.size} values of {name} that are NaN or "
                    f"infinite, the first at index {unknown[0]}."
                )
        if not self.lattice.is_open:
            for field in np.unique(columns.get("B", self.field)):
                self.lattice.links(float(field))
        # The quench may be denser than any state it relaxes to. The field matters
        # little: it lowers the top of the spectrum.
        densest = jnp.full((2, *self.lattice.shape), self.amplitude * (1 + 1j))
        couplings = {k: jnp.asarray(v) for k, v in columns.items() if k != "B"}

        limits = np.atleast_1d(self._largest_stable_steps(couplings, densest))
        # Not a number stays one: couplings without a lower bound are refused.
        limits = limits * (np.inf if self.stepsize_controller else reach(self.solver))
        bad = np.flatnonzero(~(self.dt <= limits))
        if bad.size == 0:
            return
        first = {name: float(value[bad[0]]) for name, value in columns.items()}
        worst = np.min(limits)
        if np.isnan(worst):
            raise ValueError(
                f"{bad.size} of {limits.size} theta break nu^2 < D1 D2 with "
                f"`diffusion`={self.material.diffusion}, the first {first}; narrow "
                "the prior of `nu`."
            )
        euler = self.solver is None or isinstance(self.solver, diffrax.Euler)
        name = "explicit Euler" if euler else type(self.solver).__name__
        raise ValueError(
            f"`dt`={self.dt:g} is above the stability limit of {name} for "
            f"{bad.size} of {limits.size} theta, the first {first}; use "
            f"`dt` <= {worst:.4g}."
        )

    @eqx.filter_jit
    def _largest_stable_steps(
        self, couplings: Theta, psi: Complex[Array, "2 nx ny"]
    ) -> Float[Array, "..."]:
        def limit(one: Theta) -> Float[Array, ""]:
            return TDGL(self.lattice, self._material(one)).max_stable_step(psi)

        return jax.vmap(limit)(couplings) if couplings else limit(couplings)

    def _check_names(self, theta: Theta) -> None:
        unknown = sorted(set(theta) - set(self.names))
        if unknown:
            raise ValueError(
                f"`theta` names {unknown}, which this simulator does not know; it "
                f"knows {list(self.names)}."
            )


def _scalar(value: ThetaValue | ScalarOrMap) -> ScalarOrMap:
    """NumPy's numbers become arrays; Python's stay, so that a 0 is known to be one."""
    return value if isinstance(value, float | int) else jnp.asarray(value, float)
