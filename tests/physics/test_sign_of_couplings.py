"""Images cannot tell (eta, nu) from (-eta, -nu): the sign is a choice of phase."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gl15


@pytest.mark.parametrize("boundary", ["open", "periodic"])
def test_images_at_opposite_couplings_from_mapped_noise_are_equal(boundary):
    lattice = gl15.Lattice((12, 10), spacing=0.5, boundary=boundary)
    field = lattice.field_from_quanta(2)
    psi0 = gl15.quench(lattice, key=jax.random.key(0))
    flip = jnp.asarray([1.0, -1.0])[:, None, None]

    @jax.jit
    def image(sign, psi0):
        material = gl15.TwoBand(josephson=0.8 * sign, drag=0.3 * sign)
        tdgl = gl15.TDGL(lattice, material, field)
        psi = gl15.evolve(
            tdgl, psi0, t1=0.5, dt=0.05, solver=gl15.RungeKuttaChebyshev(stages=5)
        ).ys[-1]
        return gl15.observe(tdgl, psi)

    seen = image(1.0, psi0)
    np.testing.assert_array_equal(image(-1.0, flip * psi0), seen)
    # The same noise, not mapped, gives another image.
    assert np.abs(image(-1.0, psi0) - seen).max() > 0.01


def test_mapped_noise_is_as_likely(n=400):
    """The quench's law is even in the second band, so the images' laws are equal."""
    lattice = gl15.Lattice((8, 8), spacing=0.5)
    keys = jax.random.split(jax.random.key(1), n)
    noise = np.asarray(jax.vmap(lambda key: gl15.quench(lattice, key=key))(keys))
    second = np.stack([noise[:, 1].real, noise[:, 1].imag]).ravel()
    below = np.sort(second)
    mirrored = np.sort(-second)
    np.testing.assert_allclose(below, mirrored, atol=5 / np.sqrt(second.size))
