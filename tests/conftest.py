"""Shared settings of the suite.

gl15 is never imported at the top of this file: the jaxtyping hook that checks its
shape annotations acts on imports that come after it.
"""

import gc
import itertools
import pathlib
import zlib
from collections.abc import Callable

import hypothesis
import jax
import pytest


# The exact results the physics is held against are float64 results.
jax.config.update("jax_enable_x64", True)

# No deadline: the first example of a test pays for its compilation. Derandomised:
# a red run must be red again for the next person.
hypothesis.settings.register_profile("gl15", deadline=None, derandomize=True)
hypothesis.settings.load_profile("gl15")


@pytest.fixture(autouse=True, scope="module")
def _few_programs():
    """Forget compiled programs while there is room for more.

    Each takes a few memory maps, of which Linux gives a process 65,530: the compiler
    crashed where one process ran half of the suite.
    """
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 25_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def getkey(request: pytest.FixtureRequest) -> Callable[[], jax.Array]:
    """A fresh random key at each call; the sequence depends on the test's name only."""
    root = jax.random.key(zlib.crc32(request.node.nodeid.encode()))
    count = itertools.count()
    return lambda: jax.random.fold_in(root, next(count))
