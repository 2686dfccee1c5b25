"""Density of states against dense results, within its own errors."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from gl15.physics import Lattice, quench, TDGL, TwoBand
from gl15.spectra import count_below, density_of_states, hessian, NotStationaryWarning


def test_density_of_states_agrees_with_dense_within_its_errors(getkey):
    lattice = Lattice((10, 10))
    material = TwoBand(josephson=0.8, drag=0.3)
    tdgl = TDGL(lattice, material, lattice.field_from_quanta(2))
    H = hessian(tdgl, quench(lattice, key=getkey()))
    with pytest.warns(NotStationaryWarning, match="gradient norm"):
        found = density_of_states(H, key=getkey(), probes=60, steps=60)
    levels = np.linalg.eigvalsh(H.as_sparse().toarray())
    width = float(found.width)
    distance = (np.asarray(found.eigenvalues)[:, None] - levels) / width
    expected = np.exp(-(distance**2) / 2).mean(-1) / np.sqrt(2 * np.pi) / width
    pull = (found.density - expected) / (found.error + 1e-3 / levels[-1])
    assert 0.5 < np.sqrt(np.mean(pull**2)) < 1.4 and np.max(np.abs(pull)) < 5
    assert np.all(found.error < 0.05 * expected.max())
    np.testing.assert_allclose(
        np.trapezoid(found.density, found.eigenvalues), 1.0, atol=1e-3
    )
    for threshold in (0.5, 5.0, 20.0, 60.0):
        fraction, error = found.fraction_below(threshold)
        assert abs(fraction - np.mean(levels < threshold)) < 2 * error < 0.2
        assert count_below(H, threshold) == np.sum(levels < threshold)
    assert found.fraction_below(levels[0] - 1.0)[0] == 0
    np.testing.assert_allclose(found.fraction_below(levels[-1] + 1.0)[0], 1.0)


def test_density_of_states_survives_invariant_subspaces():
    # One eigenvalue: the recursion ends at its first step with 0/0.
    H = lx.DiagonalLinearOperator(jnp.full(50, 3.0))
    found = density_of_states(H, key=jax.random.key(0), steps=10, points=4001)
    np.testing.assert_allclose(found.nodes, 3.0)
    np.testing.assert_allclose(found.weights.sum(-1), 1.0)
    np.testing.assert_allclose(
        np.trapezoid(found.density, found.eigenvalues), 1.0, atol=1e-3
    )
    # Fewer eigenvalues than steps; one probe knows their weights exactly.
    H = lx.DiagonalLinearOperator(jnp.repeat(jnp.arange(1.0, 6.0), 10))
    found = density_of_states(H, key=jax.random.key(1), steps=10)
    np.testing.assert_allclose(found.weights.sum(-1), 1.0)
    fraction, _ = found.fraction_below(3.5)
    np.testing.assert_allclose(fraction, 0.6, atol=0.1)
