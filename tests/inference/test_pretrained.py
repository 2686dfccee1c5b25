"""The estimators that come with gl15 read images they have never seen."""

import jax
import numpy as np
import pytest

import gl15
from gl15.inference import describe, pretrained_path
from gl15.inference._estimators.candidates import candidates


# A third more than the mean errors of many images: those of 64 scatter by a tenth.
SHARP = {
    "eta": {"eta": 0.011},
    "eta-B-nu": {"eta": 0.022, "B": 0.0011, "nu": 0.0175},
}


@pytest.mark.parametrize("name", SHARP)
def test_fresh_images_are_read_sharply_and_honestly(name):
    """95% intervals hold 56 truths of 64 but for one case in a thousand."""
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
    for parameter, sharp in SHARP[name].items():
        assert float(summary.error(parameter).mean()) < sharp
        assert int(np.sum(summary.covered(parameter, 0.95))) >= 56
    # Proposals are those of the network inside; of the prior's draws few would count.
    h, key = estimator.embed(fresh.x[0]), jax.random.key(0)
    _, log_weight = candidates(estimator, h, key, 4_000)
    weight = np.exp(log_weight - np.max(log_weight))
    assert weight.sum() ** 2 / (weight**2).sum() > 1_000


@pytest.mark.parametrize("name", SHARP)
def test_the_file_says_how_it_was_made_and_how_well_it_does(name):
    header = describe(pretrained_path(name))
    assert header["provenance"]["script"] == "benchmarks/pretrain.py"
    figures = header["calibration"]["shipped"]["figures"]
    assert 0 < figures["eta: mean absolute error"]["value"] < 0.0184


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"'mu' is none of .*'eta'"):
        gl15.load_pretrained("mu")
