"""Time evolution as a user calls it: times, types, transformations, solvers."""

import warnings

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gl15.physics import evolve, exact, Lattice, TDGL, TwoBand


T1, DT, STEPS = 0.4, 0.01, 40


@pytest.fixture(scope="module")
def run(draw):
    """A sample, its start, and the states a hand-written loop goes through."""
    lattice = Lattice((8, 6), spacing=0.5, boundary="periodic")
    material = TwoBand(josephson=0.8, drag=0.3)
    tdgl = TDGL(lattice, material, lattice.field_from_quanta(2))
    psi0 = draw(2, 8, 6)

    def step(psi, _):
        return psi + DT * tdgl(0.0, psi), psi

    last, states = jax.jit(lambda psi: jax.lax.scan(step, psi, None, STEPS))(psi0)
    return tdgl, psi0, np.concatenate([states, last[None]])


def test_it_is_explicit_euler(run):
    tdgl, psi0, states = run
    solution = evolve(tdgl, psi0, t1=T1, dt=DT)
    assert solution.ys.shape == (1, 2, 8, 6)
    np.testing.assert_allclose(solution.ys[0], states[-1], rtol=0, atol=1e-13)
    np.testing.assert_array_equal(solution.ts, [T1])
    assert (solution.t1, solution.stats["num_steps"]) == (T1, STEPS)


def test_saved_times(run):
    tdgl, psi0, states = run
    # The start, on a step, between two of them, and the end.
    ts = [0.0, 0.1, 0.2025, T1]
    solution = jax.jit(lambda psi: evolve(tdgl, psi, t1=T1, dt=DT, ts=ts))(psi0)
    between = 0.75 * states[20] + 0.25 * states[21]
    expected = np.stack([states[0], states[10], between, states[-1]])
    np.testing.assert_array_equal(solution.ts, ts)
    np.testing.assert_allclose(solution.ys, expected, rtol=0, atol=1e-13)


def test_a_diffrax_user_gets_the_same_from_the_vector_field(run):
    tdgl, psi0, states = run
    with warnings.catch_warnings():
        # Diffrax says that its support of complex states is work in progress.
        warnings.filterwarnings("ignore", message="Complex dtype")
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(tdgl), diffrax.Euler(), 0.0, T1, DT, psi0
        )
    np.testing.assert_allclose(solution.ys[0], states[-1], rtol=0, atol=1e-13)


def test_it_jits_and_vmaps(run):
    tdgl, psi0, states = run
    starts = jnp.stack([psi0, 0.5 * psi0])
    batch = jax.jit(jax.vmap(lambda psi: evolve(tdgl, psi, t1=T1, dt=DT).ys[0]))
    np.testing.assert_allclose(batch(starts)[0], states[-1], rtol=0, atol=1e-13)


def test_single_precision_stays_single_and_agrees(run):
    tdgl, psi0, states = run
    # Couplings and field of double precision must not promote the state.
    strong = jnp.asarray(np.float64(0.8)), jnp.asarray(np.float64(0.3))
    material = TwoBand(josephson=strong[0], drag=strong[1])
    tdgl = TDGL(tdgl.lattice, material, tdgl.lattice.field_from_quanta(2))
    half = psi0.astype(jnp.complex64)
    ys = jax.jit(lambda psi: evolve(tdgl, psi, t1=T1, dt=DT).ys)(half)
    assert ys.dtype == jnp.complex64
    for method in (lambda psi: tdgl(0.0, psi), tdgl.laplacian):
        assert jax.eval_shape(method, half).dtype == jnp.complex64
    for method in (tdgl.energy, lambda psi: tdgl.current(psi)[0]):
        assert jax.eval_shape(method, half).dtype == jnp.float32
    np.testing.assert_allclose(ys[0], states[-1], rtol=0, atol=1e-5)


def test_everything_is_single_precision_by_default(draw):
    with jax.enable_x64(False):
        lattice = Lattice((6, 5), spacing=0.5)
        tdgl = TDGL(lattice, TwoBand(josephson=0.8), 0.04)
        psi0 = draw(2, 6, 5)
        assert psi0.dtype == jnp.complex64
        run = jax.eval_shape(lambda psi: evolve(tdgl, psi, t1=T1, dt=DT), psi0)
    assert run.ys.dtype == jnp.complex64
    assert tdgl.links.y.dtype == run.ts.dtype == jnp.float32


def test_a_time_between_two_steps_is_reached_by_shorter_ones():
    tdgl = TDGL(Lattice((3, 3), spacing=0.5), TwoBand(josephson=0.8))
    psi0 = jnp.full((2, 3, 3), 0.3 + 0.1j)
    run = eqx.filter_jit(evolve)
    solution = run(tdgl, psi0, t1=0.0325, dt=0.01, ts=jnp.asarray([0.013, 0.0325]))
    r = [0.3 + 0.1j]
    for _ in range(4):
        r.append(r[-1] + 0.008125 * (1.8 - abs(r[-1]) ** 2) * r[-1])
    assert solution.stats["num_steps"] == 4
    expected = 0.4 * r[1] + 0.6 * r[2], r[4]
    np.testing.assert_allclose(solution.ys[:, 0, 0, 0], expected, rtol=1e-13)


def test_other_solvers_are_as_accurate_as_they_promise():
    tdgl = TDGL(Lattice((3, 3), spacing=0.5), TwoBand(josephson=0.8))
    psi0 = jnp.full((2, 3, 3), 0.3 + 0.0j)
    run = eqx.filter_jit(evolve)
    solution = run(tdgl, psi0, t1=0.8, dt=0.01, solver=diffrax.Heun())
    density = np.abs(solution.ys[0]) ** 2
    # Euler's error is 7e-3 here.
    expected = exact.uniform_density(0.8, 0.09, 0.8)
    np.testing.assert_allclose(density, expected, rtol=0, atol=1e-4)


def test_the_progress_bar_changes_nothing(run, capsys):
    tdgl, psi0, _ = run
    quiet = evolve(tdgl, psi0, t1=T1, dt=DT)
    assert not capsys.readouterr().err
    shown = evolve(tdgl, psi0, t1=T1, dt=DT, progress=True)
    jax.effects_barrier()
    assert "100.00%" in capsys.readouterr().err
    np.testing.assert_array_equal(shown.ys, quiet.ys)


def test_it_runs_inside_somebody_elses_compiled_function(run):
    tdgl, psi0, states = run
    # All that it is given is known there, and yet nothing is.
    ys = jax.jit(lambda factor: factor * evolve(tdgl, psi0, t1=T1, dt=DT).ys)(1.0)
    np.testing.assert_allclose(ys[0], states[-1], rtol=0, atol=1e-13)


def test_traced_times_are_saved_and_must_lie_inside(run):
    tdgl, psi0, states = run
    saved = eqx.filter_jit(lambda ts: evolve(tdgl, psi0, t1=T1, dt=DT, ts=ts).ys)
    found = saved(jnp.asarray([0.1, T1]))
    np.testing.assert_allclose(found, states[[10, -1]], rtol=0, atol=1e-13)
    with pytest.raises(RuntimeError, match="must lie within"):
        saved(jnp.asarray([0.1, 2 * T1]))
