"""The estimators that come with gl15 read images they have never seen."""

import jax
import numpy as np
import pytest

import gl15
from gl15.inference import describe, pretrained_path


NAMES = ["eta", "eta-B-nu"]


@pytest.mark.parametrize(("name", "sharp"), [("eta", 0.013), ("eta-B-nu", 0.025)])
def test_fresh_images_are_read_sharply_and_honestly(name, sharp):
    """64 images: mean errors of eta are 0.009 and 0.015, 10% from case to case; 95%
    intervals hold 56 truths at least but for one case in a thousand."""
    estimator = gl15.load_pretrained(name)
    simulator = gl15.VortexSimulator(
        gl15.Lattice((64, 64), spacing=0.5, boundary="open"),
        gl15.TwoBand(diffusion=(4.0, 1.0)),
        field=0.04,
        dt=0.05,
        solver=gl15.RungeKuttaChebyshev(stages=5),
    )
    fresh = gl15.simulate(simulator, estimator.prior, 64, key=jax.random.key(99))
    summary = gl15.summarize(estimator, fresh)
    assert float(summary.error("eta").mean()) < sharp
    for parameter in estimator.prior.names:
        assert int(np.sum(summary.covered(parameter, 0.95))) >= 56


@pytest.mark.parametrize("name", NAMES)
def test_the_file_says_how_it_was_made_and_how_well_it_does(name):
    header = describe(pretrained_path(name))
    assert header["provenance"]["script"] == "benchmarks/pretrain.py"
    figures = header["calibration"]["shipped"]["figures"]
    assert 0 < figures["eta: mean absolute error"]["value"] < 0.0184


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"'mu' is none of .*'eta'"):
        gl15.load_pretrained("mu")
