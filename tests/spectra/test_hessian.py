"""The Hessian as an operator, and the stationary states it is taken at."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from gl15.observables import windings
from gl15.physics import exact, Lattice, Links, quench, TDGL, TwoBand
from gl15.spectra import hessian, lowest_modes, relax, to_complex, to_real
from gl15.spectra._relax import _descend


def sample(boundary="open", n=6, quanta=2.0, drag=0.3):
    lattice = Lattice((n, n), boundary=boundary)
    material = TwoBand(josephson=0.8, drag=drag)
    return TDGL(lattice, material, lattice.field_from_quanta(quanta))


def uniform(n=8, drag=0.3):
    tdgl = sample("periodic", n, 0, drag)
    return tdgl, jnp.full((2, n, n), np.sqrt(1.8) + 0j)


def disordered(boundary, n=(5, 7)):
    """Every coupling a map where it may be one, and a gauge without symmetry."""
    rng = np.random.default_rng(5)
    alpha, beta, eta = 0.3 * rng.normal(size=(3, *n))
    material = TwoBand((3.0, 1.5), (alpha - 1, -0.8), (1 + beta**2, 1.0), eta, 0.4)
    phases = jnp.asarray(rng.normal(size=(2, *n)))
    links = Links.from_phases(phases, periodic=boundary == "periodic")
    lattice = Lattice(n, spacing=0.7, boundary=boundary)
    psi = rng.normal(size=(2, *n)) + 1j * rng.normal(size=(2, *n))
    return TDGL(lattice, material, links=links), jnp.asarray(psi)


def dense(H):
    return eqx.filter_jit(lambda H: H.as_matrix())(H)


@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_product_is_the_linearised_gradient_of_the_energy(boundary):
    # The stencil's form of it, to round-off.
    tdgl, psi = disordered(boundary)
    cell = tdgl.lattice.spacing**2
    gradient = jax.grad(lambda u: tdgl.energy(to_complex(u)) / cell)
    u = to_real(psi)
    _, product = jax.jit(lambda u: jax.linearize(gradient, u))(u)
    expected = jax.jit(jax.vmap(product))(jnp.eye(u.size).reshape(-1, *u.shape))
    H = hessian(tdgl, psi)
    scale = jnp.max(jnp.abs(expected))
    found = dense(H).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14 * scale)
    sparse = H.as_sparse()
    assert sparse.nnz < 20 * u.size
    np.testing.assert_allclose(sparse.toarray(), dense(H), rtol=0, atol=1e-14 * scale)


def test_hessian_is_a_lineax_operator():
    tdgl, psi = uniform(4)
    H = hessian(tdgl, psi)
    assert isinstance(H, lx.AbstractLinearOperator)
    assert lx.is_symmetric(H) and H.T is H and H.in_size() == 64
    assert not lx.is_diagonal(H) and lx.linearise(H) is H
    np.testing.assert_allclose(lx.diagonal(H), jnp.diag(dense(H)), rtol=1e-13)
    # Positive definite once the zero mode is lifted: lineax can solve with it.
    v = to_real(quench(tdgl.lattice, key=jax.random.key(0)))
    identity = lx.IdentityLinearOperator(H.in_structure())
    lifted = lx.TaggedLinearOperator(H + identity, lx.positive_semidefinite_tag)
    solve = eqx.filter_jit(lambda op: lx.linear_solve(op, v, lx.CG(1e-12, 1e-12)).value)
    solution = solve(lifted)
    np.testing.assert_allclose(H.mv(solution) + solution, v, atol=1e-9)


def test_the_operator_knows_whether_its_state_is_stationary(getkey):
    tdgl, psi = uniform()
    assert hessian(tdgl, psi).is_stationary()
    rough = quench(tdgl.lattice, key=getkey())
    H = hessian(tdgl, rough)
    force = np.max(np.abs(tdgl(0.0, rough)))
    np.testing.assert_allclose(H.gradient_norm, force, rtol=1e-12)
    assert not H.is_stationary() and H.is_stationary(2 * float(force))
    with pytest.raises(ValueError, match="not stationary: its gradient norm.*relax"):
        H.check_stationary()
    with pytest.raises(ValueError, match="`psi` holds 3 values of 128"):
        hessian(tdgl, psi.at[0, 0, :3].set(jnp.nan))
    with pytest.raises(ValueError, match="`psi` must have shape"):
        hessian(tdgl, psi[:, :2])
    with pytest.raises(ValueError, match="`H` is traced"):
        eqx.filter_jit(lambda p: hessian(tdgl, p).as_sparse().nnz)(psi)


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


def test_relax_finds_a_stationary_state_without_moving_the_vortices():
    tdgl = sample(n=13, quanta=3.0)
    rough = relax(tdgl, quench(tdgl.lattice, key=jax.random.key(5)), tolerance=0.03)
    found = relax(tdgl, rough)
    assert jnp.max(jnp.abs(tdgl(0.0, found))) < 1e-10
    assert tdgl.energy(found) < tdgl.energy(rough)
    before, after = (windings(tdgl, psi).sum((1, 2)) for psi in (rough, found))
    np.testing.assert_array_equal(before, after)
    assert np.all(after > 0)
    with pytest.raises(ValueError, match="`tolerance` must be a positive"):
        relax(tdgl, rough, tolerance=0.0)
    with pytest.raises(RuntimeError, match="after 3 steps: the gradient norm"):
        relax(tdgl, rough, max_steps=3)
    with pytest.raises(Exception, match="did not converge"):
        eqx.filter_jit(lambda p: relax(tdgl, p, max_steps=3))(rough)


def test_relax_never_raises_the_energy():
    tdgl = sample("periodic", 12, 2)
    psi = quench(tdgl.lattice, key=jax.random.key(3))
    measure = jax.jit(lambda p: (tdgl.energy(p), jnp.max(jnp.abs(tdgl(0.0, p)))))
    energies, norms = [], []
    for steps in (*range(20), *range(20, 2000, 40)):
        state = _descend(tdgl, psi, jnp.asarray(1e-11), jnp.asarray(steps))
        energy, norm = measure(to_complex(state.u))
        energies.append(float(energy))
        norms.append(float(norm))
    assert norms[-1] < 1e-11 < norms[0]
    rounding = 4 * np.finfo(float).eps * abs(energies[0])
    assert np.max(np.diff(energies)) < rounding
    assert energies[-1] < energies[0] - 1
    np.testing.assert_allclose(state.energy * 0.5**2, energies[-1], rtol=1e-12)
    with pytest.raises(ValueError, match="NaN or infinite"):
        relax(tdgl, psi.at[0, 0, 0].set(jnp.nan))
