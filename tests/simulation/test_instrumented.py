"""Instruments behind a simulator and over ensembles: one noise for each sample."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import gl15
from gl15.instruments import (
    Chain,
    Detector,
    InNanometres,
    LorentzTEM,
    NeutronScattering,
    STM,
    Units,
)
from gl15.simulation import Ensemble
from gl15.simulation._instrumented import Instrumented, observe_with


PRIOR = gl15.Prior({"eta": dist.Uniform(0.0, 1.5)})
# Not counted: compiling Poisson's law takes seconds, and the instruments' tests do.
CHAIN = Chain([LorentzTEM(0.5, 0.1, channel=0), Detector(2, readout_noise=0.1)])


class Ripples:
    """Quick images in which theta is an amplitude."""

    names = ("eta",)
    spacing = 0.5
    channels = ("first", "second")

    def __call__(self, theta, key):
        noise = jax.random.uniform(key, (8, 8, 2))
        return (1 + theta["eta"]) * noise


class NoFurther(Ripples):
    def check(self, theta):
        if np.max(theta["eta"]) > 1.0:
            raise ValueError("no further than 1")


@pytest.fixture(scope="module")
def ensemble():
    return gl15.simulate(Ripples(), PRIOR, 20, key=jax.random.key(0), progress=False)


def test_an_instrumented_simulator_carries_what_the_instrument_shows():
    lattice = gl15.Lattice((8, 8), spacing=0.5)
    simulator = gl15.VortexSimulator(lattice, gl15.TwoBand(), t1=0.02, dt=1e-2)
    seen = Instrumented(simulator, CHAIN)
    assert seen.names == simulator.names and seen.batch_size == simulator.batch_size
    assert seen.spacing == 1.0 and seen.channels == ("projected_flux",)
    key = jax.random.key(1)
    ensemble = gl15.simulate(seen, PRIOR, 10, key=key, progress=False)
    assert ensemble.x.shape == (10, 4, 4, 1)
    assert (ensemble.spacing, ensemble.channels) == (1.0, ("projected_flux",))


def test_the_instrument_alone_may_be_what_is_not_known(getkey):
    lattice = gl15.Lattice((8, 8), spacing=0.5)
    simulator = gl15.VortexSimulator(lattice, gl15.TwoBand(), t1=0.02, dt=1e-2)
    seen = Instrumented(simulator, STM(), {"tip": lambda stm: stm.tip_width})
    ensemble = gl15.simulate(seen, {"tip": [0.0, 2.0]}, key=getkey(), progress=False)
    assert 2 * np.std(ensemble.x[1]) < np.std(ensemble.x[0])


def test_a_batch_is_a_call_for_each(getkey):
    seen = Instrumented(Ripples(), CHAIN)
    keys = jax.random.split(getkey(), 3)
    theta = {"eta": jnp.array([0.1, 0.5, 1.0])}
    batch = jax.jit(seen.batch)(theta, keys)
    image_key, noise_key = jax.random.split(keys[2])
    clean = seen.simulator({"eta": 1.0}, image_key)
    expected = CHAIN(clean, spacing=0.5, key=noise_key)
    np.testing.assert_allclose(batch[2], expected, rtol=1e-6)
    one = jax.jit(seen)({"eta": 1.0}, keys[2])
    np.testing.assert_allclose(one, expected, rtol=1e-6)


def test_an_estimator_learns_what_it_is_trained_on(getkey):
    seen = Instrumented(Ripples(), CHAIN)
    ensemble = gl15.simulate(seen, PRIOR, 40, key=getkey(), progress=False)
    encoder = gl15.ConvEncoder(len(seen.channels), widths=(2,), key=getkey())
    estimator = gl15.RatioEstimator(PRIOR, encoder=encoder, width=4, key=getkey())
    estimator, _ = gl15.fit(
        estimator, ensemble, key=getkey(), steps=2, batch_size=4, progress=False
    )
    assert (estimator.spacing, estimator.channel_names) == (1.0, ("projected_flux",))
    clean = Ripples()({"eta": 0.5}, getkey())
    with pytest.raises(ValueError, match="2 channels"):
        estimator.check_image(clean)


def test_ensembles_of_curves_have_no_channels():
    seen = Instrumented(Ripples(), NeutronScattering(counts=100.0))
    ensemble = gl15.simulate(seen, PRIOR, 3, key=jax.random.key(0), progress=False)
    assert ensemble.x.shape == (3, 3) and ensemble.channels == ()


def test_a_store_resumes_an_instrument_and_refuses_another(tmp_path):
    pytest.importorskip("zarr")

    def run(instrument):
        seen = Instrumented(Ripples(), InNanometres(instrument, Units(2.0)))
        return gl15.simulate(
            seen,
            PRIOR,
            6,
            key=jax.random.key(0),
            path=tmp_path / "seen.zarr",
            progress=False,
        )

    first = run(Chain([STM(1.0, 5.0)]))
    np.testing.assert_array_equal(run(Chain([STM(1.0, 5.0)])).x, first.x)
    with pytest.raises(ValueError, match="'tip_width': 1.5, .* here but .*: 1.0"):
        run(Chain([STM(1.5, 5.0)]))


def test_what_the_simulator_refuses_is_refused():
    seen = Instrumented(NoFurther(), STM())
    with pytest.raises(ValueError, match="no further than 1"):
        gl15.simulate(seen, {"eta": [1.2]}, key=jax.random.key(0), progress=False)
    with pytest.raises(ValueError, match=r"names \['B'\]"):
        gl15.simulate(seen, {"B": [0.1]}, key=jax.random.key(0), progress=False)
    with pytest.raises(ValueError, match="has no `spacing`"):
        Instrumented(lambda theta, key: theta["eta"] * jnp.ones((4, 4, 1)), STM())
    # Of what says nothing, nothing is known.
    bare = type("Bare", (), {"spacing": 0.5, "__call__": Ripples.__call__})
    seen = Instrumented(bare(), Detector())
    assert seen.names is None and seen.channels == () and seen.batch_size == 256
    seen.check({"eta": jnp.ones(1)})


def test_what_is_not_known_of_an_instrument_is_part_of_theta(getkey):
    calibration = {
        "noise": lambda chain: chain.instruments[1].readout_noise,
        "counts": lambda chain: chain.instruments[0].counts,
    }
    chain = Chain([STM(0.5), Detector()])
    seen = Instrumented(Ripples(), chain, calibration)
    assert seen.names == ("eta", "noise", "counts")
    prior = gl15.Prior({"eta": dist.Uniform(0.0, 1.5), "noise": dist.Uniform(0.0, 9.0)})
    ensemble = gl15.simulate(seen, prior, 60, key=getkey(), progress=False)
    spread = np.std(ensemble.x, axis=(1, 2, 3))
    np.testing.assert_allclose(spread, ensemble.theta["noise"], rtol=0.4, atol=0.5)
    theta = {"eta": 0.5, "noise": jnp.asarray(0.0), "counts": jnp.asarray(9.0)}
    one = seen(theta, jax.random.key(1))
    keys = jax.random.split(jax.random.key(1))
    clean = Ripples()({"eta": 0.5}, keys[0])
    expected = Chain([STM(0.5, 9.0), Detector()])(clean, spacing=0.5, key=keys[1])
    np.testing.assert_array_equal(one, expected)
    with pytest.raises(
        ValueError, match="`readout_noise` must not be negative, got -1"
    ):
        gl15.simulate(
            seen, {"eta": [1, 1], "noise": [0.5, -1.0]}, key=getkey(), progress=False
        )
    with pytest.raises(ValueError, match=r"names \['eta'\], which are parameters"):
        Instrumented(Ripples(), STM(), {"eta": lambda stm: stm.tip_width})


def test_negative_counts_are_reported_with_their_theta():
    seen = Instrumented(Ripples(), Chain([Detector(readout_noise=5.0), STM(0, 10.0)]))
    with pytest.raises(gl15.simulation.NonFiniteSimulationError, match="not finite"):
        gl15.simulate(seen, PRIOR, 3, key=jax.random.key(0), progress=False)


def test_each_sample_has_its_noise_in_whatever_slices_and_batches(ensemble):
    key = jax.random.key(3)
    seen = observe_with(ensemble, CHAIN, key=key)
    assert seen.theta is ensemble.theta
    assert (seen.spacing, seen.channels) == (1.0, ("projected_flux",))
    fifth = CHAIN(ensemble.x[5], spacing=0.5, key=jax.random.fold_in(key, 5))
    np.testing.assert_allclose(seen.x[5], fifth, rtol=1e-6)
    small = observe_with(ensemble, CHAIN, key=key, batch_size=3)
    np.testing.assert_allclose(small.x, seen.x, rtol=1e-6)
    part = observe_with(ensemble[5:9], CHAIN, key=key, first=5)
    np.testing.assert_allclose(part.x, seen.x[5:9], rtol=1e-6)
    again = observe_with(ensemble, CHAIN, key=jax.random.key(4))
    assert not np.any(again.x == seen.x)


def test_a_perfect_detector_leaves_an_ensemble_as_it_is(ensemble):
    seen = observe_with(ensemble, Detector(), key=jax.random.key(0))
    np.testing.assert_array_equal(seen.x, ensemble.x)
    assert (seen.spacing, seen.channels) == (ensemble.spacing, ensemble.channels)


def test_ensembles_that_cannot_be_measured_are_refused(ensemble):
    key = jax.random.key(0)

    def changed(x, spacing=0.5):
        return Ensemble(ensemble.theta, x, spacing)

    holed = ensemble.x.at[7, 0, 0].set(jnp.nan)
    for bad, instrument, match in (
        (changed(holed), STM(), "NaN .* 1 of 20 samples, the first at index 7"),
        (changed(ensemble.x, None), STM(), "`ensemble` has no `spacing`"),
        (ensemble[:0], STM(), "`ensemble` is empty"),
        (ensemble, LorentzTEM(), "LorentzTEM looks at channels"),
        (changed(-ensemble.x), STM(counts=3.0), "negative signal cannot be counted"),
        (changed(ensemble.x[..., 0]), STM(), "one image"),
    ):
        with pytest.raises(ValueError, match=match):
            observe_with(bad, instrument, key=key)
    with pytest.raises(ValueError, match="`batch_size` must be positive"):
        observe_with(ensemble, STM(), key=key, batch_size=0)
