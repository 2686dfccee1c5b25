"""Disorder: a normal field with the variance and the correlations that it claims."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gl15
from gl15.simulation import Disorder


def maps(disorder, lattice, n=1_000):
    keys = jax.random.split(jax.random.key(0), n)
    return np.asarray(jax.jit(jax.vmap(lambda k: disorder(lattice, key=k)))(keys))


@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_variance_and_correlation_are_those_asked_for(boundary):
    lattice = gl15.Lattice((24, 20), spacing=0.5, boundary=boundary)
    a = maps(Disorder(strength=0.3, length=1.0), lattice)
    np.testing.assert_allclose(a.mean(0), 0, atol=5 * 0.3 / np.sqrt(1000))
    np.testing.assert_allclose(a.var(0).mean(), 0.09, rtol=0.03)
    np.testing.assert_allclose(a.var(0), 0.09, rtol=0.3)  # at every site
    for i, j in ((1, 0), (0, 2), (3, 3)):
        found = (a[:, i:, j:] * a[:, : 24 - i, : 20 - j]).mean() / 0.09
        distance2 = 0.25 * (i**2 + j**2)
        np.testing.assert_allclose(found, np.exp(-distance2 / 2), atol=0.03)
    # Opposite edges are neighbours on a torus alone.
    across = (a[:, 0] * a[:, -1]).mean() / 0.09
    expected = np.exp(-0.125) if boundary == "periodic" else 0.0
    np.testing.assert_allclose(across, expected, atol=0.06)


def test_sites_are_independent_at_length_zero():
    a = maps(Disorder(0.3, 0.0), gl15.Lattice((16, 16)), n=200)
    np.testing.assert_allclose(a.std(), 0.3, rtol=0.02)
    assert abs((a[:, 1:] * a[:, :-1]).mean()) < 0.002


def test_a_disordered_sample_has_its_map_in_alpha_of_both_bands():
    lattice, key = gl15.Lattice((12, 10)), jax.random.key(3)
    disorder = Disorder(0.4, 1.0)
    young = functools.partial(gl15.VortexSimulator, lattice, t1=0.2, dt=1e-2)
    simulator = young(gl15.TwoBand(), disorder=disorder)
    a = disorder(lattice, key=jax.random.fold_in(key, 2))

    def with_map(a):
        material = gl15.TwoBand(alpha=(-1 + a, -1 + a))
        return young(material)({"eta": 0.5}, key)

    image = simulator({"eta": 0.5}, key)
    np.testing.assert_allclose(image, with_map(a), rtol=1e-9)
    plain = with_map(0 * a)
    assert np.abs(image - plain).max() > 1e-2
    # The critical temperature is higher where alpha is lower, and so is the density.
    change = (image - plain)[..., 0]
    assert np.corrcoef(change.ravel(), np.ravel(a))[0, 1] < -0.5


def test_disorder_that_is_too_strong_for_the_step_is_refused():
    simulator = gl15.VortexSimulator(
        gl15.Lattice((8, 8)), gl15.TwoBand(), dt=1e-2, disorder=Disorder(20.0, 1.0)
    )
    with pytest.raises(ValueError, match="`dt`=0.01 is above the stability limit"):
        gl15.simulate(simulator, {"eta": [0.5]}, key=jax.random.key(0))


@pytest.mark.parametrize("wrong", [-0.1, jnp.nan, jnp.inf])
def test_numbers_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match="`strength` must be a finite number"):
        Disorder(float(wrong), 1.0)
    with pytest.raises(ValueError, match="`length` must be a finite number"):
        Disorder(0.1, float(wrong))


def test_a_number_is_no_disorder():
    with pytest.raises(TypeError, match="`disorder` must be a Disorder, got 0.1"):
        gl15.VortexSimulator(gl15.Lattice((8, 8)), gl15.TwoBand(), disorder=0.1)  # pyright: ignore[reportArgumentType]
