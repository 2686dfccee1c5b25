"""Ensembles: simulation i is the same one however the work is cut and shared out."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from gl15.physics import Lattice, TwoBand
from gl15.simulation import (
    LinearGaussian,
    NonFiniteSimulationError,
    Prior,
    simulate,
    VortexSimulator,
)


PRIOR = Prior({"b": dist.Uniform(0.0, 1.0), "a": dist.Normal(0.0, 1.0)})
KEY = jax.random.key(7)

quiet = functools.partial(simulate, progress=False)


def noisy(theta, key):
    return theta["a"] * jnp.exp(theta["b"]) + jax.random.normal(key, (3, 2))


def fails_where_a_is_large(theta, key):
    x = noisy(theta, key)
    return jnp.where(theta["a"] > 1, jnp.asarray([jnp.nan, jnp.inf]), x)


class Described(eqx.Module):
    """A simulator with everything it may have."""

    names: tuple[str, ...] = ("a", "b")
    channels: tuple[str, ...] = ("u", "v")
    spacing: float = 0.25
    limit: float = jnp.inf
    batch_size: int = 4

    def __call__(self, theta, key):
        raise AssertionError("there is a faster `batch`")

    def batch(self, theta, keys):
        return jax.vmap(noisy)(theta, keys)

    def check(self, theta):
        if not np.all(theta["a"] < self.limit):
            raise ValueError("too large")


def directly(simulator, n, theta=None):
    """Simulation by simulation, as the documentation says."""
    simulator, sample = eqx.filter_jit(simulator), jax.jit(PRIOR.sample)
    thetas, images = [], []
    for i in range(n):
        theta_key, key = jax.random.split(jax.random.fold_in(KEY, i))
        thetas.append(sample(theta_key) if theta is None else theta[i])
        images.append(simulator(thetas[-1], key))
    return jax.tree.map(lambda *one: np.stack(one), *thetas), np.stack(images)


@pytest.mark.parametrize(
    ("batch_size", "workers"), [(None, None), (1, 1), (7, 3), (64, 2), (11, 1)]
)
def test_simulation_i_is_drawn_with_the_key_folded_with_i(batch_size, workers):
    ensemble = quiet(noisy, PRIOR, 11, key=KEY, batch_size=batch_size, workers=workers)
    theta, x = directly(noisy, 11)
    assert ensemble.theta.keys() == theta.keys()
    for name in theta:
        np.testing.assert_allclose(ensemble.theta[name], theta[name], rtol=1e-14)
    np.testing.assert_allclose(ensemble.x, x, rtol=1e-13)


def test_the_same_call_gives_the_same_bits_on_any_number_of_threads():
    first = quiet(noisy, PRIOR, 50, key=KEY, batch_size=8, workers=1)
    for workers in (1, 4):
        again = quiet(noisy, PRIOR, 50, key=KEY, batch_size=8, workers=workers)
        assert eqx.tree_equal(first, again)


def test_another_key_gives_another_ensemble():
    one = quiet(noisy, PRIOR, 8, key=KEY)
    other = quiet(noisy, PRIOR, 8, key=jax.random.key(8))
    assert not np.isin(one.x, other.x).any()
    assert not np.isin(one.theta["a"], other.theta["a"]).any()


def test_theta_and_noise_are_independent():
    # Both come from fold_in(key, i): a key used twice would couple them.
    ensemble = quiet(noisy, PRIOR, 4000, key=KEY)
    noise = ensemble.x[:, 0, 0] - ensemble.theta["a"] * np.exp(ensemble.theta["b"])
    correlation = np.corrcoef([noise, *ensemble.theta.values()])
    np.testing.assert_allclose(correlation, np.eye(3), atol=4 / np.sqrt(4000))


def test_theta_may_be_given():
    theta = {"a": [0.5, -1.0, 2], "b": np.asarray([0, 1, 0])}
    ensemble = quiet(noisy, theta, key=KEY)
    rows = [{"a": a, "b": b} for a, b in zip(*theta.values(), strict=True)]
    given, x = directly(noisy, 3, rows)
    for name in theta:
        np.testing.assert_array_equal(ensemble.theta[name], given[name])
    np.testing.assert_allclose(ensemble.x, x, rtol=1e-13)
    # Simulation i keeps its noise, wherever its theta is from.
    drawn = quiet(noisy, PRIOR, 3, key=KEY)
    again = quiet(noisy, drawn.theta, 3, key=KEY)
    np.testing.assert_allclose(again.x, drawn.x, rtol=1e-13)
    assert len(quiet(noisy, {"a": 1.0, "b": 0.0}, key=KEY)) == 1


def test_what_the_simulator_says_of_itself_is_used():
    ensemble = quiet(Described(), PRIOR, 9, key=KEY)
    np.testing.assert_allclose(ensemble.x, directly(noisy, 9)[1], rtol=1e-13)
    assert ensemble.spacing == 0.25
    assert ensemble.channels == ("u", "v")
    plain = quiet(noisy, PRIOR, 9, key=KEY)
    assert (plain.spacing, plain.channels) == (None, ())


def test_vortices_come_out_as_one_by_one():
    lattice = Lattice((12, 12))
    simulator = VortexSimulator(lattice, TwoBand(), field=0.1, t1=0.01)
    ensemble = quiet(
        simulator, {"eta": jnp.linspace(0, 1.5, 11)}, key=KEY, batch_size=4, workers=2
    )
    _, key = jax.random.split(jax.random.fold_in(KEY, 9))
    single = eqx.filter_jit(simulator)({"eta": ensemble.theta["eta"][9]}, key)
    np.testing.assert_allclose(ensemble.x[9], single, atol=1e-12)
    assert ensemble.x.shape == (11, 12, 12, 3)
    assert ensemble.spacing == lattice.spacing
    assert ensemble.channels == simulator.channels


def test_a_toy_needs_nothing_but_its_call():
    toy = LinearGaussian(((1.0, 0.0), (0.0, 2.0)), names=("a", "b"))
    ensemble = quiet(toy, PRIOR, 6, key=KEY)
    np.testing.assert_allclose(ensemble.x, directly(toy, 6)[1], rtol=1e-13)


def test_failed_simulations_are_an_error_that_holds_the_others():
    theta, x = directly(noisy, 40)
    bad = np.flatnonzero(theta["a"] > 1)
    assert 2 <= bad.size <= 20
    with pytest.raises(NonFiniteSimulationError) as info:
        quiet(fails_where_a_is_large, PRIOR, 40, key=KEY, batch_size=16)
    error = info.value
    np.testing.assert_array_equal(error.index, bad)
    np.testing.assert_allclose(error.theta["a"], theta["a"][bad])
    np.testing.assert_allclose(error.ensemble.x, np.delete(x, bad, 0), rtol=1e-13)
    np.testing.assert_allclose(error.ensemble.theta["b"], np.delete(theta["b"], bad))
    message = str(error)
    assert f"{bad.size} simulations were not finite" in message
    assert f"number {bad[0]} at theta" in message
    assert 'on_nonfinite="drop"' in message


def test_failed_simulations_may_be_dropped_with_a_warning():
    draw = functools.partial(quiet, fails_where_a_is_large, PRIOR, 40, key=KEY)
    with pytest.raises(NonFiniteSimulationError) as info:
        draw()
    with pytest.warns(UserWarning, match="not finite.*Dropped"):
        kept = draw(on_nonfinite="drop")
    assert eqx.tree_equal(kept, info.value.ensemble)
    with pytest.warns(UserWarning, match="3 simulations were not finite"):
        none = draw.func(
            fails_where_a_is_large,
            {"a": [2.0] * 3, "b": [0.0] * 3},
            key=KEY,
            on_nonfinite="drop",
        )
    assert len(none) == 0


def test_names_that_the_simulator_does_not_know_are_refused():
    prior = Prior({"a": dist.Normal(0.0, 1.0), "c": dist.Normal(0.0, 1.0)})
    with pytest.raises(ValueError, match=r"names \['c'\].*knows \['a', 'b'\]"):
        quiet(Described(), prior, 5, key=KEY)
    with pytest.raises(ValueError, match=r"names \['eta2'\]"):
        simulator = VortexSimulator(Lattice((8, 8)), TwoBand())
        quiet(simulator, {"eta2": [0.1]}, key=KEY)


def test_theta_that_the_simulator_refuses_costs_no_simulation():
    with pytest.raises(ValueError, match="too large"):
        quiet(Described(limit=-10.0), PRIOR, 5, key=KEY)
    simulator = VortexSimulator(Lattice((8, 8)), TwoBand(), dt=0.1)
    with pytest.raises(ValueError, match="`dt`=0.1 is above the stability limit"):
        quiet(simulator, {"eta": [0.1]}, key=KEY)


@pytest.mark.parametrize(
    ("prior", "arguments", "match"),
    [
        (PRIOR, {}, "`n` is missing: of a prior, say how many"),
        (PRIOR, {"n": 0}, "`n` must be at least 1, got 0"),
        (PRIOR, {"n": 5, "batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        (PRIOR, {"n": 5, "workers": 0}, "`workers` must be at least 1, got 0"),
        (PRIOR, {"n": 5, "path": "s3://bucket/a.zarr"}, "`path`='s3:.* is a URL"),
        ({"a": [1.0], "b": [1.0, 2.0]}, {}, r"shapes \{'a': \(1,\), 'b': \(2,\)\}"),
        ({"a": [[1.0]], "b": [[1.0]]}, {}, "in one dimension"),
        ({"a": [], "b": []}, {}, "`n` must be at least 1, got 0"),
        ({"a": [1.0], "b": [1.0]}, {"n": 2}, "`n`=2, but theta holds 1"),
    ],
)
def test_wrong_numbers_are_refused(prior, arguments, match):
    with pytest.raises(ValueError, match=match):
        quiet(noisy, prior, key=KEY, **arguments)


@pytest.mark.parametrize(
    ("prior", "arguments", "match"),
    [
        ({}, {}, r"`prior` must be a gl15.Prior, .* got \{\}"),
        ({"a": dist.Uniform(0.0, 1.0)}, {"n": 5}, r"make it a prior: gl15.Prior"),
    ],
)
def test_what_is_something_else_is_refused(prior, arguments, match):
    with pytest.raises(TypeError, match=match):
        quiet(noisy, prior, key=KEY, **arguments)


def test_an_error_in_one_batch_reaches_the_caller():
    calls = []

    def explode(x):
        calls.append(1)
        if len(calls) > 3:
            raise RuntimeError("power cut")
        return x

    def simulator(theta, key):
        x = noisy(theta, key)
        return jax.pure_callback(explode, x, x, vmap_method="sequential")

    with pytest.raises(Exception, match="power cut"):
        quiet(simulator, PRIOR, 200, key=KEY, batch_size=1, workers=2)
    assert len(calls) < 100  # What was waiting is not run any more.
