"""Rows that were given equally much."""

import numpy as np

from sk_tune.report.displays._drawing import levels_of
from sk_tune.report.displays._search_trials import trials_of


def test_levels_part_the_rows(iris_hyperband):
    """Every row is in the level of its number of epochs, and looks different there."""
    trials = trials_of(iris_hyperband)

    levels = levels_of(trials)

    assert [level.n_resources for level in levels] == [1, 3, 9]
    np.testing.assert_array_equal(sum(level.rows.astype(int) for level in levels), 1)
    for level in levels:
        assert set(trials.n_resources[level.rows]) == {level.n_resources}
    assert len({level.style["marker"] for level in levels}) == 3


def test_a_search_without_rungs_has_one_level(iris_grid):
    """Its rows are candidates."""
    (level,) = levels_of(trials_of(iris_grid))

    assert level.rows.all()
    assert level.style["label"] == "Candidate"
