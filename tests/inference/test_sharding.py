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

some = jax.devices()[: options["devices"]] if "process" not in options else None
trained, history = fit(
    start, pairs, key=keys[3], loss=Contrastive(3), steps=220, batch_size=8,
    devices=some, redraw=slowly,
    checkpoint=options["checkpoint"], checkpoint_every=1, progress=False,
)
print(json.dumps({
    "train": history.train_loss.tolist(),
    "validation": history.validation_loss.tolist(),
    "trained": fingerprint(trained),
}))
"""


def run(devices, checkpoint=None, wait=0.0, **options):
    root = pathlib.Path(__file__).parents[2]
    options |= {"devices": devices, "wait": wait}
    options["checkpoint"] = None if checkpoint is None else str(checkpoint)
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps(options)],
        env=os.environ | {"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process):
    out, error = process.communicate(timeout=200)
    assert process.returncode == 0, error
    return json.loads(out.splitlines()[-1])


def both(checkpoint=None, wait=0.0):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return [run(2, checkpoint, wait, process=i, address=address) for i in range(2)]


def lines(folder):
    log = folder / "log.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.fixture(name="shared", scope="module")
def _shared(tmp_path_factory):
    """Where two processes trained, and what each of them found."""
    folder = tmp_path_factory.mktemp("shared") / "run"
    return folder, *[result(process) for process in both(folder)]


def test_one_device_four_and_two_processes_of_two_agree(shared):
    folder, first, second = shared
    one, four = run(1), run(4)
    one, four = result(one), result(four)
    assert first == second
    for other in (four, first):
        for losses in ("train", "validation"):
            np.testing.assert_allclose(other[losses], one[losses], rtol=1e-4)
    # One process writes, and the files are those of any training.
    assert sorted(p.name for p in folder.iterdir()) == [
        "best.npz",
        "last.npz",
        "log.jsonl",
    ]
    assert lines(folder) == 10
    # One device finds the training finished that the four had done.
    assert result(run(1, folder))["trained"] == first["trained"]


@pytest.mark.parametrize("victim", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_killed_peer_ends_the_run_clearly_and_a_restart_goes_on(
    shared, tmp_path, victim
):
    processes = both(tmp_path, wait=0.3)
    survivor, peer = processes[1 - victim], processes[victim]
    until = time.monotonic() + 150
    while lines(tmp_path) < 2:
        assert survivor.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    peer.send_signal(signal.SIGKILL)
    peer.communicate()
    _, error = survivor.communicate(timeout=60)
    assert survivor.returncode != 0
    assert "lost another process of this training" in error
    assert "Start all processes again with the same call" in error
    assert 2 <= lines(tmp_path) < 10
    # To the same bits: nothing before was lost or done otherwise.
    assert [result(process) for process in both(tmp_path)] == list(shared[1:])
    assert lines(tmp_path) == 10


def test_batches_that_cannot_be_split_are_refused():
    devices = jax.devices() * 3
    with pytest.raises(ValueError, match="over 3 `devices`; use a multiple of 3"):
        Placement(devices, 8)
    with pytest.raises(ValueError, match="over 0 `devices`"):
        Placement([], 8)
