import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gl15.diagnostics import recovery_table, summarize


@pytest.fixture(scope="module", name="repeated")
def _repeated(one):
    """Many images for each of four true values."""
    truth = jnp.repeat(jnp.asarray([0.3, 0.6, 0.8, 1.2]), 250)
    return summarize(one.exact, one.observe({"eta": truth}, jax.random.key(0)))


def test_rows_are_the_distinct_true_values(repeated):
    table = recovery_table(repeated)
    assert table.name == "eta"
    np.testing.assert_allclose(table.true, [0.3, 0.6, 0.8, 1.2])
    np.testing.assert_array_equal(table.count, [250] * 4)


def test_columns_of_a_gaussian_posterior(repeated):
    # Far from the edges the posterior is N(x, 0.1^2), its mean off by N(0, 0.1^2).
    table = recovery_table(repeated)
    error = 0.1 * np.sqrt(2 / np.pi)
    np.testing.assert_allclose(table.std.value[2], 0.1, rtol=1e-3)
    np.testing.assert_allclose(table.mean.value[2], 0.8, atol=0.02)
    np.testing.assert_allclose(table.error.value[2], error, rtol=0.15)
    np.testing.assert_allclose(
        table.error.standard_error[2], 0.1 * np.sqrt((1 - 2 / np.pi) / 250), rtol=0.15
    )
    for level in (0.68, 0.95):
        width = 0.2 * scipy.stats.norm.ppf((1 + level) / 2)
        np.testing.assert_allclose(table.width[level].value[2], width, rtol=1e-3)
        spread = np.sqrt(level * (1 - level) * 250)
        np.testing.assert_allclose(
            table.covered[level], np.full(4, 250 * level), atol=3.5 * spread
        )


def test_totals_are_over_all_images(repeated):
    table = recovery_table(repeated)
    error = np.asarray(repeated.error("eta"))
    np.testing.assert_allclose(table.total_error[0], error.mean())
    np.testing.assert_allclose(table.total_error[1], error.std(ddof=1) / 1000**0.5)


def test_markdown_has_the_columns_of_a_recovery_table(repeated):
    lines = recovery_table(repeated).to_markdown().splitlines()
    for column in ("true eta", "posterior mean", "posterior std", "mean abs error"):
        assert column in lines[0]
    assert "68% width" in lines[0]
    assert "95% width" in lines[0]
    assert len(lines) == 8
    assert len({line.count("|") for line in lines[:6]}) == 1
    assert "1000 images" in lines[-1]


def test_bins_group_continuous_values(one):
    pairs = one.pairs(1000, jax.random.key(1))
    summary = summarize(one.exact, pairs)
    with pytest.raises(ValueError, match="`bins`"):
        recovery_table(summary)
    table = recovery_table(summary, bins=3)
    assert table.count.sum() == 1000
    table = recovery_table(summary, "eta", bins=[0.0, 0.5, 1.0])
    truth = np.asarray(pairs.theta["eta"])
    np.testing.assert_array_equal(
        table.count, [np.sum(truth < 0.5), np.sum((truth >= 0.5) & (truth <= 1.0))]
    )
    np.testing.assert_allclose(table.true[0], truth[truth < 0.5].mean())


def test_a_single_image_has_no_standard_error(repeated):
    two = jax.tree.map(lambda column: column[jnp.asarray([0, 999])], repeated)
    table = recovery_table(two)
    assert np.isnan(table.error.standard_error).all()
    assert "nan" not in table.to_markdown().splitlines()[2]


def test_mistakes_are_explained(repeated):
    with pytest.raises(ValueError, match="`name` must be in .* got 'B'"):
        recovery_table(repeated, "B")
    with pytest.raises(ValueError, match="`name` is needed"):
        recovery_table(dataclasses.replace(repeated, names=("eta", "B")))
