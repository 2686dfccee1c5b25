"""Other solvers than explicit Euler: orders, tolerances, stability, what is refused."""

import warnings

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gl15.physics import evolve, evolve_batch, exact, Lattice, TDGL, TwoBand
from gl15.physics._chebyshev import RungeKuttaChebyshev
from gl15.physics._stability import reach
from gl15.simulation import simulate, VortexSimulator


T1 = 0.4
CHEBYSHEV = RungeKuttaChebyshev()
PID = diffrax.PIDController(rtol=1e-6, atol=1e-8)


@pytest.fixture(scope="module")
def run(draw):
    """A sample with everything in it, a rough start, and where it really goes."""
    lattice = Lattice((8, 6), spacing=0.5, boundary="periodic")
    material = TwoBand(josephson=0.8, drag=0.3)
    tdgl = TDGL(lattice, material, lattice.field_from_quanta(2))
    psi0 = draw(2, 8, 6)
    options = {"solver": diffrax.Dopri8(), "t1": T1, "dt": 0.002}
    return tdgl, psi0, evolve(tdgl, psi0, **options).ys[0]


def error(found, expected):
    return float(jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected))


@pytest.mark.parametrize(
    ("solver", "order"),
    [
        (None, 1),
        (diffrax.Heun(), 2),
        (RungeKuttaChebyshev(2), 2),
        (RungeKuttaChebyshev(5), 2),
        (diffrax.Bosh3(), 3),
    ],
    ids=["Euler", "Heun", "two stages", "five stages", "Bosh3"],
)
def test_order_of_convergence_on_the_uniform_state(solver, order):
    # The spacing is wide: only the growth and the cubic term limit the step.
    tdgl = TDGL(Lattice((3, 3), spacing=4.0), TwoBand(josephson=0.8))
    psi0 = jnp.full((2, 3, 3), 0.3 + 0.0j)
    expected = exact.uniform_density(0.8, 0.09, 0.8)
    errors = []
    for dt in (0.04, 0.02):
        psi = evolve(tdgl, psi0, t1=0.8, dt=dt, solver=solver).ys[0]
        errors.append(abs(float(np.abs(psi[0, 0, 0]) ** 2 - expected)))
    assert abs(np.log2(errors[0] / errors[1]) - order) < 0.25
    assert errors[1] > 1e-13


@pytest.mark.parametrize("stages", [2, 3, 5, 12])
@pytest.mark.parametrize("damping", [2 / 13, 4.0])
def test_stability_polynomial(stages, damping):
    solver = RungeKuttaChebyshev(stages, damping)

    def factor(z):
        y = np.ones_like(z)
        for weight in solver.weights:
            y = 1 + weight * z * y
        return y

    # exp(z) to second order; bounded as far as is said, and not much further.
    z = np.asarray([-1e-2, -5e-3])
    coarse, fine = factor(z) - np.exp(z)
    assert abs(coarse / fine - 8) < 0.1
    inside = np.linspace(-solver.stable_interval, 0, 20_001)
    assert np.abs(factor(inside)).max() <= 1 + 1e-9
    assert np.abs(factor(np.asarray(-1.5 * solver.stable_interval))) > 1
    if damping == 4.0 and stages > 2:
        assert np.abs(factor(inside[inside < -2.0])).max() < 0.65


@pytest.mark.parametrize(
    ("solver", "factor"),
    [
        (None, 1.0),
        (diffrax.Euler(), 1.0),
        (diffrax.Heun(), 1.0),
        (diffrax.Midpoint(), 1.0),
        (diffrax.Bosh3(), 2.5127 / 2),
        (diffrax.Dopri5(), 3.3066 / 2),
        (diffrax.Kvaerno3(), np.inf),
    ],
    ids=lambda value: type(value).__name__,
)
def test_stable_intervals_known_from_textbooks(solver, factor):
    np.testing.assert_allclose(reach(solver), factor, rtol=1e-4)


@pytest.mark.parametrize(
    ("solver", "beyond"),
    [(diffrax.Heun(), 1.01), (diffrax.Tsit5(), 1.01), (CHEBYSHEV, 1.5)],
    ids=["Heun", "Tsit5", "Chebyshev"],
)
def test_the_limit_is_where_rough_modes_stop_shrinking(solver, beyond):
    # The roughest mode of the normal state is real and decays; beyond the limit of
    # the step it grows instead.
    lattice = Lattice((4, 4), spacing=0.5, boundary="periodic")
    tdgl = TDGL(lattice, TwoBand(alpha=(0.0, 0.0)))
    checkers = (-1.0) ** np.add.outer(np.arange(4), np.arange(4))
    psi0 = jnp.asarray(1e-8 * np.stack([checkers, 0 * checkers]), complex)[None]
    longest = reach(solver) * 2 / (8 * 4.0 / 0.5**2)

    def gain(dt):
        steps = evolve_batch(tdgl, psi0, t1=60 * dt, dt=dt, solver=solver).ys
        return float(jnp.abs(steps).max() / 1e-8)

    assert gain(0.99 * longest) < 1 and not gain(beyond * longest) < 1


@pytest.mark.parametrize(
    ("solver", "dt", "within"),
    [(None, 0.002, 5e-3), (diffrax.Heun(), 0.01, 5e-3), (CHEBYSHEV, 0.04, 5e-3)],
    ids=["Euler", "Heun", "Chebyshev"],
)
def test_long_steps_from_a_rough_start(run, solver, dt, within):
    tdgl, psi0, reference = run
    solution = evolve(tdgl, psi0, t1=T1, dt=dt, solver=solver)
    assert error(solution.ys[0], reference) < within
    for name in ("num_steps", "num_accepted_steps"):
        assert solution.stats[name] == round(T1 / dt)


def test_runs_of_stages_are_the_solver_step_by_step(run):
    tdgl, psi0, _ = run
    ts = [0.0, 0.12, 0.13, T1]
    ours = evolve(tdgl, psi0, t1=T1, dt=0.04, ts=ts, solver=CHEBYSHEV)
    with warnings.catch_warnings():
        # Diffrax says that its support of complex states is work in progress.
        warnings.filterwarnings("ignore", message="Complex dtype")
        plain = diffrax.diffeqsolve(
            diffrax.ODETerm(tdgl),
            CHEBYSHEV,
            0.0,
            T1,
            0.04,
            psi0,
            saveat=diffrax.SaveAt(ts=jnp.asarray(ts)),
        )
    np.testing.assert_allclose(ours.ys, plain.ys, rtol=0, atol=1e-12)


def test_gradients_of_runs_are_those_of_single_steps(draw):
    lattice = Lattice((6, 5), spacing=0.5)
    target = draw(2, 6, 5, seed=1)

    def score(values, adjoint=None):
        eta, nu, d1, field, psi0 = values
        material = TwoBand((d1, 1.0), josephson=eta, drag=nu)
        solver = RungeKuttaChebyshev(2)
        options = {"t1": T1, "dt": 0.01, "solver": solver, "adjoint": adjoint}
        psi = evolve(TDGL(lattice, material, field), psi0, **options).ys[-1]
        return jnp.sum(jnp.abs(psi - target) ** 2)

    scalars = (jnp.asarray(0.8), jnp.asarray(0.2), jnp.asarray(4.0), jnp.asarray(0.1))
    values = (*scalars, draw(2, 6, 5))
    # Reverse mode through the runs, forward mode through Diffrax's own loop.
    slopes = jax.jit(jax.grad(score))(values)
    units = [jax.tree.map(jnp.zeros_like, values) for _ in values]
    for i, unit in enumerate(units):
        units[i] = (*unit[:i], jnp.ones_like(values[i]), *unit[i + 1 :])
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *units)

    @jax.jit
    @jax.vmap
    def along(direction):
        forward = lambda v: score(v, diffrax.ForwardMode())  # noqa: E731
        return jax.jvp(forward, (values,), (direction,))[1]

    # JAX's gradient of a real function of z is the conjugate of the steepest ascent.
    expected = [jnp.real(jnp.sum(slope)) for slope in slopes]
    np.testing.assert_allclose(along(stacked), expected, rtol=1e-10)
    assert np.abs(expected).min() > 1e-3


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
def test_adaptive_steps_meet_their_tolerance(run, tolerance):
    tdgl, psi0, reference = run
    solution = evolve(
        tdgl,
        psi0,
        t1=T1,
        solver=diffrax.Tsit5(),
        stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
    )
    found = solution.ys[0]
    assert 1e-3 * tolerance < error(found, reference) < 10 * tolerance
    stats = solution.stats
    total = stats["num_accepted_steps"] + stats["num_rejected_steps"]
    assert stats["num_steps"] == total < 100
    np.testing.assert_array_equal(solution.ts, [T1])


def test_times_of_a_controller_are_times(run):
    tdgl, psi0, _ = run
    options = {"t1": T1, "solver": diffrax.Tsit5()}
    loose = dict(rtol=1e9, atol=1e9)
    longest = diffrax.PIDController(**loose, dtmax=0.02)
    solution = evolve(tdgl, psi0, dt=0.02, stepsize_controller=longest, **options)
    assert solution.stats["num_steps"] == 20
    # Single precision in a program of double precision.
    stops = diffrax.ClipStepSizeController(longest, step_ts=[0.01, 0.1])
    half = psi0.astype(jnp.complex64)
    solution = evolve(tdgl, half, dt=0.02, stepsize_controller=stops, **options)
    assert solution.ys.dtype == jnp.complex64
    assert solution.stats["num_steps"] == 1 + 5 + 15


def test_adaptive_states_at_saved_times(run):
    tdgl, psi0, reference = run
    options = {"t1": T1, "solver": diffrax.Tsit5(), "stepsize_controller": PID}
    solution = evolve(tdgl, psi0, ts=[0.0, 0.123, T1], **options)
    np.testing.assert_array_equal(solution.ys[0], psi0)
    assert error(solution.ys[-1], reference) < 1e-5
    short = evolve(tdgl, psi0, **options | {"t1": 0.123})
    assert error(solution.ys[1], short.ys[0]) < 1e-5


@pytest.mark.slow
def test_adaptive_steps_are_differentiable(run):
    tdgl, psi0, _ = run

    def density(eta, **options):
        material = TwoBand(josephson=eta, drag=0.3)
        sample = TDGL(tdgl.lattice, material, links=tdgl.links)
        psi = evolve(sample, psi0, t1=T1, **options).ys[-1]
        return jnp.mean(jnp.abs(psi) ** 2)

    adaptive = {"solver": diffrax.Bosh3(), "stepsize_controller": PID, "dt": 0.01}
    slope = jax.jit(jax.grad(lambda eta: density(eta, **adaptive)))(0.8)
    fixed = {"solver": diffrax.Dopri8(), "dt": 0.002}
    both = jax.jit(jax.vmap(lambda eta: density(eta, **fixed)))
    high, low = both(jnp.asarray([0.801, 0.799]))
    np.testing.assert_allclose(slope, (high - low) / 0.002, rtol=1e-3)


def test_steps_that_do_not_arrive_say_so(run):
    tdgl, psi0, _ = run
    hopeless = diffrax.PIDController(rtol=1e-13, atol=1e-13)
    with pytest.raises(eqx.EquinoxRuntimeError, match="did not reach `t1` in 6400"):
        evolve(
            tdgl,
            psi0,
            t1=T1,
            solver=diffrax.Heun(),
            stepsize_controller=hopeless,
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stepsize_controller": PID}, "error estimate, got None.*Tsit5"),
        ({"stepsize_controller": PID, "solver": diffrax.Euler()}, "got Euler"),
        ({"stepsize_controller": PID, "solver": CHEBYSHEV}, "got RungeKuttaCheb"),
        (
            {"stepsize_controller": diffrax.ConstantStepSize()},
            "ConstantStepSize, which does not adapt.*`dt`",
        ),
        (
            {
                "stepsize_controller": PID,
                "solver": diffrax.Tsit5(),
                "temperature": 0.1,
            },
            "thermal noise.*`temperature=0`",
        ),
        ({"solver": CHEBYSHEV, "temperature": 0.1}, "no thermal noise.*Euler"),
        ({"solver": diffrax.Heun(), "dt": 0.02}, "`dt`=0.02 .* limit .* of Heun"),
        (
            {"solver": CHEBYSHEV, "dt": 0.2},
            r"of RungeKuttaChebyshev .*`tdgl.max_stable_step\(\)` times 5",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(run, options, message):
    tdgl, psi0, _ = run
    with pytest.raises(ValueError, match=message):
        evolve(tdgl, psi0, t1=T1, key=jax.random.key(0), **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stages": 1}, "`stages` must be 2 to 12, got 1"),
        ({"stages": 13}, "`stages` .* got 13"),
        ({"damping": 0.0}, "`damping` must be positive, got 0.0"),
    ],
    ids=str,
)
def test_numbers_of_stages(arguments, message):
    with pytest.raises(ValueError, match=message):
        RungeKuttaChebyshev(**arguments)


def test_numpy_times_are_times(run):
    tdgl, psi0, reference = run
    times = {"t1": np.float64(T1), "dt": np.float64(0.002)}
    assert error(evolve(tdgl, psi0, **times).ys[0], reference) < 5e-3


LATTICE = Lattice((8, 6), spacing=0.5)
THETA = {"eta": np.asarray([0.2, 0.8, 1.4]), "nu": np.asarray([0.0, 0.3, -0.3])}


@pytest.mark.parametrize(
    "options",
    [
        {"solver": RungeKuttaChebyshev(2), "dt": 0.01},
        {"solver": diffrax.Tsit5(), "stepsize_controller": PID},
    ],
    ids=["Chebyshev", "adaptive"],
)
def test_an_ensemble_by_another_solver(options):
    key = jax.random.key(0)
    exactly = VortexSimulator(
        LATTICE, TwoBand(), t1=T1, solver=diffrax.Dopri8(), dt=0.002
    )
    reference = simulate(exactly, THETA, key=key, progress=False).x
    simulator = VortexSimulator(LATTICE, TwoBand(), t1=T1, **options)
    x = simulate(simulator, THETA, key=key, progress=False, batch_size=2).x
    assert 1e-9 < np.abs(x - reference).max() < 5e-3
    keys = jax.random.split(key, 3)
    side = eqx.filter_jit(simulator.batch)(THETA, keys)
    one = {name: value[1] for name, value in THETA.items()}
    np.testing.assert_allclose(side[1], simulator(one, keys[1]), atol=1e-5)


def test_a_stored_ensemble_refuses_another_solver(tmp_path):
    path = tmp_path / "ensemble.zarr"
    key = jax.random.key(0)

    def ask(**options):
        simulator = VortexSimulator(LATTICE, TwoBand(), t1=0.08, dt=0.01, **options)
        return simulate(simulator, THETA, key=key, path=path, progress=False)

    ask(solver=RungeKuttaChebyshev(4))
    ask(solver=RungeKuttaChebyshev(4))
    with pytest.raises(ValueError, match=r"solver.stages` is 5 here but 4 there"):
        ask(solver=RungeKuttaChebyshev(5))
    with pytest.raises(ValueError, match=r"simulator.solver` is None here"):
        ask()
    with pytest.raises(ValueError, match="stepsize_controller` is .*PIDController"):
        ask(solver=diffrax.Tsit5(), stepsize_controller=PID)


def test_the_step_of_a_simulator_is_checked_for_its_solver():
    theta = {"eta": np.asarray([0.5]), "nu": np.asarray([0.0])}
    limit = float(TDGL(LATTICE, TwoBand(josephson=0.5)).max_stable_step())

    def check(factor, nu=0.0, **options):
        simulator = VortexSimulator(LATTICE, TwoBand(), dt=factor * limit, **options)
        simulator.check(theta | {"nu": np.asarray([nu])})

    check(0.99 * reach(CHEBYSHEV), solver=CHEBYSHEV)
    with pytest.raises(ValueError, match="limit of RungeKuttaChebyshev for 1 of 1"):
        check(1.01 * reach(CHEBYSHEV), solver=CHEBYSHEV)
    adaptive = {"solver": diffrax.Tsit5(), "stepsize_controller": PID}
    check(3.0, **adaptive)
    check(3.0, solver=diffrax.Kvaerno3())
    with pytest.raises(ValueError, match=r"nu\^2 < D1 D2"):
        check(3.0, nu=2.5, **adaptive)
