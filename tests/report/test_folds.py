"""The folds of a search that is over."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, ShuffleSplit, TimeSeriesSplit

from sk_tune.report._search_checks import folds_of, held_out_rows

X, Y = np.zeros((12, 1)), np.arange(12) % 2


def _search(cv, remembered=None):
    search = SimpleNamespace(cv=cv, estimator=LogisticRegression())
    if remembered is not None:
        search.held_out_rows_ = [[None] * len(remembered), remembered]
    return search


def _assert_same(folds, expected):
    for own, other in zip(folds, expected, strict=True):
        for rows, theirs in zip(own, other, strict=True):
            np.testing.assert_array_equal(rows, theirs)


def test_folds_that_were_drawn_at_random_are_remembered():
    """A splitter without a seed cannot draw them again, but the search knows."""
    drawn = list(KFold(3, shuffle=True, random_state=5).split(X))
    search = _search(KFold(3, shuffle=True), [test for _, test in drawn])

    folds, are_same = folds_of(search, None, Y, 12)

    assert are_same
    _assert_same(folds, drawn)


@pytest.mark.parametrize("cv", [TimeSeriesSplit(3), ShuffleSplit(3, random_state=0)])
def test_folds_that_leave_rows_out_are_drawn_again(cv):
    """They are checked against what the search remembers."""
    drawn = list(cv.split(X))
    search = _search(cv, [test for _, test in drawn])

    folds, are_same = folds_of(search, X, Y, 12)

    assert are_same
    _assert_same(folds, drawn)


def test_folds_that_cannot_be_drawn_again_are_said_to_differ():
    """A random splitter that leaves rows out draws others each time."""
    cv = ShuffleSplit(3)
    search = _search(cv, [test for _, test in cv.split(X)])

    assert folds_of(search, None, Y, 12) == (None, False)
    assert folds_of(search, X, Y, 12)[1] is False
    assert folds_of(_search(cv), X, Y, 12)[1] is False
    assert folds_of(_search(TimeSeriesSplit(3)), X, Y, 12)[1] is True


def test_a_fitted_search_tells_its_held_out_rows(grid, iris):
    """Those of the splitter; None for candidates that failed."""
    expected = [test for _, test in grid.cv.split(*iris)]

    for params, own in zip(grid.cv_results_["params"], held_out_rows(grid), strict=True):
        if params["net__learning_rate"] < 0:
            assert own == [None, None, None]
            continue
        for rows, theirs in zip(own, expected, strict=True):
            np.testing.assert_array_equal(rows, theirs)
