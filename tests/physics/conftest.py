"""What several test files of the physics need; gl15 is not imported up here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.fixture(scope="session")
def draw():
    """Random order parameters, like a quench's.

    NumPy's, because JAX would compile its generator, slowly, for every shape.
    """

    def state(*shape, seed=0):
        parts = np.random.default_rng(seed).uniform(-0.5, 0.5, (2, *shape))
        return jnp.asarray(parts[0] + 1j * parts[1])

    return state


@pytest.fixture(scope="session")
def laplacian_matrix():
    """The dense matrix of minus the gauge-covariant Laplacian, band by band alike."""

    @jax.jit
    def matrix(tdgl):
        sites = tdgl.lattice.shape[0] * tdgl.lattice.shape[1]
        units = jnp.eye(sites, dtype=complex).reshape(sites, *tdgl.lattice.shape)
        columns = jax.vmap(lambda unit: tdgl.laplacian(jnp.stack([unit, unit])))(units)
        return -columns[:, 0].reshape(sites, sites).T

    return matrix
