"""Point patterns: distances, neighbours, pairs and clusters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.csgraph
import scipy.spatial
from hypothesis import given, settings, strategies as st

from gl15.observables import (
    bond_order,
    Box,
    clark_evans,
    clusters,
    nearest_neighbours,
    pair_correlation,
    Points,
)
from gl15.physics import Lattice


def random_points(seed, count=40, periodic=True, lengths=(9.0, 7.0), slots=48):
    rng = np.random.default_rng(seed)
    positions = np.full((slots, 2), np.nan)
    mask = np.zeros(slots, bool)
    mask[rng.permutation(slots)[:count]] = True
    positions[mask] = rng.random((count, 2)) * lengths
    return Points(positions, Box(lengths, periodic), mask)


def kd_tree(points):
    inside = np.asarray(points.positions)[np.asarray(points.mask)]
    size = points.box.lengths if points.box.periodic else None
    return inside, scipy.spatial.cKDTree(inside, boxsize=size)


def test_box_of_a_lattice_and_the_shortest_way_around_it():
    torus = Box.of(Lattice((8, 6), spacing=0.5, boundary="periodic"))
    sample = Box.of(Lattice((8, 6), spacing=0.5))
    assert torus.lengths == (4.0, 3.0) and torus.periodic
    assert sample.lengths == (3.5, 2.5) and not sample.periodic
    assert torus.area == 12
    ends = jnp.array([[0.1, 0.2], [3.9, 2.9]])
    np.testing.assert_allclose(torus.displacements(*ends), [-0.2, -0.3], atol=1e-12)
    np.testing.assert_allclose(sample.displacements(*ends), [3.8, 2.7])
    np.testing.assert_allclose(torus.wrap(jnp.array([-0.5, 3.5])), [3.5, 0.5])
    # Where two points meet the distance has no slope, but must not spoil others.
    slope = jax.grad(lambda p: torus.distances(p, p).sum())(ends)
    assert np.all(np.isfinite(slope))


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), periodic=st.booleans(), count=st.integers(2, 48))
def test_nearest_neighbours_are_those_of_a_tree(seed, periodic, count):
    points = random_points(seed, count, periodic)
    found = nearest_neighbours(points)
    inside, tree = kd_tree(points)
    distances, _ = tree.query(inside, k=2)
    mask = np.asarray(points.mask)
    np.testing.assert_allclose(found.distances[mask], distances[:, 1], rtol=1e-9)
    assert np.all(np.isnan(found.distances[~mask])) and np.all(found.index[~mask] == -1)
    steps = points.box.displacements(
        points.positions, points.positions[np.asarray(found.index)]
    )
    np.testing.assert_allclose(
        np.linalg.norm(steps[mask], axis=-1), found.distances[mask], rtol=1e-9
    )
    np.testing.assert_allclose(found.mean, distances[:, 1].mean(), rtol=1e-9)


def test_neighbours_elsewhere_and_nobody():
    first, second = random_points(0), random_points(1, count=12)
    found = nearest_neighbours(first, second)
    inside, _ = kd_tree(first)
    _, tree = kd_tree(second)
    mask = np.asarray(first.mask)
    np.testing.assert_allclose(found.distances[mask], tree.query(inside)[0])
    alone = nearest_neighbours(random_points(0, count=1))
    assert np.all(np.isnan(alone.distances)) and np.all(alone.index == -1)
    assert np.isnan(nearest_neighbours(random_points(0, count=0)).mean)


@pytest.mark.parametrize("periodic", [True, False])
def test_random_points_are_neither_clustered_nor_ordered(periodic):
    runs, count = 400, 50
    box = Box((9.0, 7.0), periodic)

    def measure(key):
        positions = jax.random.uniform(key, (count, 2)) * jnp.asarray(box.lengths)
        points = Points(positions, box)
        index = clark_evans(points)
        return index.ratio, index.z, pair_correlation(points, np.arange(0, 3.6, 0.5))[1]

    keys = jax.random.split(jax.random.key(3), runs)
    ratio, z, g = jax.jit(jax.vmap(measure))(keys)
    assert abs(ratio.mean() - 1) < 0.015 and 0.85 < z.std() < 1.15
    scores = (g.mean(0) - 1) / (g.std(0) / np.sqrt(runs))
    assert np.max(np.abs(scores)) < 4


def test_a_triangular_lattice_is_as_ordered_as_can_be():
    rows = 6
    grid = np.stack(np.meshgrid(*[np.arange(rows)] * 2, indexing="ij"), -1)
    cell = np.array([1.0, np.sqrt(3)])
    corners = grid.reshape(-1, 2) * cell
    box = Box((cell * rows).tolist(), True)
    points = Points(np.concatenate([corners, corners + cell / 2]), box)
    np.testing.assert_allclose(nearest_neighbours(points).distances, 1, rtol=1e-9)
    np.testing.assert_allclose(
        clark_evans(points).ratio, np.sqrt(2 / np.sqrt(3)) / 0.5, rtol=1e-9
    )
    np.testing.assert_allclose(bond_order(points), 1, rtol=1e-9)
    with pytest.raises(ValueError, match="`folds` must be at least 1"):
        bond_order(points, 72)
    # Six neighbours at 1, six at sqrt 3: g times density times area counts them.
    edges = np.array([0.5, 1.2, 1.9])
    _, g = pair_correlation(points, edges)
    area = np.pi * np.diff(edges**2)
    density = (points.count - 1) / box.area
    np.testing.assert_allclose(g * density * area, [6, 6], rtol=1e-9)


@pytest.mark.parametrize("periodic", [True, False])
def test_pairs_are_counted_with_the_weight_of_where_they_fit(periodic):
    first, second = random_points(5, 20, periodic), random_points(6, 15, periodic)
    edges = np.array([0.2, 1.0, 3.5])
    lengths = np.array(first.box.lengths)
    for other in (None, second):
        a, _ = kd_tree(first)
        b, _ = kd_tree(first if other is None else other)
        steps = b[None] - a[:, None]
        if periodic:
            steps -= lengths * np.round(steps / lengths)
        r = np.hypot(*np.moveaxis(steps, -1, 0))
        fit = np.prod(lengths - np.abs(steps), -1)
        weights = np.full_like(r, 1 / first.box.area) if periodic else 1 / fit
        keep = ~np.eye(20, dtype=bool) if other is None else np.ones_like(r, bool)
        totals, _ = np.histogram(r[keep], edges, weights=weights[keep])
        expected = totals * first.box.area**2 / keep.sum() / np.pi
        _, g = pair_correlation(first, edges, other=other)
        np.testing.assert_allclose(g, expected / np.diff(edges**2), rtol=1e-9)


def test_distances_out_of_reach_are_refused():
    with pytest.raises(ValueError, match="half the shorter side, 3.5"):
        pair_correlation(random_points(0), [0.0, 4.0])
    with pytest.raises(ValueError, match="the shorter side, 7"):
        pair_correlation(random_points(0, periodic=False), [0.0, 8.0])
    with pytest.raises(ValueError, match="rising"):
        pair_correlation(random_points(0), [1.0, 0.5])
    r, g = pair_correlation(random_points(0))
    assert r.shape == g.shape == (16,) and r[-1] < 7 / 4


@settings(max_examples=10)
@given(
    seed=st.integers(0, 10**6),
    periodic=st.booleans(),
    count=st.integers(0, 48),
    length=st.floats(0.2, 2.5),
)
def test_clusters_are_the_connected_components(seed, periodic, count, length):
    points = random_points(seed, count, periodic)
    found = clusters(points, length)
    mask = np.asarray(points.mask)
    filled = points.filled
    near = np.asarray(points.box.distances(filled, filled)) <= length
    near = near[np.ix_(mask, mask)]
    number, labels = scipy.sparse.csgraph.connected_components(near)
    assert found.count == (number if count else 0)
    sizes = np.bincount(labels, minlength=1) if count else np.zeros(1, int)
    np.testing.assert_array_equal(found.member_sizes[mask], sizes[labels])
    np.testing.assert_array_equal(found.member_sizes[~mask], 0)
    pairs = np.asarray(found.labels)[mask]
    np.testing.assert_array_equal(
        pairs[:, None] == pairs, labels[:, None] == labels[None]
    )
    histogram = np.bincount(sizes, minlength=49)[1:]
    np.testing.assert_array_equal(found.histogram, histogram)
    if count:
        np.testing.assert_allclose(found.mean_size, count / number)


def test_a_chain_is_one_cluster_and_a_torus_closes_it():
    line = np.stack([np.arange(30) + 0.5, np.full(30, 1.0)], -1)
    for periodic, count in ((False, 2), (True, 1)):
        points = Points(np.delete(line, 15, 0), Box((30.0, 2.0), periodic))
        assert clusters(points, 1.2).count == count
    with pytest.raises(ValueError, match="`linking_length` must be a positive"):
        clusters(points, 0.0)


def test_the_published_package_freud_counts_the_same():
    freud = pytest.importorskip("freud")
    side = 9.0
    points = random_points(2, 40, True, (side, side), 40)
    positions = np.zeros((40, 3), np.float32)
    positions[:, :2] = np.asarray(points.positions) - side / 2
    box = freud.box.Box.square(side)
    rdf = freud.density.RDF(bins=8, r_max=4.4, normalization_mode="finite_size")
    rdf.compute((box, positions))
    _, g = pair_correlation(points, rdf.bin_edges.astype(float))
    np.testing.assert_allclose(g, rdf.rdf, rtol=1e-5)
    cluster = freud.cluster.Cluster()
    cluster.compute((box, positions), neighbors={"r_max": 1.1})
    sizes = np.bincount(cluster.cluster_idx)
    found = np.asarray(clusters(points, 1.1).sizes)
    np.testing.assert_array_equal(np.sort(found[found > 0]), np.sort(sizes))
    hexatic = freud.order.Hexatic(k=6)
    hexatic.compute((box, positions), neighbors={"num_neighbors": 6})
    padded = random_points(2, 40, True, (side, side), 40)
    order = bond_order(
        Points(
            jnp.concatenate([padded.positions, jnp.full((3, 2), jnp.nan)]),
            padded.box,
            jnp.arange(43) < 40,
        )
    )
    np.testing.assert_allclose(order[:40], hexatic.particle_order, atol=1e-4)
    assert np.all(np.isnan(order[40:]))


def test_points_that_mean_nothing_are_refused():
    box = Box((2.0, 3.0), False)
    with pytest.raises(ValueError, match="1 of 2 points are not"):
        Points(np.array([[1.0, np.nan], [1.0, 1.0]]), box)
    with pytest.raises(ValueError, match="must lie within the box"):
        Points(np.array([[1.0, 3.5]]), box)
    with pytest.raises(ValueError, match="`lengths` must be two positive"):
        Box((2.0, -1.0), True)
