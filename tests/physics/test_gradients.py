"""Gradients through the evolution: reverse and forward mode, against exact values."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gl15.physics import (
    evolve,
    evolve_batch,
    exact,
    Lattice,
    Links,
    TDGL,
    TwoBand,
)


SHAPE = (6, 5)
DT, STEPS = 0.01, 30
NAMES = "eta nu B alpha1 alpha2 beta1 beta2 D1 D2 psi0".split()
THETA = np.asarray([0.8, 0.4, 0.3, -1.0, -0.7, 1.0, 1.3, 4.0, 1.0, 0.0])


def loss(theta, start, direction, weights, adjoint=None):
    """A number made of where a run ends; the last parameter pushes its start."""
    eta, nu, field, a1, a2, b1, b2, d1, d2, push = theta
    material = TwoBand((d1, d2), (a1, a2), (b1, b2), eta, nu)
    tdgl = TDGL(Lattice(SHAPE, spacing=0.5), material, field)
    psi0 = start + push * direction
    end = evolve(tdgl, psi0, t1=STEPS * DT, dt=DT, adjoint=adjoint).ys[-1]
    # Neither gauge invariant nor symmetric between the bands.
    return jnp.sum(jnp.real(weights * end) + weights.imag * jnp.abs(end) ** 2)


@pytest.fixture(scope="module")
def value_and_grad():
    return jax.jit(jax.value_and_grad(loss))


@pytest.fixture(scope="module")
def run(draw):
    """A start, dense enough to be nonlinear, a direction and weights, all random."""
    return 3 * draw(2, *SHAPE), draw(2, *SHAPE, seed=1), draw(2, *SHAPE, seed=2)


def test_reverse_mode_agrees_with_central_differences(value_and_grad, run):
    _, reverse = value_and_grad(THETA, *run)
    h, value = 1e-5, jax.jit(loss)
    for i, name in enumerate(NAMES):
        step = h * np.eye(len(NAMES))[i]
        difference = (value(THETA + step, *run) - value(THETA - step, *run)) / (2 * h)
        np.testing.assert_allclose(reverse[i], difference, rtol=1e-6, err_msg=name)


def test_forward_mode_agrees_with_reverse_mode(value_and_grad, run):
    _, reverse = value_and_grad(THETA, *run)
    forward = jax.jit(jax.jacfwd(lambda *args: loss(*args, diffrax.ForwardMode())))
    np.testing.assert_allclose(forward(THETA, *run), reverse, rtol=1e-12)


def test_gradient_of_a_uniform_run_is_that_of_its_closed_form(value_and_grad):
    theta = dict(zip(NAMES, THETA, strict=True))
    theta |= {"B": 0.0, "alpha2": -1.0, "beta1": 1.0, "beta2": 1.0}
    start = np.full((2, *SHAPE), 0.3 + 0j)
    # Half the density of either band at one site; the push is of the radius.
    weights = np.zeros((2, *SHAPE), complex)
    weights[:, 2, 2] = 0.5j
    density, gradient = value_and_grad(
        np.asarray(list(theta.values())), start, start / 0.3, weights
    )
    gradient = dict(zip(NAMES, gradient, strict=True))
    found = [gradient["eta"], gradient["psi0"]]

    # Euler's own steps r + dt (1 + eta - r^2) r, to round-off ...
    r, slope = 0.3, np.asarray([0.0, 1.0])
    for _ in range(STEPS):
        slope = slope + DT * ((1.8 - 3 * r**2) * slope + np.asarray([r, 0.0]))
        r = r + DT * (1.8 - r**2) * r
    np.testing.assert_allclose(density, r**2, rtol=1e-12)
    np.testing.assert_allclose(found, 2 * r * slope, rtol=1e-12)
    # All of what the couplings do to a uniform state, they do through 1 + eta.
    for name in ("alpha1", "alpha2"):
        np.testing.assert_allclose(gradient[name], -gradient["eta"] / 2, rtol=1e-12)
    for name in ("nu", "D1", "D2"):
        np.testing.assert_allclose(gradient[name], 0, rtol=0, atol=1e-12)
    # ... and the differential equation, to the order of Euler's error.
    closed = jax.grad(exact.uniform_density, argnums=(2, 1))
    by_eta, by_density = closed(STEPS * DT, 0.09, 0.8)
    np.testing.assert_allclose(found, [by_eta, 0.6 * by_density], rtol=0.02)


def test_gradient_of_linear_growth_is_that_of_its_closed_form(value_and_grad):
    # psi = (1 + dt M)^m psi_0 for one standing wave, M = -lambda K - alpha + eta X.
    x, y = np.arange(SHAPE[0])[:, None], np.arange(SHAPE[1])
    angles = np.asarray([np.pi / SHAPE[0], 2 * np.pi / SHAPE[1]])
    wave = np.cos(angles[0] * (x + 0.5)) * np.cos(angles[1] * (y + 0.5))
    lam = 4 / 0.5**2 * np.sum(np.sin(angles / 2) ** 2)
    theta, tiny, bands = THETA.copy(), 1e-8, np.asarray([1.0, 0.5])
    theta[NAMES.index("B")] = 0.0
    start = tiny * bands[:, None, None] * wave
    weights = np.zeros((2, *SHAPE), complex)
    weights[:, 0, 0] = read = np.asarray([1.0, 0.7]) / tiny
    end, gradient = value_and_grad(theta, start + 0j, 0j * start, weights)

    eta, nu, _, a1, a2, _, _, d1, d2, _ = theta
    off = eta - lam * nu
    generator = np.asarray([[-a1 - lam * d1, off], [off, -a2 - lam * d2]])
    step = np.eye(2) + DT * generator
    exchange, first = np.asarray([[0, 1], [1, 0]]), np.diag([1, 0])
    second = np.eye(2) - first
    slopes = {
        "eta": exchange,
        "nu": -lam * exchange,
        "alpha1": -first,
        "alpha2": -second,
        "D1": -lam * first,
        "D2": -lam * second,
    }
    read = read * tiny * wave[0, 0]
    power = np.linalg.matrix_power
    np.testing.assert_allclose(end, read @ power(step, STEPS) @ bands, rtol=1e-12)
    for name, slope in slopes.items():
        # The derivative of a power, factor by factor.
        expected = sum(
            read @ power(step, STEPS - 1 - m) @ (DT * slope) @ power(step, m) @ bands
            for m in range(STEPS)
        )
        found = gradient[NAMES.index(name)]
        np.testing.assert_allclose(found, expected, rtol=1e-11, err_msg=name)


def sample(draw, boundary, gauge, drag, seed=0):
    """A sample of maps and of links of any gauge, or in the Landau gauge; a state."""
    lattice = Lattice(SHAPE, spacing=0.5, boundary=boundary)
    numbers = jnp.real(draw(6, *SHAPE, seed=seed))
    links = lattice.links(lattice.field_from_quanta(1))
    if gauge == "any":
        links = Links.from_phases(6 * numbers[:2], periodic=not lattice.is_open)
    material = TwoBand(
        diffusion=(jnp.asarray(3.0), jnp.asarray(1.0)),
        alpha=(numbers[2] - 1, numbers[3] - 0.7),
        beta=(numbers[4] + 1, jnp.asarray(1.3)),
        josephson=numbers[5] + 0.8,
        drag=jnp.asarray(drag) if drag else 0.0,
    )
    return TDGL(lattice, material, links=links), 3 * draw(2, *SHAPE, seed=seed + 1)


def gradient(run, weights):
    """Gradient of a number made of where a run ends, in every array given to it."""

    def score(values):
        end = run(*values)
        return jnp.sum(jnp.real(weights * end) + weights.imag * jnp.abs(end) ** 2)

    return eqx.filter_jit(eqx.filter_grad(score))


def plain(tdgl, psi0):
    """Seven steps, which JAX transposes one by one."""
    step = lambda psi, _: (psi + DT * tdgl(0.0, psi), None)  # noqa: E731
    return jax.lax.scan(step, psi0, length=7)[0]


@pytest.mark.parametrize(
    ("boundary", "gauge", "drag"), [("open", "any", 0.0), ("periodic", "Landau", 0.3)]
)
def test_reverse_pass_of_runs_is_the_transpose_of_their_steps(
    draw, boundary, gauge, drag
):
    def runs(*values):  # of three steps, three, and one
        return evolve(*values, t1=7 * DT, dt=DT).ys[-1]

    values, weights = sample(draw, boundary, gauge, drag), draw(2, *SHAPE, seed=3)
    ours = jax.tree.leaves(gradient(runs, weights)(values))
    steps = jax.tree.leaves(gradient(plain, weights)(values))
    assert len(ours) == len(jax.tree.leaves(eqx.filter(values, eqx.is_array)))
    for found, expected in zip(ours, steps, strict=True):
        scale = np.abs(expected).max()
        assert scale > 1e-4
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * scale)


def test_gradients_side_by_side_are_those_of_each(draw):
    def runs(*values):
        return evolve_batch(*values, t1=7 * DT, dt=DT).ys[-1]

    weights = draw(2, *SHAPE, seed=5)
    samples = [sample(draw, "periodic", "any", 0.3, seed) for seed in (0, 2)]
    stack = lambda *trees: jax.tree.map(lambda *a: jnp.stack(a), *trees)  # noqa: E731
    found = gradient(runs, weights)(stack(*samples))
    expected = stack(*map(gradient(plain, weights), samples))
    leaves = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    for leaf, of_each in leaves:
        np.testing.assert_allclose(leaf, of_each, rtol=0, atol=1e-12)
