"""Samples and gauges that the tests of this folder share."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest


@pytest.fixture(autouse=True, scope="module")
def _unoptimised():
    """Compiling is most of the work here, and rounding is all that it changes."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


# gl15 is imported inside, after the hook that checks its shape annotations.
@pytest.fixture(scope="session")
def sample():
    """Build a small sample with every coupling in play."""
    from gl15.physics import Lattice, TDGL, TwoBand

    def build(boundary, shape=(7, 6), quanta=2.0, drag=0.3):
        lattice = Lattice(shape, boundary=boundary)
        material = TwoBand(josephson=0.8, drag=drag)
        return TDGL(lattice, material, lattice.field_from_quanta(quanta))

    return build


@pytest.fixture(scope="session")
def regauge():
    """Write the same state and field in another gauge."""
    from gl15.physics import Links, TDGL

    @eqx.filter_jit
    def change(tdgl, psi, chi):
        phases = tdgl.links.phases(tdgl.lattice.shape)
        phases += jnp.stack([jnp.roll(chi, -1, axis) - chi for axis in (0, 1)])
        links = Links.from_phases(phases, periodic=not tdgl.lattice.is_open)
        other = TDGL(tdgl.lattice, tdgl.material, links=links)
        return other, psi * jnp.exp(1j * chi)

    return change
