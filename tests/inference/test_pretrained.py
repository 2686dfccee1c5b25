"""The estimators that come with gl15 read images they have never seen."""

import jax
import numpy as np
import pytest

import gl15
from gl15.inference import describe, pretrained_path


def test_fresh_images_are_read_sharply_and_honestly():
    """64 images: the mean error is 0.010 +- 0.001, 95% intervals hold 56 at least
    but for one case in a thousand."""
    estimator = gl15.load_pretrained("eta")
    simulator = gl15.VortexSimulator(
        gl15.Lattice((64, 64), spacing=0.5, boundary="open"),
        gl15.TwoBand(diffusion=(4.0, 1.0)),
        field=0.04,
        dt=0.05,
        solver=gl15.RungeKuttaChebyshev(stages=5),
    )
    fresh = gl15.simulate(simulator, estimator.prior, 64, key=jax.random.key(99))
    summary = gl15.summarize(estimator, fresh)
    assert float(summary.error("eta").mean()) < 0.015
    assert int(np.sum(summary.covered("eta", 0.95))) >= 56


def test_the_file_says_how_it_was_made_and_how_well_it_does():
    header = describe(pretrained_path("eta"))
    assert header["provenance"]["script"] == "benchmarks/pretrain.py"
    error = header["calibration"]["chebyshev"]["after"]["eta"]["mean_abs_error"]
    assert 0 < error < 0.0184


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"'mu' is none of .*'eta'"):
        gl15.load_pretrained("mu")
