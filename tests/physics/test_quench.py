"""The random start of a quench."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gl15.physics import Lattice, quench


AMPLITUDE = 0.5


def test_statistics_of_the_start(getkey):
    lattice = Lattice((256, 256))
    keys = jax.random.split(getkey(), 8)
    start = jax.jit(jax.vmap(lambda key: quench(lattice, key=key, amplitude=0.5)))
    psi = np.asarray(start(keys))
    parts = np.stack([psi.real, psi.imag])
    assert np.abs(parts).max() <= AMPLITUDE
    rho = np.abs(psi) ** 2
    np.testing.assert_allclose(rho.mean((0, 2, 3)), 2 * AMPLITUDE**2 / 3, rtol=5e-3)
    # White: S(k) = 8 a^4 / 45 at every k but 0, per band, here averaged over rings.
    power = np.abs(np.fft.fft2(rho)) ** 2 / 256**2
    power = power.mean(0)
    kx, ky = np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256), indexing="ij")
    ring = np.digitize(np.hypot(kx, ky), [0.25, 0.4])
    power[:, 0, 0], ring[0, 0] = 0, -1
    for number in range(3):
        rings = power[:, ring == number].mean(1)
        np.testing.assert_allclose(rings, 8 * AMPLITUDE**4 / 45, rtol=1e-2)
    # Bands, real and imaginary parts know nothing of each other.
    covariance = np.cov(parts.transpose(0, 2, 1, 3, 4).reshape(4, -1))
    off = covariance - np.diag(np.diag(covariance))
    np.testing.assert_allclose(
        off, 0, rtol=0, atol=5 * AMPLITUDE**2 / 3 / np.sqrt(8 * 256**2)
    )


def test_the_key_alone_decides():
    lattice = Lattice((6, 5))
    first = quench(lattice, key=jax.random.key(0))
    np.testing.assert_array_equal(first, quench(lattice, key=jax.random.PRNGKey(0)))
    assert np.all(first != quench(lattice, key=jax.random.key(1)))


@pytest.mark.parametrize(
    ("x64", "asked", "given"),
    [
        (False, None, jnp.complex64),
        (True, None, jnp.complex128),
        (True, jnp.complex64, jnp.complex64),
    ],
)
def test_precision_follows_the_caller(x64, asked, given):
    with jax.enable_x64(x64):
        start = jax.eval_shape(
            lambda: quench(Lattice((6, 5)), key=jax.random.key(0), dtype=asked)
        )
    assert start.dtype == given
    assert start.shape == (2, 6, 5)
