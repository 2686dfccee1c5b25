"""What the tests of inference share; gl15 is not imported up here."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def _unoptimised():
    """Compiling is most of the work here, and rounding is all that it changes."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
