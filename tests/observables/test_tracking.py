"""Tracks of vortices whose paths are known, and of a quench."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gl15.observables import (
    Box,
    match_bands,
    track,
    vortex_dataset,
    vortex_table,
    Vortices,
    vortices,
    windings,
)
from gl15.physics import evolve, Lattice, quench, TDGL, TwoBand


def film(frames, box=None, slots=4, seed=0):
    """Frames of band 0 as lists of (x, y, charge), dealt to slots at random."""
    rng = np.random.default_rng(seed)
    positions = np.full((len(frames), 2, slots, 2), np.nan)
    charges = np.zeros((len(frames), 2, slots), int)
    where = []
    for t, vortices_there in enumerate(frames):
        chosen = rng.permutation(slots)[: len(vortices_there)]
        where.append(chosen)
        for slot, (x, y, charge) in zip(chosen, vortices_there, strict=True):
            positions[t, 0, slot] = x, y
            charges[t, 0, slot] = charge
    mask = jnp.asarray(charges != 0)
    box = box or Box((10.0, 10.0), True)
    return Vortices(jnp.asarray(positions), jnp.asarray(charges), mask, box), where


def test_moving_vortices_keep_their_identity_across_the_seam():
    # Two that pass each other closely, with charges that tell them apart, and one
    # that runs around the torus.
    frames = [
        [(1 + 0.4 * t, 5.0, 1), (3 - 0.4 * t, 5.2, -1), ((8 + 0.7 * t) % 10, 1.0, 1)]
        for t in range(6)
    ]
    state, where = film(frames)
    tracks = track(state, np.arange(6) * 0.5, max_step=1.0)
    ids = [np.asarray(tracks.identity)[t, 0, where[t]] for t in range(6)]
    assert all(np.array_equal(ids[0], other) for other in ids)
    np.testing.assert_array_equal(tracks.counts, [3, 0])
    assert not np.any(tracks.born) and not np.any(tracks.lost)
    when, path = tracks.trajectory(0, int(ids[0][2]))
    np.testing.assert_allclose(when, np.arange(6) * 0.5)
    np.testing.assert_allclose(path[:, 0], 8 + 0.7 * np.arange(6))
    speed = np.asarray(tracks.velocity)[2, 0, where[2]]
    np.testing.assert_allclose(speed, [[0.8, 0], [-0.8, 0], [1.4, 0]], atol=1e-12)
    with pytest.raises(ValueError, match="no track of band 0, which has 3"):
        tracks.trajectory(0, 3)


def test_the_assignment_is_the_best_of_all_not_the_nearest_first():
    # The nearest to the first vortex is where the second one went.
    state, where = film(
        [[(1.0, 1.0, 1), (2.0, 1.0, 1)], [(1.9, 1.0, 1), (2.9, 1.0, 1)]]
    )
    tracks = track(state, max_step=3.0)
    ids = [np.asarray(tracks.identity)[t, 0, where[t]] for t in range(2)]
    np.testing.assert_array_equal(ids[0], ids[1])


def test_creation_annihilation_and_edges_are_told_apart():
    box = Box((10.0, 10.0), False)
    frames = [
        [(5.0, 5.0, 1), (5.6, 5.0, -1), (9.8, 2.0, 1)],
        [(2.0, 8.0, 1), (2.4, 8.0, -1)],
        [(2.0, 8.1, 1), (2.5, 8.1, -1), (0.1, 3.0, 1)],
    ]
    state, where = film(frames, box)
    tracks = jax.jit(lambda s: track(s, max_step=0.5))(state)
    np.testing.assert_array_equal(tracks.annihilated[:, 0], [1, 0, 0])
    np.testing.assert_array_equal(tracks.created[:, 0], [0, 1, 0])
    lost, born = np.asarray(tracks.lost)[:, 0], np.asarray(tracks.born)[:, 0]
    np.testing.assert_array_equal(lost.sum(1), [3, 0, 0])
    np.testing.assert_array_equal(born.sum(1), [0, 2, 1])
    with_whom = np.asarray(tracks.lost_with)[0, 0]
    plus, minus, leaving = where[0]
    assert with_whom[plus] == minus and with_whom[minus] == plus
    assert with_whom[leaving] == -1
    assert np.asarray(tracks.born_with)[2, 0, where[2][2]] == -1
    # Identities are never used again.
    np.testing.assert_array_equal(tracks.counts, [6, 0])
    new = np.asarray(tracks.identity)[1, 0, where[1]]
    assert set(new) == {3, 4}


def test_vortices_of_a_quench_come_and_go_in_pairs_on_a_torus():
    lattice = Lattice((24, 24), boundary="periodic")
    tdgl = TDGL(lattice, TwoBand(josephson=0.4), lattice.field_from_quanta(2))
    times = np.linspace(1.0, 8.0, 36)

    @jax.jit
    def run(key):
        states = evolve(tdgl, quench(lattice, key=key), t1=8.0, dt=0.01, ts=times).ys
        found = jax.vmap(lambda psi: vortices(tdgl, psi, 64))(states)
        return states, found, track(found, times)

    states, found, tracks = run(jax.random.key(4))
    identity, mask = np.asarray(tracks.identity), np.asarray(found.mask)
    np.testing.assert_array_equal(identity >= 0, mask)
    counts = np.abs(np.asarray(jax.vmap(lambda p: windings(tdgl, p))(states)))
    np.testing.assert_array_equal(mask.sum(-1), counts.sum((2, 3)))
    # Whoever goes, goes with a partner of the other sign, and two stay.
    lost, partner = np.asarray(tracks.lost), np.asarray(tracks.lost_with)
    assert lost.sum() > 0 and np.all(partner[lost] >= 0)
    charges = np.asarray(found.charges)
    for t, band, slot in np.argwhere(lost):
        assert charges[t, band, slot] == -charges[t, band, partner[t, band, slot]]
    np.testing.assert_array_equal(mask[-1].sum(-1), 2)
    for band in range(2):
        final = identity[-1, band][mask[-1, band]]
        for number in final:
            when, path = tracks.trajectory(band, int(number))
            steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
            assert when[-1] == times[-1] and np.all(steps < 3)


def test_too_little_to_track_is_refused():
    state, _ = film([[(1.0, 1.0, 1)]] * 3)
    one = jax.tree.map(lambda leaf: leaf[0], state)
    with pytest.raises(ValueError, match="leading axis of frames"):
        track(one)
    with pytest.raises(ValueError, match="`times` must be one for each of 3"):
        track(state, [0.0, 1.0])
    with pytest.raises(ValueError, match="`times` must rise"):
        track(state, [0.0, 2.0, 1.0])
    with pytest.raises(ValueError, match="`max_step` must be a positive"):
        track(state, max_step=-1.0)


def test_tables_hold_every_vortex_once():
    pytest.importorskip("pandas")
    pytest.importorskip("xarray")
    frames = [[(1.0, 1.0, 1), (5.0, 5.0, -1)], [(1.2, 1.0, 1)]]
    state, where = film(frames)
    # Band 1 has one vortex, beside the first of band 0.
    state = Vortices(
        state.positions.at[:, 1, 2].set(jnp.array([1.5, 1.0])),
        state.charges.at[:, 1, 2].set(1),
        state.mask.at[:, 1, 2].set(True),
        state.box,
    )
    tracks = track(state, [0.0, 0.5], max_step=1.0)
    matching = jax.vmap(lambda one: match_bands(one, 1.0))(state)
    table = vortex_table(tracks, matching=matching)
    assert len(table) == 5
    first = table[(table.band == 0) & (table.identity == table.identity.iloc[0])]
    here = table[(table.band == 0) & (table.charge == 1)]
    np.testing.assert_allclose(here.x, [1.0, 1.2])
    np.testing.assert_allclose(here.time, [0.0, 0.5])
    np.testing.assert_allclose(here.separation, [0.5, 0.3])
    np.testing.assert_array_equal(here.partner, [2, 2])
    other = table[table.band == 1]
    np.testing.assert_array_equal(other.partner, [where[0][0], where[1][0]])
    np.testing.assert_allclose(other.separation, [0.5, 0.3])
    assert first.identity.nunique() == 1 and table.lost.sum() == 1
    data = vortex_dataset(tracks, matching=matching)
    assert data.sizes == {"time": 2, "band": 2, "slot": 4}
    assert data.attrs == {"lengths": [10.0, 10.0], "boundary": "periodic"}
    np.testing.assert_allclose(data.x.sel(time=0.5, band=1, slot=2), 1.5)
    assert int(data.mask.sum()) == 5 and np.isnan(data.x.where(~data.mask)).all()
    alone = jax.tree.map(lambda leaf: leaf[0], state)
    assert list(vortex_table(alone).columns) == ["band", "slot", "x", "y", "charge"]
    assert vortex_dataset(alone).sizes == {"band": 2, "slot": 4}
    with pytest.raises(ValueError, match="`matching` is of slots"):
        vortex_table(alone, matching=matching)


@pytest.mark.parametrize("make", [vortex_table, vortex_dataset])
def test_a_missing_library_is_named_with_the_remedy(make, monkeypatch):
    state, _ = film([[(1.0, 1.0, 1)]])
    for name in ("pandas", "xarray"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "gl15\[plots\]"'):
        make(state)
