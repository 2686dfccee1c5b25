"""What modes are: exact at the uniform state, vortex motion at vortex states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gl15.observables import vortices
from gl15.physics import evolve, exact, Lattice, quench, TDGL, TwoBand
from gl15.spectra import (
    classify_modes,
    hessian,
    lowest_modes,
    Modes,
    relax,
    symmetries,
    to_complex,
)


def uniform(eta=0.8, n=8):
    lattice = Lattice((n, n), boundary="periodic")
    tdgl = TDGL(lattice, TwoBand(josephson=eta))
    return hessian(tdgl, jnp.full((2, n, n), np.sqrt(1 + eta) + 0j))


@pytest.fixture(scope="module")
def vortex_state():
    lattice = Lattice((16, 16), boundary="periodic")
    material = TwoBand(josephson=0.8)
    tdgl = TDGL(lattice, material, lattice.field_from_quanta(2))
    psi = evolve(tdgl, quench(lattice, key=jax.random.key(7)), t1=20.0, dt=0.01).ys[-1]
    H = hessian(tdgl, relax(tdgl, psi))
    return H, lowest_modes(H, 10), vortices(tdgl, H.psi, 2)


def test_modes_of_the_uniform_state_are_what_theory_says():
    H = uniform()
    every = classify_modes(H, lowest_modes(H, 256))
    ones = every.vortex + every.amplitude + every.phase + every.leggett
    np.testing.assert_allclose(ones, 1.0, atol=1e-12)
    assert np.all(every.vortex == 0) and np.all(np.isnan(every.displacements))
    # Half of all modes move amplitudes alone, half phases alone.
    halves = np.repeat([0, 1], 128)
    np.testing.assert_allclose(np.sort(every.amplitude), halves, atol=1e-9)
    assert every.names[0] == "global phase" and every.zero[0]
    assert not np.any(every.zero[1:])
    np.testing.assert_allclose(every.participation[0], 1.0, atol=1e-9)
    # The Leggett mode at k = 0 is the relative phase, at 4 eta.
    (leggett,) = [i for i, name in enumerate(every.names) if name == "relative phase"]
    modes = lowest_modes(H, 256)
    np.testing.assert_allclose(modes.eigenvalues[leggett], 3.2, atol=1e-10)
    np.testing.assert_allclose(every.leggett[leggett], 1.0, atol=1e-9)
    # At k > 0 unequal stiffnesses mix in-phase and Leggett motion: the share of the
    # softest modes, from the 2 x 2 matrix of the phases.
    lam = exact.plane_wave_eigenvalues((8, 8), 0.5)[0, 1]
    block = np.array([[0.8 + 4 * lam, -0.8], [-0.8, 0.8 + lam]])
    vector = np.linalg.eigh(block)[1][:, 0]
    share = (vector @ [1, -1]) ** 2 / 2
    np.testing.assert_allclose(every.leggett[2:6], share, atol=1e-9)


def test_without_coupling_the_relative_phase_is_free():
    H = uniform(eta=0.0)
    found = symmetries(H)
    assert found.names == ("global phase", "relative phase")
    np.testing.assert_allclose(found.residuals, 0, atol=1e-12)
    character = classify_modes(H, lowest_modes(H, 3))
    assert list(character.zero) == [True, True, False]
    assert all("phase" in name for name in character.names[:2])
    coupled = symmetries(uniform())
    np.testing.assert_allclose(coupled.curvatures, [0, 3.2], atol=1e-12)


def test_translations_are_zero_modes_without_flux_only(vortex_state):
    # A domain wall across the torus at no flux: moving it costs nothing but the
    # lattice's pinning, which falls off exponentially with its width.
    lattice = Lattice((48, 4), spacing=0.25, boundary="periodic")
    tdgl = TDGL(lattice, TwoBand(diffusion=(1.0, 1.0), josephson=0.5))
    x = jnp.arange(48) * 0.25
    walls = jnp.tanh(x - 3) * jnp.tanh(9 - x) * jnp.sqrt(1.5)
    psi = jnp.broadcast_to(walls[:, None], (2, 48, 4)) + 0j
    H = hessian(tdgl, relax(tdgl, psi, tolerance=1e-3))
    moved = symmetries(H)
    assert moved.names == ("global phase", "relative phase", "translation x")
    assert abs(moved.curvatures[2]) < 0.02
    # With two quanta they cost what the uniform current does.
    H, modes, _ = vortex_state
    found = symmetries(H)
    assert found.names[2:] == ("translation x", "translation y")
    assert abs(found.curvatures[0]) < 1e-9 and np.all(found.curvatures[2:] > 0.2)


def test_soft_modes_of_a_vortex_state_move_its_vortices(vortex_state):
    H, modes, found = vortex_state
    assert list(found.counts) == [2, 2]
    character = classify_modes(H, modes, found.positions)
    assert character.names[0] == "global phase"
    # Two vortices have four displacements; all below the first mode of another kind.
    assert set(character.names[1:5]) <= {"vortex", "translation"}
    assert np.all(character.vortex[1:5] > 0.6) and np.all(character.vortex[5:] < 0.5)
    assert modes.eigenvalues[5] > 1.3 * modes.eigenvalues[4]
    shares = [character.vortex, character.amplitude, character.phase, character.leggett]
    np.testing.assert_allclose(sum(shares), 1.0, atol=1e-12)
    # The displacements are where the zeros go.
    step = 0.05
    for mode in range(1, 5):
        change = to_complex(modes.eigenvectors[mode])
        went = vortices(H.tdgl, H.psi + step * change, 2).positions - found.positions
        told = step * character.displacements[mode]
        assert np.linalg.norm(went - told) < 0.4 * np.linalg.norm(told)


def test_a_rigid_displacement_is_all_vortex_motion(vortex_state):
    H, _, found = vortex_state
    translation = symmetries(H).deformations[2]
    one = jnp.zeros(1)
    modes = Modes(one, translation[None], one, H.gradient_norm)
    character = classify_modes(H, modes, found.positions)
    np.testing.assert_allclose(character.vortex, 1.0, rtol=1e-12)
    moves = character.displacements[0].reshape(-1, 2)
    np.testing.assert_allclose(moves, moves[:1].repeat(4, 0), atol=1e-12)
    np.testing.assert_allclose(moves[:, 1], 0, atol=1e-12)
    assert character.names == ("translation",)


def test_a_state_that_is_not_stationary_has_no_soft_modes(vortex_state):
    H, modes, found = vortex_state
    with pytest.raises(ValueError, match="not stationary: its gradient norm"):
        classify_modes(hessian(H.tdgl, 0.9 * H.psi), modes, found.positions)
    with pytest.raises(ValueError, match="`modes` have shape"):
        classify_modes(uniform(), modes)
