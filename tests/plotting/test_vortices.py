"""Figures of vortices: pairs, tracks across seams, events, and modes that move them."""

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection

from gl15.observables import Box, match_bands, track, Vortices
from gl15.plotting import (
    plot_density,
    plot_matching,
    plot_mode,
    plot_tracks,
    plot_vortices,
)
from gl15.plotting._torus import copies
from gl15.spectra import ModeCharacter, Modes


TORUS = Box((8.0, 8.0), periodic=True)


def vortices_at(bands, box=TORUS, slots=4):
    """Vortices of both bands: per band a list of (x, y, charge)."""
    positions = np.full((2, slots, 2), np.nan)
    charges = np.zeros((2, slots), int)
    for band, points in enumerate(bands):
        for slot, (x, y, charge) in enumerate(points):
            positions[band, slot] = x, y
            charges[band, slot] = charge
    return Vortices(
        jnp.asarray(positions), jnp.asarray(charges), jnp.asarray(charges != 0), box
    )


def film_of(frames, box=TORUS):
    """Vortices of one band, the other empty, with an axis of frames."""
    all_ = [vortices_at(([], frame), box) for frame in frames]
    stack = [
        jnp.stack([getattr(v, n) for v in all_])
        for n in ("positions", "charges", "mask")
    ]
    return Vortices(*stack, box=box)


def marks(ax):
    """Where is what, by the names of the legend."""
    return {
        one.get_label(): np.asarray(one.get_offsets())
        for one in ax.collections
        if not one.get_label().startswith("_")
    }


def lines(ax, collection=0):
    kept = [one for one in ax.collections if isinstance(one, LineCollection)]
    return kept[collection].get_segments() if kept else []


def test_a_vortex_beyond_the_last_pixel_is_seen_at_the_first():
    # The picture begins half a pixel before the first site.
    v = vortices_at(([(7.9, 3.0, 1)], []))
    ax = plot_density(np.ones((16, 16)), spacing=0.5)
    before = ax.get_xlim(), ax.get_ylim()
    plot_vortices(v, 0, ax=ax)
    np.testing.assert_allclose(marks(ax)["vortex"], [[-0.1, 3.0]])
    assert (ax.get_xlim(), ax.get_ylim()) == before
    # Without a picture, the box itself.
    np.testing.assert_allclose(marks(plot_vortices(v, 0))["vortex"], [[7.9, 3.0]])


def test_cores_of_a_composite_vortex_are_joined_also_across_the_seam():
    v = vortices_at(
        (
            [(7.8, 4.0, 1), (2.0, 2.0, -1)],
            [(0.4, 4.0, 1), (5.0, 6.5, 1), (2.0, 2.5, -1)],
        )
    )
    ax = plot_matching(v, match_bands(v, 1.5))
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == [
        "composite",
        "core, band 1",
        "core, band 1 (anti)",
        "core, band 2",
        "core, band 2 (anti)",
        "fractional, band 2",
    ]
    np.testing.assert_allclose(marks(ax)["fractional, band 2"], [[5.0, 6.5]])
    found = {tuple(np.round(one.ravel(), 6)) for one in lines(ax)}
    assert found == {
        (7.8, 4.0, 8.4, 4.0),
        (-0.2, 4.0, 0.4, 4.0),
        (2.0, 2.0, 2.0, 2.5),
    }
    assert ax.get_xlim() == (0.0, 8.0)
    ax.figure.canvas.draw()


def test_no_vortices_make_an_empty_picture():
    nobody = vortices_at(([], []))
    assert not plot_vortices(nobody, 0).collections
    ax = plot_matching(nobody, match_bands(nobody))
    assert not ax.collections
    assert ax.get_legend() is None
    film = film_of([[], []])
    ax = plot_tracks(track(film), 1)
    assert not ax.collections
    ax.figure.canvas.draw()


def test_tracks_run_on_across_the_seam_and_end_where_vortices_are():
    film = film_of([[(7.0, 1.0, 1)], [(7.6, 1.2, 1)], [(0.2, 1.4, 1)]])
    ax = plot_tracks(track(film, max_step=1.0), 1)
    pieces = {tuple(np.round(one.ravel(), 6)) for one in lines(ax)}
    assert pieces == {
        (7.0, 1.0, 7.6, 1.2, 8.2, 1.4),
        (-1.0, 1.0, -0.4, 1.2, 0.2, 1.4),
    }
    (end,) = (one for one in ax.collections if isinstance(one, PathCollection))
    np.testing.assert_allclose(end.get_offsets(), [[0.2, 1.4]])
    assert not marks(ax)


def test_pairs_that_come_and_go_are_marked_midway():
    first, last = (2.0, 2.0, 1), (6.0, 6.0, 1)
    film = film_of(
        [
            [last, (7.8, 4.0, 1), (0.6, 4.0, -1)],
            [last],
            [last, first, (3.0, 2.0, -1)],
        ]
    )
    tracks = track(film, max_step=0.5, pair_distance=2.0)
    seen = marks(plot_tracks(tracks, 1))
    np.testing.assert_allclose(seen.pop("pair annihilated"), [[0.2, 4.0]])
    np.testing.assert_allclose(seen.pop("pair created"), [[2.5, 2.0]])
    assert not seen
    assert not marks(plot_tracks(tracks, 1, events=False, legend=False))


def test_vortices_that_enter_and_leave_through_an_edge_are_marked():
    box = Box((8.0, 8.0), periodic=False)
    film = film_of([[(7.9, 3.0, 1)], [(0.1, 5.0, 1)]], box)
    seen = marks(plot_tracks(track(film, max_step=0.5), 1))
    np.testing.assert_allclose(seen["left"], [[7.9, 3.0]])
    np.testing.assert_allclose(seen["entered"], [[0.1, 5.0]])


def test_copies_of_a_line_cover_the_frame():
    ax = plt.subplots()[1]
    ax.set_xlim(0, 8)
    ax.set_ylim(0, 8)
    line = np.array([[-3.0, 1.0], [20.0, 1.0]])
    starts = sorted(one[0, 0] for one in copies(ax, TORUS, line))
    np.testing.assert_allclose(starts, [-19.0, -11.0, -3.0, 5.0])
    edged = Box((8.0, 8.0), periodic=False)
    assert len(copies(ax, edged, line)) == 1


def test_films_and_foreign_slots_are_refused_where_one_frame_is_drawn():
    film = film_of([[(1.0, 1.0, 1)]] * 2)
    with pytest.raises(ValueError, match="1 axes of frames; draw one frame"):
        plot_vortices(film, 0)
    some, more = (vortices_at(([], []), slots=n) for n in (4, 6))
    with pytest.raises(ValueError, match="match these vortices"):
        plot_matching(some, match_bands(more))
    with pytest.raises(ValueError, match="`band` must be 0 or 1, got 2"):
        plot_vortices(some, 2)


V = vortices_at(([(2.0, 3.0, 1)], [(2.0, 3.5, 1), (6.0, 6.0, 1)]))


def mode(share):
    """One mode of a sample of 16 x 16, half a unit apart."""
    vectors = np.zeros((1, 2, 2, 16, 16))
    vectors[0, 1, 0, 4, 6], vectors[0, 0, 1, 4, 6] = 0.6, 0.8
    moves = np.full((1, 2, 4, 2), np.nan)
    moves[0, 0, 0], moves[0, 1, 0], moves[0, 1, 1] = (3.0, 4.0), (0.0, 1.0), (1.0, 0.0)
    one = jnp.ones(1)
    modes = Modes(jnp.asarray([0.25]), jnp.asarray(vectors), 0 * one, jnp.asarray(0.0))
    shares = (share * one, (1 - share) * one, 0 * one, 0 * one)
    character = ModeCharacter(("vortex",), one < 0, *shares, one, jnp.asarray(moves))
    return modes, character


def test_a_mode_shows_its_weight_and_how_far_it_moves_the_cores():
    modes, character = mode(0.64)
    ax = plot_mode(modes, 0, vortices=V, character=character, longest=2.0)
    (image,) = ax.get_images()
    drawn = np.asarray(image.get_array())
    assert drawn[6, 4] == 256.0  # all of it at one of 256 sites
    np.testing.assert_allclose(drawn.mean(), 1.0)
    first, second = (one for one in ax.collections if hasattr(one, "U"))
    # The longest, 5, is drawn 2 times the root of the share.
    np.testing.assert_allclose([first.U[0], first.V[0]], [0.96, 1.28])
    np.testing.assert_allclose(
        np.stack([second.U, second.V], 1), [[0, 0.32], [0.32, 0]], atol=1e-12
    )
    np.testing.assert_allclose(second.get_offsets(), [[2.0, 3.5], [6.0, 6.0]])
    assert ax.get_title() == r"$\lambda = 0.25$, 64% vortex motion"
    ax.figure.canvas.draw()


def test_a_mode_that_moves_no_vortex_has_no_arrows():
    modes, character = mode(1e-5)
    ax = plot_mode(modes, 0, vortices=V, character=character)
    assert not ax.collections
    assert plot_mode(modes, 0).get_title() == r"$\lambda = 0.25$"


def test_a_mode_that_there_is_not_is_refused():
    modes, character = mode(1.0)
    with pytest.raises(ValueError, match="`index`=1, but there are 1 modes"):
        plot_mode(modes, 1)
    other = Modes(jnp.zeros(3), jnp.eye(3), jnp.zeros(3), jnp.asarray(jnp.nan))
    with pytest.raises(ValueError, match="must be those of `gl15.hessian"):
        plot_mode(other, 0)
    with pytest.raises(ValueError, match="of these: `classify_modes"):
        plot_mode(
            modes, 0, vortices=vortices_at(([], []), slots=5), character=character
        )
