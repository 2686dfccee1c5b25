"""What the tests of instruments share; gl15 is not imported up here."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def _unoptimised():
    """Compiling is most of the work here, and rounding is all that it changes."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="package")
def x():
    """Any image: two positive channels and one of both signs."""
    parts = jax.random.uniform(jax.random.key(0), (16, 12, 3))
    return parts - jax.numpy.array([0.0, 0.0, 0.5])
