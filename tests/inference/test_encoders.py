"""Encoders: the paper's shapes, and what the spectral summary says of an image."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gl15.inference import ConvEncoder, MLPEncoder, SpectralEncoder
from gl15.inference._encoders import networks
from gl15.inference._encoders.spectral import FLOOR


KEY = jax.random.key(0)


summarise = eqx.filter_jit(lambda encoder, x: encoder.summarise(x))


def test_convolutions_have_the_shapes_of_table_three():
    encoder = eqx.filter_eval_shape(ConvEncoder, key=KEY)
    shapes = [(c.in_channels, c.out_channels) for c in encoder.convolutions]
    assert shapes == [(3, 64), (64, 128), (128, 128), (128, 256)]
    assert encoder.dense.weight.shape == (64, 512)
    weights = 9 * (3 * 64 + 64 * 128 + 128 * 128 + 128 * 256) + 512 * 64
    biases = 64 + 128 + 128 + 256 + 64
    numbers = jax.tree.leaves(eqx.filter(encoder, lambda leaf: hasattr(leaf, "shape")))
    assert sum(leaf.size for leaf in numbers) == weights + biases == 551_232


def test_convolutional_features_are_those_of_the_definition():
    # Every layer once more, from the words of Table III and with loops.
    encoder = ConvEncoder(2, widths=(3, 4), features=5, key=KEY)
    x = white((9, 6, 2))
    image = np.moveaxis(np.asarray(x), -1, 0)
    for layer in encoder.convolutions:
        weight, bias = np.asarray(layer.weight), np.asarray(layer.bias)
        padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
        nx, ny = image.shape[1:]
        image = sum(
            np.einsum(
                "oi,ixy->oxy", weight[:, :, a, b], padded[:, a : a + nx, b : b + ny]
            )
            for a in range(3)
            for b in range(3)
        )
        image = np.maximum(image + bias, 0)
        image = np.stack(
            [
                [
                    image[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((1, 2))
                    for j in range(ny // 2)
                ]
                for i in range(nx // 2)
            ]
        ).transpose(2, 0, 1)
    pooled = np.concatenate([image.mean((1, 2)), image.max((1, 2))])
    features = np.maximum(encoder.dense.weight @ pooled + encoder.dense.bias, 0)
    np.testing.assert_allclose(encoder(encoder.summarise(x)), features, rtol=1e-10)


SMALL = ConvEncoder(1, widths=(4, 4, 4, 4), key=KEY)


@pytest.mark.parametrize("shape", [(32, 32), (48, 48), (64, 64), (33, 50), (16, 16)])
def test_convolutional_features_do_not_depend_on_the_size(shape):
    # A periodic pattern fills any image: only the edges tell the sizes apart.
    features = eqx.filter_jit(SMALL)(jnp.ones((*shape, 1)))
    assert features.shape == (64,)
    assert np.isfinite(features).all() and np.ptp(features) > 0


def test_an_image_too_small_to_pool_is_refused():
    with pytest.raises(
        ValueError, match="`x` is 40 x 15 pixels.*4 poolings.*16 a side"
    ):
        SMALL(jnp.ones((40, 15, 1)))


# The spectral summary by parts; `ratios=()` leaves the channels themselves.
def parts(encoder, x):
    maps = encoder.channels + len(encoder.ratios)
    pairs = maps * (maps - 1) // 2
    summary = np.asarray(summarise(encoder, x))
    bounds = np.cumsum([encoder.rings * maps, encoder.rings * pairs, maps, maps])
    log_power, coherence, mean, log_std, quantiles = np.split(summary, bounds)
    return {
        "power": np.exp(log_power).reshape(maps, -1) - FLOOR,
        "coherence": coherence.reshape(pairs, encoder.rings),
        "mean": mean,
        "std": np.exp(log_std) - FLOOR,
        "quantiles": quantiles.reshape(-1, maps),
    }


def spectral(channels, rings=8, ratios=(), **more):
    return SpectralEncoder(channels, rings=rings, ratios=ratios, key=KEY, **more)


def white(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def wavenumbers(nx, ny):
    return 2 * np.hypot(np.fft.fftfreq(nx)[:, None], np.fft.fftfreq(ny)[None])


def hann(nx, ny):
    window = np.outer(np.hanning(nx + 2)[1:-1], np.hanning(ny + 2)[1:-1])
    return window / np.sqrt(np.mean(window**2))


@pytest.mark.parametrize("shape", [(20, 20), (21, 18), (18, 21), (23, 23)])
def test_power_is_the_mean_over_all_modes_of_a_ring(shape):
    # All modes of the full transform one by one: no half spectrum, no matrix.
    rings = 6
    x = white((*shape, 1)) + 3.0
    centred = np.asarray(x[..., 0] - x.mean())
    power = np.abs(np.fft.fft2(hann(*shape) * centred)) ** 2 / centred.size
    k = wavenumbers(*shape)
    expected = [
        power[(k > 0) & (k >= j / rings) & (k < (j + 1) / rings)].mean()
        for j in range(rings)
    ]
    found = parts(spectral(1, rings), x)["power"][0]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("ring", range(8))
def test_a_plane_wave_lies_in_its_ring_with_all_its_power(ring):
    n, rings, amplitude = 128, 8, 0.7
    # The middle of the ring, along a direction of its own: rings are 8 modes wide.
    k, angle = (ring + 0.5) * n / 2 / rings, 0.3 + ring
    kx, ky = round(k * np.cos(angle)), round(k * np.sin(angle))
    i, j = np.indices((n, n))
    wave = amplitude * np.cos(2 * np.pi * (kx * i + ky * j) / n + 0.4)
    power = parts(spectral(1, rings), jnp.asarray(wave)[..., None])["power"][0]
    modes = wavenumbers(n, n)
    count = [((modes > 0) & (rings * modes // 1 == r)).sum() for r in range(rings)]
    # Parseval: summed over the modes, the mean square of the wave, A^2/2.
    share = power * count / n**2 / (amplitude**2 / 2)
    np.testing.assert_allclose(share, np.arange(rings) == ring, atol=0.01)


def test_coherence_of_equal_opposite_and_independent_channels():
    a, b = white((64, 64)), white((64, 64), seed=1)
    x = jnp.stack([a, 5 * a + 3, -a, b], -1)
    found = parts(spectral(4), x)
    coherence, power = found["coherence"], found["power"]
    seen = power / (power + FLOOR)
    pairs = list(zip(*np.triu_indices(4, 1), strict=True))
    for pair, found in zip(pairs, coherence, strict=True):
        if 3 in pair:
            # Two sums over about 2 pi k dk N^2/4 modes in phase by chance alone.
            assert np.all(np.abs(found) < 0.5) and np.abs(found[-1]) < 0.1
        else:
            sign = -1.0 if 2 in pair else 1.0
            expected = sign * np.sqrt(seen[pair[0]] * seen[pair[1]])
            np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_moments_and_quantiles_are_those_of_the_pixels():
    x = white((16, 24, 2)) * jnp.asarray([1.0, 4.0]) + jnp.asarray([0.0, 7.0])
    found = parts(spectral(2, 5), x)
    flat = np.asarray(x).reshape(-1, 2)
    np.testing.assert_allclose(found["mean"], flat.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found["std"], flat.std(0), rtol=1e-10)
    levels = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
    quantiles = np.quantile(flat, levels, axis=0)
    np.testing.assert_allclose(found["quantiles"], quantiles, rtol=1e-12)


def test_log_ratio_of_two_densities_is_a_channel_of_its_own():
    ripple = jnp.exp(0.3 * white((40, 40)))
    x = jnp.stack([2 * ripple, jnp.ones((40, 40)), white((40, 40), 1)], -1)
    found = parts(spectral(3, 8, ratios=((0, 1),)), x)
    logs = jnp.log(2 * ripple + FLOOR) - jnp.log(1 + FLOOR)
    alone = parts(spectral(1, 8), logs[..., None])
    np.testing.assert_allclose(found["power"][3], alone["power"][0], rtol=1e-10)
    np.testing.assert_allclose(found["mean"][3], logs.mean(), rtol=1e-10)
    # Where a density vanishes the logarithm stays finite.
    empty = summarise(spectral(2, 8, ratios=((0, 1),)), jnp.zeros((40, 40, 2)))
    assert np.isfinite(empty).all()


SQUARE = {
    "flip x": lambda x: x[::-1],
    "flip y": lambda x: x[:, ::-1],
    "half turn": lambda x: x[::-1, ::-1],
    "transposition": lambda x: x.swapaxes(0, 1),
    "quarter turn": lambda x: x.swapaxes(0, 1)[::-1],
    "other quarter turn": lambda x: x.swapaxes(0, 1)[:, ::-1],
    "other diagonal": lambda x: x.swapaxes(0, 1)[::-1, ::-1],
}


@pytest.mark.parametrize("n", [40, 41])
@pytest.mark.parametrize("move", SQUARE)
def test_the_summary_does_not_see_turns_and_reflections(move, n):
    x = jnp.exp(white((n, n, 3)))
    encoder = spectral(3, 8, ratios=((0, 1),))
    moved = summarise(encoder, SQUARE[move](x))
    np.testing.assert_allclose(moved, summarise(encoder, x), atol=1e-10)


def test_the_summary_of_noise_does_not_depend_on_the_size():
    encoder = spectral(2)

    def average(n, count):
        x = 1.5 * white((count, n, n, 2))
        summaries = eqx.filter_jit(lambda x: jax.vmap(encoder.summarise)(x))(x)
        log_power, coherence = np.split(np.asarray(summaries)[:, :24], [16], axis=1)
        return np.exp(log_power).mean(0), coherence.mean(0)

    for n, count in ((24, 900), (64, 130)):
        power, coherence = average(n, count)
        # White noise of variance 2.25 has that power at every wavenumber; but its
        # mean is taken out, of which the window spreads a part into the first ring.
        np.testing.assert_allclose(power[1:8], 2.25, rtol=0.05)
        np.testing.assert_allclose(power[9:], 2.25, rtol=0.05)
        np.testing.assert_allclose(power[[0, 8]], 2.25, rtol=0.25)
        np.testing.assert_allclose(coherence, 0, atol=0.08)


def test_an_image_too_small_for_its_rings_is_refused():
    encoder = SpectralEncoder(key=KEY)
    assert encoder.rings == 21
    assert summarise(encoder, jnp.ones((43, 64, 3))).shape == (encoder.size,)
    with pytest.raises(ValueError, match="`x` is 42 x 42.*`rings`=21.*more than 42"):
        encoder.summarise(jnp.ones((42, 42, 3)))


def test_ratios_of_channels_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"`ratios`=\(\(0, 2\),\).*outside 0..1"):
        SpectralEncoder(2, ratios=((0, 2),), key=KEY)


ENCODERS = {
    "mlp": (MLPEncoder(7, features=5, width=6, depth=3, key=KEY), (7,)),
    "conv": (ConvEncoder(2, widths=(3, 4), features=5, key=KEY), (9, 8, 2)),
    "spectral": (spectral(2, 4, ((1, 0),), features=5, width=6), (12, 12, 2)),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_keeps_its_promises(name):
    encoder, shape = ENCODERS[name]
    assert encoder.ndim == len(shape)
    assert encoder.channels == shape[-1]
    x = jnp.abs(white(shape)) + 0.1
    summary = summarise(encoder, x)
    assert summary.shape[-1] == encoder.size
    features = encoder(summary)
    assert features.shape == (encoder.features,) == (5,)
    # The structure can be built again from its description.
    again = type(encoder)(**encoder.config(), key=jax.random.key(9))
    assert jax.tree.structure(eqx.filter(again, eqx.is_array)) == jax.tree.structure(
        eqx.filter(encoder, eqx.is_array)
    )
    assert eqx.tree_equal(
        jax.tree.map(jnp.shape, eqx.filter(again, eqx.is_array)),
        jax.tree.map(jnp.shape, eqx.filter(encoder, eqx.is_array)),
    )
    # Training changes all of what has numbers, and nothing but that.
    slopes = eqx.filter_jit(eqx.filter_grad(lambda e: (e(summary) ** 2).sum()))(encoder)
    assert all(jnp.any(g != 0) for g in jax.tree.leaves(slopes))
    with jax.enable_x64(False):
        single = summarise(encoder, x.astype(jnp.float32))
    assert single.dtype == jnp.float32


def test_both_forms_of_the_convolution_agree():
    """The CPU's product of matrices and the accelerators' convolution are one map."""
    image = jax.random.normal(KEY, (7, 6, 2))
    weight = jax.random.normal(jax.random.key(1), (4, 2, 3, 3))
    np.testing.assert_allclose(
        networks._product(image, weight),
        networks._convolution(image, weight),
        rtol=1e-12,
        atol=1e-12,
    )
