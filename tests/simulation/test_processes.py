"""Many processes, one ensemble: the same bits however the work is split."""

import importlib.util
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import equinox as eqx
import jax
import numpy as np
import pytest
import zarr

from gl15.simulation import (
    _lock,
    open_ensemble,
    StoredEnsemble,
    StoreInUseError,
    UnfinishedEnsembleError,
)
from gl15.simulation._lock import hold, holders
from gl15.simulation._log import read_log
from gl15.simulation._process import find_process


SCRIPT = pathlib.Path(__file__).with_name("toy_run.py")


@pytest.fixture(name="toy", scope="module")
def _toy():
    spec = importlib.util.spec_from_file_location("toy_run", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(name="whole", scope="module")
def _whole(toy):
    return toy.draw()


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch):
    """No launcher but those that a test speaks of."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "GL15_")):
            monkeypatch.delenv(name)


def start(path, *options, **environment):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(path), *map(str, options)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_three_processes_that_start_together_make_one_ensemble(tmp_path, toy, whole):
    path = tmp_path / "shared.zarr"
    processes = [
        start(path, "--pause", 0.01, "--process", 0, 3),
        start(path, "--pause", 0.01, GL15_PROCESS="1/3"),
        start(path, "--pause", 0.01, SLURM_PROCID="2", SLURM_STEP_NUM_TASKS="3"),
    ]
    for process in processes:
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        assert "missing" in out
    stored = open_ensemble(path)
    assert stored.complete
    assert stored.damaged() == []
    assert eqx.tree_equal(stored.load(), whole)
    batches = [line for line in read_log(path) if line["event"] == "batch"]
    assert len(batches) == 61  # each once
    assert len({line["pid"] for line in batches}) == 3
    assert not [*path.parent.glob("*.partial")]


@pytest.mark.parametrize("parts", [2, 7, 20])
def test_the_split_changes_nothing(tmp_path, toy, whole, parts):
    path = tmp_path / "split.zarr"
    for part in reversed(range(parts)):
        stored = toy.draw(path=path, process=(part, parts))
        assert isinstance(stored, StoredEnsemble)
        assert stored.complete == (part == 0)
    assert eqx.tree_equal(toy.draw(path=path, process=(0, 1)), whole)
    assert len([b for b in read_log(path) if b["event"] == "batch"]) == 61


def test_a_part_says_what_is_missing(tmp_path, toy, whole):
    path = tmp_path / "part.zarr"
    stored = toy.draw(path=path, process=(1, 2))
    assert [rows.start for rows in stored.missing] == list(range(0, 1205, 240))
    np.testing.assert_array_equal(stored.read(slice(130, 200)).x, whole.x[130:200])
    with pytest.raises(ValueError, match="605 of 1205 simulations are missing, .* 0"):
        stored.load()
    with pytest.raises(TimeoutError, match="605 of 1205"):
        stored.wait(timeout=0.02, poll=0.01)
    with pytest.raises(
        UnfinishedEnsembleError, match="process 1 of 2.*605 of 1205"
    ) as info:
        toy.draw(path=path, process=(1, 2), load=True)
    assert info.value.ensemble.path == path
    partial = open_ensemble(path, partial=True)
    assert len(partial) == 600
    np.testing.assert_array_equal(partial.theta["a"][:120], whole.theta["a"][120:240])
    np.testing.assert_array_equal(partial.load().x[120:240], whole.x[360:480])

    other = threading.Thread(target=toy.draw, kwargs={"path": path, "process": (0, 2)})
    other.start()
    assert eqx.tree_equal(stored.wait(poll=0.01).load(), whole)
    other.join()


def test_a_second_run_on_the_same_path_refuses(tmp_path, toy, whole):
    path = tmp_path / "twice.zarr"
    with start(path, "--pause", 0.3) as process:
        while not (path / "log-0-of-1.jsonl").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        for split in (None, (0, 1), (1, 2)):  # all of them share shards with it
            with pytest.raises(StoreInUseError, match=f"process {process.pid} on"):
                toy.draw(path=path, process=split)
        (holder,) = holders(path)
        assert holder["alive"] and holder["pid"] == process.pid
        process.kill()
    (holder,) = holders(path)
    assert holder["alive"] is False
    assert eqx.tree_equal(toy.draw(path=path), whole)
    assert holders(path) == []


def test_parts_that_share_no_shard_do_not_meet(tmp_path):
    with hold(tmp_path, 0, 4), hold(tmp_path, 1, 2):
        with pytest.raises(StoreInUseError, match="part 0 of 4"):
            with hold(tmp_path, 2, 6):
                pass
        with pytest.raises(StoreInUseError, match="part 1 of 2"):
            with hold(tmp_path, 1, 2):
                pass
        with hold(tmp_path, 2, 4):
            pass
    assert not [*(tmp_path / "locks").iterdir()]


def foreign_lock(folder, age):
    (folder / "locks").mkdir(exist_ok=True)
    lock = folder / "locks" / "0-of-1.json"
    lock.write_text(json.dumps({"pid": 1, "host": "elsewhere", "since": "then"}))
    then = time.time() - age
    os.utime(lock, (then, then))
    return lock


def test_a_process_of_another_host_is_dead_without_a_sign_of_life(tmp_path):
    foreign_lock(tmp_path, age=61)
    with pytest.warns(UserWarning, match="process 1 on elsewhere.*no sign of life"):
        with hold(tmp_path, 0, 1):
            pass


def test_a_process_of_another_host_is_alive_with_one(tmp_path, monkeypatch):
    lock = foreign_lock(tmp_path, age=10)
    threading.Timer(0.2, lambda: os.utime(lock)).start()
    with pytest.raises(StoreInUseError, match="process 1 on elsewhere since then"):
        with hold(tmp_path, 0, 1):
            pass
    # And one that is watched in vain is not.
    monkeypatch.setattr(_lock, "_STALE", 1.0)
    foreign_lock(tmp_path, age=0.5)
    with pytest.warns(UserWarning, match="goes on in its place"):
        with hold(tmp_path, 0, 1):
            pass


def test_a_lock_shows_that_its_process_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(_lock, "_BEAT", 0.02)
    with hold(tmp_path, 0, 1):
        lock = tmp_path / "locks" / "0-of-1.json"
        first = lock.stat().st_mtime_ns
        until = time.monotonic() + 10
        while lock.stat().st_mtime_ns == first:
            assert time.monotonic() < until
            time.sleep(0.01)
        owner = json.loads(lock.read_text())
        assert (owner["pid"], owner["host"]) == (os.getpid(), socket.gethostname())


def test_the_number_of_a_dead_process_may_be_that_of_another(tmp_path):
    with hold(tmp_path, 0, 1):
        lock = tmp_path / "locks" / "0-of-1.json"
        owner = json.loads(lock.read_text())
    (tmp_path / "locks" / "0-of-1.json").write_text(
        json.dumps(owner | {"started": "1"})
    )
    with hold(tmp_path, 0, 1):
        pass


def test_stores_created_at_the_same_time_are_one(tmp_path, toy, whole):
    path, results = tmp_path / "race.zarr", []
    barrier = threading.Barrier(4)

    def run(part):
        barrier.wait()
        results.append(toy.draw(path=path, process=(part, 4)))

    threads = [threading.Thread(target=run, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert eqx.tree_equal(open_ensemble(path).load(), whole)


def test_a_store_is_extended_by_all_its_processes_at_once(tmp_path, toy, whole):
    path = tmp_path / "grown.zarr"
    toy.draw(n=250, path=path)
    threads = [
        threading.Thread(
            target=toy.draw, kwargs={"path": path, "process": (part, 3), "n": n}
        )
        for part, n in enumerate((1205, 1205, 700))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert zarr.open(path)["x"].shape[0] == 1205
    assert eqx.tree_equal(toy.draw(path=path), whole)


FOUND = [
    ({}, (0, 1)),
    ({"GL15_PROCESS": "3/8"}, (3, 8)),
    ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, (0, 1)),  # the batch script
    ({"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8"}, (5, 8)),
    ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "4"}, (3, 4)),
    (
        {
            "SLURM_ARRAY_TASK_ID": "14",
            "SLURM_ARRAY_TASK_COUNT": "3",
            "SLURM_ARRAY_TASK_MIN": "10",
            "SLURM_ARRAY_TASK_MAX": "14",
        },
        (2, 3),
    ),
    (
        {
            "SLURM_ARRAY_TASK_ID": "1",
            "SLURM_ARRAY_TASK_COUNT": "2",
            "SLURM_PROCID": "3",
            "SLURM_STEP_NUM_TASKS": "4",
        },
        (7, 8),
    ),
    (
        {
            "SLURM_ARRAY_TASK_ID": "3",
            "SLURM_ARRAY_TASK_COUNT": "4",
            "GL15_PROCESS": "0/1",
        },
        (0, 1),
    ),
]


@pytest.mark.parametrize(("environment", "process"), FOUND)
def test_a_process_finds_its_part(environment, process):
    assert find_process(environment=environment) == process
    assert find_process((1, 3), environment) == (1, 3)


def test_a_process_of_a_distributed_program_finds_its_part(monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 2)
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    assert find_process(environment={}) == (2, 4)


@pytest.mark.parametrize(
    ("environment", "match"),
    [
        ({"GL15_PROCESS": "8/8"}, "GL15_PROCESS: 8 of 8 is no process"),
        ({"GL15_PROCESS": "0/0"}, "GL15_PROCESS says that 0 processes share"),
        ({"GL15_PROCESS": "first"}, "GL15_PROCESS='first' must be .* such as 0/8"),
        (
            {"SLURM_ARRAY_TASK_ID": "x", "SLURM_ARRAY_TASK_COUNT": "3"},
            "SLURM_ARRAY_TASK_ID='x' is no number.*GL15_PROCESS",
        ),
        (
            {
                "SLURM_ARRAY_TASK_ID": "5",
                "SLURM_ARRAY_TASK_COUNT": "3",
                "SLURM_ARRAY_TASK_MIN": "0",
                "SLURM_ARRAY_TASK_MAX": "7",
            },
            "not evenly numbered.*GL15_PROCESS",
        ),
    ],
)
def test_numbers_that_make_no_sense_are_refused(environment, match):
    with pytest.raises(ValueError, match=match):
        find_process(environment=environment)


def test_a_share_of_the_work_needs_a_place_for_it(toy):
    for options in ({"process": (0, 2)}, {"load": False}):
        with pytest.raises(ValueError, match="need a `path`"):
            toy.draw(**options)
    with pytest.raises(ValueError, match="`process`: 2 of 2 is no process"):
        toy.draw(path="nowhere.zarr", process=(2, 2))
