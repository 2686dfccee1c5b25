"""The example on the drag's fingerprint: its statistics are right, and it runs."""

import importlib
import json
import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

import gl15
from gl15.observables import densities


EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


@pytest.fixture
def module(monkeypatch):
    matplotlib.use("agg")
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module


@pytest.fixture
def statistics(module):
    return module("drag_statistics")


@pytest.fixture
def generator():
    return np.random.default_rng(0)


@pytest.mark.slow
def test_the_job_finds_the_suppression(module, tmp_path):
    job = module("drag_fingerprint")
    results = job.main(plan="smoke", out=tmp_path)
    (row,) = results["suppression"]
    assert row["nu"] == 0.4
    near_one = row["course"][1]
    # Of the larger sample: 0.57 at t = 1.9.
    assert 0.4 < near_one["ratio"] < 0.75
    assert 1 < near_one["peak"] < 3
    assert near_one["sigma"] > near_one["sigma_unpaired"] > 3
    assert near_one["last"] > 0.85 > row["course"][3]["last"]
    assert results["step_check"] < 0.02
    for steps in results["information"]["steps"].values():
        assert steps[-1]["known"] <= steps[-1]["joint"]
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["suppression"][0]["ratio"] == row["ratio"]
    report = (tmp_path / "report.md").read_text()
    assert f"{near_one['sigma']:.0f} sigma" in report
    for name in ("ratios", "spectra", "information"):
        assert f"{name}.png" in report
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_columns_are_logarithms_of_spectra_and_means(module):
    job = module("drag_fingerprint")
    lattice = gl15.Lattice((32, 32), boundary="periodic")
    simulator = job.SpectraOverTime(lattice, 2, (0.05, 0.1), 0.0125)
    theta, key = {"eta": jnp.array(0.8), "nu": jnp.array(0.3)}, jax.random.key(0)
    x = np.exp(eqx.filter_jit(simulator)(theta, key))

    material = gl15.TwoBand(josephson=0.8, drag=0.3)
    tdgl = gl15.TDGL(lattice, material, lattice.field_from_quanta(2))
    psi = gl15.quench(lattice, key=key)
    states = gl15.evolve(tdgl, psi, t1=0.1, dt=0.0125).ys
    assert states is not None
    first, second = densities(states[-1])
    for column, k in enumerate(job.CENTRES):
        _, S = gl15.structure_factor(first + second, 0.5, (k - 0.2, k + 0.2))
        np.testing.assert_allclose(x[-1, column], S[0], rtol=1e-6)
    spectra = [
        gl15.structure_factor(rho, 0.5, simulator.edges)[1]
        for rho in (first, second, first + second)
    ]
    rings = x[-1, job.READINGS["S(k) of bands and total"]]
    np.testing.assert_allclose(rings, np.concatenate(spectra), rtol=1e-6)
    np.testing.assert_allclose(x[-1, job.BOTH], [first.mean(), second.mean()])


def test_ratios_know_their_errors_paired_and_not(statistics, generator):
    runs, noise = 400, 0.05
    common = np.exp(0.3 * generator.standard_normal((runs, 1)))
    own = np.exp(noise * generator.standard_normal((2, runs, 1)))
    draws, others = generator.integers(0, runs, (2, 2_000, runs))
    one = statistics.ratios(0.5 * common * own[0], common * own[1], draws, others)
    paired = 0.5 * noise * np.sqrt(2 * np.exp(0.3**2) / runs)
    unpaired = 0.5 * np.sqrt(2 * (np.exp(0.3**2 + noise**2) - 1) / runs)
    np.testing.assert_allclose(one["error"], paired, rtol=0.15)
    np.testing.assert_allclose(one["error_unpaired"], unpaired, rtol=0.15)
    np.testing.assert_allclose(one["ratio"], 0.5, atol=4 * paired)
    assert one["low"] < one["ratio"] < one["high"]
    np.testing.assert_allclose(one["sigma"], 0.5 * np.log(2) / paired, rtol=0.15)


def test_the_course_of_a_known_curve(statistics):
    times = np.linspace(0.5, 5, 10)
    ratio = np.exp((times - 2.1) ** 2 / 4 - 0.8)
    flat = np.ones_like(ratio)
    one = {"ratio": ratio, "error": 0.1 * flat, "sigma": -10 * np.log(ratio)}
    one |= {"sigma_unpaired": -3 * np.log(ratio), "resamples": ratio[None]}
    found = statistics.course(times, one)
    assert found["begins"] == 1.0
    assert found["begins_unpaired"] is None
    np.testing.assert_allclose(found["peak"], 2.1)
    fades = 2.1 + 2 * np.sqrt(0.8 + np.log(0.9))
    np.testing.assert_allclose(found["fades"], fades, atol=0.05)  # interpolated
    assert found["ends"] == 4.0
    assert found["last"] == ratio[-1]


def test_information_of_a_normal_law(statistics, generator):
    # mu = A theta with covariance C: exactly A^T C^-1 A, whatever the number of runs.
    A = np.array([[1.0, 0.5], [-2.0, 1.0], [0.3, 0.0], [0.0, 1.0]])
    root = np.tril(generator.uniform(0.5, 1.5, (4, 4)))
    exact = A.T @ np.linalg.inv(root @ root.T) @ A
    found = []
    for _ in range(2_000):
        base = generator.standard_normal((25, 4)) @ root.T
        slopes = A.T[:, None] + 2 * generator.standard_normal((2, 25, 1)) @ root[:1]
        found.append(statistics.fisher(base, slopes))
    error = np.std(found, axis=0) / np.sqrt(len(found))
    np.testing.assert_array_less(np.abs(np.mean(found, 0) - exact), 4 * error)

    base = generator.standard_normal((2_000, 4)) @ root.T
    slopes = np.broadcast_to(A.T[:, None], (2, 2_000, 4))
    one = statistics.cramer_rao(base, slopes)
    for name, value in (
        ("known", 1 / np.sqrt(exact[0, 0])),
        ("joint", np.sqrt(np.linalg.inv(exact)[0, 0])),
    ):
        np.testing.assert_allclose(one[name], value, atol=4 * one[f"{name}_error"])
        assert one[f"{name}_error"] < 0.05 * value
    alone = statistics.cramer_rao(base[:, :1], slopes[..., :1])
    assert alone["joint"] is None
    with pytest.raises(ValueError, match="too few"):
        statistics.fisher(base[:6], slopes[:, :6])


def test_the_regression_leaves_out_what_it_is_judged_by(statistics, generator):
    y = generator.uniform(0, 1, 300)
    x = y[:, None] + 0.1 * generator.standard_normal((300, 4))
    error, own = statistics.regression_error(x, y)
    np.testing.assert_allclose(error, 0.05, atol=4 * own)
    nothing, _ = statistics.regression_error(generator.standard_normal((300, 20)), y)
    np.testing.assert_allclose(nothing, np.sqrt(1 / 12), rtol=0.1)
    # A normal reading of error 0.05 leaves log2(1/(0.05 sqrt(2 pi e))) bits of a
    # uniform prior of width 1, less what the ends take away.
    exact = np.log2(1 / (0.05 * np.sqrt(2 * np.pi * np.e)))
    np.testing.assert_allclose(statistics.information_bits(1.0, 0.05), exact)
    assert statistics.information_bits(1.0, 1.0) == 0


@pytest.mark.parametrize(("bias", "low", "high"), [(0.0, 0.01, 1.0), (0.1, 0.0, 1e-6)])
def test_a_comparison_sees_a_difference(statistics, generator, bias, low, high):
    common = np.exp(0.2 * generator.standard_normal((240, 3)))
    own = np.exp(0.1 * generator.standard_normal((2, 240, 3)))
    new = np.exp(0.1 * generator.standard_normal((2, 24, 3)))
    published = (0.7 * new.mean(1) + bias).round(2)
    found = statistics.compare(
        0.7 * common * own, common, published, 24, generator, 1_000
    )
    assert low <= found["paired"]["p"] <= high
    assert found["unpaired"]["chi_square"] < found["paired"]["chi_square"]
