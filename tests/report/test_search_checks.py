"""Leak checks of a search, and the folds of one that is over."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, ShuffleSplit, TimeSeriesSplit

from sk_tune.report._search_checks import folds_of, held_out_rows, leak_checks


def _by_name(search, **options):
    defaults = {"n_rows": 6, "has_curves": True, "has_corrected": True}
    return {c.name: c for c in leak_checks(search, **{**defaults, **options})}


def _search(held, **params):
    return SimpleNamespace(
        estimator=LogisticRegression(),
        held_out_rows_=[[np.array(rows) for rows in folds] for folds in held],
        **params,
    )


def test_a_search_passes_what_it_can_check(grid):
    """Same folds, each row held out once, steps inside the folds."""
    checks = _by_name(grid, n_rows=150)

    assert checks["All candidates on the same folds"].outcome == "passed"
    assert "12 fits" in checks["All candidates on the same folds"].message
    assert checks["Rows held out once"].outcome == "passed"
    assert "only: scale." in checks["Preparation inside the folds"].message
    assert checks["Choice of the epoch"].outcome == "passed"


def test_other_folds_are_an_issue():
    """One candidate that was scored on other rows is found."""
    held = [[[0, 1], [2, 3]], [[0, 1], [2, 3]], [[0, 1], [3, 4]]]

    check = _by_name(_search(held))["All candidates on the same folds"]

    assert check.outcome == "issue"
    assert check.message.startswith("1 of 6 fits")


def test_rows_never_or_often_held_out_are_told():
    """As a splitter of time or chance has it."""
    check = _by_name(_search([[[0, 1], [1, 2]]]))["Rows held out once"]

    assert check.outcome == "by design"
    assert "Of 6 rows, 3 were never held out and 1 in several folds" in check.message


def test_what_the_user_chose_is_named():
    """Best epochs, no pipeline, no correction, and a search that tells no folds."""
    search = _search([], epochs="best")
    checks = _by_name(search, has_corrected=False)

    assert "one more choice" in checks["Choice of the epoch"].message
    assert checks["Preparation inside the folds"].outcome == "not applicable"
    assert checks["Choice of the best candidate"].outcome == "issue"
    assert checks["All candidates on the same folds"].outcome == "not applicable"
    assert checks["Rows held out once"].outcome == "not applicable"


def test_rungs_of_samples_are_no_issue():
    """Their candidates are scored on parts of the folds."""
    search = _search([[[0, 1], [2, 3]], [[0], [2]]], resource="n_samples")

    check = _by_name(search)["All candidates on the same folds"]

    assert check.outcome == "by design"


def test_without_curves_nothing_is_said_of_them(linear):
    """No monitor, no epoch."""
    checks = _by_name(linear, has_curves=False, n_rows=150)

    assert "Choice of the epoch" not in checks
    assert "Held-out curves stop nothing" not in checks


X, Y = np.zeros((12, 1)), np.arange(12) % 2


def _split_search(cv, remembered=None):
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
    search = _split_search(KFold(3, shuffle=True), [test for _, test in drawn])

    folds, are_same = folds_of(search, None, Y, 12)

    assert are_same
    _assert_same(folds, drawn)


@pytest.mark.parametrize("cv", [TimeSeriesSplit(3), ShuffleSplit(3, random_state=0)])
def test_folds_that_leave_rows_out_are_drawn_again(cv):
    """They are checked against what the search remembers."""
    drawn = list(cv.split(X))
    search = _split_search(cv, [test for _, test in drawn])

    folds, are_same = folds_of(search, X, Y, 12)

    assert are_same
    _assert_same(folds, drawn)


def test_folds_that_cannot_be_drawn_again_are_said_to_differ():
    """A random splitter that leaves rows out draws others each time."""
    cv = ShuffleSplit(3)
    search = _split_search(cv, [test for _, test in cv.split(X)])

    assert folds_of(search, None, Y, 12) == (None, False)
    assert folds_of(search, X, Y, 12)[1] is False
    assert folds_of(_split_search(cv), X, Y, 12)[1] is False
    assert folds_of(_split_search(TimeSeriesSplit(3)), X, Y, 12)[1] is True


def test_a_fitted_search_tells_its_held_out_rows(grid, iris):
    """Those of the splitter; None for candidates that failed."""
    expected = [test for _, test in grid.cv.split(*iris)]

    for params, own in zip(grid.cv_results_["params"], held_out_rows(grid), strict=True):
        if params["net__learning_rate"] < 0:
            assert own == [None, None, None]
            continue
        for rows, theirs in zip(own, expected, strict=True):
            np.testing.assert_array_equal(rows, theirs)
