"""Instruments where ensembles are made: behind a simulator, or over an ensemble."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gl15.instruments import AbstractInstrument
from gl15.simulation._ensemble import Ensemble
from gl15.simulation._prior import Theta
from gl15.simulation._simulator import Keys, run_batch, Simulator


class Instrumented(eqx.Module):
    r"""A simulator as an instrument sees it: itself a simulator.

    $$
    x \sim p_\text{instrument}(x \mid x_0), \qquad x_0 \sim p(x_0 \mid \theta)
    $$

    `gl15.simulate(Instrumented(simulator, instrument), prior, n, key=key)` makes an
    ensemble of what a laboratory would see, with the instrument's spacing and channels,
    which a `RatioEstimator` trained on it then knows.

    What is not known of the instrument can be part of theta, to be inferred or to be
    averaged over: `calibration={"tip": lambda stm: stm.tip_width}` adds a parameter
    `tip`, whose prior belongs to the others.

    Attributes:
        simulator: draws an image at theta; it has a `spacing`.
        instrument: draws what is seen of the image.
        calibration: parameters of the instrument that theta names: pairs of a name
            and a function from the instrument to the parameter.
    """

    simulator: Simulator
    instrument: AbstractInstrument
    calibration: tuple[tuple[str, Callable[[Any], Any]], ...] = eqx.field(static=True)

    def __init__(
        self,
        simulator: Simulator,
        instrument: AbstractInstrument,
        calibration: Mapping[str, Callable[[Any], Any]] | None = None,
    ):
        """Put an instrument behind a simulator.

        Args:
            simulator: the simulator; it has a `spacing`.
            instrument: the instrument.
            calibration: parameters of the instrument that theta names, name -> where
                to find it in the instrument.

        Raises:
            ValueError: if the simulator has no spacing, or knows one of the names.
        """
        if getattr(simulator, "spacing", None) is None:
            raise ValueError(
                f"{type(simulator).__name__} has no `spacing`, and an instrument needs "
                "the pixel spacing of what it measures; give the simulator one."
            )
        calibration = {} if calibration is None else calibration
        if taken := set(calibration) & set(getattr(simulator, "names", ())):
            raise ValueError(
                f"`calibration` names {sorted(taken)}, which are parameters of the "
                "simulator; choose other names."
            )
        self.simulator = simulator
        self.instrument = instrument
        self.calibration = tuple(calibration.items())

    @property
    def names(self) -> tuple[str, ...] | None:
        """The parameters of both; None if the simulator does not say."""
        known = getattr(self.simulator, "names", None)
        return known and (*known, *dict(self.calibration))

    @property
    def spacing(self) -> float:
        """Pixel spacing of what the instrument shows."""
        return self.instrument.output_spacing(self._spacing)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels the instrument shows; empty if unknown."""
        channels = tuple(getattr(self.simulator, "channels", ()))
        return self.instrument.output_channels(channels)

    @property
    def batch_size(self) -> int:
        """The simulator's own choice."""
        return getattr(self.simulator, "batch_size", 256)

    def __call__(self, theta: Theta, key: PRNGKeyArray) -> Float[Array, "..."]:
        """Simulate one image and measure it.

        Args:
            theta: parameter name -> scalar.
            key: JAX random key, split among the simulator and the instrument.

        Returns:
            What the instrument shows.

        Raises:
            ValueError: if the simulator refuses theta, or the instrument the image.
        """
        simulator_key, key = jax.random.split(key)
        x = self.simulator(self._sample(theta), simulator_key)
        return self.calibrated(theta)(x, spacing=self._spacing, key=key)

    def batch(self, theta: Theta, keys: Keys) -> Float[Array, "batch ..."]:
        """Simulate and measure several images, the simulator's fast way if it has one.

        Args:
            theta: parameter name -> `[batch]`.
            keys: a key for each.

        Returns:
            What the instrument shows of each.
        """
        return self.batch_varied(theta, keys, jax.tree.map(lambda _: None, self))

    def batch_varied(
        self, theta: Theta, keys: Keys, each: "Instrumented"
    ) -> Float[Array, "batch ..."]:
        """The same with simulators and instruments that differ from one to the next.

        Args:
            theta: parameter name -> `[batch]`.
            keys: a key for each.
            each: what differs, with an axis of simulations; None in place of all else.

        Returns:
            What the instrument shows of each.
        """
        simulator_keys, keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        sample = self._sample(theta)
        if sample or jax.tree.leaves(each.simulator):
            images = run_batch(self.simulator, sample, simulator_keys, each.simulator)
        else:  # theta may name parameters of the instrument alone
            images = jax.vmap(self.simulator)(sample, simulator_keys)

        def measure(
            own: AbstractInstrument,
            theta: Theta,
            x: Float[Array, "..."],
            key: PRNGKeyArray,
        ) -> Float[Array, "..."]:
            instrument = self._calibrated(eqx.combine(own, self.instrument), theta)
            return instrument(x, spacing=self._spacing, key=key)

        return jax.vmap(measure)(each.instrument, theta, images, keys)

    def check(self, theta: Theta) -> None:
        """Refuse what the simulator or the instrument refuses, before time is spent.

        Args:
            theta: parameter name -> `[n]`, concrete.

        Raises:
            ValueError: if one of them does.
        """
        if (check := getattr(self.simulator, "check", None)) is not None:
            check(self._sample(theta))
        for extreme in (np.min, np.max):
            ends = {k: float(extreme(np.asarray(v))) for k, v in theta.items()}
            for instrument in _parts(self.calibrated(ends)):
                if (check := getattr(instrument, "__check_init__", None)) is not None:
                    check()

    def calibrated(self, theta: Theta) -> AbstractInstrument:
        """The instrument with those of its parameters that theta names.

        Args:
            theta: parameter name -> scalar.

        Returns:
            The instrument.
        """
        return self._calibrated(self.instrument, theta)

    def _calibrated(
        self, instrument: AbstractInstrument, theta: Theta
    ) -> AbstractInstrument:
        for name, where in self.calibration:
            if name in theta:
                instrument = eqx.tree_at(
                    where, instrument, theta[name], is_leaf=lambda leaf: leaf is None
                )
        return instrument

    def _sample(self, theta: Theta) -> dict[str, Any]:
        ours = dict(self.calibration)
        return {k: v for k, v in theta.items() if k not in ours}

    @property
    def _spacing(self) -> float:
        return getattr(self.simulator, "spacing")  # noqa: B009


def observe_with(
    ensemble: Ensemble,
    instrument: AbstractInstrument,
    *,
    key: PRNGKeyArray,
    first: int = 0,
    batch_size: int = 256,
) -> Ensemble:
    """An ensemble as an instrument sees it: the same theta, other observations.

    Sample i uses the key `fold_in(key, first + i)`. Called again with another key it
    draws the noise anew, without another simulation.

    Args:
        ensemble: images and their parameters.
        instrument: what they are measured with.
        key: JAX random key.
        first: index of the first sample, where `ensemble` is a slice of a larger one
            and shall see the same noise as there.
        batch_size: images measured side by side.

    Returns:
        What the instrument shows, with its spacing and channels.

    Raises:
        ValueError: if the ensemble has no spacing or its images are not finite, or if
            the instrument refuses them.
    """
    if ensemble.spacing is None:
        raise ValueError(
            "`ensemble` has no `spacing`, and an instrument needs the pixel spacing of "
            "what it measures; make it with `Ensemble(theta, x, spacing=...)`."
        )
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be positive, got {batch_size}.")
    if len(ensemble) == 0:
        raise ValueError("`ensemble` is empty; there is nothing to measure.")
    _refuse(ensemble.x, "`ensemble` holds images with NaN or infinite values")
    size = min(batch_size, len(ensemble))
    x = _measure(
        instrument, ensemble.x, key, jnp.asarray(first), ensemble.spacing, size
    )
    _refuse(
        x,
        "the instrument shows NaN, for instance because a negative signal cannot be "
        "counted,",
    )
    return Ensemble(
        ensemble.theta,
        x,
        instrument.output_spacing(ensemble.spacing),
        instrument.output_channels(ensemble.channels),
    )


@eqx.filter_jit
def _measure(instrument, x, key, first, spacing: float, size: int):
    def one(sample):
        index, image = sample
        own = jax.random.fold_in(key, index)
        return instrument(image, spacing=spacing, key=own)

    indices = first + jnp.arange(len(x))
    return jax.lax.map(one, (indices, x), batch_size=size)


def _parts(value: Any) -> Iterator[AbstractInstrument]:
    """An instrument and those it is made of."""
    if isinstance(value, AbstractInstrument):
        yield value
        value = tuple(vars(value).values())
    for one in value if isinstance(value, tuple) else ():
        yield from _parts(one)


def _refuse(x: Float[Array, "n ..."], what: str) -> None:
    bad = np.flatnonzero(~np.asarray(jnp.isfinite(x).reshape(len(x), -1).all(1)))
    if bad.size:
        raise ValueError(
            f"{what} at {bad.size} of {len(x)} samples, the first at index {bad[0]}; "
            "take them out, or mend what made them."
        )
