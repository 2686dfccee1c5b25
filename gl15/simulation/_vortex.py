"""The forward model: from couplings to a picture of vortices."""

import operator
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
from gl15.physics._types import Psi, Scalar, ScalarOrMap
from gl15.simulation._disorder import Disorder, some_disorder
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
        disorder: maps of the local critical temperature, one for every simulation; a
            fixed one can be part of the material.
    """

    lattice: Lattice
    material: TwoBand
    field: Scalar = 0.04
    t1: float = 2.0
    dt: float = 1e-3
    amplitude: Scalar = 0.5
    temperature: Scalar = 0.0
    solver: diffrax.AbstractSolver | None = None
    stepsize_controller: diffrax.AbstractStepSizeController | None = None
    disorder: Disorder | None = eqx.field(default=None, converter=some_disorder)

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
            key: JAX random key: the quench, the thermal noise and the disorder.

        Returns:
            The image.

        Raises:
            ValueError: for unknown names, an unstable `dt`, couplings without a lower
                bound on the energy, or a field that the torus cannot carry.
        """
        tdgl = self.tdgl(theta)
        quench_key, noise_key = jax.random.split(key)
        solution = evolve(
            eqx.tree_at(lambda one: one.material.alpha, tdgl, self._alpha(key)),
            self._start(quench_key),
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
        return self.batch_varied(theta, keys, jax.tree.map(lambda _: None, self))

    def batch_varied(
        self, theta: Theta, keys: Keys, each: "VortexSimulator"
    ) -> Float[Array, "batch nx ny 3"]:
        """The same with simulators that differ from one simulation to the next.

        Args:
            theta: parameter name -> `[batch]`.
            keys: a key for each.
            each: what differs, with an axis of simulations; None in place of all else.

        Returns:
            The images.

        Raises:
            ValueError: if the time steps differ.
        """
        if jax.tree.leaves((each.t1, each.dt, each.solver, each.stepsize_controller)):
            raise ValueError("`t1`, `dt` and the solver's numbers cannot vary.")
        theta = {name: jnp.asarray(value) for name, value in theta.items()}
        quench_keys, noise_keys = jax.vmap(jax.random.split, out_axes=1)(keys)

        def start(one: VortexSimulator, key: PRNGKeyArray) -> Psi:
            return eqx.combine(one, self)._start(key)

        solution = evolve_batch(
            self._side_by_side(theta, keys, each),
            jax.vmap(start)(each, quench_keys),
            t1=self.t1,
            dt=self.dt,
            solver=self.solver,
            stepsize_controller=self.stepsize_controller,
            temperature=eqx.combine(each.temperature, self.temperature),
            keys=noise_keys,
        )

        def image(one: VortexSimulator, theta: Theta, psi: Psi) -> Float[Array, "..."]:
            return observe(eqx.combine(one, self).tdgl(theta), psi)

        states = solution.ys[-1]  # pyright: ignore[reportOptionalSubscript]
        return jax.vmap(image)(each, theta, states)

    def _side_by_side(self, theta: Theta, keys: Keys, each: "VortexSimulator") -> TDGL:
        """The dynamics of all, an axis of simulations on what differs.

        All else stays shared: the solver reads one number where one serves all.
        """
        material = eqx.combine(each.material, self.material)
        for name, place in (("eta", "josephson"), ("nu", "drag")):
            if name in theta:
                value = jnp.asarray(theta[name], float)
                where = operator.attrgetter(place)
                material = eqx.tree_at(where, material, value)
        if self.disorder is not None:
            alpha = jax.vmap(lambda one, key: eqx.combine(one, self)._alpha(key))
            material = eqx.tree_at(lambda m: m.alpha, material, alpha(each, keys))
        fields = theta.get("B", each.field)
        shared = TDGL(self.lattice, self.material, self.field if fields is None else 0)
        links = shared.links
        if fields is not None:
            links = jax.vmap(self.lattice.links)(jnp.asarray(fields, float))
        return eqx.tree_at(lambda t: (t.material, t.links), shared, (material, links))

    def _start(self, key: PRNGKeyArray) -> Complex[Array, "2 nx ny"]:
        if isinstance(self.amplitude, float | int):
            return quench(self.lattice, key=key, amplitude=self.amplitude)
        return jnp.asarray(self.amplitude) * quench(
            self.lattice, key=key, amplitude=1.0
        )

    def _alpha(self, key: PRNGKeyArray) -> tuple[ScalarOrMap, ScalarOrMap]:
        if self.disorder is None:
            return self.material.alpha
        # The quench's key and the noise's are the first two of this one's children.
        shift = self.disorder(self.lattice, key=jax.random.fold_in(key, 2))
        first, second = self.material.alpha
        return first + shift, second + shift

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
        # Sites five deviations of the disorder above and below the rest.
        sign = np.where(np.indices(self.lattice.shape).sum(0) % 2, 5.0, -5.0)
        worst = 0.0 if self.disorder is None else sign * self.disorder.strength

        def limit(one: Theta) -> Float[Array, ""]:
            material = self._material(one)
            alpha = tuple(value + worst for value in material.alpha)
            material = eqx.tree_at(lambda m: m.alpha, material, alpha)
            return TDGL(self.lattice, material).max_stable_step(psi)

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
