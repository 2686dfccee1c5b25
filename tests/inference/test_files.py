"""Estimators on disk: the same bits back, and nothing else passes for one."""

import io
import json
import zipfile

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from gl15.inference import (
    AbstractEncoder,
    Calibrated,
    ConvEncoder,
    describe,
    fingerprint,
    load,
    MLPEncoder,
    RatioEstimator,
    save,
    SpectralEncoder,
    Standardization,
)
from gl15.inference._files.archive import digest_of, write_archive
from gl15.simulation import Prior


KEYS = jax.random.split(jax.random.key(0), 2)

ENCODERS = {
    "mlp": MLPEncoder(4, features=3, width=5, depth=1, key=KEYS[0]),
    "conv": ConvEncoder(2, widths=(2, 3), features=4, key=KEYS[0]),
    "spectral": SpectralEncoder(
        3, rings=5, ratios=((0, 1), (1, 0)), features=3, width=4, key=KEYS[0]
    ),
}
PRIORS = {
    "paper": Prior({"eta": dist.Uniform(0.0, 1.5)}),
    "several": Prior(
        {
            "nu": dist.TruncatedNormal(0.0, 0.2, low=-0.5, high=0.5),
            "eta": dist.LogUniform(0.1, 1.5),
            "B": dist.Normal(0.04, 0.01),
        }
    ),
    "awkward numbers": Prior({"eta": dist.Uniform(1 / 3, 0.1 + 0.2 + 1e-15 + 1)}),
}
IMAGES = {"mlp": (4,), "conv": (8, 8, 2), "spectral": (12, 12, 3)}


def build(encoder="mlp", prior="paper", **arguments):
    return RatioEstimator(PRIORS[prior], ENCODERS[encoder], key=KEYS[1], **arguments)


def trained(estimator):
    """As if it had been: a standardisation and weights of no initialiser."""
    size = estimator.encoder.size
    fitted = Standardization(jnp.arange(size) / 7, 1 + jnp.arange(size) / 3)
    estimator = eqx.tree_at(lambda e: e.standardization, estimator, fitted)
    return estimator.trained_on(0.3, ("u", "v"))


@pytest.fixture(name="path")
def _path(tmp_path):
    return tmp_path / "estimator.npz"


@pytest.mark.parametrize(
    ("encoder", "prior"),
    [(name, "several") for name in ENCODERS] + [("mlp", name) for name in PRIORS],
)
def test_what_is_saved_is_loaded_to_the_last_bit(path, encoder, prior):
    estimator = trained(build(encoder, prior, width=6, depth=3))
    save(path, estimator)
    loaded = load(str(path))
    assert eqx.tree_equal(loaded, estimator)
    assert loaded.prior == estimator.prior
    assert (loaded.spacing, loaded.channel_names) == (0.3, ("u", "v"))
    theta = estimator.prior.sample(jax.random.key(1))
    x = jnp.abs(jnp.asarray(np.random.default_rng(0).normal(size=IMAGES[encoder])))
    score = eqx.filter_jit(lambda estimator: estimator(theta, x))
    np.testing.assert_array_equal(score(loaded), score(estimator))


def test_single_precision_is_kept(path):
    with jax.enable_x64(False):
        encoder = MLPEncoder(4, features=3, width=5, key=KEYS[0])
        estimator = RatioEstimator(PRIORS["paper"], encoder, key=KEYS[1])
        save(path, estimator)
    loaded = load(path)
    assert eqx.tree_equal(loaded, estimator)
    assert loaded.head.layers[0].weight.dtype == jnp.float32


def test_saving_replaces_as_a_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "estimator.npz"
    first, second = build(), trained(build())
    digest = save(path, first)
    assert save(path, first) == digest
    assert save(path, second) != digest
    assert eqx.tree_equal(load(path), second)
    assert [p.name for p in path.parent.iterdir()] == ["estimator.npz"]


def test_the_checksum_covers_prior_and_units(path):
    digests = [
        save(path, build()),
        save(path, build(prior="awkward numbers")),
        save(path, build(spacing=0.5)),
        save(path, build(spacing=0.25)),
        save(path, build(channel_names=("u",))),
    ]
    assert len(set(digests)) == len(digests)


def test_a_prior_without_numbers_is_refused_before_anything_is_written(path):
    move = dist.transforms.AffineTransform(0.0, 2.0)
    prior = Prior({"a": dist.TransformedDistribution(dist.Uniform(0.0, 1.0), move)})
    estimator = RatioEstimator(prior, ENCODERS["mlp"], key=KEYS[1])
    with pytest.raises(TypeError, match="TransformedDistribution"):
        save(path, estimator)
    assert not path.exists()


def test_numbers_of_numpy_and_jax_are_noted_as_numbers(path):
    notes = {"n": np.int64(3), "error": jnp.float32(0.5), "bins": np.arange(3)}
    save(path, build(), provenance=notes)
    assert describe(path)["provenance"] == {"n": 3, "error": 0.5, "bins": [0, 1, 2]}
    with pytest.raises(TypeError, match="a file cannot hold .*print"):
        save(path, build(), provenance={"n": print})


def test_an_array_of_objects_is_refused_before_anything_is_written(path):
    arrays = {"a": np.zeros(2), "b": np.asarray([print, {}], dtype=object)}
    with pytest.raises(TypeError, match=r"\['b'\] hold objects"):
        write_archive(path, {}, arrays, kind="test", format_version=1)
    assert not path.parent.exists() or not [*path.parent.iterdir()]


def contents(path):
    with open(path, "rb") as file:
        loaded = np.load(file, allow_pickle=False)
        arrays = {name: loaded[name] for name in loaded.files}
    return json.loads(str(arrays.pop("header"))), arrays


def rewrite(path, header, arrays):
    with open(path, "wb") as file:
        np.savez(file, header=np.asarray(json.dumps(header)), **arrays)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("weights")


def other_archive(path):
    np.savez(path, x=np.zeros((4, 4, 3)), spacing=0.5)


def one_array(path):
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))


def objects(path):
    """A file that would run code if it were unpickled."""
    header, arrays = contents(path)
    header["ran"] = True
    name = next(iter(arrays))
    rewrite(path, header, arrays | {name: np.asarray([print, {}], dtype=object)})


def object_header(path):
    _, arrays = contents(path)
    with open(path, "wb") as file:
        np.savez(file, header=np.asarray({"format": 1}, dtype=object), **arrays)


def wrong_header(path):
    _, arrays = contents(path)
    with open(path, "wb") as file:
        np.savez(file, header=np.asarray("{not json"), **arrays)


def header_of_another_kind(path):
    _, arrays = contents(path)
    rewrite(path, [1, 2], arrays)


def changed_weight(path):
    header, arrays = contents(path)
    name = next(name for name in arrays if "head" in name)
    arrays[name] = arrays[name] + 1e-6
    rewrite(path, header, arrays)


def changed_prior(path):
    header, arrays = contents(path)
    header["prior"]["eta"]["high"] = 3.0
    rewrite(path, header, arrays)


def changed_spacing(path):
    header, arrays = contents(path)
    rewrite(path, header | {"spacing": 1.0}, arrays)


def lost_array(path):
    header, arrays = contents(path)
    arrays.pop(next(iter(arrays)))
    rewrite(path, header, arrays)


def flipped_bit(path):
    # In the data of the last array: before the archive's directory.
    content = bytearray(path.read_bytes())
    content[content.rfind(b"PK\x01\x02", 0, content.find(b"PK\x01\x02") + 4) - 5] ^= 1
    path.write_bytes(content)


def newer(path):
    header, arrays = contents(path)
    rewrite(path, header | {"format_version": 3, "gl15": "9.1"}, arrays)


def no_version(path):
    header, arrays = contents(path)
    rewrite(path, header | {"format_version": "two"}, arrays)


def another_format(path):
    header, arrays = contents(path)
    rewrite(path, header | {"format": "weather"}, arrays)


BAD = {
    "truncated": (truncate, "not an estimator that `gl15.save` wrote, or .* damaged"),
    "empty": (empty, "not an estimator that `gl15.save` wrote"),
    "text": (text, "not an estimator that `gl15.save` wrote"),
    "an image": (other_archive, "not an estimator .*header"),
    "one array": (one_array, "not an estimator"),
    "pickled array": (objects, "not an estimator .*allow_pickle=False"),
    "pickled header": (object_header, "not an estimator .*allow_pickle=False"),
    "header": (wrong_header, "not an estimator"),
    "list": (header_of_another_kind, "does not hold an estimator"),
    "weight": (changed_weight, "damaged or was edited"),
    "prior": (changed_prior, "damaged or was edited"),
    "spacing": (changed_spacing, "damaged or was edited"),
    "array": (lost_array, "damaged or was edited"),
    "bit": (flipped_bit, "damaged"),
    "newer": (newer, r"format 3, newer than .* reads \(2\); .* gl15 9.1: upgrade"),
    "unknown version": (no_version, "damaged: it does not say which format"),
    "format": (another_format, "does not hold an estimator"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_estimator_is_refused(path, case):
    harm, match = BAD[case]
    save(path, trained(build()))
    harm(path)
    with pytest.raises(ValueError, match=f"(?s)estimator.npz'.*{match}"):
        load(path)


def test_a_missing_file_is_a_missing_file(path):
    with pytest.raises(FileNotFoundError, match="estimator.npz"):
        load(path)


class Half(AbstractEncoder):
    """Somebody's own encoder."""

    scale: jax.Array
    channels: int = 4
    size: int = 4
    features: int = 2
    ndim = 1

    def config(self):
        return {}

    def summarise(self, x):
        return x

    def __call__(self, summary):
        return self.scale * summary[:2]


def own(scale=2.0, prior="paper", **arguments):
    encoder = Half(jnp.asarray(scale))
    return RatioEstimator(PRIORS[prior], encoder, key=KEYS[1], **arguments)


def test_an_encoder_of_one_s_own_needs_an_estimator_like_it(path):
    estimator = trained(own())
    save(path, estimator)
    with pytest.raises(ValueError, match=r"'Half' is not one of gl15's own.*`like=`"):
        load(path)
    loaded = load(path, like=own(scale=0.0))
    # The weights are the file's, and so is what it was trained on.
    assert eqx.tree_equal(loaded, estimator)
    assert (loaded.spacing, loaded.channel_names) == (0.3, ("u", "v"))


def test_an_estimator_that_is_not_like_it_is_refused(path):
    save(path, own())
    with pytest.raises(ValueError, match="does not fit the estimator's structure"):
        load(path, like=own(width=7))
    with pytest.raises(ValueError, match="does not fit the estimator's structure"):
        load(path, like=build("conv"))
    with pytest.raises(ValueError, match="`like` has the prior .* but the estimator"):
        load(path, like=own(prior="awkward numbers"))


def test_the_file_is_plain_arrays_and_json(path):
    estimator = trained(build("conv", "several"))
    save(path, estimator)
    header, arrays = contents(path)
    assert header["format"] == "gl15 ratio estimator"
    encoder = header["structure"]["config"]["encoder"]
    assert encoder["class"] == "ConvEncoder"
    assert encoder["config"] == {"channels": 2, "widths": [2, 3], "features": 4}
    assert Prior.from_description(header["prior"]) == PRIORS["several"]
    assert header["spacing"] == 0.3
    weight = arrays["encoder.dense.weight"]
    np.testing.assert_array_equal(weight, estimator.encoder.dense.weight)
    numbers = jax.tree.leaves(eqx.filter(estimator, eqx.is_array))
    assert sum(a.size for a in arrays.values()) == sum(a.size for a in numbers)
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        assert all(name.endswith(".npy") for name in archive.namelist())


def test_what_is_noted_beside_an_estimator_comes_back(path):
    estimator = trained(build("conv", "several"))
    provenance = {
        "key": 3,
        "data": {"images": 100, "sha256": "ab"},
        "loss": [0.5, 0.25],
    }
    digest = save(path, estimator, provenance=provenance, calibration={"0.68": 0.675})
    found = describe(path)
    assert found["provenance"] == provenance
    assert found["calibration"] == {"0.68": 0.675}
    assert found["sha256"] == digest
    assert Prior.from_description(found["prior"]) == PRIORS["several"]
    # The estimator is the same whatever is noted, and so is its own checksum.
    assert (
        found["estimator_sha256"] == fingerprint(estimator) == fingerprint(load(path))
    )
    assert save(path, estimator) != digest
    assert describe(path)["estimator_sha256"] == fingerprint(estimator)
    moved = eqx.tree_at(
        lambda e: e.head.layers[0].bias, estimator, replace_fn=lambda b: b + 1e-6
    )
    assert fingerprint(moved) != fingerprint(estimator)
    with pytest.raises(TypeError):
        save(path, estimator, provenance={"function": print})
    # Refused before anything is written.
    assert eqx.tree_equal(load(path), estimator)


def test_describing_reads_no_weights(path):
    save(path, trained(build()), provenance={"key": 1})
    content = bytearray(path.read_bytes())
    # Arrays lie behind the header: harm the last one.
    content[content.rfind(b"PK\x01\x02", 0, content.find(b"PK\x01\x02") + 4) - 5] ^= 1
    path.write_bytes(content)
    assert describe(path)["provenance"] == {"key": 1}
    with pytest.raises(ValueError, match="damaged"):
        load(path)
    with pytest.raises(ValueError, match="not an estimator"):
        truncate(path)
        describe(path)


def first_format(path):
    """Rewrite a file as gl15 wrote it before estimators were nested."""
    header, arrays = contents(path)
    config = header["structure"]["config"]
    old = {
        "format": header["format"],
        "format_version": 1,
        "gl15": "0.1.0",
        "prior": header["prior"],
        "encoder": config["encoder"]["class"],
        "encoder_config": config["encoder"]["config"],
        "width": config["width"],
        "depth": config["depth"],
        "spacing": header["spacing"],
        "channel_names": header["channel_names"],
    }
    rewrite(path, old | {"sha256": digest_of(old, arrays)}, arrays)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_files_of_the_first_format_are_read(path, encoder):
    estimator = trained(build(encoder, "several", width=6, depth=3))
    save(path, estimator)
    first_format(path)
    assert eqx.tree_equal(load(path), estimator)


def test_an_estimator_within_another_comes_back_too(path):
    # What is nested is described by its class and arguments, at any depth.
    inner = trained(build("spectral", width=6))
    outer = Calibrated(inner, degree=3, points=32)
    weights = jnp.arange(outer.weights.size, dtype=float).reshape(outer.weights.shape)
    outer = eqx.tree_at(lambda c: c.weights, outer, weights)
    save(path, outer, calibration={"before": 0.6, "after": 0.68})
    loaded = load(path)
    assert eqx.tree_equal(loaded, outer)
    assert loaded.prior == inner.prior
    assert (loaded.spacing, loaded.channel_names) == (0.3, ("u", "v"))


def test_only_classes_of_its_own_are_built(path):
    estimator = build()
    save(path, estimator)
    header, arrays = contents(path)
    for name in ("os", "Path", "AbstractEncoder", "fit", "Prior.sample"):
        changed = json.loads(json.dumps(header))
        changed["structure"]["config"]["encoder"]["class"] = name
        del changed["sha256"]
        rewrite(path, changed | {"sha256": digest_of(changed, arrays)}, arrays)
        with pytest.raises((ValueError, TypeError)):
            load(path)
    changed = json.loads(json.dumps(header))
    changed["structure"]["config"]["encoder"]["config"]["colour"] = 3
    del changed["sha256"]
    rewrite(path, changed | {"sha256": digest_of(changed, arrays)}, arrays)
    with pytest.raises(ValueError, match="which this version of gl15 does not build"):
        load(path)
