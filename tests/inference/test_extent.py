"""Samples of every size: the summary that tells it, and ensembles of all together."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import gl15
from gl15.inference import Summarised
from gl15.simulation import concatenate, open_ensemble


PRIOR = gl15.Prior({"eta": dist.Uniform(0.0, 1.5)})


class Noise:
    """Quick images of any size, of one spacing."""

    names, spacing, channels = ("eta",), 0.5, ("density",)

    def __init__(self, sites):
        self.sites = sites

    def __call__(self, theta, key):
        return theta["eta"] + jax.random.uniform(key, (self.sites, self.sites, 1))


def test_the_extent_is_one_number_more():
    plain = gl15.JetEncoder(key=jax.random.key(0))
    encoder = gl15.JetEncoder(extent=True, key=jax.random.key(0))
    x = jax.random.uniform(jax.random.key(1), (32, 40, 3))
    # In one program: it is compiled once.
    both = eqx.filter_jit(lambda x: (encoder.summarise(x), plain.summarise(x)))
    found, without = both(x)
    assert found.shape == (encoder.size,) == (plain.size + 1,)
    np.testing.assert_allclose(found[-1], np.log(32 * 40), rtol=1e-6)
    np.testing.assert_allclose(found[:-1], without, rtol=1e-9)


def test_files_know_of_it_and_old_ones_stay_what_they_were(tmp_path):
    key = jax.random.key(0)
    assert "extent" not in gl15.JetEncoder(key=key).config()
    encoder = gl15.JetEncoder(extent=True, width=8, depth=1, key=key)
    estimator = gl15.RatioEstimator(PRIOR, encoder, width=8, key=key)
    gl15.save(tmp_path / "sized.npz", estimator)
    loaded = gl15.load(tmp_path / "sized.npz")
    assert loaded.encoder.extent and loaded.encoder.size == encoder.size


def test_samples_of_two_sizes_make_one_ensemble(tmp_path):
    pytest.importorskip("zarr")
    encoder = gl15.SpectralEncoder(1, ratios=(), rings=4, key=jax.random.key(0))
    parts = [
        gl15.simulate(
            Summarised(Noise(n), encoder),
            PRIOR,
            6,
            key=jax.random.key(n),
            path=tmp_path / f"{n}.zarr",
            progress=False,
        )
        for n in (12, 16)
    ]
    pairs = concatenate([parts[0], open_ensemble(tmp_path / "16.zarr")])
    assert len(pairs) == 12
    assert (pairs.spacing, pairs.channels) == (0.5, ("density",))
    for rows, part in ((slice(6), parts[0]), (slice(6, 12), parts[1])):
        np.testing.assert_array_equal(pairs.x[rows], part.x)
        np.testing.assert_array_equal(pairs.theta["eta"][rows], part.theta["eta"])


def test_what_does_not_go_together_is_refused():
    one = gl15.Ensemble({"eta": jnp.ones(2)}, jnp.ones((2, 8, 8, 3)), 0.5)
    with pytest.raises(ValueError, match=r"`ensembles\[1\]` .*\(9, 8, 3\).*Summarised"):
        concatenate([one, gl15.Ensemble(one.theta, jnp.ones((2, 9, 8, 3)), 0.5)])
    with pytest.raises(ValueError, match=r"`ensembles\[1\]` has .*spacing 0.25"):
        concatenate([one, gl15.Ensemble(one.theta, one.x, 0.25)])
    with pytest.raises(ValueError, match="`ensembles` is empty"):
        concatenate([])
