"""The guide to instruments: its programs run and its figures are right."""

import pathlib
import re

import jax
import numpy as np
import pytest

import gl15


GUIDE = pathlib.Path(__file__).parents[2] / "docs" / "guide" / "instruments.md"


@pytest.fixture(scope="module")
def names():
    """What the guide's programs define, on a younger sample to save time."""
    pytest.importorskip("matplotlib").use("Agg")
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    quick = [block for block in blocks if "8_000" not in block]
    assert len(blocks) - len(quick) == 2
    known: dict = {}
    for block in quick:
        block = block.replace("t1=16.0, dt=4e-3", "t1=1.0, dt=1e-2")
        exec(compile(block, str(GUIDE), "exec"), known)
    known["plt"].close("all")
    return known


def test_the_sample_is_as_large_and_the_field_as_strong_as_it_says(names):
    units = names["units"]
    np.testing.assert_allclose(units.length_nm, 10.0)
    np.testing.assert_allclose(names["field"] * units.field_tesla, 0.141, atol=5e-4)


def test_its_simulator_shows_what_it_says(names):
    assert names["seen"].spacing == 1.0
    assert names["seen"].channels == ("density",)
    assert isinstance(names["seen"], gl15.simulation.Instrumented)


def test_a_pixel_collects_as_many_counts_as_it_says(names):
    x = 1.5 * np.ones((64, 64, 3))
    nm = names["InNanometres"](names["stm"], names["units"])
    seen = nm(x, spacing=0.5, key=jax.random.key(0))
    np.testing.assert_allclose(np.var(seen), 3.0**2 / 75, rtol=0.1)
