"""Repeated rows, counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune.diagnosis._leak_checks import as_leak_table
from sk_tune.diagnosis._leak_duplicates import check_duplicates, check_near_duplicates


def _table(X, folds):
    y = np.zeros(len(X))
    return as_leak_table(X, y, is_classification=False, folds=folds)


@given(n_copies=st.integers(0, 20), seed=st.integers(0, 9))
def test_the_share_is_that_of_test_rows_with_a_twin(n_copies, seed):
    """Of 20 test rows so many are copied from training."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(100, 3))
    X[80 : 80 + n_copies] = X[:n_copies]
    folds = [(np.arange(80), np.arange(80, 100))]

    finding = check_duplicates(_table(X, folds))

    assert finding.evidence["rows"] == n_copies
    assert finding.evidence["share"] == pytest.approx(n_copies / 20)
    assert finding.outcome == ("issue" if n_copies >= 3 else "passed")


def test_rows_that_are_repeated_on_one_side_are_no_leak():
    """Twins in one fold."""
    X = np.random.default_rng(0).normal(size=(100, 3))
    X[90:] = X[80:90]
    folds = [(np.arange(80), np.arange(80, 100))]

    assert check_duplicates(_table(X, folds)).outcome == "passed"


def test_near_rows_are_told_by_what_is_usual():
    """Multiplied by a thousand, the same rows are as near."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4))
    X[150:] = X[:50] + 1e-4 * rng.normal(size=(50, 4))
    folds = [(np.arange(150), np.arange(150, 200))]

    for scale in (1.0, 1000.0):
        finding = check_near_duplicates(_table(scale * X, folds))
        assert finding.outcome == "issue"
        assert finding.evidence["rows"] >= 49
