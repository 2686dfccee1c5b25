"""Exponents of patterns that have a known one, within errors that are right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gl15.observables import Box, hyperuniformity, Points


def sites(n):
    grid = jnp.stack(jnp.meshgrid(jnp.arange(n), jnp.arange(n), indexing="ij"), -1)
    return grid.reshape(-1, 2) + 0.5


def poisson(key, n):
    return jax.random.uniform(key, (n * n, 2)) * n


def perturbed(key, n):
    # S = 1 - exp(-k^2 s^2) for independent Gaussian displacements: exponent 2.
    return sites(n) + 0.05 * jax.random.normal(key, (n * n, 2))


def correlated(key, n):
    # Displacements with spectrum 1/k: S ~ k^2 / k, exponent 1.
    k = 2 * np.pi * np.fft.fftfreq(n)
    k = np.hypot(k[:, None], k)
    k[0, 0] = np.inf
    noise = jnp.fft.fft2(jax.random.normal(key, (2, n, n)))
    field = jnp.fft.ifft2(noise / np.sqrt(k)).real
    return sites(n) + 0.05 * field.reshape(2, -1).T / jnp.std(field)


@pytest.mark.parametrize(
    ("pattern", "alpha"), [(poisson, 0.0), (perturbed, 2.0), (correlated, 1.0)]
)
def test_a_known_exponent_is_found_within_a_calibrated_error(pattern, alpha):
    n, runs = 24, 100
    box = Box((n, n), True)

    def fit(key):
        return hyperuniformity(Points(pattern(key, n) % n, box))

    law = jax.jit(jax.vmap(fit))(jax.random.split(jax.random.key(0), runs))
    scores = (law.exponent - alpha) / law.exponent_std
    assert abs(scores.mean()) < 0.4
    assert 0.8 < scores.std() < 1.25
    assert np.mean(np.abs(scores) < 1.96) >= 0.88
    assert np.all(law.exponent_std < 0.2)


@pytest.mark.parametrize(("pattern", "alpha"), [(poisson, 0.0), (perturbed, 2.0)])
def test_through_the_window_of_an_open_sample(pattern, alpha):
    # A piece cut from a larger pattern: edges that mean nothing.
    n, runs, margin = 28, 80, 2.0
    box = Box((n - 2 * margin,) * 2, False)

    def piece(key):
        positions = pattern(key, n) - margin
        inside = jnp.all((positions > 0) & (positions < box.lengths[0]), axis=1)
        return Points(positions, box, inside)

    pieces = jax.vmap(piece)(jax.random.split(jax.random.key(1), runs))
    law = jax.jit(jax.vmap(hyperuniformity))(pieces)
    scores = (law.exponent - alpha) / law.exponent_std
    assert abs(scores.mean()) < 0.5
    assert 0.7 < scores.std() < 1.3
    # All together are fine enough to see the width of the window.
    together = hyperuniformity(pieces)
    assert together.exponent_std < 0.035
    assert abs(together.exponent - alpha) < 3 * together.exponent_std


def test_several_patterns_together_know_more():
    n, box = 16, Box((16.0, 16.0), True)
    keys = jax.random.split(jax.random.key(2), 40)
    many = jax.vmap(lambda key: Points(perturbed(key, n) % n, box))(keys)
    law = hyperuniformity(many)
    alone = hyperuniformity(jax.tree.map(lambda leaf: leaf[0], many))
    np.testing.assert_allclose(law.ordinates, 40 * alone.ordinates)
    np.testing.assert_allclose(
        law.exponent_std, alone.exponent_std / np.sqrt(40), rtol=1e-9
    )
    assert abs(law.exponent - 2) < 4 * law.exponent_std
    # S = s^2 k^2 to leading order.
    expected = (0.05 * law.pivot) ** 2
    assert abs(law.amplitude - expected) < 4 * law.amplitude_std
    np.testing.assert_allclose(law(law.pivot[None]), law.amplitude[None])


def test_the_exponent_differentiates():
    box = Box((12.0, 12.0), True)
    start = perturbed(jax.random.key(3), 12)
    push = jax.random.normal(jax.random.key(4), start.shape)

    def exponent(step):
        return hyperuniformity(Points((start + step * push) % 12, box)).exponent

    slope = jax.jit(jax.grad(exponent))(0.0)
    numeric = (exponent(1e-5) - exponent(-1e-5)) / 2e-5
    np.testing.assert_allclose(slope, numeric, rtol=1e-4)


def test_a_lattice_too_narrow_a_range_and_too_few_points_are_refused():
    box = Box((10.0, 10.0), True)
    with pytest.raises(ValueError, match="pattern of 1 points; give at least 2"):
        hyperuniformity(Points(sites(1), box))
    with pytest.raises(ValueError, match="no power at all"):
        hyperuniformity(Points(sites(10), box))
    with pytest.raises(ValueError, match="leave 2 independent wave vectors"):
        hyperuniformity(Points(poisson(jax.random.key(0), 10), box), 0.7)
