"""One image in a file: what comes back, and what every bad file is told."""

import zipfile

import numpy as np
import pytest

from gl15.simulation import load_observation, Observation, save_observation


X = np.random.default_rng(0).uniform(size=(6, 5, 3)).astype(np.float32)
CHANNELS = ("density_1", "density_2", "curl_J")


@pytest.fixture(name="path")
def _path(tmp_path):
    return tmp_path / "image.npz"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [(), CHANNELS])
def test_what_is_saved_is_loaded(tmp_path, dtype, channels):
    path = tmp_path / "new" / "folder" / "image.npz"
    save_observation(path, Observation(X.astype(dtype), 0.3, channels))
    loaded = load_observation(str(path))
    np.testing.assert_array_equal(loaded.x, X.astype(dtype))
    assert loaded.x.dtype == dtype
    assert loaded.spacing == 0.3
    assert loaded.channels == channels


def test_anybody_can_write_one(path):
    np.savez_compressed(path, x=(10 * X).astype(np.uint8), spacing=[0.5], note="STM")
    loaded = load_observation(path)
    np.testing.assert_array_equal(loaded.x, (10 * X).astype(np.uint8))
    assert loaded.x.dtype == np.float32
    assert loaded.spacing == 0.5
    assert loaded.channels == ()


def test_one_channel_may_be_named_by_a_word(path):
    np.savez(path, x=X[..., :1], spacing=0.5, channels="current")
    assert load_observation(path).channels == ("current",)


def write(path, **arrays):
    np.savez(path, **({"x": X, "spacing": 0.5} | arrays))


def leave_empty(path):
    path.touch()


def truncate(path):
    write(path)
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_byte(path):
    write(path)
    content = bytearray(path.read_bytes())
    content[300] ^= 0xFF
    path.write_bytes(content)


def write_text(path):
    path.write_text("0.1 0.2 0.3\n")


def write_one_array(path):
    with open(path, "wb") as file:
        np.save(file, X)


def write_a_zip_of_something_else(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "no array")


def write_objects(path):
    write(path, x=np.asarray([[["a"], [1.0]]], dtype=object))


def without_spacing(path):
    np.savez(path, x=X)


def without_an_image(path):
    np.savez(path, image=X, spacing=0.5)


def with_holes(value):
    def put(path):
        x = X.copy()
        x[1, 2, 0] = x[3, 3, 1] = value
        write(path, x=x)

    return put


def bad(**arrays):
    return lambda path: write(path, **arrays)


REMEDY = r"numpy\.savez\(path, x=x, spacing=spacing\)"

BAD = {
    "empty": (leave_empty, f"is an empty file; .*{REMEDY}"),
    "truncated": (truncate, REMEDY),
    "damaged": (flip_a_byte, REMEDY),
    "text": (write_text, REMEDY),
    "npy": (write_one_array, f"is not an .npz archive.*{REMEDY}"),
    "zip": (write_a_zip_of_something_else, f"lacks.*readme.*{REMEDY}"),
    "pickled": (write_objects, f"allow_pickle=False.*{REMEDY}"),
    "no spacing": (without_spacing, rf"lacks \['spacing'\].*\['x'\].*{REMEDY}"),
    "no image": (without_an_image, rf"lacks \['x'\].*'image'.*{REMEDY}"),
    "NaN": (with_holes(np.nan), "holds 2 values that are NaN or infinite, of 90; mend"),
    "infinite": (with_holes(-np.inf), "holds 2 values that are NaN or infinite"),
    "two axes": (bad(x=X[..., 0]), r"\(nx, ny, channels\), got shape \(6, 5\)"),
    "a batch": (bad(x=X[None]), r"\(nx, ny, channels\), got shape \(1, 6, 5, 3\)"),
    "complex": (bad(x=X + 1j), "must be a real image .* complex64"),
    "words": (bad(x=np.full((2, 2, 1), "a")), "must be a real image .* <U1"),
    "no pixels": (bad(x=X[:0]), r"got shape \(0, 5, 3\)"),
    "zero spacing": (bad(spacing=0.0), "`spacing` .* one positive length, got 0"),
    "negative spacing": (bad(spacing=-0.5), "one positive length, got -0.5"),
    "NaN spacing": (bad(spacing=np.nan), "one positive length, got nan"),
    "two spacings": (bad(spacing=[0.5, 0.5]), r"one positive length, got \[0.5 0.5\]"),
    "spacing in words": (bad(spacing="0.5 nm"), "one positive length, got 0.5 nm"),
    "complex spacing": (bad(spacing=0.5j), "one positive length, got 0"),
    "too few names": (bad(channels=CHANNELS[:2]), "names 2 channels.* has 3"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_with_its_name_and_a_remedy(path, case):
    put, match = BAD[case]
    put(path)
    with pytest.raises(ValueError, match=f"(?s)image.npz'.*{match}"):
        load_observation(path)


def test_a_missing_file_is_a_missing_file(path):
    with pytest.raises(FileNotFoundError, match="image.npz'.*no such image"):
        load_observation(path)


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(ValueError, match=REMEDY):
        load_observation(tmp_path)


def test_the_suffix_is_kept(tmp_path):
    # numpy.savez would add one: the file would not be where it was asked for.
    save_observation(tmp_path / "image.dat", Observation(X, 0.5))
    assert load_observation(tmp_path / "image.dat").spacing == 0.5


def test_a_bad_image_is_refused_when_saved(path):
    with pytest.raises(ValueError, match="NaN or infinite"):
        save_observation(path, Observation(np.full((2, 2, 1), np.nan), 0.5))
    assert not path.exists()
