"""The guide to nuisances, sizes and transfer: its programs run, as small ones."""

import pathlib
import re

import jax
import numpy as np
import pytest

import gl15


GUIDE = pathlib.Path(__file__).parents[2] / "docs" / "guide" / "realism.md"


@pytest.fixture(scope="module")
def names():
    """What the guide's programs define; those that simulate ensembles are left out."""
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    quick = [block for block in blocks if "gl15.simulate(" not in block]
    assert len(blocks) - len(quick) == 3
    known: dict = {}
    for block in quick:
        exec(compile(block, str(GUIDE), "exec"), known)
    return known


def test_what_it_builds_makes_images(names):
    key, theta = jax.random.key(0), {"eta": 0.5}
    assert names["unknown"].names == ("eta", "nu")
    for simulator in (names["unknown"], names["impure"], names["other"]):
        assert jax.eval_shape(simulator, theta, key).shape == (64, 64, 3)
        simulator.check({"eta": np.asarray([0.0, 1.5])})
    assert names["image"].x.shape == (64, 64, 3)


def test_the_summaries_of_all_sizes_go_together(names):
    key, theta = jax.random.key(0), {"eta": 0.5}
    kind, size = names["kind"], names["encoder"].size
    for one in [(32, "open"), (64, "periodic")]:
        assert one in names["kinds"]
        assert jax.eval_shape(kind(*one), theta, key).shape == (size,)
    assert {kind(*one).spacing for one in names["kinds"]} == {0.5}


def test_the_estimator_it_adapts_takes_the_cameras_images(names):
    shipped = gl15.load_pretrained("eta")
    while hasattr(shipped, "estimator"):
        shipped = shipped.estimator
    assert isinstance(shipped, gl15.RatioEstimator)
    other = names["other"]
    assert (shipped.spacing, shipped.channel_names) == (other.spacing, other.channels)
