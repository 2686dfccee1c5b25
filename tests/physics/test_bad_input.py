"""What cannot be is refused, with the argument, its value and the remedy."""

import inspect
import re
import types

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gl15.physics import evolve, evolve_batch, Lattice, Links, quench, TDGL, TwoBand
from gl15.physics._checks import check_options


OPEN = Lattice((6, 5), spacing=0.5)
TORUS = Lattice((6, 5), spacing=0.5, boundary="periodic")
PSI = jnp.full((2, 6, 5), 0.3 + 0.1j)


def tdgl(**couplings):
    return TDGL(OPEN, TwoBand(**couplings), 0.04)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (64,)}, r"`shape` must be two integers .* got \(64,\)"),
        ({"shape": (64, 2)}, r"`shape` .* of at least 3, got \(64, 2\)"),
        ({"spacing": 0.0}, "`spacing` must be a positive length, got 0.0"),
        ({"spacing": float("inf")}, "`spacing` .* got inf"),
        ({"spacing": float("nan")}, "`spacing` .* got nan"),
    ],
)
def test_lattice(arguments, message):
    with pytest.raises(ValueError, match=message):
        Lattice(**arguments)


def test_lattice_with_an_unknown_boundary():
    # The annotation says so too, but users run without checks of annotations.
    fields = types.SimpleNamespace(shape=(6, 6), spacing=0.5, boundary="closed")
    with pytest.raises(ValueError, match="`boundary` must be .* got 'closed'"):
        Lattice.__check_init__(fields)


@pytest.mark.parametrize(
    ("couplings", "message"),
    [
        ({"drag": 2.0}, r"`drag`=2.0 .* nu\^2 < D1 D2.*\|drag\| < 2"),
        ({"drag": -2.5}, r"`drag`=-2.5 .*\|drag\| < 2"),
        ({"diffusion": (4.0, 0.0)}, r"`diffusion` must be positive.*\(4.0, 0.0\)"),
        ({"diffusion": (-1.0, 1.0)}, r"`diffusion` must be positive.*\(-1.0, 1.0\)"),
        ({"beta": (1.0, 0.0)}, r"`beta` must be positive .*\(1.0, 0.0\)"),
        ({"beta": (float("nan"), 1.0)}, "`beta` must be positive .*nan"),
        ({"josephson": float("nan")}, "every coupling must be finite"),
        ({"alpha": (-1.0, float("inf"))}, "every coupling must be finite"),
        ({"drag": float("nan")}, "every coupling must be finite"),
    ],
    ids=str,
)
def test_material(couplings, message):
    with pytest.raises(ValueError, match=message):
        TwoBand(**couplings)


def test_one_bad_site_of_a_map_is_enough():
    good = jnp.ones((6, 5))
    with pytest.raises(ValueError, match="`beta` must be positive"):
        TwoBand(beta=(1.0, good.at[2, 3].set(-1.0)))
    with pytest.raises(ValueError, match="finite"):
        TwoBand(josephson=good.at[2, 3].set(jnp.nan))


@pytest.mark.parametrize("name", ["alpha", "beta", "josephson"])
def test_map_of_another_shape(name):
    wrong = jnp.ones((5, 6))
    material = TwoBand(**{name: wrong if name == "josephson" else (wrong, 1.0)})
    expected = rf"`{name}` is a map of shape \(5, 6\), but the lattice has \(6, 5\)"
    with pytest.raises(ValueError, match=expected):
        TDGL(OPEN, material)


def test_a_field_the_torus_cannot_carry():
    field = float(TORUS.field_from_quanta(2.3))
    with pytest.raises(ValueError, match="2.3 flux quanta") as refused:
        TDGL(TORUS, TwoBand(), field)
    # The remedy works: either field it names is one the torus carries.
    nearest = re.findall(r"([\d.e-]+) \(n=(\d)\)", str(refused.value))
    assert [n for _, n in nearest] == ["2", "3"]
    for value, n in nearest:
        flux = TDGL(TORUS, TwoBand(), float(value)).links.flux((6, 5))
        np.testing.assert_allclose(flux.sum(), 2 * np.pi * int(n), rtol=1e-12)

    def flux_of(field):
        return TORUS.links(field).flux((6, 5))

    with pytest.raises(eqx.EquinoxRuntimeError, match="field_from_quanta"):
        eqx.filter_jit(flux_of)(jnp.asarray(field))


@pytest.mark.parametrize("lattice", [OPEN, TORUS], ids=["open", "periodic"])
def test_a_field_that_is_not_a_number(lattice):
    with pytest.raises(ValueError, match="`field`"):
        TDGL(lattice, TwoBand(), float("nan"))


@pytest.mark.parametrize(
    "links",
    [
        Lattice((6, 5), boundary="periodic").links(0.0),
        Lattice((8, 5)).links(0.1),
        Links.from_phases(jnp.zeros((2, 6, 8)), periodic=False),
    ],
    ids=["torus", "rows", "columns"],
)
def test_links_of_another_lattice(links):
    with pytest.raises(ValueError, match="`links`"):
        TDGL(OPEN, TwoBand(), links=links)


@pytest.mark.parametrize(
    "method", ["__call__", "energy", "laplacian", "current", "evolve"]
)
def test_a_state_of_another_shape(method):
    sample, wrong = tdgl(), jnp.ones((2, 5, 6), complex)
    call = {
        "__call__": lambda psi: sample(0.0, psi),
        "evolve": lambda psi: evolve(sample, psi, t1=0.1),
    }.get(method) or getattr(sample, method)
    with pytest.raises(ValueError, match=r"shape \(2, 6, 5\).* got \(2, 5, 6\)"):
        call(wrong)


@pytest.mark.parametrize("method", ["energy", "current", "laplacian"])
def test_several_states_are_pointed_to_vmap(method):
    with pytest.raises(ValueError, match=r"got \(3, 2, 6, 5\); use `jax.vmap`"):
        inspect.unwrap(getattr(TDGL, method))(tdgl(), jnp.stack([PSI] * 3))


def test_a_batch_of_states_is_pointed_to_evolve_batch():
    with pytest.raises(ValueError, match="`psi0` .*`evolve_batch`"):
        inspect.unwrap(evolve)(tdgl(), jnp.stack([PSI, PSI]), t1=0.1)


def test_a_step_above_the_stability_limit():
    sample = tdgl(josephson=0.8)
    limit = float(sample.max_stable_step())
    with pytest.raises(ValueError, match=f"`dt`=0.05 .* limit {limit:.6g}"):
        evolve(sample, PSI, t1=0.1, dt=0.05)


@pytest.mark.parametrize(
    "couplings",
    [{"josephson": 50.0}, {"drag": 2.5}],
    ids=str,
)
def test_traced_couplings_without_a_stable_step(couplings):
    def end(couplings):
        return evolve(tdgl(**couplings), PSI, t1=0.1, dt=0.01).ys

    traced = jax.tree.map(jnp.asarray, couplings)
    with pytest.raises(eqx.EquinoxRuntimeError, match="stability limit"):
        eqx.filter_jit(end)(traced)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"t1": 0.0}, "`t1` must be a positive time, got 0.0"),
        ({"t1": float("inf")}, "`t1` must be a positive time, got inf"),
        ({"dt": 0.0}, "`dt` must be a positive time, got 0.0"),
        ({"dt": -0.001}, "`dt` must be a positive time, got -0.001"),
        ({"t1": 1e-3, "dt": 1e-2}, "`dt`=0.01 is longer .* `t1`=0.001"),
        ({"ts": []}, r"`ts` must be a rising list of times, got \[\]"),
        ({"ts": [0.05, 0.02]}, "`ts` must be a rising list"),
        ({"ts": [0.05, 0.05]}, "`ts` must be a rising list"),
        ({"ts": [0.05, 0.11]}, r"`ts` must lie within \[0, t1=0.1\]"),
        ({"ts": [-0.01, 0.05]}, r"`ts` must lie within \[0, t1=0.1\]"),
        ({"ts": [float("nan")]}, "`ts`"),
        ({"solver": diffrax.LeapfrogMidpoint()}, "LeapfrogMidpoint.* damps no mode"),
        ({"temperature": 0.1}, "`key` is needed .*`temperature` is 0.1"),
    ],
    ids=str,
)
def test_evolution(arguments, message):
    with pytest.raises(ValueError, match=message):
        evolve(tdgl(), PSI, **{"t1": 0.1, "dt": 1e-3, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dt": "0.01"}, "`dt` must be a Python number, got '0.01'"),
        ({"ts": "soon"}, "`ts` must be a rising list of times, got 'soon'"),
        ({"key": 0}, "`key` must be a JAX key.* got 0"),
    ],
    ids=str,
)
def test_evolution_without_checks_of_annotations(arguments, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(evolve)(tdgl(), PSI, **{"t1": 0.1, **arguments})


def test_a_negative_temperature():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="`temperature` must not be negative.* -0.1"):
        evolve(tdgl(), PSI, t1=0.1, temperature=-0.1, key=key)


def test_noise_for_lanes_without_keys():
    with pytest.raises(ValueError, match="`key` is needed"):
        evolve_batch(tdgl(), PSI[None], t1=0.1, dt=1e-3, temperature=jnp.asarray([0.1]))


@pytest.mark.parametrize("amplitude", [-0.1, float("nan")])
def test_quench(amplitude):
    with pytest.raises(ValueError, match=f"`amplitude` must .* got {amplitude}"):
        quench(OPEN, key=jax.random.key(0), amplitude=amplitude)


def test_states_and_keys_of_a_batch_must_fit():
    run = inspect.unwrap(evolve_batch)
    with pytest.raises(ValueError, match=r"simulations.* got \(3, 2, 5, 6\)"):
        run(tdgl(), jnp.zeros((3, 2, 5, 6), complex), t1=0.1, dt=1e-3)
    keys = jax.random.split(jax.random.key(0), 2)
    with pytest.raises(ValueError, match="2 keys for 3 simulations"):
        run(tdgl(), jnp.stack([PSI] * 3), t1=0.1, dt=1e-3, temperature=0.1, keys=keys)


def test_a_solver_must_be_one():
    with pytest.raises(ValueError, match=r"`solver` .*such as `diffrax.Heun\(\)`"):
        inspect.unwrap(check_options)(diffrax.Heun, None, True)
