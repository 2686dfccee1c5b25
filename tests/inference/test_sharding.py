"""Training on several devices and by several processes: the same losses."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

from gl15.inference._training.sharding import Placement


SCRIPT = """
import json
import sys
import time

import jax

options = json.loads(sys.argv[1])
jax.config.update("jax_num_cpu_devices", options["devices"])
if "process" in options:
    jax.distributed.initialize(options["address"], 2, options["process"])

import numpyro.distributions as dist

from gl15.inference import Contrastive, fingerprint, fit, MLPEncoder, RatioEstimator
from gl15.simulation import LinearGaussian, Prior, simulate

toy = LinearGaussian(((1.0,), (0.5,)), 0.5, ("a",))
prior = Prior({"a": dist.Uniform(-1.0, 1.0)})
keys = jax.random.split(jax.random.key(0), 4)
encoder = MLPEncoder(2, features=4, width=4, depth=1, key=keys[0])
start = RatioEstimator(prior, encoder, width=4, key=keys[1])
pairs = simulate(toy, prior, 200, key=keys[2], progress=False)

def slowly(pairs, key):
    time.sleep(options["wait"])
    return pairs

for devices, checkpoint in options["runs"]:
    trained, history = fit(
        start, pairs, key=keys[3], loss=Contrastive(3), steps=220, batch_size=8,
        devices=devices and jax.devices()[:devices], redraw=slowly,
        checkpoint=checkpoint, checkpoint_every=1, progress=False,
    )
    print(json.dumps({
        "train": history.train_loss.tolist(),
        "validation": history.validation_loss.tolist(),
        "trained": fingerprint(trained),
    }))
"""


def run(devices, runs, wait=0.0, **options):
    """A process with so many devices that trains on (devices, checkpoint), ..."""
    root = pathlib.Path(__file__).parents[2]
    options |= {"devices": devices, "wait": wait, "runs": runs}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps(options)],
        env=os.environ | {"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def results(process):
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def both(checkpoint, wait=0.0):
    """Two processes of two devices."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    runs = [(None, str(checkpoint))]
    return [run(2, runs, wait, process=i, address=address) for i in range(2)]


def lines(folder):
    log = folder / "log.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.mark.parametrize("victim", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_devices_and_processes_agree_also_after_one_was_killed(tmp_path, victim):
    folder = tmp_path / "run"
    processes = both(folder, wait=0.3)
    survivor, peer = processes[1 - victim], processes[victim]
    until = time.monotonic() + 300
    while lines(folder) < 2:
        assert survivor.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    peer.send_signal(signal.SIGKILL)
    peer.communicate()
    _, error = survivor.communicate(timeout=100)
    assert survivor.returncode != 0
    assert "lost another process of this training" in error
    assert "Start all processes again with the same call" in error
    assert 2 <= lines(folder) < 10

    first, second = [results(process) for process in both(folder)]
    assert first == second
    # One process writes, and the files are those of any training.
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["best.npz", "last.npz", "log.jsonl"]
    assert lines(folder) == 10
    # One device finds the training finished that the four had done.
    runs = [(None, None), (4, None), (None, str(folder))]
    one, four, finished = results(run(4, runs))
    for other in (four, *first):
        for losses in ("train", "validation"):
            np.testing.assert_allclose(other[losses], one[losses], rtol=1e-4)
    assert finished == first[0]


def test_batches_that_cannot_be_split_are_refused():
    devices = jax.devices() * 3
    with pytest.raises(ValueError, match="over 3 `devices`; use a multiple of 3"):
        Placement(devices, 8)
    with pytest.raises(TypeError, match=r"'gpu' must be .* jax.devices\('gpu'\)"):
        Placement("gpu", 8)
    with pytest.raises(ValueError, match="over 0 `devices`; give at least one"):
        Placement([], 8)


@pytest.mark.parametrize("table", [False, True])
def test_a_device_meets_its_rows_of_the_batch(table):
    from gl15.inference import MLPEncoder, RatioEstimator
    from gl15.inference._losses.contrast import pair_logits
    from gl15.simulation import Prior

    keys = jax.random.split(jax.random.key(0), 4)
    encoder = MLPEncoder(2, features=4, width=4, depth=1, key=keys[0])
    prior = Prior({"a": dist.Uniform(-1.0, 1.0)})
    estimator = RatioEstimator(prior, encoder, width=4, key=keys[1])
    theta, z = prior.sample(keys[2], (12,)), jax.random.normal(keys[3], (12, 2))
    whole = pair_logits(estimator, theta, z, 4, table=table)
    for first in (0, 3, 9):
        turned = {name: np.roll(value, -first) for name, value in theta.items()}
        turned = jax.tree.map(jax.numpy.asarray, turned)
        part = pair_logits(estimator, turned, z[first : first + 3], 4, table=table)
        np.testing.assert_allclose(part, whole[first : first + 3], rtol=1e-10)
