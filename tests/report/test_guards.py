"""Leak checks of a search."""

from types import SimpleNamespace

import numpy as np
from sklearn.linear_model import LogisticRegression

from sk_tune.report._search_checks import leak_checks


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
