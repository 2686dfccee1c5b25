"""What callers give, checked at the door."""

from pathlib import Path

import jax
import numpy as np
import pytest

from gl15.simulation._arguments import (
    array_shape,
    local_path,
    one_of,
    random_key,
    values_by_name,
    whole_number,
)
from gl15.simulation._process import _given


def test_integers_of_any_kind_are_counts():
    found = [whole_number("n", one) for one in (3, np.int64(3), np.uint8(3))]
    assert found == [3, 3, 3]
    assert {type(one) for one in found} == {int}  # as JSON takes them


@pytest.mark.parametrize("value", [10.0, True, "3", None, np.float32(2.0)])
def test_what_is_no_integer_is_no_count(value):
    with pytest.raises(TypeError, match="`size` must be an integer, got"):
        whole_number("size", value)


def test_small_counts_are_refused():
    assert whole_number("n", 0, least=0) == 0
    with pytest.raises(ValueError, match="`n` must be at least 1, got 0"):
        whole_number("n", 0)


def test_words_are_those_that_are_known():
    one_of("on_nonfinite", "drop", ("raise", "drop"))
    with pytest.raises(ValueError, match="must be 'raise' or 'drop', got 'dorp'"):
        one_of("on_nonfinite", "dorp", ("raise", "drop"))


def test_keys_are_those_of_jax():
    random_key("key", jax.random.key(0))
    random_key("key", jax.random.PRNGKey(0))
    for value in (0, None, np.zeros(2, np.uint32)):
        with pytest.raises(TypeError, match=r"`key`.*jax.random.key\(0\), got"):
            random_key("key", value)


def test_values_are_named_and_shapes_are_tuples():
    values_by_name("theta", {"eta": 0.3}, ("eta",))
    with pytest.raises(TypeError, match='`theta`.* such as {"eta": ...}, got 0.3'):
        values_by_name("theta", 0.3, ("eta",))
    assert array_shape("shape", (np.int64(3), 0)) == (3, 0)
    with pytest.raises(TypeError, match=r"`shape` must be a tuple, .* got 5"):
        array_shape("shape", 5)


def test_paths_are_those_of_this_machine():
    assert local_path("~/a.zarr") == Path.home() / "a.zarr"
    assert local_path(Path("a:b.zarr")) == Path("a:b.zarr")
    for url in ("s3://bucket/a.zarr", "file:///data/a.zarr"):
        with pytest.raises(ValueError, match="is a URL; give a folder"):
            local_path(url)


@pytest.mark.parametrize("process", ["0/2", 1, (0, 1, 2), (0.0, 2)])
def test_a_process_is_a_pair_of_integers(process):
    with pytest.raises(TypeError, match="`process`.* must be"):
        _given(process)
