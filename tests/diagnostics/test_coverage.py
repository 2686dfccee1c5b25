import numpy as np
import pytest
import scipy.stats

from gl15.diagnostics import coverage


def test_coverage_of_evenly_spread_ranks_is_the_level():
    ranks = (np.arange(1000) + 0.5) / 1000
    found = coverage({"eta": ranks})
    assert found.levels == (0.5, 0.68, 0.9, 0.95)
    np.testing.assert_allclose(found.empirical["eta"], found.levels, atol=1e-3)
    assert found.consistent()["eta"].all()
    np.testing.assert_allclose(
        coverage(ranks, (0.3, 0.8), kind="credibility").empirical["joint"], [0.3, 0.8]
    )


def test_confidence_interval_is_that_of_scipy():
    ranks = np.concatenate([np.full(90, 0.5), np.full(10, 0.999)])
    found = coverage({"eta": ranks}, (0.95,))
    exact = scipy.stats.binomtest(90, 100).proportion_ci(0.95, method="exact")
    np.testing.assert_allclose(found.low["eta"], exact.low)
    np.testing.assert_allclose(found.high["eta"], exact.high)
    np.testing.assert_allclose(found.standard_error, np.sqrt(0.95 * 0.05 / 100))


def test_extremes_have_closed_intervals():
    found = coverage({"all": np.full(20, 0.5), "none": np.zeros(20)}, (0.68,))
    assert found.high["all"] == 1
    assert found.low["none"] == 0
    np.testing.assert_allclose(found.low["all"], 0.025 ** (1 / 20))


def test_overconfidence_is_inconsistent():
    ranks = scipy.stats.norm.cdf(
        1.5 * scipy.stats.norm.ppf((np.arange(500) + 0.5) / 500)
    )
    found = coverage({"eta": ranks})
    assert np.all(found.empirical["eta"] < found.levels)
    assert not found.consistent()["eta"].any()


def test_table_has_a_row_for_each_level():
    text = coverage({"eta": np.linspace(0, 1, 50)}).to_markdown()
    assert text.count("| eta |") == 4
    assert "| eta | 68.0% |" in text


def test_mistakes_are_explained():
    with pytest.raises(ValueError, match="`levels`"):
        coverage(np.ones(3), (95.0,))
    with pytest.raises(ValueError, match="`ranks`"):
        coverage(np.full(3, 2.0))
