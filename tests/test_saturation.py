"""The search for the batch that saturates a device finds it, and counts correctly."""

import json
import pathlib

import jax
import pytest


BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(name="script")
def _script(monkeypatch):
    """Scripts find each other in their folder, as when one of them is run."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import saturation

    return saturation


def test_the_smallest_batch_close_to_the_best_is_found(script):
    rates = {1: 10.0, 2: 19.0, 4: 38.0, 8: 39.5, 16: 40.0, 32: 39.0}
    assert script.saturating(rates) == 4
    assert script.saturating({1: 1.0}) == 1


def test_it_goes_on_until_doubling_brings_nothing(script):
    rising = [1.0, 2.0, 4.0, 8.0, 16.0]
    assert not script.is_flat(rising)
    assert not script.is_flat([*rising, 16.1, 16.2])
    assert script.is_flat([*rising, 16.1, 16.2, 16.1])
    # A dip is no end: caches and vectors come in steps.
    assert not script.is_flat([*rising, 12.0, 12.0, 20.0])
    assert not script.is_flat([1.0, 1.0, 1.0])


def run(script, capsys, **settings):
    script.main(sites=8, steps=4, repeats=1, least_seconds=0.0, copy_mib=1, **settings)
    return json.loads(capsys.readouterr().out)


def test_the_script_measures_every_batch(script, capsys):
    figures = run(script, capsys, largest=4)
    assert figures["environment"]["device"]
    assert list(figures["batches"]) == ["1", "2", "4"]
    assert figures["saturating_batch"] in (1, 2, 4)
    assert figures["stopped"] == "`largest`=4 was reached"
    assert figures["copy_bytes_per_second"] > 0
    # Re and Im of two bands, in double precision here, read and written.
    assert figures["least_bytes_per_site_update"] == 64
    for batch, row in figures["batches"].items():
        rate = row["site_updates_per_second"]
        assert row["simulations_per_second"] * 64 * 4 == pytest.approx(rate)
        assert row["simulations_per_second"] * row["seconds"] == pytest.approx(
            int(batch)
        )
        assert row["bytes_per_second"] == pytest.approx(64 * rate)
        # Eq. (2) at a site: four neighbours times two bands, and the local terms.
        assert 40 < row["flops_per_site_update"] < 200
        assert row["bytes_per_site_update_by_xla"] > 64
        assert row["memory_bytes"] > int(batch) * 64 * 2 * 16


def test_it_stops_where_the_memory_ends(script, capsys, monkeypatch):
    monkeypatch.setattr(script, "device_memory", lambda device: 30_000)
    figures = run(script, capsys, largest=64)
    assert "do not fit in memory" in figures["stopped"]
    assert figures["batches"]

    def program(simulator, batch):
        def call():
            if batch > 2:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

        return call, None

    monkeypatch.setattr(script, "program", program)
    figures = run(script, capsys, largest=64)
    assert list(figures["batches"]) == ["1", "2"]
    assert figures["stopped"] == "4 simulations ran out of memory"


def test_a_copy_is_timed_by_what_it_reads_and_writes(script, monkeypatch):
    calls = []

    def seconds(call, repeats, least):
        call()
        calls.append((repeats, least))
        return 0.5

    monkeypatch.setattr(script, "median_seconds", seconds)
    assert script.copy_bandwidth(2, 3, 0.1) == 2 * 2 * 2**20 / 0.5
    assert calls == [(3, 0.1)]
