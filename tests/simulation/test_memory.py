"""What cannot fit is refused at once; what turns out not to fit is run in halves."""

import functools
import os
import re
import resource
import threading
import types
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from gl15.physics import Lattice, TwoBand
from gl15.simulation import _memory, Prior, simulate, VortexSimulator
from gl15.simulation._memory import host_memory, is_out_of_memory


PRIOR = Prior({"a": dist.Normal(0.0, 1.0)})
KEY = jax.random.key(7)
GIB = 2**30

quiet = functools.partial(simulate, progress=False, key=KEY)


class Small:
    """A device without room for more than so many simulations at a time."""

    def __init__(self, room):
        self.room, self.calls, self.lock = room, [], threading.Lock()

    def __call__(self, theta, key):
        return theta["a"] + jax.random.normal(key, (5, 2))

    def batch(self, theta, keys):
        x = jax.vmap(self)(theta, keys)
        return jax.pure_callback(self.allocate, x, x)

    def allocate(self, x):
        with self.lock:
            self.calls.append(len(x))
        if len(x) > self.room:
            raise jax.errors.JaxRuntimeError(
                "RESOURCE_EXHAUSTED: Out of memory allocating 8589934592 bytes."
            )
        return x


def refused(call):
    """The message of a refusal, and that nothing was allocated for it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MemoryError) as info:
        call()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < GIB
    return str(info.value)


def told(message, name):
    return int(re.search(f"`{name}`=([0-9]+)", message[message.index("are free") :])[1])


@pytest.mark.parametrize("workers", [1, 3])
def test_a_batch_that_runs_out_of_memory_is_run_in_halves(workers):
    simulator = Small(room=5)
    with pytest.warns(UserWarning) as caught:
        found = quiet(simulator, PRIOR, 71, batch_size=16, workers=workers)
    expected = quiet(Small(room=71), PRIOR, 71, batch_size=16)
    np.testing.assert_allclose(found.x, expected.x, rtol=1e-14)
    assert eqx.tree_equal(found.theta, expected.theta)
    (warning,) = caught
    assert (
        "a batch of 16 simulations ran out of memory; going on with batches of 4"
        in (str(warning.message))
    )
    # Tried once with each size; afterwards the batches are small from the start. What
    # is done is not done again, but to fill up a last batch.
    failed = [size for size in simulator.calls if size > 5]
    assert failed == [16, 8]
    assert simulator.calls[2:] == [4] * 18


def test_sizes_that_are_no_powers_of_two_lose_nothing_either():
    for n, size, room in ((11, 7, 3), (9, 9, 1)):
        with pytest.warns(UserWarning, match="ran out of memory"):
            found = quiet(Small(room), PRIOR, n, batch_size=size, workers=1)
        expected = quiet(Small(room=n), PRIOR, n)
        np.testing.assert_allclose(found.x, expected.x, rtol=1e-14)


def test_a_later_batch_may_be_the_first_to_fail():
    simulator = Small(room=8)

    def shrink(x):
        if len(simulator.calls) == 3:
            simulator.room = 2  # somebody else took the rest
        return Small.allocate(simulator, x)

    simulator.allocate = shrink
    with pytest.warns(UserWarning, match="batches of 2"):
        found = quiet(simulator, PRIOR, 40, batch_size=8, workers=1)
    np.testing.assert_allclose(found.x, quiet(Small(99), PRIOR, 40).x, rtol=1e-14)
    assert simulator.calls == [8, 8, 8, 8, 4] + [2] * 8


def test_one_simulation_too_large_is_a_memory_error():
    simulator = Small(room=0)
    with pytest.raises(
        MemoryError, match="single simulation.*`workers`=1 instead of 2"
    ):
        quiet(simulator, PRIOR, 16, batch_size=8, workers=2)
    assert simulator.calls == [8, 4, 2, 1]


def test_what_a_store_holds_survives_a_lack_of_memory(tmp_path):
    pytest.importorskip("zarr")
    path = tmp_path / "small.zarr"
    run = functools.partial(quiet, prior=PRIOR, n=1200, batch_size=100, workers=1)
    plenty = run(Small(room=100))
    # Described by its class alone, so that it is the same simulator with more room.
    simulator = Small(room=100)
    count = iter(range(8))

    def fail(x):
        simulator.room = 100 if next(count, None) is not None else 0
        return Small.allocate(simulator, x)

    simulator.allocate = fail
    with pytest.raises(MemoryError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It may have gone on with fewer for a while.
        run(Hidden(simulator), path=path)
    import zarr

    done = np.count_nonzero(zarr.open(path)["done"][:])
    assert done >= 6
    again = Small(room=30)
    with pytest.warns(UserWarning, match="going on with batches of 25"):
        found = run(Hidden(again), path=path)
    np.testing.assert_allclose(found.x, plenty.x, rtol=1e-14)
    assert eqx.tree_equal(found.theta, plenty.theta)
    # Batches are shards here; those that were whole are not run again.
    assert again.calls[:2] == [100, 50]
    assert again.calls[2:] == [25] * (4 * (12 - done))


class Hidden:
    """A simulator that a store knows by its class alone."""

    __slots__ = ("inside",)

    def __init__(self, inside):
        self.inside = inside

    def __call__(self, theta, key):
        raise AssertionError("there is a faster `batch`")

    def batch(self, theta, keys):
        return self.inside.batch(theta, keys)


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    simulator = Small(room=9)

    def explode(x):
        simulator.calls.append(len(x))
        raise RuntimeError("power cut")

    simulator.allocate = explode
    with pytest.raises(Exception, match="power cut"):
        quiet(simulator, PRIOR, 8, batch_size=8)
    assert simulator.calls == [8]
    assert not is_out_of_memory(MemoryError("RESOURCE_EXHAUSTED"))


def test_jax_says_it_this_way():
    # More than any machine's address space: an error of the allocator's own.
    with pytest.raises(Exception) as info:
        jax.jit(lambda x: jnp.ones((2**23, 2**23)) * x + x)(2.0)
    assert is_out_of_memory(info.value)


def test_a_huge_ensemble_is_refused_at_once():
    simulator = VortexSimulator(Lattice((64, 64)), TwoBand())
    prior = Prior({"eta": dist.Uniform(0.0, 1.5)})
    message = refused(lambda: quiet(simulator, prior, 10**9))
    # Two copies of an image in double precision, and a little.
    assert "`n`=1000000000 simulations need about 197 TB" in message
    assert "(64, 64, 3)" in message
    fit = told(message, "n")
    assert fit == pytest.approx(host_memory() / (2 * 64 * 64 * 3 * 8), rel=0.3)


def test_a_huge_lattice_is_refused_at_once():
    simulator = VortexSimulator(Lattice((10**6, 10**6)), TwoBand())
    message = refused(lambda: quiet(simulator, {"eta": [0.5]}))
    assert "(1000000, 1000000, 3)" in message
    assert "not a single one fits" in message


def free_memory(monkeypatch, size):
    monkeypatch.setattr(_memory, "host_memory", lambda: size)


def test_a_huge_batch_is_refused_with_the_one_that_fits(monkeypatch):
    lattice = Lattice((16, 16))
    simulator = VortexSimulator(lattice, TwoBand(), t1=0.002)
    theta = {"eta": np.linspace(0.0, 1.0, 400)}
    free_memory(monkeypatch, 2**24)
    ask = functools.partial(quiet, simulator, theta)
    message = refused(lambda: ask(batch_size=200, workers=2))
    assert "`batch_size`=200 needs about" in message
    assert "for each of 2 `workers`" in message
    fit = told(message, "batch_size")
    assert 20 < fit < 200
    assert len(ask(batch_size=fit, workers=2)) == 400

    free_memory(monkeypatch, 2**23)
    message = refused(lambda: ask(batch_size=400))
    assert "not a single one fits" not in message
    # As many as there are batches at most: one here, whatever the workers.
    assert "for each of 1 `workers`" in message


def test_fewer_workers_are_proposed_where_all_of_them_do_not_fit():
    from gl15.simulation._memory import refuse_batch

    gpu = types.SimpleNamespace(
        platform="gpu",
        device_kind="Accelerator",
        memory_stats=lambda: {"bytes_limit": 10 * GIB, "bytes_in_use": 2 * GIB},
    )
    refuse_batch(8 * GIB, 4, 1, 99 * GIB, gpu)
    with pytest.raises(MemoryError, match="`batch_size`=3 fits") as info:
        refuse_batch(10 * GIB, 4, 1, 0, gpu)
    assert "Accelerator's memory" in str(info.value)
    with pytest.raises(MemoryError, match="`workers`=1 `batch_size`=1 fits"):
        refuse_batch(10 * GIB, 2, 2, 0, gpu)
    with pytest.raises(MemoryError, match="not a single simulation fits"):
        refuse_batch(10 * GIB, 1, 2, 0, gpu)
    refuse_batch(None, 1, 1, 0, gpu)


def test_the_ensemble_has_to_fit_on_the_device_too(monkeypatch):
    gpu = types.SimpleNamespace(
        platform="gpu", device_kind="Tiny", memory_stats=lambda: {"bytes_limit": 1000}
    )
    monkeypatch.setattr(_memory, "device_of", lambda _: gpu)
    with pytest.raises(MemoryError, match="of Tiny's memory.* 1 kB are free"):
        quiet(Small(room=99), PRIOR, 50)


def proc(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.fixture(name="root")
def _root(tmp_path):
    proc(tmp_path, "proc/meminfo", "MemTotal: 99 kB\nMemAvailable:   4096 kB\n")
    return tmp_path


def test_free_memory_is_what_the_system_says(root):
    assert host_memory(root) == 4096 * 1024


@pytest.mark.parametrize("visible", ["jobs/one", "jobs", ""])
def test_limits_of_cgroups_count(root, visible):
    # The group itself, one above it, or a container's own under another's path.
    proc(root, "proc/self/cgroup", "0::/jobs/one\n")
    folder = f"sys/fs/cgroup/{visible}"
    proc(root, f"{folder}/memory.max", "3000000\n")
    proc(root, f"{folder}/memory.current", "2500000\n")
    proc(root, f"{folder}/memory.stat", "anon 2000000\ninactive_file 400000\n")
    assert host_memory(root) == 900_000
    proc(root, f"{folder}/memory.max", "max\n")
    assert host_memory(root) == 4096 * 1024


def test_limits_of_old_cgroups_count(root):
    proc(root, "proc/self/cgroup", "9:name=systemd:/x\n8:pids:/x\n4:memory:/x\n")
    folder = "sys/fs/cgroup/memory/x"
    proc(root, f"{folder}/memory.limit_in_bytes", "3000000\n")
    proc(root, f"{folder}/memory.usage_in_bytes", "2500000\n")
    proc(root, f"{folder}/memory.stat", "cache 1\ntotal_inactive_file 400000\n")
    assert host_memory(root) == 900_000
    proc(root, f"{folder}/memory.limit_in_bytes", "9223372036854771712\n")
    assert host_memory(root) == 4096 * 1024


def test_a_system_without_these_files_is_asked_for_all_it_has(tmp_path):
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert host_memory(tmp_path) == total


def test_a_system_that_does_not_tell_refuses_nothing(monkeypatch):
    free_memory(monkeypatch, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(quiet(Small(room=9), PRIOR, 8)) == 8
