"""Assignment against brute force; composite and fractional vortices."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from gl15.observables import Box, match_bands, Vortices, vortices
from gl15.observables._assignment import assign
from gl15.physics import Lattice, TDGL, TwoBand


def cost(pairs, distances, allowed, limit):
    """What a set of pairs costs, with every row that has none at the limit."""
    good = [d for i, j in pairs if allowed[i, j] and (d := distances[i, j]) <= limit]
    return sum(d**2 for d in good) + (len(distances) - len(good)) * limit**2


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6),
    shape=st.sampled_from([(4, 4), (3, 5), (5, 3)]),
    limit=st.floats(0.1, 1.0),
)
def test_an_assignment_is_the_best_there_is(seed, shape, limit):
    rng = np.random.default_rng(seed)
    distances, allowed = rng.random(shape), rng.random(shape) < 0.7
    found = np.asarray(
        assign(jnp.asarray(distances), jnp.asarray(allowed), jnp.asarray(limit))
    )
    rows = np.flatnonzero(found >= 0)
    pairs = list(zip(rows, found[rows], strict=True))
    assert len(set(found[rows])) == len(rows)
    assert all(allowed[i, j] and distances[i, j] <= limit for i, j in pairs)
    if shape[0] <= shape[1]:
        orders = itertools.permutations(range(shape[1]), shape[0])
        every = (list(enumerate(order)) for order in orders)
    else:
        orders = itertools.permutations(range(shape[0]), shape[1])
        every = ([(i, j) for j, i in enumerate(order)] for order in orders)
    best = min(cost(pairs, distances, allowed, limit) for pairs in every)
    np.testing.assert_allclose(cost(pairs, distances, allowed, limit), best, atol=1e-5)


def test_an_assignment_without_limit_pairs_as_many_as_it_can():
    # Greedily the first two would pair at 1 and leave the others 100 apart.
    distances = jnp.array([[1.0, 2.0], [2.0, 100.0]])
    allowed = jnp.ones((2, 2), bool)
    without = jnp.asarray(jnp.inf)
    np.testing.assert_array_equal(assign(distances, allowed, without), [1, 0])
    np.testing.assert_array_equal(
        assign(distances, allowed.at[0, 1].set(False), without), [0, 1]
    )
    # Two far pairs rather than one near one.
    distances = jnp.array([[0.1, 10.0], [10.0, 10.0]])
    some = allowed.at[1, 1].set(False)
    np.testing.assert_array_equal(assign(distances, some, without), [1, 0])
    nobody = assign(distances, ~allowed, without)
    np.testing.assert_array_equal(nobody, [-1, -1])


def pattern(first, second, charges=(), box=None):
    """Vortices at given places, positive but for those charges are given of."""
    slots = max(len(first), len(second)) + 1
    positions = np.full((2, slots, 2), np.nan)
    signs = np.zeros((2, slots), int)
    for band, places in enumerate((first, second)):
        positions[band, : len(places)] = np.reshape(places, (-1, 2))
        signs[band, : len(places)] = 1
    for band, slot, charge in charges:
        signs[band, slot] = charge
    return Vortices(
        jnp.asarray(positions),
        jnp.asarray(signs),
        jnp.asarray(signs != 0),
        box or Box((10.0, 10.0), True),
    )


def test_composite_and_fractional_vortices():
    found = match_bands(
        pattern(
            # Across the seam; a pair; of opposite charge; alone.
            [[9.9, 5.0], [2.0, 2.0], [6.0, 6.0], [2.0, 7.0]],
            [[6.1, 6.0], [0.2, 5.0], [2.3, 2.4]],
            [(1, 0, -1)],
        ),
        1.0,
    )
    np.testing.assert_array_equal(found.partner, [1, 2, -1, -1, -1])
    np.testing.assert_allclose(found.separation[:2], [0.3, 0.5])
    assert np.all(np.isnan(found.separation[2:]))
    np.testing.assert_allclose(found.displacement[0], [0.3, 0.0], atol=1e-12)
    np.testing.assert_allclose(found.centres[:2], [[0.05, 5.0], [2.15, 2.2]])
    np.testing.assert_array_equal(found.fractional_counts, [2, 1])
    assert found.composite_count == 2
    np.testing.assert_array_equal(found.composite[1], [0, 1, 1, 0, 0])
    np.testing.assert_allclose(found.mean_separation, 0.4)


def test_the_limit_decides_who_is_composite():
    state = pattern([[1.0, 1.0], [6.0, 6.0]], [[2.0, 1.0], [6.0, 9.0]])
    # By default half of sqrt(100 / 2) = 3.54.
    for limit, count in ((None, 2), (2.0, 1), (0.5, 0), (np.inf, 2)):
        assert match_bands(state, limit).composite_count == count
    crowded = pattern([[1.0, 1.0]] * 4 + [[6.0, 6.0]], [[2.0, 1.0], [6.0, 9.0]])
    assert match_bands(crowded).composite_count == 1
    with pytest.raises(ValueError, match="`max_distance` must be a positive"):
        match_bands(state, 0.0)


def test_works_on_frames_in_compiled_code_and_differentiates():
    lattice = Lattice((12, 12))
    tdgl = TDGL(lattice, TwoBand())
    x, y = (jnp.arange(n) * lattice.spacing for n in lattice.shape)

    def separation(shift):
        first = (x[:, None] - 2.3) + 1j * (y - 2.6)
        second = (x[:, None] - 2.3 - shift) + 1j * (y - 2.6)
        found = match_bands(vortices(tdgl, jnp.stack([first, second]), 4), 2.0)
        return found.mean_separation

    shifts = jnp.array([0.3, 0.9])
    np.testing.assert_allclose(jax.jit(jax.vmap(separation))(shifts), shifts)
    np.testing.assert_allclose(jax.jit(jax.grad(separation))(0.3), 1.0)

    frames = jax.tree.map(
        lambda *leaves: jnp.stack(leaves),
        pattern([[1.0, 1.0]], [[2.0, 1.0]]),
        pattern([[1.0, 1.0]], [[1.5, 1.0]]),
    )
    found = jax.vmap(match_bands)(frames)
    np.testing.assert_allclose(found.mean_separation, [1.0, 0.5])
    np.testing.assert_array_equal(found.composite_count, [1, 1])


def test_a_state_without_vortices_has_no_pairs():
    found = match_bands(pattern([], []))
    assert found.composite_count == 0 and np.all(found.partner == -1)
    np.testing.assert_array_equal(found.fractional_counts, 0)
