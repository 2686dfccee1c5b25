"""S(k) of points: random ones, lattices, and what a published package finds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gl15.observables import (
    Box,
    point_structure_factor,
    point_structure_factor_map,
    Points,
)


LENGTH = 20.0
STEP = 2 * np.pi / LENGTH


def random_points(seed=0, count=80, periodic=True):
    positions = np.random.default_rng(seed).random((count, 2)) * LENGTH
    return Points(positions, Box((LENGTH, LENGTH), periodic))


@pytest.mark.parametrize("periodic", [True, False])
def test_independent_points_show_one_at_every_wave_number(periodic):
    runs, count, box = 400, 30, Box((12.0, 9.0), periodic)
    lengths = jnp.asarray(box.lengths)

    def spectrum(key):
        positions = jax.random.uniform(key, (count, 2)) * lengths
        return point_structure_factor(Points(positions, box))[1]

    S = jax.jit(jax.vmap(spectrum))(jax.random.split(jax.random.key(0), runs))
    scores = (S.mean(0) - 1) / (S.std(0) / np.sqrt(runs))
    # 32 rings: the largest of as many normal scores.
    assert np.max(np.abs(scores)) < 4
    assert np.all(S.std(0) < 3)


def test_in_a_box_with_edges_independent_points_show_one_exactly():
    # The power of independent points is the mean over one point's places; on a grid
    # finer than the window's waves the mean is exact.
    box = Box((12.0, 9.0), False)
    grid = np.stack(np.meshgrid(*[(np.arange(16) + 0.3) / 16] * 2), -1).reshape(-1, 2)
    places = jnp.asarray(grid * np.array(box.lengths))

    def power(place):
        return point_structure_factor_map(Points(place[None], box), 3.5)[2]

    S = np.mean(jax.vmap(power)(places), axis=0)
    middle = tuple(n // 2 for n in S.shape)
    assert abs(S[middle]) < 1e-12
    np.testing.assert_allclose(np.delete(S, np.ravel_multi_index(middle, S.shape)), 1)


@pytest.mark.parametrize("kind", ["square", "triangular"])
def test_a_lattice_has_its_bragg_peaks_and_nothing_else(kind):
    if kind == "square":
        rows, box = 8, Box((16.0, 16.0), True)
        offsets = [[0.0, 0.0]]
        cell = (2.0, 2.0)
    else:
        rows, cell = 6, (2.0, 2.0 * np.sqrt(3))
        offsets = [[0.0, 0.0], [1.0, np.sqrt(3)]]
        box = Box((rows * cell[0], rows * cell[1]), True)
    grid = np.stack(np.meshgrid(*[np.arange(rows)] * 2, indexing="ij"), -1)
    sites = grid.reshape(-1, 1, 2) * np.array(cell) + np.array(offsets)
    points = Points(sites.reshape(-1, 2) + 0.3, box)
    count = points.mask.size
    k_max = 1.9 * 2 * np.pi / cell[0]
    k_x, k_y, S = map(np.asarray, point_structure_factor_map(points, k_max))
    peaks = np.argwhere(S > 1e-6 * count)
    np.testing.assert_allclose(S[tuple(peaks.T)], count, rtol=1e-9)
    k = np.sort(np.hypot(k_x[peaks[:, 0]], k_y[peaks[:, 1]]))
    if kind == "square":
        first, neighbours = 2 * np.pi / cell[0], 4
    else:
        first, neighbours = 4 * np.pi / (np.sqrt(3) * cell[0]), 6
    np.testing.assert_allclose(k[0], 0, atol=1e-12)
    np.testing.assert_allclose(k[1 : 1 + neighbours], first, rtol=1e-12)
    assert k[1 + neighbours] > 1.2 * first


def test_the_published_package_structure_factor_finds_the_same():
    # structure-factor 2.2.1 (Hawat et al., Stat. Comput. 33, 61, 2023) on these points:
    # `scattering_intensity(k, debiased=False)`, and `tapered_estimator` with Hann's
    # taper, direct debiasing. Here as numbers, because it needs Python < 3.10 and R.
    m = np.array([[1, 0], [0, 1], [2, 1], [-3, 4], [5, -2], [7, 7], [1, 3]])
    torus = [0.77282557, 1.14634621, 2.30251037, 3.4581459, 1.25323882]
    torus += [0.69102616, 0.15996531]
    tapered = [0.313925831625, 4.500784741268, 0.669568183099, 0.389031553855]
    tapered += [1.660921220417]
    S = point_structure_factor_map(random_points(), 7 * STEP)[2]
    np.testing.assert_allclose(S[tuple(7 + m.T)], torus, rtol=1e-7)
    # Where the window's own transform vanishes the two normalise alike.
    S = point_structure_factor_map(random_points(periodic=False), 7 * STEP)[2]
    np.testing.assert_allclose(S[tuple(7 + m[2:].T)], tapered, rtol=1e-11)


def test_the_published_package_freud_finds_the_same():
    freud = pytest.importorskip("freud")
    points = random_points(3)
    positions = np.zeros((80, 3), np.float32)
    positions[:, :2] = np.asarray(points.positions) - LENGTH / 2
    edges = (np.arange(7) + 0.5) * STEP
    # A slab so thin that no wave vector has a component across it. freud averages
    # over the quadrant of wave vectors without a negative component.
    direct = freud.diffraction.StaticStructureFactorDirect(
        bins=6, k_max=edges[-1], k_min=edges[0]
    )
    direct.compute((freud.box.Box(LENGTH, LENGTH, 0.01), positions))
    k_x, k_y, S = map(np.asarray, point_structure_factor_map(points, edges[-1]))
    k = np.hypot(k_x[:, None], k_y)
    quadrant = (k_x[:, None] > -1e-9) & (k_y > -1e-9)
    found = [
        S[quadrant & (k > low) & (k <= high)].mean()
        for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]
    np.testing.assert_allclose(found, direct.S_k, rtol=2e-5)


def test_rings_average_the_map_and_masked_slots_do_not_count():
    points = random_points(1)
    edges = STEP * np.array([0.5, 1.5, 3.5])
    k, S = point_structure_factor(points, edges)
    k_x, k_y, full = map(np.asarray, point_structure_factor_map(points, 4 * STEP))
    size = np.hypot(k_x[:, None], k_y)
    for ring, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        inside = (size > low) & (size <= high)
        np.testing.assert_allclose(S[ring], full[inside].mean(), rtol=1e-12)
        np.testing.assert_allclose(k[ring], size[inside].mean(), rtol=1e-12)
    padded = Points(
        jnp.concatenate([points.positions, jnp.full((9, 2), jnp.nan)]),
        points.box,
        jnp.arange(89) < 80,
    )
    np.testing.assert_allclose(
        jax.jit(lambda p: point_structure_factor(p, edges)[1])(padded), S, rtol=1e-12
    )


def test_cross_and_weighted_structure_factors():
    first, second = random_points(1), random_points(2)
    both = Points(jnp.concatenate([first.positions, second.positions]), first.box)
    S_1, S_2, S_both = (point_structure_factor(p)[1] for p in (first, second, both))
    cross = point_structure_factor(first, other=second)[1]
    np.testing.assert_allclose((S_1 + S_2) / 2 + cross, S_both, rtol=1e-9)
    charges = jnp.where(jnp.arange(160) < 80, 1.0, -1.0)
    S_charge = point_structure_factor(both, weights=charges)[1]
    np.testing.assert_allclose((S_1 + S_2) / 2 - cross, S_charge, rtol=1e-9)


def test_what_means_nothing_is_refused():
    points = random_points()
    with pytest.raises(ValueError, match="narrower than the spacing"):
        point_structure_factor(points, [1.0, 1.1])
    with pytest.raises(ValueError, match="`k_max` must be at least"):
        point_structure_factor_map(points, 0.1)
    other = Points(np.ones((1, 2)), Box((5.0, 5.0), True))
    with pytest.raises(ValueError, match="`other` must lie in the same box"):
        point_structure_factor(points, other=other)
