"""Densities linear between nodes, against dense quadrature of the same density."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gl15.posterior import _piecewise as piecewise


def curves():
    """Uneven nodes with heights that include zeros and whole empty stretches."""
    return st.lists(
        st.tuples(st.floats(0.05, 3.0), st.sampled_from([0.0, 0.0, 0.1, 1.0, 7.0])),
        min_size=4,
        max_size=4,
    )


def build(steps):
    nodes = np.concatenate([[-1.0], -1.0 + np.cumsum([step for step, _ in steps])])
    heights = np.array([0.5] + [height for _, height in steps])
    return jnp.asarray(nodes), jnp.asarray(heights / np.trapezoid(heights, nodes))


def dense(nodes, density):
    x = np.unique(
        np.concatenate(
            [
                np.linspace(a, b, 4001)
                for a, b in zip(nodes[:-1], nodes[1:], strict=True)
            ]
        )
    )
    return x, np.interp(x, nodes, density)


MANY = hypothesis.settings(max_examples=25)


@MANY
@hypothesis.given(curves())
def test_moments_are_exact(steps):
    nodes, density = build(steps)
    x, p = dense(nodes, density)
    mean, std = piecewise.mean_and_std(nodes, density)
    expected = np.trapezoid(x * p, x)
    np.testing.assert_allclose(mean, expected, atol=1e-5)
    variance = np.trapezoid((x - expected) ** 2 * p, x)
    np.testing.assert_allclose(std, np.sqrt(variance), rtol=1e-4)


@MANY
@hypothesis.given(curves(), st.floats(0, 1))
def test_distribution_function_is_exact(steps, share):
    nodes, density = build(steps)
    value = nodes[0] + share * (nodes[-1] - nodes[0])
    x, p = dense(nodes, density)
    below = np.append(x[x < value], value)
    expected = np.trapezoid(np.interp(below, x, p), below)
    np.testing.assert_allclose(
        piecewise.cdf(nodes, density, value), expected, atol=1e-6
    )


@MANY
@hypothesis.given(curves(), st.floats(0, 1))
def test_quantile_inverts_the_distribution_function(steps, q):
    nodes, density = build(steps)
    value = piecewise.quantile(nodes, density, jnp.asarray(q))
    assert nodes[0] <= value <= nodes[-1]
    np.testing.assert_allclose(piecewise.cdf(nodes, density, value), q, atol=1e-12)


def test_beyond_the_ends():
    nodes, density = jnp.asarray([0.0, 1.0, 2.0]), jnp.asarray([0.5, 0.5, 0.5])
    cdf = lambda value: piecewise.cdf(nodes, density, jnp.asarray(value))  # noqa: E731
    assert cdf(-1.0) == 0
    assert cdf(3.0) == 1
    assert jnp.isnan(cdf(jnp.nan))


def test_quantiles_skip_empty_stretches():
    nodes = jnp.arange(5.0)
    density = jnp.asarray([1.0, 0.0, 0.0, 0.0, 1.0])
    quantile = lambda q: piecewise.quantile(nodes, density, jnp.asarray(q))  # noqa: E731
    assert quantile(0.5) == 1.0
    assert quantile(0.5 + 1e-12) > 3.0
    assert quantile(1.0) == 4.0


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_shortest_interval_of_a_triangle(level):
    # p = 2x on [0, 1]: the shortest interval ends at the peak.
    nodes = jnp.linspace(0, 1, 7)
    low, high = piecewise.shortest_interval(nodes, 2 * nodes, jnp.asarray(level))
    np.testing.assert_allclose([low, high], [np.sqrt(1 - level), 1.0], atol=1e-6)


def test_shortest_interval_is_never_longer_than_the_central_one():
    nodes = jnp.linspace(0, 3, 200)
    density = nodes * jnp.exp(-3 * nodes)
    for level in (0.3, 0.68, 0.95):
        short = piecewise.shortest_interval(nodes, density, jnp.asarray(level))
        central = piecewise.central_interval(nodes, density, jnp.asarray(level))
        assert short[1] - short[0] < central[1] - central[0]
        mass = piecewise.cdf(nodes, density, short[1]) - piecewise.cdf(
            nodes, density, short[0]
        )
        np.testing.assert_allclose(mass, level, atol=1e-9)
        # Where it does not touch an edge the density is equal at both ends.
        ends = jnp.interp(jnp.stack(short), nodes, density)
        np.testing.assert_allclose(ends[0], ends[1], rtol=0.02)


def test_quantile_has_finite_gradients_where_the_density_vanishes():
    nodes = jnp.linspace(0, 1, 5)

    def quantile(density):
        return piecewise.quantile(nodes, density, jnp.asarray(0.3))

    slope = jax.grad(quantile)(jnp.asarray([0.0, 0.0, 1.0, 0.0, 0.0]))
    assert jnp.all(jnp.isfinite(slope))
