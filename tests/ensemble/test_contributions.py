"""What members bring."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import log_loss

from sk_tune.ensemble._contributions import contribution_table
from sk_tune.ensemble._objective import RowObjective

LOG = RowObjective(kind="log_loss")
WEIGHTS = np.array([0.2, 0.0, 0.5, 0.3, 0.0, 0.0])


def test_there_is_a_row_for_each_member(make_library):
    """The weightiest member comes first, by its row of the search's table."""
    library = make_library()
    table = contribution_table(library, WEIGHTS, LOG)

    assert table.index.tolist() == [12, 13, 10]
    assert table["weight"].tolist() == [0.5, 0.3, 0.2]
    scores = [-log_loss(library.y, library.predictions[i]) for i in (2, 3, 0)]
    np.testing.assert_allclose(table["score"], scores)


def test_the_gain_is_what_the_ensemble_loses_without_a_member(make_library):
    """The score with all members less that of the others, with weights that sum to 1."""
    library = make_library()
    table = contribution_table(library, WEIGHTS, LOG)

    whole = np.tensordot(WEIGHTS, library.predictions, axes=1)
    without = WEIGHTS.copy()
    without[3] = 0
    without /= without.sum()
    rest = np.tensordot(without, library.predictions, axes=1)
    expected = log_loss(library.y, rest) - log_loss(library.y, whole)
    assert table.loc[13, "gain"] == pytest.approx(expected)
    assert table.loc[13, "gain_error"] > 0


def test_errors_that_are_the_same_have_correlation_one(make_library):
    """Copies err alike; independent candidates do not."""
    library = make_library(n_rows=5000, is_classification=False)
    predictions = library.predictions.copy()
    predictions[2] = predictions[0]
    copies = replace(library, predictions=predictions)
    squared = RowObjective(kind="squared")
    two = np.array([0.4, 0, 0.6, 0, 0, 0])

    table = contribution_table(copies, two, squared)
    np.testing.assert_allclose(table["error_correlation"], 1)
    apart = contribution_table(library, two, squared)
    # The standard error of a correlation of 5000 rows is 0.014.
    np.testing.assert_allclose(apart["error_correlation"], 0, atol=0.06)


def test_a_lone_member_has_nothing_to_compare_with(make_library):
    """Correlation and gain of a lone member are NaN."""
    table = contribution_table(make_library(), np.eye(6)[4], LOG)

    assert len(table) == 1
    assert table[["error_correlation", "gain", "gain_error"]].isna().all(axis=None)
