"""No windows, and no figures left behind."""

import matplotlib
import matplotlib.pyplot as plt
import pytest


matplotlib.use("agg")


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")
