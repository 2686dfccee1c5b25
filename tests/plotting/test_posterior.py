"""What the figures show, read back from their artists."""

import types

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro.distributions as dist
import pytest

from gl15.diagnostics import null_deviation_quantile, recovery_table, summarize
from gl15.plotting import (
    plot_coverage,
    plot_joint,
    plot_posterior,
    plot_recovery,
    plot_sbc,
)
from gl15.posterior import grid_posterior
from gl15.simulation import ExactRatio, LinearGaussian, Prior


ETA = Prior({"eta": dist.Uniform(0.0, 1.5)})
ONE = ExactRatio(LinearGaussian([[1.0]], 0.05, ("eta",)), ETA)
KEY = jax.random.key(0)


@pytest.fixture(name="ax")
def _ax():
    return plt.subplots()[1]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_posterior_draws_density_intervals_and_truth(ax):
    posterior = grid_posterior(ONE, jnp.asarray([1.4]))
    assert plot_posterior(posterior, truth=1.42, ax=ax) is ax
    nodes, density = posterior.marginal("eta")
    np.testing.assert_allclose(ax.lines[0].get_xydata(), np.stack([nodes, density], 1))
    np.testing.assert_array_equal(ax.lines[1].get_xdata(), [1.42, 1.42])
    assert legend(ax) == ["95% interval", "68% interval", "truth"]
    shaded = ax.collections[0].get_paths()[0].vertices[:, 0]
    low, high = posterior.interval(0.95)["eta"]
    np.testing.assert_allclose([shaded.min(), shaded.max()], [low, high])
    left, right = ax.get_xlim()
    assert left < 1.25
    assert right == 1.5
    ax.figure.canvas.draw()


def test_joint_contours_hold_their_probability(ax):
    prior = Prior({"eta": dist.Normal(0.7, 1.0), "B": dist.Normal(0.0, 1.0)})
    toy = LinearGaussian([[1.0, 0.5], [0.2, 1.0]], 0.05, ("eta", "B"))
    x = jnp.asarray([0.8, 0.3])
    posterior = grid_posterior(ExactRatio(toy, prior), x)
    plot_joint(posterior, truth={"eta": 0.7, "B": 0.2}, ax=ax)
    assert legend(ax) == ["68%", "95%", "truth"]
    mean, covariance = toy.posterior(x, prior)
    drawn = next(one for one in ax.collections if hasattr(one, "levels"))
    for path, level in zip(drawn.get_paths(), [0.95, 0.68], strict=True):
        offset = path.vertices - np.asarray(mean)
        radius = np.einsum("ni,ij,nj->n", offset, np.linalg.inv(covariance), offset)
        np.testing.assert_allclose(1 - np.exp(-radius.mean() / 2), level, atol=0.01)
    ax.figure.canvas.draw()


def test_recovery_draws_the_table():
    truth = jnp.repeat(jnp.asarray([0.3, 0.8, 1.2]), 20)
    x = jax.vmap(ONE.simulator)({"eta": truth}, jax.random.split(KEY, 60))
    pairs = types.SimpleNamespace(theta={"eta": truth}, x=x)
    table = recovery_table(summarize(ONE, pairs))
    left, right = plot_recovery(table, label="exact")
    np.testing.assert_allclose(left.lines[0].get_ydata(), table.error.value)
    assert legend(left) == ["exact"]
    assert legend(right) == ["exact, 68%", "exact, 95%"]
    top = left.get_ylim()[1]
    assert plot_recovery(table, axes=(left, right), color="red") == (left, right)
    assert left.get_ylim() == (0.0, top)
    left.figure.canvas.draw()


@pytest.mark.parametrize("difference", [True, False])
def test_sbc_draws_the_distribution_function_and_its_null(ax, difference):
    ranks = np.sort(np.asarray(jax.random.uniform(KEY, (200,))))
    plot_sbc({"eta": ranks}, key=KEY, difference=difference, ax=ax)
    x, y = ax.lines[1].get_data()
    at = np.searchsorted(x, ranks[99], side="right") - 1
    np.testing.assert_allclose(y[at], 0.5 - difference * ranks[99])
    null = null_deviation_quantile(200, key=KEY)
    assert f"{null:.4f}" in ax.get_legend().get_title().get_text()
    assert "mean deviation" in legend(ax)[1]
    ax.figure.canvas.draw()


def test_coverage_draws_the_share_of_intervals_that_hold_the_truth(ax):
    ranks = np.asarray(jax.random.uniform(KEY, (400,)))
    plot_coverage({"eta": ranks, "B": ranks}, key=KEY, ax=ax)
    x, y = ax.lines[1].get_data()
    share = np.mean(np.abs(ranks - 0.5) <= 0.34)
    np.testing.assert_allclose(y[np.searchsorted(x, 0.68, side="right") - 1], share)
    assert f"68% holds {share:.1%}" in legend(ax)[1]
    assert len(legend(ax)) == 3
    ax.figure.canvas.draw()


def test_levels_of_joint_regions_are_drawn_as_they_are(ax):
    levels = np.asarray(jax.random.uniform(KEY, (100,)))
    plot_coverage(levels, key=KEY, kind="credibility", ax=ax)
    x, y = ax.lines[1].get_data()
    np.testing.assert_allclose(
        y[np.searchsorted(x, 0.5, side="right") - 1], np.mean(levels <= 0.5)
    )


def test_figures_are_made_when_no_axes_are_given():
    posterior = grid_posterior(ONE, jnp.asarray([0.7]))
    assert plot_posterior(posterior).figure is not plot_posterior(posterior).figure


def test_a_name_is_needed_among_several():
    prior = Prior({"a": dist.Uniform(), "b": dist.Uniform()})
    estimator = ExactRatio(LinearGaussian(np.eye(2), 0.1, ("a", "b")), prior)
    posterior = grid_posterior(estimator, jnp.asarray([0.5, 0.5]), 16)
    with pytest.raises(ValueError, match="`name` is needed"):
        plot_posterior(posterior)


def test_one_parameter_has_no_joint_density():
    with pytest.raises(ValueError, match="got .'eta'.; use `plot_posterior`"):
        plot_joint(grid_posterior(ONE, jnp.asarray([0.7]), 16))
