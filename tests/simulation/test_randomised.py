"""Nuisances: drawn anew for each simulation, the fast way as the slow one, storable."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import gl15
from gl15.instruments import Chain, Detector, STM
from gl15.simulation import Disorder, Instrumented, Randomised


OPEN = gl15.Lattice((12, 10), spacing=0.5)
SIMULATOR = gl15.VortexSimulator(OPEN, gl15.TwoBand(), t1=0.02, dt=2e-3)
SEEN = Instrumented(
    eqx.tree_at(
        lambda s: s.disorder,
        SIMULATOR,
        Disorder(0.2, 1.0),
        is_leaf=lambda leaf: leaf is None,
    ),
    Chain([Detector(), Detector(2)]),
)
PRIOR = gl15.Prior({"eta": dist.Uniform(0.0, 1.5)})
THETA = {"eta": jnp.asarray([0.1, 0.7, 1.4])}


class Ripples:
    """Quick images: a level and noise."""

    names = ("level", "slope")

    def __call__(self, theta, key):
        x = theta["slope"] * jnp.arange(4.0)
        return theta["level"] + x + 0.1 * jax.random.normal(key, (4,))


def test_a_nuisance_that_theta_can_name_is_drawn_into_it(getkey):
    key = getkey()
    nuisances = gl15.Prior({"slope": dist.Normal(0.0, 1.0)})
    varied = Randomised(Ripples(), nuisances)
    assert varied.names == ("level",)
    nuisance_key, own = jax.random.split(key)
    slope = nuisances.sample(nuisance_key)["slope"]
    expected = Ripples()({"level": 0.3, "slope": slope}, own)
    np.testing.assert_array_equal(varied({"level": 0.3}, key), expected)
    batch = varied.batch({"level": jnp.full(1, 0.3)}, key[None])
    np.testing.assert_allclose(batch[0], expected, rtol=1e-12)
    levels = gl15.Prior({"level": dist.Uniform(0.0, 1.0)})
    ensemble = gl15.simulate(varied, levels, 400, key=getkey(), progress=False)
    slopes = np.diff(ensemble.x, axis=1).mean(1)
    assert 0.8 < slopes.std() < 1.2
    with pytest.raises(ValueError, match=r"names \['slope'\], which the simulator"):
        gl15.simulate(varied, {"slope": [0.1]}, key=getkey())


def test_a_number_that_the_simulator_holds_is_the_one_drawn(getkey):
    key = getkey()
    where = {"tc": lambda s: s.material.alpha}
    nuisances = {"amplitude": dist.Uniform(0.1, 0.9), "tc": dist.Uniform(-1.5, -0.5)}
    varied = Randomised(SIMULATOR, nuisances, where)
    assert varied.names == SIMULATOR.names
    nuisance_key, own = jax.random.split(key)
    drawn = gl15.Prior(nuisances).sample(nuisance_key)
    told = gl15.VortexSimulator(
        OPEN,
        gl15.TwoBand(alpha=(drawn["tc"], drawn["tc"])),
        t1=0.02,
        dt=2e-3,
        amplitude=float(drawn["amplitude"]),
    )
    theta = {"eta": 0.5}
    np.testing.assert_allclose(varied(theta, key), told(theta, own), rtol=1e-9)
    assert np.abs(told(theta, own) - SIMULATOR(theta, own)).max() > 1e-3


VARIED = {
    "a sample": (
        SIMULATOR,
        {
            "temperature": dist.Uniform(0.0, 0.1),
            "field": dist.Uniform(0.0, 0.2),
            "nu": dist.Uniform(0.0, 0.2),
            "stiff": dist.Uniform(1.0, 4.0),
        },
        {"stiff": lambda s: s.material.diffusion[0]},
    ),
    "a disordered one behind instruments": (
        SEEN,
        {
            "noise": dist.LogUniform(1e-2, 1.0),
            "strength": dist.Uniform(0.0, 0.5),
            "length": dist.Uniform(0.5, 2.0),
        },
        {
            "noise": lambda s: s.instrument.instruments[0].readout_noise,
            "strength": lambda s: s.simulator.disorder.strength,
            "length": lambda s: s.simulator.disorder.length,
        },
    ),
}


@pytest.mark.parametrize("case", VARIED)
def test_a_batch_is_a_call_for_each(case, getkey):
    varied = Randomised(*VARIED[case])
    keys = jax.random.split(getkey(), 3)
    batch = jax.jit(varied.batch)(THETA, keys)
    each = jax.jit(jax.vmap(varied))(THETA, keys)
    np.testing.assert_allclose(batch, each, rtol=1e-9, atol=1e-9)


def test_what_is_drawn_without_theta_is_drawn_all_the_same(getkey):
    varied = Randomised(SIMULATOR, {"amplitude": dist.Uniform(0.1, 0.9)})
    images = jax.jit(varied.batch)({}, jax.random.split(getkey(), 3))
    densities = np.asarray(images[..., 0].mean((1, 2)))
    assert densities.max() > 1.2 * densities.min()


def test_a_store_resumes_and_knows_what_varies(tmp_path):
    pytest.importorskip("zarr")

    def run(n, high=0.9, path="store.zarr"):
        varied = Randomised(
            Instrumented(SIMULATOR, Detector()),
            {"noise": dist.Uniform(0.0, high)},
            where={"noise": lambda s: s.instrument.readout_noise},
        )
        return gl15.simulate(
            varied,
            PRIOR,
            n,
            key=jax.random.key(0),
            path=tmp_path / path,
            batch_size=3,
            progress=False,
        )

    run(3)
    np.testing.assert_array_equal(run(6).x, run(6, path="other.zarr").x)
    with pytest.raises(ValueError, match=r"nuisances.noise.high` is 0.5 here but 0.9"):
        run(6, high=0.5)


def test_what_cannot_be_simulated_is_refused_before():
    varied = Randomised(SIMULATOR, {"nu": dist.Uniform(0.0, 2.5)})
    with pytest.raises(ValueError, match=r"break nu\^2 < D1 D2"):
        gl15.simulate(varied, {"eta": [0.1]}, key=jax.random.key(0))
    varied = Randomised(SIMULATOR, {"t1": dist.Uniform(0.01, 0.02)})
    with pytest.raises(ValueError, match="`t1`, `dt` and .* cannot vary"):
        gl15.simulate(varied, {"eta": [0.1]}, key=jax.random.key(0))
    seen = Instrumented(SIMULATOR, STM())
    where = {"tip": lambda s: s.instrument.tip_width}
    varied = Randomised(seen, {"tip": dist.Uniform(-1.0, 1.0)}, where)
    with pytest.raises(ValueError, match="`tip_width` must not be negative, got -1"):
        gl15.simulate(varied, {"eta": [0.1]}, key=jax.random.key(0))


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("humidity", {}),
        ("size", {"size": lambda s: s.lattice.shape}),
        ("tip", {"tip": lambda s: s.instrument.tip_width}),
    ],
)
def test_what_is_no_number_of_the_simulator_cannot_vary(name, where):
    with pytest.raises(ValueError, match=f"'{name}', which is no number that Vortex"):
        Randomised(SIMULATOR, {name: dist.Uniform(0.0, 1.0)}, where)
    with pytest.raises(ValueError, match=r"`where` names \['other'\]"):
        Randomised(
            SIMULATOR, {"nu": dist.Uniform(0.0, 1.0)}, {"other": lambda s: s.field}
        )
