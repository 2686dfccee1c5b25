"""Several pictures of the same run."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from gl15.observables import observe
from gl15.physics import evolve, evolve_batch, TDGL
from gl15.simulation._prior import Theta
from gl15.simulation._simulator import Keys
from gl15.simulation._vortex import VortexSimulator


_TOLERANCE = 1e-6  # of a step: what is still called whole


class Snapshots(eqx.Module):
    r"""A simulator that looks at each run several times.

    $$
    \theta \mapsto x = (x(t_1), x(t_2), \dots)
    $$

    The three channels of every snapshot stand side by side, `[nx, ny, 3 * times]`, the
    earliest first, and are named after their times: `density_1 t=1`, ... One quench and
    one evolution serve them all, so that the same vortices are seen moving, which
    snapshots of different runs cannot show. Without thermal noise the snapshot at $t$
    is the image that the simulator itself gives at `t1` $= t$ for the same key.

    Attributes:
        simulator: the run; its `t1` is the time of the last snapshot.
        times: when it is looked at.
    """

    simulator: VortexSimulator
    times: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, simulator: VortexSimulator, times: tuple[float, ...]):
        """Look at a simulator's runs at several times.

        Args:
            simulator: the run; its own `t1` is not used.
            times: when to look, increasing; whole numbers of its steps.

        Raises:
            TypeError: if the simulator is another one.
            ValueError: if the times do not increase, or fall between two steps.
        """
        if not isinstance(simulator, VortexSimulator):
            raise TypeError(
                f"`simulator` must be a VortexSimulator, got {type(simulator).__name__}"
                "; put Snapshots inside: Randomised(Snapshots(simulator, times), ...)."
            )
        self.times = tuple(float(time) for time in times)
        ordered = np.asarray([0.0, *self.times])
        if len(ordered) == 1 or not np.all(np.isfinite(ordered) & (ordered >= 0)):
            raise ValueError(f"`times` must be positive and finite, got {times}.")
        if not np.all(np.diff(ordered) > 0):
            raise ValueError(f"`times` must be positive and increasing, got {times}.")
        # A state between two steps would be a straight line's, not the equation's.
        if simulator.stepsize_controller is None:
            last = self.times[-1]
            steps = np.ceil(last / simulator.dt * (1 - _TOLERANCE))
            off = ordered / last * steps
            off = np.abs(off - np.round(off)) > _TOLERANCE * steps
            if off.any():
                raise ValueError(
                    f"`times`={self.times} are not whole numbers of steps of the "
                    f"simulator's `dt`={simulator.dt:g}: {ordered[off].tolist()} "
                    "would be interpolated; choose a `dt` that divides them all."
                )
        self.simulator = eqx.tree_at(lambda one: one.t1, simulator, self.times[-1])

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters of the simulator."""
        return self.simulator.names

    @property
    def spacing(self) -> float:
        """Pixel spacing of the images."""
        return self.simulator.spacing

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of all channels: the simulator's, with the time of each snapshot."""
        return tuple(
            f"{channel} t={time:g}"
            for time in self.times
            for channel in self.simulator.channels
        )

    @property
    def batch_size(self) -> int:
        """The simulator's own choice."""
        return self.simulator.batch_size

    def check(self, theta: Theta) -> None:
        """Refuse parameters that cannot be simulated, before any time is spent.

        Args:
            theta: parameter name -> `[n]`, concrete.

        Raises:
            ValueError: if the simulator refuses them.
        """
        self.simulator.check(theta)

    def __call__(self, theta: Theta, key: PRNGKeyArray) -> Float[Array, "nx ny c"]:
        """Simulate one run and look at it.

        Args:
            theta: parameter name -> scalar.
            key: JAX random key, used as the simulator uses it.

        Returns:
            The snapshots, side by side.

        Raises:
            ValueError: if the simulator refuses theta.
        """
        run = self.simulator
        tdgl = run.tdgl(theta)
        quench_key, noise_key = jax.random.split(key)
        solution = evolve(
            eqx.tree_at(lambda one: one.material.alpha, tdgl, run._alpha(key)),
            run._start(quench_key),
            t1=run.t1,
            dt=run.dt,
            ts=self.times,
            solver=run.solver,
            stepsize_controller=run.stepsize_controller,
            temperature=run.temperature,
            key=noise_key,
        )
        assert solution.ys is not None
        return _look(tdgl, solution.ys)

    def batch(self, theta: Theta, keys: Keys) -> Float[Array, "batch nx ny c"]:
        """Simulate several runs side by side, in the layout made for speed.

        Args:
            theta: parameter name -> `[batch]`.
            keys: a key for each.

        Returns:
            Their snapshots.
        """
        run = self.simulator
        theta = {name: jnp.asarray(value) for name, value in theta.items()}
        quench_keys, noise_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        solution = evolve_batch(
            run._side_by_side(theta, keys, jax.tree.map(lambda _: None, run)),
            jax.vmap(run._start)(quench_keys),
            t1=run.t1,
            dt=run.dt,
            ts=self.times,
            solver=run.solver,
            stepsize_controller=run.stepsize_controller,
            temperature=run.temperature,
            keys=noise_keys,
        )
        assert solution.ys is not None
        return jax.vmap(lambda one, psi: _look(run.tdgl(one), psi), (0, 1))(
            theta, solution.ys
        )


def _look(
    tdgl: TDGL, psi: Complex[Array, "times 2 nx ny"]
) -> Float[Array, "nx ny channels"]:
    """Images of every state, their channels side by side."""
    return jnp.concatenate([observe(tdgl, one) for one in psi], -1)
