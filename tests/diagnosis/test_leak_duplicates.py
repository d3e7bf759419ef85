"""Repeated rows, counted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune.diagnosis._leak_copies import (
    as_leak_table,
    check_duplicates,
    check_near_duplicates,
)


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


def _copied(noise, n_columns=6):
    """Return 100 cases, each recorded three times, and random folds of the records."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(100, n_columns)), 3, axis=0)
    X += noise * rng.normal(size=X.shape)
    order = rng.permutation(300)
    folds = [(np.setdiff1d(order, part), part) for part in np.array_split(order, 5)]
    return X, folds


@pytest.mark.parametrize("noise", [0.003, 0.03, 0.1])
def test_copies_are_found_in_noise(noise):
    """A tenth of the variation between cases is no hiding place."""
    X, folds = _copied(noise)
    y = np.repeat(np.random.default_rng(1).normal(size=100), 3)

    finding = check_near_duplicates(
        as_leak_table(X, y, is_classification=False, folds=folds)
    )

    assert finding.outcome == "issue"
    assert "group_copies" in finding.remedy


@pytest.mark.parametrize("noise", [0.003, 0.1])
def test_near_rows_with_targets_of_their_own_are_no_copies(noise):
    """What is measured anew, target and all, is another case."""
    X, folds = _copied(noise)
    y = np.random.default_rng(1).normal(size=300)

    finding = check_near_duplicates(
        as_leak_table(X, y, is_classification=False, folds=folds)
    )

    assert finding.outcome == "passed"


@pytest.mark.parametrize("n_classes", [2, 5])
def test_classes_that_lie_in_clusters_are_no_copies(n_classes):
    """Neighbours of one class are what a class is."""
    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=400)
    X = 4.0 * np.eye(n_classes, 5)[y] + rng.normal(size=(400, 5))
    order = rng.permutation(400)
    folds = [(np.setdiff1d(order, part), part) for part in np.array_split(order, 5)]

    finding = check_near_duplicates(
        as_leak_table(X, y, is_classification=True, folds=folds)
    )

    assert finding.outcome == "passed"


@pytest.mark.parametrize("is_classification", [True, False])
def test_copies_in_few_columns_are_found(is_classification):
    """In four columns copies are no nearer than chance: groups or targets tell."""
    X, folds = _copied(0.15, n_columns=4)
    y = np.repeat(np.random.default_rng(1).normal(size=100), 3)
    y = (y > 0).astype(int) if is_classification else y

    finding = check_near_duplicates(
        as_leak_table(X, y, is_classification=is_classification, folds=folds)
    )

    assert finding.outcome == "issue"
    assert finding.evidence["share"] > 0.5


@pytest.mark.parametrize("is_classification", [True, False])
def test_copies_on_one_side_are_no_leak(is_classification):
    """Folds that keep cases whole pass, however often each was recorded."""
    X, _ = _copied(0.15, n_columns=4)
    y = np.repeat(np.random.default_rng(1).normal(size=100), 3)
    y = (y > 0).astype(int) if is_classification else y
    parts = np.arange(300).reshape(5, 60)
    folds = [(np.setdiff1d(np.arange(300), part), part) for part in parts]

    finding = check_near_duplicates(
        as_leak_table(X, y, is_classification=is_classification, folds=folds)
    )

    assert finding.outcome == "passed"


def test_numbers_that_are_common_targets_are_no_copies():
    """Wages that are round are those of many, near and far."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    y = 100.0 * np.round(X.sum(axis=1) + rng.normal(size=300))
    parts = np.arange(300).reshape(5, 60)
    folds = [(np.setdiff1d(np.arange(300), part), part) for part in parts]

    finding = check_near_duplicates(
        as_leak_table(X, y, is_classification=False, folds=folds)
    )

    assert finding.outcome == "passed"
