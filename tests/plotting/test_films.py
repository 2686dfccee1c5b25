"""Films: every frame shows its state, and files hold all frames."""

import sys

import jax
import jax.numpy as jnp
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.animation import FFMpegWriter
from PIL import Image

from gl15.observables import current_curl, windings
from gl15.physics import evolve, Lattice, quench, TDGL, TwoBand
from gl15.plotting import animate_fields, animate_quench, save_animation, style
from gl15.plotting._palette import DARK


LATTICE = Lattice((8, 8), spacing=0.5, boundary="periodic")
TIMES = np.array([0.0, 0.5, 1.0])


@pytest.fixture(scope="module", name="run")
def _run():
    tdgl = TDGL(LATTICE, TwoBand(), field=LATTICE.field_from_quanta(1))
    psi0 = quench(LATTICE, key=jax.random.key(0))
    return tdgl, evolve(tdgl, psi0, t1=1.0, dt=1e-2, ts=TIMES)


def shown(ax):
    return np.swapaxes(np.asarray(ax.get_images()[0].get_array()), 0, 1)


def frames_of(path):
    with Image.open(path) as picture:
        frames = []
        for number in range(picture.n_frames):
            picture.seek(number)
            frames.append(np.asarray(picture.convert("RGB")))
        return frames, picture.info


def test_every_frame_of_a_quench_shows_its_state(run, tmp_path):
    tdgl, solution = run
    axes = list(plt.subplots(1, 3)[1])
    film = animate_quench(tdgl, solution, axes=axes)
    limits = [ax.get_images()[0].get_clim() for ax in axes]
    for frame, psi in enumerate(solution.ys):
        film._func(frame)
        for band in (0, 1):
            np.testing.assert_allclose(shown(axes[band]), np.abs(psi[band]) ** 2)
            winding = np.asarray(windings(tdgl, psi)[band])
            drawn = sum(len(line.get_xdata()) for line in axes[band].lines)
            crowded = np.mean(winding != 0) > 0.03
            assert drawn == (0 if crowded else np.abs(winding).sum())
        np.testing.assert_allclose(shown(axes[2]), current_curl(tdgl, psi))
        assert axes[0].get_title() == f"band 1, $t = {TIMES[frame]:.2f}$"
        # One scale throughout, or growth would not be seen.
        assert [ax.get_images()[0].get_clim() for ax in axes] == limits
    assert limits[0][1] == pytest.approx(float(np.max(np.abs(solution.ys[:, 0]) ** 2)))
    save_animation(film, tmp_path / "film.gif", dpi=30)


def test_vortices_are_marked_unless_they_hide_the_picture(tmp_path):
    winding = np.zeros((2, 20, 20), int)
    winding[0, 3, 4], winding[0, 7, 1] = 1, -1
    winding[1, :10] = 1
    ax = plt.subplots()[1]
    film = animate_fields(np.ones((2, 20, 20)), windings=winding, ax=ax, spacing=2.0)
    vortex, anti = ax.lines
    film._func(0)
    np.testing.assert_allclose(vortex.get_xydata(), [[7.0, 9.0]])
    np.testing.assert_allclose(anti.get_xydata(), [[15.0, 3.0]])
    film._func(1)
    assert not len(vortex.get_xydata())
    assert ax.get_title() == ""
    save_animation(film, tmp_path / "film.gif", dpi=30)


def test_a_gif_holds_all_frames_at_their_rate_in_the_colours_of_the_style(tmp_path):
    growing = np.arange(1.0, 5.0)[:, None, None] * np.ones((4, 6, 6))
    with style(dark=True):
        film = animate_fields(growing, np.arange(4.0), fps=8)
        path = save_animation(film, str(tmp_path / "film.gif"), dpi=60)
    frames, info = frames_of(path)
    assert len(frames) == 4
    assert abs(info["duration"] - 125) <= 5 and info["loop"] == 0
    ground = 255 * np.array(matplotlib.colors.to_rgb(DARK.ground))
    np.testing.assert_allclose(frames[0][1, 1], ground, atol=8)
    middle = [frame[frame.shape[0] // 2, frame.shape[1] // 3] for frame in frames]
    assert np.all(np.diff([m.sum() for m in np.asarray(middle, int)]) > 0)


def test_phases_and_every_second_time(run, tmp_path):
    tdgl, solution = run
    film = animate_quench(tdgl, solution, show="phase", curl=False, every=2)
    assert len(plt.gcf().axes) == 2
    path = save_animation(film, tmp_path / "film.gif", dpi=30, fps=20)
    assert len(frames_of(path)[0]) == 2


def test_frames_without_a_value_are_grey_not_refused(tmp_path):
    fields = np.ones((2, 6, 6))
    fields[1] = np.nan
    film = animate_fields(fields, kind="curl")
    save_animation(film, tmp_path / "film.gif", dpi=30)


def test_an_mp4_where_there_is_ffmpeg_and_the_remedy_where_not(tmp_path, monkeypatch):
    film = animate_fields(np.ones((2, 6, 6)))
    path = tmp_path / "film.mp4"
    save_animation(film, tmp_path / "film.gif", dpi=30)
    with monkeypatch.context() as patch:
        patch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
        patch.setitem(sys.modules, "imageio_ffmpeg", None)
        with pytest.raises(RuntimeError, match="pip install imageio-ffmpeg"):
            save_animation(film, path)
    try:
        save_animation(film, path)
    except RuntimeError:
        pytest.skip("no ffmpeg here")
    assert path.read_bytes()[4:8] == b"ftyp"


def test_what_is_no_film_is_refused(run, tmp_path):
    tdgl, solution = run
    film = animate_fields(np.ones((2, 6, 6)))
    with pytest.raises(ValueError, match="must end in .gif or .mp4, got 'film.avi'"):
        save_animation(film, tmp_path / "film.avi")
    with pytest.raises(ValueError, match="there is no folder"):
        save_animation(film, tmp_path / "nowhere" / "film.gif")
    save_animation(film, tmp_path / "film.gif", dpi=30)
    short = jax.tree.map(lambda leaf: leaf, solution)
    object.__setattr__(short, "ys", solution.ys[:1])
    with pytest.raises(ValueError, match="states of several times"):
        animate_quench(tdgl, short)
    with pytest.raises(ValueError, match="`axes` must be 3"):
        animate_quench(tdgl, solution, axes=list(plt.subplots(1, 2)[1]))
    with pytest.raises(ValueError, match="`every` must be at least 1"):
        animate_quench(tdgl, solution, every=0)
    with pytest.raises(ValueError, match="one for each of 2 frames"):
        animate_fields(np.ones((2, 6, 6)), [0.0])
    with pytest.raises(ValueError, match='`kind`="phase" wants complex'):
        animate_fields(jnp.ones((2, 6, 6)), kind="phase")
