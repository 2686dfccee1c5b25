"""Hessian, lowest modes and density of states against exact and dense results."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from gl15.observables import windings
from gl15.physics import exact, Lattice, quench, TDGL, TwoBand
from gl15.spectra import (
    density_of_states,
    hessian,
    lowest_modes,
    relax,
    to_complex,
    to_real,
)


def sample(boundary="open", n=6, quanta=2.0, drag=0.3):
    lattice = Lattice((n, n), boundary=boundary)
    material = TwoBand(josephson=0.8, drag=drag)
    return TDGL(lattice, material, lattice.field_from_quanta(quanta))


def uniform(n=8, drag=0.3):
    tdgl = sample("periodic", n, 0, drag)
    return tdgl, jnp.full((2, n, n), np.sqrt(1.8) + 0j)


def matrix_of(values):
    """An operator with known eigenvalues and no structure."""
    n = len(values)
    basis, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(n, n)))
    matrix = basis * values @ basis.T
    return lx.MatrixLinearOperator(
        jnp.asarray((matrix + matrix.T) / 2), lx.symmetric_tag
    )


def dense(H):
    return eqx.filter_jit(lambda H: H.as_matrix())(H)


@pytest.mark.parametrize("drag", [0.0, 0.3])
def test_all_modes_of_the_uniform_state(drag):
    # Table rows 11 and 12: twice the relaxation rates, all 4 N^2 of them.
    tdgl, psi = uniform(drag=drag)
    lattice = tdgl.lattice
    eigenvalues = exact.plane_wave_eigenvalues(lattice.shape, lattice.spacing)
    rates = exact.relaxation_rates(tdgl.material, eigenvalues.ravel())
    expected = np.sort(-2 * np.ravel(rates))
    modes = lowest_modes(hessian(tdgl, psi), k=256)
    np.testing.assert_allclose(modes.eigenvalues, expected, atol=1e-11)
    assert modes.eigenvectors.shape == (256, 2, 2, 8, 8)


@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_hessian_is_symmetric_and_minus_twice_the_jacobian(boundary, getkey):
    tdgl = sample(boundary)
    psi = quench(tdgl.lattice, key=getkey())
    H = dense(hessian(tdgl, psi))
    scale = jnp.max(jnp.abs(H))
    np.testing.assert_allclose(H, H.T, rtol=0, atol=1e-13 * scale)

    def flow(u):
        return to_real(tdgl(0.0, to_complex(u)))

    jacobian = jax.jit(jax.jacfwd(flow))(to_real(psi)).reshape(H.shape)
    np.testing.assert_allclose(H, -2 * jacobian, rtol=0, atol=1e-12 * scale)


def test_hessian_is_the_curvature_of_the_energy(getkey):
    tdgl = sample()
    psi, delta = (quench(tdgl.lattice, key=getkey()) for _ in range(2))
    along = jax.grad(jax.grad(lambda s: tdgl.energy(psi + s * delta)))
    curvature = jax.jit(along)(0.0)
    u = to_real(delta)
    product = jnp.vdot(u, hessian(tdgl, psi).mv(u)) * 0.5**2
    np.testing.assert_allclose(product, curvature, rtol=1e-12)
    np.testing.assert_array_equal(to_complex(u), delta)
    products = jax.jit(jax.vmap(lambda p: hessian(tdgl, p).mv(u)))
    batch = products(jnp.stack([psi, delta]))
    np.testing.assert_allclose(batch[1], hessian(tdgl, delta).mv(u), rtol=1e-12)


def test_lanczos_agrees_with_dense(getkey):
    # Above the size at which the matrix is written out.
    tdgl = sample(n=13)
    psi = relax(tdgl, quench(tdgl.lattice, key=getkey()))
    H = hessian(tdgl, psi)
    assert H.in_size() > 600
    modes = lowest_modes(H, k=8)
    expected = np.linalg.eigvalsh(dense(H))
    np.testing.assert_allclose(modes.eigenvalues, expected[:8], atol=1e-10)
    vectors = modes.eigenvectors.reshape(8, -1)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(8), atol=1e-10)
    assert modes.residuals.max() < 1e-9 * expected[-1]
    # Stationary and stable: the softest mode is the common phase.
    assert abs(modes.eigenvalues[0]) < 1e-9 < modes.eigenvalues[1]
    phase = to_real(1j * psi).ravel() / jnp.linalg.norm(psi)
    np.testing.assert_allclose(abs(vectors[0] @ phase), 1.0, rtol=1e-8)


def test_lanczos_finds_every_copy_of_a_degenerate_mode():
    # Four copies of the lowest, and a starting vector that meets only one of them in
    # exact arithmetic.
    values = np.concatenate([np.full(4, -1.0), np.linspace(0, 5, 696)])
    modes = lowest_modes(matrix_of(values), k=6)
    np.testing.assert_allclose(modes.eigenvalues, values[:6], atol=1e-9)


def test_lanczos_checks_for_what_it_missed(monkeypatch):
    from gl15.spectra import _modes

    run = _modes._Lanczos.run

    def careless(self, product, k, which, tolerance):
        values, vectors = run(self, product, k, which, tolerance)
        if which == "SA" and k > 1:
            more, which_more = run(self, product, k + 1, which, tolerance)
            return more[1:], which_more[:, 1:]
        return values, vectors

    monkeypatch.setattr(_modes._Lanczos, "run", careless)
    values = np.linspace(-1, 5, 700) ** 3
    modes = lowest_modes(matrix_of(values), k=3)
    np.testing.assert_allclose(modes.eigenvalues, values[:3], atol=1e-9)


def test_modes_that_do_not_converge_are_refused():
    H = matrix_of(np.linspace(0, 1, 700) ** 3)
    with pytest.raises(RuntimeError, match="did not converge.*residuals"):
        lowest_modes(H, k=3, subspace=5, max_restarts=2)
    broken = lx.MatrixLinearOperator(jnp.full((3, 3), jnp.inf), lx.symmetric_tag)
    with pytest.raises(RuntimeError, match="not finite"):
        lowest_modes(broken, k=1)


def test_nonsense_is_refused():
    tdgl, psi = uniform(3)
    H = hessian(tdgl, psi)
    for k in (0, 37):
        with pytest.raises(ValueError, match=f"`k`={k}, but `H` has 36 modes"):
            lowest_modes(H, k=k)
    with pytest.raises(ValueError, match="not tagged symmetric"):
        lowest_modes(lx.MatrixLinearOperator(jnp.eye(3)), k=1)
    with pytest.raises(ValueError, match="not on real arrays"):
        lowest_modes(lx.DiagonalLinearOperator(jnp.ones(3) + 1j), k=1)
    with pytest.raises(ValueError, match="`psi` must have shape"):
        hessian(tdgl, psi[:, :2])
    key = jax.random.key(0)
    for options in ({"probes": 1}, {"steps": 37}, {"steps": 9, "width": 0.0}):
        with pytest.raises(ValueError, match="`(probes|steps|width)`"):
            density_of_states(H, key=key, **options)


def test_density_of_states_agrees_with_dense_within_its_errors(getkey):
    tdgl = sample(n=10)
    H = hessian(tdgl, quench(tdgl.lattice, key=getkey()))
    found = density_of_states(H, key=getkey(), probes=60, steps=60)
    levels = np.linalg.eigvalsh(dense(H))
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


def test_relax_finds_a_stationary_state_without_moving_the_vortices():
    tdgl = sample(n=13, quanta=3.0)
    rough = relax(tdgl, quench(tdgl.lattice, key=jax.random.key(5)), tolerance=0.03)
    found = relax(tdgl, rough)
    assert jnp.max(jnp.abs(tdgl(0.0, found))) < 1e-10
    assert tdgl.energy(found) < tdgl.energy(rough)
    before, after = (windings(tdgl, psi).sum((1, 2)) for psi in (rough, found))
    np.testing.assert_array_equal(before, after)
    assert np.all(after > 0)
    with pytest.raises(RuntimeError, match="after 3 steps: the largest"):
        relax(tdgl, rough, max_steps=3)
    with pytest.raises(Exception, match="did not converge"):
        eqx.filter_jit(lambda p: relax(tdgl, p, max_steps=3))(rough)
