"""Checkpoints: interrupted in any way, training ends with the same bits."""

import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

from gl15.inference import Contrastive, fit, MLPEncoder, RatioEstimator
from gl15.simulation import fresh, LinearGaussian, Prior, simulate


TOY = LinearGaussian(((1.0,), (0.5,)), 0.5, ("a",))
PRIOR = Prior({"a": dist.Uniform(-1.0, 1.0)})
KEYS = jax.random.split(jax.random.key(0), 4)
START = RatioEstimator(
    PRIOR,
    MLPEncoder(2, features=4, width=4, depth=1, key=KEYS[0]),
    width=4,
    key=KEYS[1],
)
PAIRS = simulate(TOY, PRIOR, 200, key=KEYS[2], progress=False)

# 180 pairs: 22 steps an epoch, 5 epochs.
train = functools.partial(
    fit,
    START,
    PAIRS,
    key=KEYS[3],
    loss=Contrastive(3),
    steps=110,
    batch_size=8,
    averaging=0.9,
    checkpoint_every=1,
    progress=False,
)


@pytest.fixture(name="whole", scope="module")
def _whole():
    return train()


def same(one, other):
    assert eqx.tree_equal(one[0], other[0])
    assert eqx.tree_equal(
        jax.tree.map(np.asarray, one[1]), jax.tree.map(np.asarray, other[1])
    )


def log(folder):
    text = (folder / "log.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


class Interrupted(Exception):
    """Somebody stopped the training."""


def interrupted_after(epochs, monkeypatch, folder, **options):
    """Train until an exception in the middle of an epoch's end."""
    from gl15.inference._training import loop

    judge, count = loop._judged, []

    def judged(*arguments):
        count.append(None)
        if len(count) > epochs:
            raise Interrupted
        return judge(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_judged", judged)
        with pytest.raises(Interrupted):
            train(checkpoint=folder, **options)


def test_checkpoints_change_nothing(whole, tmp_path):
    same(train(checkpoint=tmp_path / "run"), whole)
    lines = log(tmp_path / "run")
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(
        [line["validation_loss"] for line in lines], whole[1].validation_loss
    )
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "best.npz",
        "last.npz",
        "log.jsonl",
    ]


def test_a_finished_training_is_read_and_not_repeated(whole, tmp_path, monkeypatch):
    train(checkpoint=tmp_path)
    from gl15.inference._training.trainer import Trainer

    monkeypatch.setattr(Trainer, "steps", None)
    same(train(checkpoint=tmp_path), whole)


@pytest.mark.parametrize("epochs", [0, 2])
@pytest.mark.parametrize("blocks", [100, 5])
def test_after_an_exception_it_goes_on_to_the_same_bits(
    whole, tmp_path, monkeypatch, epochs, blocks
):
    # Blocks of five steps: states in the middle of an epoch.
    from gl15.inference._training import sources

    monkeypatch.setattr(sources, "_LONGEST", blocks)
    expected = whole if blocks == 100 else train()
    interrupted_after(epochs, monkeypatch, tmp_path)
    same(train(checkpoint=tmp_path), expected)
    assert [line["epoch"] for line in log(tmp_path)] == [0, 1, 2, 3, 4]


def test_noise_drawn_anew_resumes_too(tmp_path, monkeypatch):
    def redraw(pairs, key):
        noise = jax.random.normal(key, pairs.x.shape)
        return eqx.tree_at(lambda e: e.x, pairs, pairs.x + noise)

    interrupted_after(2, monkeypatch, tmp_path, redraw=redraw)
    same(train(checkpoint=tmp_path, redraw=redraw), train(redraw=redraw))


def test_fresh_pairs_resume_where_they_had_come_to(tmp_path, monkeypatch):
    def supply():
        return fresh(TOY, PRIOR, key=jax.random.key(9), size=70)

    options = {"validation": PAIRS[:40], "steps": 80}
    run = lambda **more: fit(  # noqa: E731
        START, supply(), **(train.keywords | options | more)
    )
    expected = run()
    from gl15.inference._training import loop

    judge = loop._judged

    def judged(state, *rest):
        if state.epoch == 13:
            raise Interrupted
        return judge(state, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_judged", judged)
        with pytest.raises(Interrupted):
            run(checkpoint=tmp_path)
    simulated = []
    from gl15.simulation import _fresh

    real = _fresh.simulate

    def counted(*arguments, **options):
        simulated.append(None)
        return real(*arguments, **options)

    monkeypatch.setattr(_fresh, "simulate", counted)
    same(run(checkpoint=tmp_path), expected)
    # 14 of 40 epochs were done before: those pairs are not simulated again.
    assert len(simulated) <= 10


def test_a_changed_plan_is_refused_with_the_difference(tmp_path):
    train(checkpoint=tmp_path, steps=22)
    for changed, match in (
        ({"steps": 44}, "steps was 22 there and is 44 now"),
        ({"steps": 22, "weight_decay": 0.5}, "weight_decay was 0.0001 there .* 0.5"),
        ({"steps": 22, "key": KEYS[0]}, "key.* was"),
        ({"steps": 22, "learning_rate": 0.5}, "learning_rate was"),
        ({"steps": 22, "loss": Contrastive(4)}, "loss.contrasts was 3 there and is 4"),
        ({"steps": 22, "learning_rate": optax.constant_schedule(1.0)}, "learning_rate"),
    ):
        with pytest.raises(ValueError, match=match):
            train(checkpoint=tmp_path, **changed)
    moved = eqx.tree_at(lambda e: e.x, PAIRS, PAIRS.x.at[7, 0].add(1e-3))
    with pytest.raises(ValueError, match=r"of another training: data.x was '[0-9a-f]+"):
        fit(START, moved, **(train.keywords | {"steps": 22, "checkpoint": tmp_path}))
    other = eqx.tree_at(lambda e: e.head.layers[0].bias, START, jnp.ones(4))
    with pytest.raises(ValueError, match="estimator.weights was"):
        fit(other, PAIRS, **(train.keywords | {"steps": 22, "checkpoint": tmp_path}))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def vanish(path):
    path.unlink()


@pytest.mark.parametrize("harm", [truncate, flip, vanish])
def test_a_damaged_state_falls_back_to_the_other(whole, tmp_path, monkeypatch, harm):
    interrupted_after(3, monkeypatch, tmp_path)
    harm(tmp_path / "last.npz")
    if harm is vanish:
        found = train(checkpoint=tmp_path)
    else:
        with pytest.warns(UserWarning, match="last.npz' .* Going on from 'best.npz'"):
            found = train(checkpoint=tmp_path)
    same(found, whole)


def test_two_damaged_states_are_an_error(tmp_path, monkeypatch):
    interrupted_after(2, monkeypatch, tmp_path)
    truncate(tmp_path / "last.npz")
    truncate(tmp_path / "best.npz")
    with pytest.raises(ValueError, match="last.npz.*best.npz.*remove the folder"):
        train(checkpoint=tmp_path)


def test_a_state_of_another_optimiser_is_refused(tmp_path, monkeypatch):
    from gl15.inference._files.archive import read_archive, write_archive
    from gl15.inference._training.checkpoint import _KIND

    interrupted_after(2, monkeypatch, tmp_path)
    header, arrays = read_archive(tmp_path / "last.npz", **_KIND)
    moved = {name.replace(".mu", ".momentum"): a for name, a in arrays.items()}
    assert moved.keys() != arrays.keys()
    own = {name: header[name] for name in ("plan", "state")}
    write_archive(tmp_path / "last.npz", own, moved, **_KIND)
    with pytest.raises(ValueError, match=r"not hold '.*\.mu.*other versions wrote it"):
        train(checkpoint=tmp_path)


def test_an_interrupted_write_leaves_the_state_before(whole, tmp_path, monkeypatch):
    # The disk is full: what is renamed was complete before.
    import gl15.inference._files.archive as archive

    interrupted_after(2, monkeypatch, tmp_path)

    def full(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(archive.np, "savez", full)
        with pytest.raises(OSError, match="No space left"):
            train(checkpoint=tmp_path)
    assert not [*tmp_path.glob("*.partial")]
    same(train(checkpoint=tmp_path), whole)


SCRIPT = """
import sys
import time

import equinox as eqx
import jax
import numpyro.distributions as dist

from gl15.inference import Contrastive, fit, MLPEncoder, RatioEstimator, save
from gl15.simulation import LinearGaussian, Prior, simulate

toy = LinearGaussian(((1.0,), (0.5,)), 0.5, ("a",))
prior = Prior({"a": dist.Uniform(-1.0, 1.0)})
keys = jax.random.split(jax.random.key(0), 4)
encoder = MLPEncoder(2, features=4, width=4, depth=1, key=keys[0])
start = RatioEstimator(prior, encoder, width=4, key=keys[1])
pairs = simulate(toy, prior, 200, key=keys[2], progress=False)

def slowly(pairs, key):
    time.sleep(float(sys.argv[2]))
    return pairs

trained, _ = fit(
    start, pairs, key=keys[3], loss=Contrastive(3), steps=880, batch_size=8,
    checkpoint=sys.argv[1], checkpoint_every=1, redraw=slowly, progress=False,
)
print(save(sys.argv[1] + ".npz", trained))
"""


def start(folder, wait):
    root = pathlib.Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), str(wait)],
        env=os.environ | {"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
    )


def ended(process):
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    return out.split()[-1]


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_bits(tmp_path):
    expected = start(tmp_path / "whole", 0.0)
    killed = tmp_path / "killed"
    for kill in range(2):
        process = start(killed, 0.1)
        until = time.monotonic() + 200
        seen = len(log(killed)) if killed.exists() else 0
        while not (killed / "log.jsonl").exists() or len(log(killed)) < seen + 3:
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.07 + 0.05 * kill)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert len(log(killed)) < 40
    assert ended(start(killed, 0.0)) == ended(expected)
    assert [line["epoch"] for line in log(killed)] == list(range(40))
