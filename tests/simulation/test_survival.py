"""Kills, full disks, rot: nothing is lost, doubled, or silently wrong."""

import functools
import importlib.util
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings

import equinox as eqx
import numpy as np
import pytest
import zarr

from gl15.simulation import open_ensemble, simulate
from gl15.simulation._lock import holders
from gl15.simulation._log import read_log


SCRIPT = pathlib.Path(__file__).with_name("toy_run.py")
SHARDS = 11


@pytest.fixture(name="toy", scope="module")
def _toy():
    spec = importlib.util.spec_from_file_location("toy_run", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(name="whole", scope="module")
def _whole(toy):
    """What comes out without a store."""
    return toy.draw()


@pytest.fixture(name="finished", scope="module")
def _finished(toy, whole, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "whole.zarr"
    assert eqx.tree_equal(toy.draw(path=path), whole)
    return path


@pytest.fixture(name="copy")
def _copy(finished, tmp_path):
    path = tmp_path / "copy.zarr"
    shutil.copytree(finished, path)
    return path


def start(path, *options):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(path), *map(str, options)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition, process):
    until = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.002)


def counts(path):
    return zarr.open(path, mode="r")["done"][:] if path.exists() else np.zeros(SHARDS)


def files(path):
    """Every array of a store, as plain zarr reads it."""
    group = zarr.open(path, mode="r")
    names = [*group.array_keys(), *(f"theta/{name}" for name in group["theta"])]
    return {name: group[name][:] for name in names}


def assert_same_stores(one, other):
    found, expected = files(one), files(other)
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def is_held_by(path, pid):
    return any(one.get("pid") == pid for one in holders(path))


def kill_again_and_again(path, kills, seed):
    """The kills that hit while there was something to lose."""
    chance, hit, before = random.Random(seed), 0, counts(path)
    while hit < kills:
        with start(path, "--pause", 0.1) as process:
            # The lock of the one that was killed before is still there.
            wait_until(lambda: is_held_by(path, process.pid), process)
            time.sleep(chance.uniform(0.0, 2.5 / kills))
            process.send_signal(signal.SIGKILL)
        # One that had ended before was not killed.
        hit += process.returncode == -signal.SIGKILL
        after = counts(path)
        assert (after >= before).all()  # what counts once counts for ever
        before = after
        if (after > 0).all():
            break
    return hit


def test_killed_three_times_it_ends_in_the_same_bits(tmp_path, toy, whole, finished):
    path = tmp_path / "killed.zarr"
    assert kill_again_and_again(path, 3, seed=1) == 3
    kept = (counts(path) > 0).sum()
    lines = len(read_log(path))
    assert eqx.tree_equal(toy.draw(path=path), whole)
    assert_same_stores(path, finished)
    assert open_ensemble(path).damaged() == []
    # Only what was not finished was run.
    batches = [line for line in read_log(path)[lines:] if line["event"] == "batch"]
    assert len(batches) == sum([6] * 10 + [1]) - 6 * kept
    assert not [*path.glob("**/*.partial")]
    assert not [*path.glob("locks/*")]


@pytest.mark.slow
def test_killed_twenty_times_it_ends_in_the_same_bits(tmp_path, toy, finished):
    hit, store = 0, 0
    while hit < 20:
        path, store = tmp_path / f"{store}.zarr", store + 1
        hit += kill_again_and_again(path, min(5, 20 - hit), seed=store)
        toy.draw(path=path)
        assert_same_stores(path, finished)
        assert open_ensemble(path).damaged() == []


def test_killed_while_it_creates_the_store_it_starts_anew(tmp_path, toy, whole):
    path = tmp_path / "new.zarr"
    left = tmp_path / f"new.zarr.{'0123' * 8}.partial"
    # Of a store of nearly the same name, which is being created, and of the user.
    others = [tmp_path / f"new.{'0123' * 8}.partial", tmp_path / "new.zarr.my.partial"]
    for folder in (left, *others):
        folder.mkdir()
        (folder / "zarr.json").write_text("{}")
    assert eqx.tree_equal(toy.draw(path=path), whole)
    assert not left.exists()
    assert all(folder.exists() for folder in others)


def test_going_on_reads_every_file_once(tmp_path, toy, whole, monkeypatch):
    from gl15.simulation import _shards, _verify

    path, real, read = tmp_path / "part.zarr", _shards.digest, []
    toy.draw(n=600, path=path)
    for module in (_shards, _verify):
        monkeypatch.setattr(module, "digest", lambda f: read.append(f) or real(f))
    assert eqx.tree_equal(toy.draw(path=path, load=False).load(), whole)
    assert len(read) == len(set(read)) == SHARDS
    read.clear()
    toy.draw(path=path, load=False)
    assert len(read) == len(set(read)) == SHARDS


@pytest.mark.parametrize("name", ["x/c.3.0.0.0", "sha256/c.3.0", "done/c.3"])
def test_killed_between_two_files_of_a_shard(copy, toy, whole, finished, name):
    # They are written in this order; the later ones are not there yet.
    order = ["x/c.3.0.0.0", "sha256/c.3.0", "finite/c.3", "done/c.3"]
    for file in order[order.index(name) :]:
        (copy / file).unlink()
    (copy / "x" / "c.3.0.0.0123456789abcdef.partial").write_bytes(b"half a shard")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert eqx.tree_equal(toy.draw(path=copy), whole)
    assert_same_stores(copy, finished)
    assert not [*copy.glob("**/*.partial")]


def flip(file, where):
    data = bytearray(file.read_bytes())
    data[min(int(where * len(data)), len(data) - 1)] ^= 0x10
    file.write_bytes(data)


SPOILED = {
    "0 to 119": "x/c.0.0.0.0",
    "1200 to 1204": "x/c.10.0.0.0",
    "240 to 359": "sha256/c.2.0",
    "360 to 479": "finite/c.3",
    "480 to 599": "done/c.4",
}
WHERE = [*np.linspace(0.0, 0.95, 8), 0.97, 0.98, 0.99, 1.0]


@pytest.mark.parametrize(("rows", "name"), SPOILED.items())
def test_a_flipped_bit_anywhere_is_found_and_mended(
    copy, toy, whole, finished, rows, name
):
    for where in WHERE:
        flip(copy / name, where)
        first = int(rows.split()[0])
        if name[0] in "xsd":
            with pytest.raises(ValueError, match="call|missing"):
                open_ensemble(copy).read(slice(first, first + 3))
        with pytest.warns(UserWarning, match=f"damaged.* {rows} does not match"):
            assert eqx.tree_equal(toy.draw(path=copy), whole)
        assert_same_stores(copy, finished)


def test_every_byte_of_the_file_that_describes_a_store_is_guarded(copy, toy, whole):
    file = copy / "zarr.json"
    text = file.read_bytes()
    for where in np.linspace(0.0, 1.0, 60):
        flip(file, where)
        try:  # a bit of white space, or of a name that nobody reads, may do no harm
            found = toy.draw(path=copy)
        except ValueError as error:
            assert "copy.zarr" in str(error)
        else:
            assert eqx.tree_equal(found, whole)
        file.write_bytes(text)


def test_metadata_of_an_array_is_kept_twice(copy, toy, whole):
    for name in ("x", "done", "theta/a"):
        flip(copy / name / "zarr.json", 0.5)
        assert eqx.tree_equal(toy.draw(path=copy), whole)
    assert len(toy.draw(n=1300, path=copy)) == 1300


def test_a_theta_that_is_damaged_is_drawn_again(copy, toy, whole, finished):
    flip(copy / "theta" / "a" / "c.0", 0.3)
    with pytest.raises(ValueError, match="damaged"):
        open_ensemble(copy)
    with pytest.warns(UserWarning, match="`theta/a` is lost or does not match its"):
        assert eqx.tree_equal(toy.draw(path=copy), whole)
    assert_same_stores(copy, finished)


def test_a_theta_that_is_lost_is_not_taken_for_zeros(copy, toy, whole, finished):
    (copy / "theta" / "a" / "c.0").unlink()
    with pytest.raises(ValueError, match=r"damaged .*theta/a/c.0 is lost"):
        open_ensemble(copy)
    with pytest.warns(UserWarning, match="`theta/a` is lost or does not match its"):
        assert eqx.tree_equal(toy.draw(path=copy), whole)
    assert_same_stores(copy, finished)


def test_zeros_are_not_taken_for_a_theta_that_is_lost(tmp_path, toy):
    theta = {"a": np.zeros(5), "b": np.ones(5)}
    path = tmp_path / "zeros.zarr"
    simulate(toy.Toy(), theta, key=toy.KEY, path=path, progress=False)
    np.testing.assert_array_equal(open_ensemble(path).theta["a"], 0)


@pytest.mark.parametrize("spoil", ["flip", "unlink"])
def test_which_are_finite_is_known_or_found_again(copy, toy, whole, finished, spoil):
    file = copy / "finite" / "c.3"
    flip(file, 0.5) if spoil == "flip" else file.unlink()
    with pytest.raises(ValueError, match="lost the mask `finite` of shard 3"):
        open_ensemble(copy).finite()
    assert open_ensemble(copy).damaged() == [slice(360, 480)]
    with pytest.warns(UserWarning, match="simulations 360 to 479"):
        assert eqx.tree_equal(toy.draw(path=copy), whole)
    assert_same_stores(copy, finished)


@pytest.mark.parametrize("size", [0, 1, 1000, -1])
def test_a_file_that_was_cut_off_is_found(copy, toy, whole, size):
    file = copy / "x" / "c.5.0.0.0"
    os.truncate(file, size if size >= 0 else file.stat().st_size - 1)
    with pytest.raises(ValueError, match="600.*does not match its checksum"):
        open_ensemble(copy).load()
    assert open_ensemble(copy).damaged() == [slice(600, 720)]
    with pytest.warns(UserWarning, match="simulations 600 to 719"):
        assert eqx.tree_equal(toy.draw(path=copy), whole)


def test_files_that_were_lost_or_mixed_up_are_found(copy, toy, whole, finished):
    (copy / "x" / "c.1.0.0.0").unlink()
    shutil.copy(copy / "x" / "c.2.0.0.0", copy / "x" / "c.7.0.0.0")
    with pytest.warns(UserWarning, match="120 to 239, 840 to 959"):
        assert eqx.tree_equal(toy.draw(path=copy), whole)
    assert_same_stores(copy, finished)


def test_a_limit_of_the_size_of_files_costs_nothing_that_was_stored(
    tmp_path, toy, whole
):
    # The system itself refuses, as on a full disk: each file of a shard is larger.
    path = tmp_path / "full.zarr"
    toy.draw(n=240, path=path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError) as info:
            toy.draw(path=path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "the same call goes on" in "".join(info.value.__notes__)
    assert counts(path)[:2].tolist() == [120, 120]
    assert open_ensemble(path, 240).damaged() == []
    assert eqx.tree_equal(toy.draw(path=path), whole)


@pytest.fixture(name="disk")
def _disk(tmp_path):
    """A small disk of its own, where the system lets this process have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=320k", "gl15", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_costs_nothing_that_was_stored(disk, toy, whole):
    path = disk / "full.zarr"
    with pytest.raises(OSError, match="No space left") as info:
        toy.draw(path=path)
    assert "the same call goes on" in "".join(info.value.__notes__)
    done = (counts(path) > 0).sum()
    assert 0 < done < SHARDS
    assert open_ensemble(path, partial=True).damaged() == []
    remount = ["mount", "-o", "remount,size=8m", str(disk)]
    subprocess.run(remount, check=True)
    lines = len(read_log(path))
    assert eqx.tree_equal(toy.draw(path=path), whole)
    batches = [line for line in read_log(path)[lines:] if line["event"] == "batch"]
    assert len(batches) == 61 - 6 * done


def test_a_read_only_disk_can_be_read_and_says_that_it_is_one(disk, toy, whole):
    subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
    path = disk / "store.zarr"
    toy.draw(n=240, path=path)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    found = toy.draw(n=240, path=path)
    np.testing.assert_array_equal(found.x, whole.x[:240])
    assert len(open_ensemble(path).load()) == 240
    with pytest.raises(OSError, match="Read-only file system"):
        toy.draw(path=path)
    with pytest.raises(OSError, match="Read-only file system"):
        toy.draw(path=disk / "other.zarr")


def test_a_folder_without_permission_says_so(tmp_path, toy):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    if os.access(folder, os.W_OK):
        pytest.skip("the superuser may write anywhere")
    with pytest.raises(PermissionError):
        toy.draw(path=folder / "store.zarr")


def test_vortices_survive_a_power_cut(tmp_path):
    from gl15.physics import Lattice, TwoBand
    from gl15.simulation import simulate, VortexSimulator
    from gl15.simulation._shards import Shards

    simulator = VortexSimulator(Lattice((8, 8)), TwoBand(), t1=0.01)
    run = functools.partial(
        simulate,
        simulator,
        {"eta": np.linspace(0.0, 1.5, 300)},
        key=_key(),
        batch_size=16,
        progress=False,
    )
    whole, write, calls = run(), Shards._write, []

    def fail(shards, shard, x):
        if calls:
            raise RuntimeError("power cut")
        calls.append(shard)
        write(shards, shard, x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Shards, "_write", fail)
        with pytest.raises(RuntimeError, match="power cut"):
            run(path=tmp_path / "v.zarr")
    assert counts(tmp_path / "v.zarr").sum() == 128
    assert eqx.tree_equal(run(path=tmp_path / "v.zarr"), whole)


def _key():
    import jax

    return jax.random.key(3)
