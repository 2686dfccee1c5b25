"""Nuisances: what is drawn anew for every simulation, and never told."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.simulation._prior import Prior, Theta
from gl15.simulation._simulator import Keys, run_batch, Simulator


class Randomised(eqx.Module):
    r"""A simulator with parameters drawn anew each time: itself a simulator.

    $$
    p(x \mid \theta) = \int p(x \mid \theta, \phi)\, p(\phi)\, \mathrm{d}\phi
    $$

    The nuisances $\phi$ are not part of theta, so that an estimator trained on such
    simulations has averaged over them: its posterior allows for what is not known of
    the sample or of the instrument, without a dimension more.

    ```python
    Randomised(
        Instrumented(simulator, Detector()),
        {"nu": dist.Uniform(0.0, 0.1), "noise": dist.LogUniform(1e-3, 3e-2)},
        where={"noise": lambda seen: seen.instrument.readout_noise},
    )
    ```

    A nuisance is a parameter that theta could name (`nu`), or a number that the
    simulator holds: an attribute of that name (`temperature`), or what `where` finds.

    Attributes:
        simulator: draws an observation at theta.
        nuisances: what they are drawn from.
        places: where the simulator holds them: pairs of a path and a nuisance.
    """

    simulator: Simulator
    nuisances: Prior
    places: tuple[tuple[str, str], ...] = eqx.field(static=True)

    def __init__(
        self,
        simulator: Simulator,
        nuisances: Prior | Mapping[str, Any],
        where: Mapping[str, Callable[[Any], Any]] | None = None,
    ):
        """Let nuisances vary.

        Args:
            simulator: the simulator.
            nuisances: what they are drawn from: a prior, or name -> distribution.
            where: where to find them in the simulator, name -> a function of it. If it
                finds several numbers, all become the one drawn.

        Raises:
            ValueError: if one is not found, or is nothing that can vary.
        """
        if not isinstance(nuisances, Prior):
            nuisances = Prior(nuisances)
        where = {} if where is None else where
        if unknown := sorted(set(where) - set(nuisances.names)):
            raise ValueError(
                f"`where` names {unknown}, but `nuisances` are "
                f"{list(nuisances.names)}; give each a distribution."
            )
        known = getattr(simulator, "names", None) or ()
        own = {
            name: where.get(name, operator.attrgetter(name))
            for name in nuisances.names
            if name in where or name not in known
        }
        self.simulator = simulator
        self.nuisances = nuisances
        # Paths and not functions: of those a store would know the names alone.
        self.places = tuple(
            (path, name)
            for name, find in own.items()
            for path in _paths(simulator, name, find)
        )

    @property
    def names(self) -> tuple[str, ...] | None:
        """The parameters left to theta; None if the simulator does not say."""
        known = getattr(self.simulator, "names", None)
        if known is None:
            return None
        return tuple(name for name in known if name not in self.nuisances.names)

    @property
    def spacing(self) -> float | None:
        """Pixel spacing of the images."""
        return getattr(self.simulator, "spacing", None)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels of the images."""
        return tuple(getattr(self.simulator, "channels", ()))

    @property
    def batch_size(self) -> int:
        """The simulator's own choice."""
        return getattr(self.simulator, "batch_size", 256)

    def __call__(self, theta: Theta, key: PRNGKeyArray) -> Float[Array, "..."]:
        """Draw the nuisances, then simulate one observation.

        Args:
            theta: parameter name -> scalar.
            key: JAX random key, split among the nuisances and the simulator.

        Returns:
            The observation.

        Raises:
            ValueError: if the simulator refuses theta.
        """
        nuisance_key, key = jax.random.split(key)
        named, each = self._told(theta, self.nuisances.sample(nuisance_key))
        return eqx.combine(each, self.simulator)(named, key)

    def batch(self, theta: Theta, keys: Keys) -> Float[Array, "batch ..."]:
        """Simulate several, the simulator's fast way if it has one.

        Args:
            theta: parameter name -> `[batch]`.
            keys: a key for each.

        Returns:
            The observations.
        """
        nuisance_keys, keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        drawn = jax.vmap(self.nuisances.sample)(nuisance_keys)
        named, each = self._told(theta, drawn)
        return run_batch(self.simulator, named, keys, each)

    def check(self, theta: Theta) -> None:
        """Refuse what the simulator refuses, with all nuisances at either end.

        Args:
            theta: parameter name -> `[n]`, concrete.

        Raises:
            ValueError: if the simulator refuses it.
        """
        bounds = self.nuisances.bounds
        size = max((np.size(value) for value in theta.values()), default=1)
        for end in (0, 1):
            drawn = {name: float(bounds[name][end]) for name in bounds}
            named, each = self._told(theta, drawn)
            filled = {k: np.broadcast_to(np.asarray(v), size) for k, v in named.items()}
            simulator = eqx.combine(each, self.simulator)
            if (check := getattr(simulator, "check", None)) is not None:
                check(filled)

    def _told(self, theta: Theta, drawn: Mapping[str, Any]) -> tuple[Theta, Any]:
        """Theta with the nuisances it can name, and a simulator of the others alone."""
        held = {path: drawn[name] for path, name in self.places}
        inside = {name for _, name in self.places}
        each = jax.tree_util.tree_map_with_path(
            lambda path, _: held.get(jax.tree_util.keystr(path)),
            self.simulator,
            is_leaf=_is_none,
        )
        return {**theta, **{k: v for k, v in drawn.items() if k not in inside}}, each


def _paths(simulator: Any, name: str, find: Callable[[Any], Any]) -> list[str]:
    mark = object()

    def found(one: Any) -> list[Any]:
        return jax.tree.leaves(find(one), is_leaf=_is_none)

    try:
        marked = eqx.tree_at(
            found, simulator, replace_fn=lambda _: mark, is_leaf=_is_none
        )
    except (AttributeError, TypeError, ValueError, IndexError, KeyError) as error:
        raise ValueError(
            f"`nuisances` name {name!r}, which is no number that "
            f"{type(simulator).__name__} holds, nor a parameter of its theta "
            f"{list(getattr(simulator, 'names', None) or ())}; say where it is by "
            f"`where={{{name!r}: lambda simulator: ...}}`."
        ) from error
    leaves, _ = jax.tree_util.tree_flatten_with_path(marked, is_leaf=_is_none)
    return [jax.tree_util.keystr(path) for path, leaf in leaves if leaf is mark]


def _is_none(leaf: Any) -> bool:
    return leaf is None
