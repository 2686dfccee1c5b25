"""The forward model: what it simulates, side by side as one by one, and refuses."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gl15.observables import CHANNELS, observe
from gl15.physics import evolve, Lattice, quench, TDGL, TwoBand
from gl15.simulation import VortexSimulator


OPEN = Lattice((12, 10), spacing=0.5)
TORUS = Lattice((12, 10), spacing=0.5, boundary="periodic")
SIMULATOR = VortexSimulator(OPEN, TwoBand(), t1=0.02, dt=1e-3)

RIPPLE = 1 + 0.2 * jax.random.uniform(jax.random.key(0), OPEN.shape, minval=-1.0)


def test_image_is_the_observed_state_after_the_quench():
    key = jax.random.key(0)
    quench_key, _ = jax.random.split(key)
    tdgl = TDGL(OPEN, TwoBand(josephson=0.7, drag=0.2), field=0.03)
    psi0 = quench(OPEN, key=quench_key, amplitude=0.5)
    psi = evolve(tdgl, psi0, t1=0.02, dt=1e-3).ys[-1]
    image = SIMULATOR({"eta": 0.7, "nu": 0.2, "B": 0.03}, key)
    np.testing.assert_array_equal(image, observe(tdgl, psi))
    assert image.shape == (*OPEN.shape, 3)
    assert SIMULATOR.channels == CHANNELS
    assert SIMULATOR.spacing == 0.5


def test_what_theta_does_not_name_stays_as_given():
    key = jax.random.key(1)
    material = TwoBand(josephson=0.7, drag=0.2)
    given = VortexSimulator(OPEN, material, field=0.03, t1=0.02)
    named = SIMULATOR({"eta": 0.7, "nu": 0.2, "B": 0.03}, key)
    np.testing.assert_allclose(given({}, key), named, rtol=1e-12)
    np.testing.assert_allclose(given({"eta": 0.7}, key), named, rtol=1e-12)
    other = given({"eta": 0.1}, key)
    assert np.abs(other - named).max() > 1e-3


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, np.asarray])
def test_theta_may_be_any_kind_of_number(kind):
    key = jax.random.key(2)
    image = SIMULATOR({"eta": kind(0.5), "nu": kind(0.25), "B": kind(0.0)}, key)
    reference = SIMULATOR({"eta": 0.5, "nu": 0.25, "B": 0.0}, key)
    np.testing.assert_allclose(image, reference, rtol=1e-12)


COLUMNS = {
    "eta": jnp.asarray([0.0, 0.7, 1.5]),
    "nu": jnp.asarray([-0.5, 0.0, 0.4]),
    "B": jnp.asarray([0.0, 0.1, 0.3]),
}
BATCHES = {
    "open": (OPEN, TwoBand(), 0.0, ("eta", "nu", "B")),
    "warm torus": (TORUS, TwoBand(), 0.3, ("eta", "nu")),
    "maps": (
        OPEN,
        TwoBand(alpha=(-RIPPLE, -1.0), beta=(1.0, RIPPLE), josephson=0.4 * RIPPLE),
        0.3,
        ("nu", "B"),
    ),
    "theta over a map": (OPEN, TwoBand(josephson=RIPPLE, drag=0.2), 0.0, ("eta",)),
}


@pytest.mark.parametrize("case", BATCHES)
def test_side_by_side_is_one_by_one(case):
    lattice, material, temperature, names = BATCHES[case]
    field = 0.04 if lattice.is_open else float(lattice.field_from_quanta(2))
    simulator = VortexSimulator(
        lattice, material, field=field, t1=0.02, dt=1e-3, temperature=temperature
    )
    theta = {name: COLUMNS[name] for name in names}
    keys = jax.random.split(jax.random.key(3), 3)
    images, single = (
        eqx.filter_jit(simulator.batch)(theta, keys),
        eqx.filter_jit(simulator),
    )
    for i, image in enumerate(images):
        one = {name: value[i] for name, value in theta.items()}
        np.testing.assert_allclose(image, single(one, keys[i]), atol=1e-12)
    # Each of them is its own: noise is not shared (theta is not, by the above).
    assert np.abs(images[1:] - images[:-1]).max(axis=(1, 2, 3)).min() > 0.1


def test_field_of_a_torus_is_one_of_theta_if_it_carries_it():
    simulator = VortexSimulator(TORUS, TwoBand(), field=0.0, t1=0.02)
    keys = jax.random.split(jax.random.key(4), 3)
    fields = jnp.stack([TORUS.field_from_quanta(n) for n in (0, 1, -2)])
    simulator.check({"B": fields})
    images, single = (
        eqx.filter_jit(simulator.batch)({"B": fields}, keys),
        eqx.filter_jit(simulator),
    )
    for i, image in enumerate(images):
        one = single({"B": fields[i]}, keys[i])
        np.testing.assert_allclose(image, one, atol=1e-12)


def test_compiled_mapped_and_differentiated_in_every_coupling():
    key = jax.random.key(5)

    def score(theta):
        return jnp.sum(SIMULATOR(theta, key) ** 2)

    centre, step = {"eta": 0.5, "nu": 0.2, "B": 0.1}, 1e-5
    slopes = eqx.filter_jit(jax.grad(score))(centre)
    moved = {
        name: centre[name] + jnp.asarray([step * (name == other) for other in centre])
        for name in centre
    }
    down = {name: 2 * centre[name] - value for name, value in moved.items()}
    both = {name: jnp.concatenate([moved[name], down[name]]) for name in centre}
    scores = eqx.filter_jit(jax.vmap(score))(both)
    central = (scores[:3] - scores[3:]) / (2 * step)
    np.testing.assert_allclose([slopes[name] for name in centre], central, rtol=1e-6)
    assert np.abs(central).min() > 1e-3


def test_single_precision_stays_single():
    with jax.enable_x64(False):
        image = eqx.filter_jit(lambda key: SIMULATOR({}, key))(jax.random.key(0))
    assert image.dtype == np.float32
    assert np.isfinite(image).all()


def test_unknown_parameters_are_refused_by_name():
    for refuse in (SIMULATOR.check, lambda t: SIMULATOR(t, jax.random.key(0))):
        with pytest.raises(ValueError, match=r"names \['D'\].*knows \['eta', 'B', 'nu"):
            refuse({"eta": jnp.asarray(0.5), "D": jnp.asarray(1.0)})


def test_unstable_step_is_refused_with_the_limit_and_the_theta():
    theta = {"eta": np.asarray([0.5, 1.0]), "nu": np.asarray([0.0, 1.9])}
    material = TwoBand(josephson=1.0, drag=1.9)
    limit = float(TDGL(OPEN, material).max_stable_step())
    simulator = VortexSimulator(OPEN, TwoBand(), dt=1.0001 * limit)
    with pytest.raises(ValueError, match=f"1 of 2.*1.9.*`dt` <= {limit:.4g}"):
        simulator.check(theta)
    with pytest.raises(ValueError, match="stability limit"):
        simulator({"eta": 1.0, "nu": 1.9}, jax.random.key(0))
    VortexSimulator(OPEN, TwoBand(), dt=0.9999 * limit).check(theta)


def test_the_limit_is_checked_where_theta_is_the_field_alone():
    limit = float(TDGL(OPEN, TwoBand()).max_stable_step())
    with pytest.raises(ValueError, match=f"`dt` <= {limit:.4g}"):
        VortexSimulator(OPEN, TwoBand(), dt=1.1 * limit).check({"B": np.zeros(3)})


def test_a_drag_without_a_lower_bound_on_the_energy_is_refused():
    theta = {"nu": np.asarray([0.0, 1.5, 2.0, -2.5])}  # D1 D2 = 4
    with pytest.raises(ValueError, match=r"2 of 4.*nu\^2 < D1 D2.*'nu': 2.0.*narrow"):
        SIMULATOR.check(theta)
    with pytest.raises(ValueError, match=r"nu\^2 < D1 D2"):
        SIMULATOR({"nu": 2.0}, jax.random.key(0))


def test_a_field_that_the_torus_cannot_carry_is_refused_with_its_neighbours():
    one, two = (float(TORUS.field_from_quanta(n)) for n in (1, 2))
    simulator = VortexSimulator(TORUS, TwoBand(), field=0.0)
    fields = np.asarray([0.0, one, 0.6 * one + 0.4 * two])
    with pytest.raises(ValueError, match=f"{one:.7g}.*n=1.*{two:.7g}.*n=2"):
        simulator.check({"B": fields})
    with pytest.raises(ValueError, match="torus"):
        simulator({"B": fields[-1]}, jax.random.key(0))
