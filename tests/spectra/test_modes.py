"""Lowest modes against dense diagonalisation, and refusals where they fail."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from gl15.physics import evolve, exact, Lattice, quench, TDGL, TwoBand
from gl15.spectra import (
    _lanczos,
    _shift_invert,
    count_below,
    density_of_states,
    hessian,
    lowest_modes,
    NotConvergedError,
    NotStationaryWarning,
    relax,
    soft_fraction,
    to_real,
)


def sample(boundary="open", n=13, quanta=2.0, eta=0.8):
    lattice = Lattice((n, n), boundary=boundary)
    material = TwoBand(josephson=eta, drag=0.3)
    return TDGL(lattice, material, lattice.field_from_quanta(quanta))


def matrix_of(values):
    """An operator with known eigenvalues and no structure."""
    n = len(values)
    basis, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(n, n)))
    matrix = basis * values @ basis.T
    return lx.MatrixLinearOperator(
        jnp.asarray((matrix + matrix.T) / 2), lx.symmetric_tag
    )


@pytest.fixture(scope="module")
def relaxed():
    tdgl = sample()
    psi = relax(tdgl, quench(tdgl.lattice, key=jax.random.key(2)))
    H = hessian(tdgl, psi)
    return H, np.linalg.eigvalsh(H.as_sparse().toarray())


@pytest.mark.parametrize("method", ["shift-invert", "lanczos", "dense"])
def test_every_method_agrees_with_dense(relaxed, method):
    H, expected = relaxed
    assert H.in_size() > 600
    modes = lowest_modes(H, k=8, method=method)
    np.testing.assert_allclose(modes.eigenvalues, expected[:8], atol=1e-10)
    vectors = modes.eigenvectors.reshape(8, -1)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(8), atol=1e-10)
    assert modes.residuals.max() < 1e-9 * expected[-1]
    # Stationary and stable: the softest mode is the common phase.
    assert abs(modes.eigenvalues[0]) < 1e-9 < modes.eigenvalues[1]
    phase = to_real(1j * H.psi).ravel() / jnp.linalg.norm(H.psi)
    np.testing.assert_allclose(abs(vectors[0] @ phase), 1.0, rtol=1e-8)
    assert modes.gradient_norm == H.gradient_norm < 1e-10


@pytest.mark.parametrize("amplitude", [0.1, 2.0])
def test_shift_invert_far_from_any_minimum(amplitude):
    # Negative modes, closely spaced; steep random states have no gap at all.
    tdgl = sample("periodic", 16)
    psi = quench(tdgl.lattice, key=jax.random.key(4), amplitude=amplitude)
    H = hessian(tdgl, psi)
    expected = np.linalg.eigvalsh(H.as_sparse().toarray())
    with pytest.warns(NotStationaryWarning, match="gradient norm"):
        modes = lowest_modes(H, k=12, method="shift-invert")
    np.testing.assert_allclose(modes.eigenvalues, expected[:12], atol=1e-9)


def test_every_copy_of_degenerate_modes_is_found():
    # The uniform state of a square torus: every level of k is 4- or 8-fold.
    tdgl = sample("periodic", 16, 0)
    psi = jnp.full((2, 16, 16), np.sqrt(1.8) + 0j)
    lattice = tdgl.lattice
    lam = exact.plane_wave_eigenvalues(lattice.shape, lattice.spacing)
    expected = np.sort(-2 * np.ravel(exact.relaxation_rates(tdgl.material, lam)))
    H = hessian(tdgl, psi)
    for k in (5, 7, 20):
        modes = lowest_modes(H, k=k)
        np.testing.assert_allclose(modes.eigenvalues, expected[:k], atol=1e-10)
    for threshold in (-0.1, 0.1, 1.0, 50.0, 300.0):
        assert count_below(H, threshold) == np.sum(expected < threshold)
    assert soft_fraction(H, 1.0) == np.mean(expected < 1.0)


def test_lanczos_finds_every_copy_of_a_degenerate_mode():
    # Four copies of the lowest, and a starting vector that meets only one of them in
    # exact arithmetic.
    values = np.concatenate([np.full(4, -1.0), np.linspace(0, 5, 696)])
    modes = lowest_modes(matrix_of(values), k=6)
    np.testing.assert_allclose(modes.eigenvalues, values[:6], atol=1e-9)
    assert np.isnan(modes.gradient_norm)


@pytest.mark.parametrize("method", ["shift-invert", "lanczos"])
def test_modes_that_were_missed_are_found_again(relaxed, monkeypatch, method):
    arpack = _lanczos.arpack
    missed = []

    def careless(product, size, dtype, k, which, *args, **options):
        if k < 3 or missed:
            return arpack(product, size, dtype, k, which, *args, **options)
        missed.append(1)
        values, vectors = arpack(product, size, dtype, k + 1, which, *args, **options)
        kept = np.argsort(values)[1:]
        return values[kept], vectors[:, kept]

    H, expected = relaxed
    for module in (_lanczos, _shift_invert):
        monkeypatch.setattr(module, "arpack", careless)
    k = 6
    modes = lowest_modes(H, k=k, method=method)
    assert missed
    np.testing.assert_allclose(modes.eigenvalues, expected[:k], atol=1e-9)


def test_modes_that_stay_missed_are_refused(relaxed, monkeypatch):
    H, _ = relaxed
    count = _shift_invert.ShiftInvert.count_below
    monkeypatch.setattr(
        _shift_invert.ShiftInvert, "count_below", lambda s, t: count(s, t) + 1
    )
    with pytest.raises(NotConvergedError, match="1 modes below .* are missing"):
        lowest_modes(H, k=3)


def test_modes_that_do_not_converge_are_refused(relaxed):
    H = matrix_of(np.linspace(0, 1, 700) ** 3)
    with pytest.raises(NotConvergedError, match="did not converge.*residuals") as error:
        lowest_modes(H, k=3, subspace=5, max_restarts=2)
    assert error.value.residuals.shape == error.value.eigenvalues.shape
    assert isinstance(error.value, RuntimeError)
    broken = lx.MatrixLinearOperator(jnp.full((3, 3), jnp.inf), lx.symmetric_tag)
    with pytest.raises(RuntimeError, match="not finite"):
        lowest_modes(broken, k=1)
    # A tolerance beyond the precision of H's own type is met to that precision.
    low = hessian(relaxed[0].tdgl, relaxed[0].psi.astype(jnp.complex64))
    modes = lowest_modes(low, k=4)
    assert modes.eigenvalues.dtype == jnp.float32
    np.testing.assert_allclose(modes.eigenvalues, relaxed[1][:4], atol=1e-4)


def test_counting_on_other_operators_is_refused():
    with pytest.raises(ValueError, match="density_of_states"):
        count_below(matrix_of(np.arange(5.0)), 1.0)
    tdgl = sample("periodic", 4, 0)
    psi = jnp.full((2, 4, 4), np.sqrt(1.8) + 0j)
    with pytest.raises(ValueError, match="finite eigenvalue"):
        count_below(hessian(tdgl, psi), float("nan"))
    with pytest.raises(ValueError, match="not stationary.*not soft modes"):
        soft_fraction(hessian(tdgl, 0.5 * psi), 0.1)
    # The normal state is stationary, and all its low modes unstable.
    assert soft_fraction(hessian(tdgl, 0 * psi), 0.0) > 0


def test_nonsense_is_refused():
    tdgl = sample("periodic", 3, 0)
    H = hessian(tdgl, jnp.full((2, 3, 3), np.sqrt(1.8) + 0j))
    for k in (0, 37):
        with pytest.raises(ValueError, match=f"`k`={k}, but `H` has 36 modes"):
            lowest_modes(H, k=k)
    with pytest.raises(ValueError, match="`subspace`=3 must exceed"):
        lowest_modes(H, k=3, subspace=3)
    with pytest.raises(ValueError, match="`method` must be one of"):
        lowest_modes(H, k=3, method="magic")
    with pytest.raises(ValueError, match="use .lanczos."):
        lowest_modes(matrix_of(np.arange(9.0)), k=2, method="shift-invert")
    with pytest.raises(ValueError, match="not tagged symmetric"):
        lowest_modes(lx.MatrixLinearOperator(jnp.eye(3)), k=1)
    with pytest.raises(ValueError, match="not on real arrays"):
        lowest_modes(lx.DiagonalLinearOperator(jnp.ones(3) + 1j), k=1)
    key = jax.random.key(0)
    for options in ({"probes": 1}, {"steps": 37}, {"steps": 9, "width": 0.0}):
        with pytest.raises(ValueError, match="`(probes|steps|width)`"):
            density_of_states(H, key=key, **options)


@pytest.mark.slow
def test_all_modes_of_the_uniform_state_of_40_sites():
    # Table rows 11 and 12 at the size of the paper's figure: 6,400 modes.
    tdgl = sample("periodic", 40, 0)
    lattice = tdgl.lattice
    lam = exact.plane_wave_eigenvalues(lattice.shape, lattice.spacing)
    expected = np.sort(-2 * np.ravel(exact.relaxation_rates(tdgl.material, lam)))
    H = hessian(tdgl, jnp.full((2, 40, 40), np.sqrt(1.8) + 0j))
    found = np.linalg.eigvalsh(H.as_sparse().toarray())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(
        lowest_modes(H, 60).eigenvalues, expected[:60], rtol=0, atol=1e-10
    )


@pytest.mark.slow
def test_vortex_state_of_40_sites_against_dense():
    tdgl = sample("periodic", 40, 3)
    psi = evolve(tdgl, quench(tdgl.lattice, key=jax.random.key(1)), t1=20.0, dt=0.01)
    H = hessian(tdgl, relax(tdgl, psi.ys[-1]))
    expected = np.linalg.eigvalsh(H.as_sparse().toarray())
    modes = lowest_modes(H, 20)
    np.testing.assert_allclose(modes.eigenvalues, expected[:20], rtol=0, atol=1e-10)
    for threshold in (0.05, 0.3, 1.0, 10.0):
        assert count_below(H, threshold) == np.sum(expected < threshold)
    sampled = density_of_states(H, key=jax.random.key(2), probes=40, steps=240)
    for threshold in (1.0, 10.0, 50.0, 150.0):
        fraction, error = sampled.fraction_below(threshold)
        assert abs(fraction - np.mean(expected < threshold)) < 2 * error < 0.05
