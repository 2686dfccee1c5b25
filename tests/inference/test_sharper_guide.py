"""The guide to sharper posteriors: its programs run, with fewer pairs, untrained."""

import inspect
import pathlib
import re

import jax.numpy as jnp
import numpy as np
import pytest

import gl15


GUIDE = pathlib.Path(__file__).parents[2] / "docs" / "guide" / "sharper.md"
FEWER = {
    "5_000": "100",
    "20_000": "100",
    "prior, 500": "prior, 20",
    "eta, 100": "eta, 4",
    # Long to compile, and tested elsewhere.
    "exact = gl15.summarize(ExactRatio(simulator, prior), fresh)": "",
    "found = gl15.summarize(estimator, fresh)": "",
    "gap = np.mean(exact.log_prob - found.log_prob)": "",
    "start = laplace(estimator, x)": "",
    "assert not leaning(second, x, prior, key=keys[19])": "",
}


@pytest.fixture(scope="module")
def names():
    """What the guide's programs define; training is tested elsewhere, and long."""
    signature = inspect.signature(gl15.fit)

    def untrained(*args, **options):
        signature.bind(*args, **options)
        return args[0], None

    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    program = "\n".join(blocks)
    for long, short in FEWER.items():
        assert long in program
        program = program.replace(long, short)
    known: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gl15, "fit", untrained)
        exec(compile(program, str(GUIDE), "exec"), known)
    return known


def test_an_untrained_chain_is_told_from_the_exact_one(names):
    assert jnp.all(names["kl"] > 0.1)


def test_its_parts_fit_together(names):
    np.testing.assert_allclose(np.diag(names["table"]), 0, atol=1e-6)
    weights = names["average"].weights(names["each"][0].x[0])
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-6)
    assert names["box"].names == names["prior"].names
