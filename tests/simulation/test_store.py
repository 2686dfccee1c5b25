"""Ensembles on disk: whatever happens, the same bits as without interruption."""

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import zarr

from gl15.simulation import (
    NonFiniteSimulationError,
    open_ensemble,
    Prior,
    simulate,
)
from gl15.simulation._header import read_header, read_root, write_root
from gl15.simulation._log import Log, read_log
from gl15.simulation._plan import describe_plan, differences


PRIOR = Prior({"b": dist.Uniform(0.0, 1.0), "a": dist.Normal(0.0, 1.0)})
KEY = jax.random.key(7)
N, BATCH = 245, 20  # shards of six batches: 120, 120 and 5, a batch that is short

EVENTS = {"calls": 0, "fail after": None}


def happen(x):
    """What the world does to a batch."""
    EVENTS["calls"] += 1
    if EVENTS["fail after"] is not None and EVENTS["calls"] > EVENTS["fail after"]:
        raise RuntimeError("power cut")
    return x


class Slow(eqx.Module):
    scale: float = 2.0
    tilt: jax.Array = eqx.field(default_factory=lambda: jnp.linspace(0.0, 1.0, 30))
    bad: float = jnp.inf
    channels: tuple[str, ...] = ("u", "v")
    spacing: float = 0.5

    def __call__(self, theta, key):
        x = self.scale * theta["a"] + jax.random.normal(key, (5, 3, 2))
        x = x + theta["b"] * self.tilt.reshape(5, 3, 2)
        return jnp.where(theta["a"] > self.bad, jnp.nan, x)

    def batch(self, theta, keys):
        x = jax.vmap(self)(theta, keys)
        return jax.pure_callback(happen, x, x)


def noisy(theta, key):
    return theta["a"] + jax.random.normal(key, (5, 3, 2))


draw = functools.partial(
    simulate, Slow(), PRIOR, n=N, key=KEY, batch_size=BATCH, progress=False
)


@pytest.fixture(autouse=True)
def _calm():
    EVENTS.update({"calls": 0, "fail after": None})


@pytest.fixture(name="whole", scope="module")
def _whole():
    """What comes out without a store."""
    return draw()


@pytest.fixture(name="finished", scope="module")
def _finished(whole, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "runs" / "whole.zarr"
    assert eqx.tree_equal(draw(path=path), whole)
    return path


@pytest.fixture(name="half")
def _half(tmp_path):
    """A store that lost its process in the second shard."""
    path = tmp_path / "half.zarr"
    EVENTS["fail after"] = 8
    with pytest.raises(Exception, match="power cut"):
        draw(path=path, workers=1)
    EVENTS.update({"calls": 0, "fail after": None})
    np.testing.assert_array_equal(zarr.open(path)["done"][:], [120, 0, 0])
    return path


def test_an_interrupted_run_goes_on_to_the_same_bits(half, whole):
    assert eqx.tree_equal(draw(path=half), whole)
    assert EVENTS["calls"] == 7  # The six batches of the first shard are kept.


def test_a_run_resumed_elsewhere_keeps_its_batches(half, whole):
    # Another machine would choose other batches, and so other roundings.
    assert eqx.tree_equal(draw(path=half, batch_size=None, workers=3), whole)


def test_a_finished_run_is_read_without_a_simulation(finished, whole):
    EVENTS["fail after"] = 0
    assert eqx.tree_equal(draw(path=finished), whole)
    assert EVENTS["calls"] == 0


def test_the_store_is_plain_zarr(finished, whole):
    group = zarr.open(finished, mode="r")
    assert sorted(group.array_keys()) == ["done", "finite", "sha256", "x"]
    assert sorted(group["theta"].array_keys()) == ["a", "b"]
    for name, value in whole.theta.items():
        np.testing.assert_array_equal(group["theta"][name][:], value)
    np.testing.assert_array_equal(group["x"][:], whole.x)
    assert group["x"].dtype == whole.x.dtype
    assert group["x"].shards == (120, 5, 3, 2)
    assert group["x"].attrs["channels"] == ["u", "v"]
    assert group["x"].attrs["units"] == "dimensionless"
    assert group["done"][:].tolist() == [120, 120, 5]
    assert group["finite"][:].all()
    for shard, checksum in enumerate(group["sha256"][:]):
        data = (finished / "x" / f"c.{shard}.0.0.0").read_bytes()
        assert checksum.tobytes() == hashlib.sha256(data).digest()
    assert group.metadata.zarr_format == 3
    header = json.loads(json.dumps(dict(group.attrs)))
    assert header["format"] == "gl15 ensemble"
    assert header["format_version"] == 2
    assert header["gl15"] == version("gl15")
    assert header["versions"]["jax"] == jax.__version__
    assert header["spacing"] == 0.5
    plan = header["plan"]
    assert plan["n"] == N
    assert Prior.from_description(plan["prior"]) == PRIOR
    assert plan["simulator"]["type"] == "Slow"
    assert plan["simulator"]["scale"] == 2.0
    assert plan["channels"] == ["u", "v"]
    assert plan["spacing"] == 0.5
    data = np.asarray(plan["key"]["data"], np.uint32)
    assert jax.random.wrap_key_data(data, impl=plan["key"]["type"]) == KEY


def test_xarray_reads_the_store(finished, whole):
    xarray = pytest.importorskip("xarray")
    with xarray.open_zarr(finished) as data:
        assert data.x.dims == ("sample", "row", "column", "channel")
        assert data.done.dims == ("shard",)
        np.testing.assert_array_equal(data.x.values, whole.x)
        assert data.attrs["plan"]["n"] == N
    with xarray.open_datatree(finished, engine="zarr") as tree:
        assert tree["theta/a"].dims == ("sample",)
        np.testing.assert_array_equal(tree["theta/a"].values, whole.theta["a"])


def test_a_log_line_for_every_batch(finished):
    lines = read_log(finished)
    batches = [line for line in lines if line["event"] == "batch"]
    rows = sorted(tuple(line["rows"]) for line in batches)
    starts = range(0, N, BATCH)
    assert rows == [(start, min(start + BATCH, N)) for start in starts]
    for line in batches:
        assert line["nonfinite"] == 0
        assert line["rate"] > 0
        assert line["pid"] == os.getpid()
    assert lines[0]["event"] == "begin"
    assert lines[-1]["event"] == "end"
    # Somebody else's half of a line is left out.
    (log,) = finished.glob("log-*.jsonl")
    text = log.read_text()
    log.write_text(text + '{"time": "20')
    assert read_log(finished) == lines
    # And takes no line with it.
    Log(log).write("begin")
    assert [line["event"] for line in read_log(finished)[len(lines) :]] == ["begin"]
    log.write_text(text)


def test_a_function_is_known_by_what_it_carries():
    def scaled(factor):
        return lambda theta, key: factor * jax.random.normal(key)

    def plan(simulator):
        return describe_plan(simulator, PRIOR, 1, jax.random.key(0))

    assert plan(scaled(2.0)) == plan(scaled(2.0))
    found = list(differences(plan(scaled(2.0)), plan(scaled(3.0))))
    assert found == [("simulator.with", [2.0], [3.0])]


def test_progress_is_for_a_terminal(capsys, monkeypatch):
    draw(progress=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    draw(progress=True)
    # How many, how long, how long still, how fast.
    match = r"simulate: 100%.* 245/245 \[\d\d:\d\d<\d\d:\d\d, .*sim/s\]"
    assert re.search(match, capsys.readouterr().err)


def arrays(path):
    group = zarr.open(path, mode="r")
    names = [*group.array_keys(), *(f"theta/{name}" for name in group["theta"])]
    return {name: group[name][:] for name in names if name != "sha256"}


@pytest.mark.parametrize("first", [20, 110, 120, 240])
def test_a_larger_n_goes_on_to_the_same_bits(tmp_path, finished, whole, first):
    path = tmp_path / "grown.zarr"
    draw(n=first, path=path)
    calls = EVENTS["calls"]
    assert eqx.tree_equal(draw(path=path), whole)
    # Whole batches are kept, also those of the last shard.
    assert EVENTS["calls"] - calls == 13 - first // BATCH
    for name, value in arrays(finished).items():
        np.testing.assert_array_equal(arrays(path)[name], value)
    assert read_header(path)["plan"] == read_header(finished)["plan"]


def test_a_smaller_n_reads_the_first(finished, whole):
    assert eqx.tree_equal(draw(n=130, path=finished), whole[:130])
    assert EVENTS["calls"] == 0
    assert read_header(finished)["plan"]["n"] == N


def test_a_smaller_n_finishes_no_more_than_it_asks_for(half, whole):
    assert eqx.tree_equal(draw(n=130, path=half), whole[:130])
    assert EVENTS["calls"] == 1
    assert zarr.open(half)["done"][:].tolist() == [120, 10, 0]
    assert eqx.tree_equal(draw(path=half), whole)


def test_an_extension_that_was_killed_is_done_again(tmp_path, finished, whole):
    path = tmp_path / "grown.zarr"
    draw(n=100, path=path)
    root = (path / "zarr.json").read_bytes()
    draw(n=200, path=path)
    (path / "zarr.json").write_bytes(root)  # the file that makes it count
    assert eqx.tree_equal(draw(n=100, path=path), whole[:100])
    assert eqx.tree_equal(draw(path=path), whole)


CHANGES = {
    r"`key.data` is \[0, 8\] here but \[0, 7\] there": {"key": jax.random.key(8)},
    "`simulator.scale` is 3.0 here but 2.0 there": {"simulator": Slow(scale=3.0)},
    "`simulator.tilt.sha256`": {"simulator": Slow(tilt=jnp.linspace(0.0, 2.0, 30))},
    "`simulator` is noisy here": {"simulator": noisy},
    "`prior.b.high` is 2.0 here but 1.0 there": {
        "prior": Prior({"b": dist.Uniform(0.0, 2.0), "a": dist.Normal(0.0, 1.0)})
    },
    "`prior.c` is .* here but None there": {
        "prior": Prior({"b": dist.Uniform(), "c": dist.Normal()})
    },
    "`prior.a` is given values here": {"prior": {"a": np.zeros(N), "b": np.zeros(N)}},
    r"`theta.[ab]\[0\]` is .* here but .* there": {
        # The same distributions in another order draw other values.
        "prior": Prior({"a": dist.Normal(0.0, 1.0), "b": dist.Uniform(0.0, 1.0)})
    },
    "`batch_size` is 50 here but 20 there": {"batch_size": 50},
}


@pytest.mark.parametrize("match", CHANGES)
def test_another_plan_is_refused_by_what_differs(finished, match):
    arguments = {"simulator": Slow(), "prior": PRIOR, "n": N, "key": KEY}
    arguments |= CHANGES[match]
    with pytest.raises(ValueError, match=match) as info:
        simulate(**arguments, path=finished, progress=False)
    assert "give another `path`, or delete" in str(info.value)
    assert "whole.zarr" in str(info.value)
    assert EVENTS["calls"] == 0


def test_another_precision_is_another_plan(finished):
    with jax.enable_x64(False):
        with pytest.raises(ValueError, match="`precision` is float32 here"):
            draw(path=finished)


def test_given_theta_are_compared_value_by_value(tmp_path):
    run = functools.partial(
        simulate, Slow(), key=KEY, progress=False, path=tmp_path / "given.zarr"
    )
    theta = {"a": np.asarray([1.0, 2.0]), "b": np.zeros(2)}
    first = run(theta)
    assert eqx.tree_equal(run(theta), first)
    with pytest.raises(ValueError, match=r"`theta.a\[1\]` is 3.0 here but 2.0 there"):
        run(theta | {"a": np.asarray([1.0, 3.0])})
    more = run({"a": np.asarray([1.0, 2.0, 3.0]), "b": np.zeros(3)})
    np.testing.assert_allclose(more.x[:2], first.x, rtol=1e-14)


def test_a_simulator_that_gives_other_observations_is_refused(half):
    class Other(Slow):
        def batch(self, theta, keys):
            return super().batch(theta, keys)[..., :1]

    Other.__qualname__ = "Slow"
    with pytest.raises(ValueError, match=r"\(5, 3, 1\) of float64.*\(5, 3, 2\)"):
        simulate(Other(), PRIOR, N, key=KEY, path=half, progress=False)


def test_simulations_that_are_not_finite_are_stored_and_reported(tmp_path):
    path = tmp_path / "bad.zarr"
    run = functools.partial(
        simulate, Slow(bad=1.0), PRIOR, 40, key=KEY, progress=False, path=path
    )
    errors = []
    for _ in range(2):  # The second time from the store alone.
        with pytest.raises(NonFiniteSimulationError, match="first is number") as info:
            run()
        errors.append(info.value)
    assert EVENTS["calls"] == 1
    assert eqx.tree_equal(errors[0].ensemble, errors[1].ensemble)
    group = zarr.open(path, mode="r")
    assert np.isnan(group["x"][:]).any(axis=(1, 2, 3)).sum() == len(errors[0].index)
    with pytest.warns(UserWarning, match="Dropped"):
        kept = run(on_nonfinite="drop")
    assert eqx.tree_equal(kept, errors[0].ensemble)


def test_an_empty_folder_is_a_place_for_a_store(tmp_path, whole):
    assert eqx.tree_equal(draw(path=str(tmp_path)), whole)


def put_a_file(path):
    path.write_text("something")


def put_a_folder(path):
    (path / "inside").mkdir(parents=True)


def put_another_group(path):
    zarr.create_group(path, attributes={"format": "weather"})


def put_broken_metadata(path):
    path.mkdir()
    (path / "zarr.json").write_text('{"zarr_format": 3, "node_ty')


@pytest.mark.parametrize(
    "put", [put_a_file, put_a_folder, put_another_group, put_broken_metadata]
)
def test_what_is_no_store_is_left_alone(tmp_path, put):
    path = tmp_path / "taken"
    put(path)
    with pytest.raises(ValueError, match="taken'.*ensemble.*give another `path`"):
        draw(path=path)
    assert EVENTS["calls"] == 0
    assert path.exists()


def test_a_store_that_lost_an_array_is_simulated_again(half, whole):
    shutil.rmtree(half / "x")
    with pytest.warns(UserWarning, match="simulations 0 to 119 does not match"):
        assert eqx.tree_equal(draw(path=half), whole)


def edit_header(path, **changes):
    header, gathered = read_root(path)
    write_root(path, header | changes, gathered)


def test_other_formats_are_not_guessed_at(half):
    edit_header(half, format_version=3, gl15="9.0")
    with pytest.raises(ValueError, match="format 3, newer than .* by gl15 9.0"):
        draw(path=half)
    edit_header(half, format_version=1, gl15="0.0.1")
    with pytest.raises(ValueError, match="format 1 of gl15 0.0.1.*zarr.open"):
        draw(path=half)
    with pytest.raises(ValueError, match="format 1 of gl15 0.0.1.*zarr.open"):
        open_ensemble(half)


def test_a_header_that_was_changed_is_noticed(half):
    file = half / "zarr.json"
    text = file.read_text()
    assert '"n": 245' in text
    file.write_text(text.replace('"n": 245', '"n": 246'))
    with pytest.raises(ValueError, match="does not match its checksum"):
        draw(path=half)


def test_going_on_with_another_version_is_said(half, whole):
    versions = read_header(half)["versions"]
    edit_header(half, versions=versions | {"gl15": "0.0.1", "jax": "0.1"})
    match = "begun with gl15 0.0.1 and goes on with 0.1.0, with jax 0.1 and goes on"
    with pytest.warns(UserWarning, match=match):
        resumed = draw(path=half)
    assert eqx.tree_equal(resumed, whole)
    draw(path=half)  # Reading what is finished needs no warning.


def test_without_zarr_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "gl15\[data\]"'):
        draw(path=tmp_path / "x.zarr")
    assert EVENTS["calls"] == 0


def test_zarr_is_imported_for_a_store_alone():
    code = "import sys, gl15.simulation; assert 'zarr' not in sys.modules"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def plan_of(simulator):
    plan = describe_plan(simulator, PRIOR, 3, KEY)
    return json.loads(json.dumps(plan))


class Plain:
    def __init__(self, **parameters):
        self.__dict__.update(parameters)


def shift(theta, key, *, by):
    return theta["a"] + by


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        (Plain(a=1.0), Plain(a=2.0), "simulator.a"),
        (Plain(a=np.arange(40)), Plain(a=-np.arange(40)), "simulator.a.sha256"),
        (Plain(a=np.arange(4)), Plain(a=np.arange(5)), "simulator.a"),
        (Plain(a={"u": [1, 2]}), Plain(a={"u": [1, 3]}), "simulator.a.u"),
        (Plain(a=jax.random.key(1)), Plain(a=jax.random.key(2)), "simulator.a.data"),
        (Plain(a=jnp.sin), Plain(a=jnp.cos), "simulator.a"),
        (Plain(a=np.inf), Plain(a=-np.inf), "simulator.a"),
        (
            functools.partial(shift, by=1.0),
            functools.partial(shift, by=2.0),
            "simulator.with",
        ),
    ],
)
def test_every_parameter_of_a_simulator_counts(one, other, name):
    assert list(differences(plan_of(one), plan_of(one))) == []
    assert [d[0] for d in differences(plan_of(one), plan_of(other))] == [name]


def test_an_object_that_holds_itself_can_be_described():
    simulator = Plain(a=1.0)
    simulator.me = simulator
    assert plan_of(simulator)["simulator"]["me"]["a"] == 1.0


def test_a_prior_without_a_description_is_known_by_its_draws(tmp_path):
    def build(scale):
        move = dist.transforms.AffineTransform(0.0, scale)
        moved = dist.TransformedDistribution(dist.Uniform(0.0, 1.0), move)
        return Prior({"a": moved, "b": dist.Uniform(0.0, 1.0)})

    run = functools.partial(
        simulate, Slow(), n=4, key=KEY, progress=False, path=tmp_path / "odd.zarr"
    )
    assert eqx.tree_equal(run(prior=build(2.0)), run(prior=build(2.0)))
    with pytest.raises(ValueError, match=r"theta.a\[0\]"):
        run(prior=build(3.0))
