"""Rows that are set aside, and folds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import TimeSeriesSplit

from sk_tune.automl._folds import check_folds, held_out_rows, make_folds


def _folds(y, *, cv="auto", classes=True, groups=None, budget=60.0):
    return make_folds(
        np.asarray(y),
        cv=cv,
        is_classification=classes,
        groups=groups,
        time_budget=budget,
        seed=0,
    )


def _held(y, *, test_size="auto", classes=True, groups=None):
    return held_out_rows(
        np.asarray(y), test_size=test_size, is_classification=classes, groups=groups, seed=0
    )


@given(st.lists(st.integers(0, 3), min_size=5, max_size=60))
def test_folds_hold_out_each_row_once(y):
    """Whatever the classes, five folds or fewer part the rows."""
    folds = _folds(y)

    held = np.sort(np.concatenate([test for _, test in folds]))
    assert held.tolist() == list(range(len(y)))
    assert 2 <= len(folds) <= 5
    for train, test in folds:
        assert not set(train) & set(test)


def test_many_rows_for_the_budget_are_split_once():
    """More than 400 rows a second are too many for five trainings of each model."""
    y = np.arange(5000) % 2

    assert len(_folds(y, budget=60.0)) == 5
    assert len(_folds(y, budget=None)) == 5
    ((train, test),) = _folds(y, budget=10.0)
    assert len(test) == 1000
    assert abs(y[test].mean() - 0.5) < 0.01
    assert len(train) == 4000


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize("budget", [60.0, 1.0])
def test_groups_are_not_divided(classes, budget):
    """No group is on both sides of a split, neither in folds nor in one split."""
    groups = np.repeat(np.arange(100), 5)
    y = np.arange(500) % 2

    for train, test in _folds(y, classes=classes, groups=groups, budget=budget):
        assert not set(groups[train]) & set(groups[test])


def test_folds_of_the_user_are_taken_as_they_are():
    """A splitter or a number is used as in scikit-learn."""
    y = np.arange(60) % 2

    assert len(_folds(y, cv=3)) == 3
    ordered = _folds(y, cv=TimeSeriesSplit(4), classes=False)
    assert all(train.max() < test.min() for train, test in ordered)


def test_rows_are_spared_only_where_they_are_many():
    """A tenth of 5,000 rows or more, never more than 5,000, and what is asked for."""
    assert len(_held(np.arange(4999) % 2)) == 0
    assert len(_held(np.arange(6000) % 2)) == 600
    assert len(_held(np.arange(90_000) % 2)) == 5000
    assert len(_held(np.arange(101) % 2, test_size=0.2)) == 21
    assert len(_held(np.arange(9000) % 2, test_size=0.0)) == 0


def test_spared_rows_keep_groups_whole():
    """A group is set aside as a whole or not at all."""
    groups = np.repeat(np.arange(50), 4)

    held = _held(np.arange(200) % 2, test_size=0.25, groups=groups)

    inside = np.isin(np.arange(200), held)
    assert inside.any()
    assert not set(groups[inside]) & set(groups[~inside])


def test_with_times_what_is_judged_is_later():
    """Folds are trained on the past, and the last rows of all are set aside."""
    times = np.random.default_rng(0).permutation(100)
    y = np.arange(100) % 2

    folds = make_folds(
        y,
        cv="auto",
        is_classification=True,
        groups=None,
        times=times,
        time_budget=60,
        seed=0,
    )
    held = held_out_rows(
        y, test_size=0.2, is_classification=True, groups=None, times=times, seed=0
    )

    assert len(folds) == 5
    assert all(times[train].max() < times[test].min() for train, test in folds)
    assert sorted(times[held]) == list(range(80, 100))


def test_a_class_of_one_row_is_no_obstacle():
    """A class too rare to be on both sides is split at random."""
    y = np.zeros(100)
    y[3] = 1

    assert len(_held(y, test_size=0.2)) == 20


def test_many_values_for_the_budget_are_split_once():
    """Images have so many that a fraction of the rows is too many for five trainings."""
    y = np.arange(4000) % 2
    common = {"is_classification": True, "groups": None, "time_budget": 60.0, "seed": 0}

    assert len(make_folds(y, cv="auto", row_size=64, **common)) == 5
    assert len(make_folds(y, cv="auto", row_size=784, **common)) == 1
    assert len(make_folds(y, cv=3, row_size=784, **common)) == 3


@pytest.mark.parametrize("n", [4, 5, 9])
def test_few_numbers_are_held_out_two_at_a_time(n):
    """R^2 is not defined for one row."""
    folds = _folds(np.arange(float(n)), classes=False)

    assert min(len(held) for _, held in folds) >= 2


@pytest.mark.parametrize(
    ("y", "params", "message"),
    [
        ([0, 1, 0, 1], {"cv": 5}, "Got cv=5 for 4 rows.*Give more rows or fewer folds"),
        ([0] * 9 + [1], {"groups": np.zeros(10)}, "at least 2 groups.*Got 1\\."),
    ],
)
def test_too_few_rows_for_folds_are_refused(y, params, message):
    """The message has what was required, what was given and what to do."""
    with pytest.raises(ValueError, match=message):
        _folds(y, **params)


def test_what_is_set_aside_leaves_some_rows():
    """A share that leaves none is refused by the name of the parameter."""
    with pytest.raises(ValueError, match="test_size=0.9, which sets 9 of 9 aside"):
        _held(np.arange(9) % 2, test_size=0.9)


def test_folds_in_which_nothing_can_be_learnt_are_refused():
    """One class to learn from, or one number to be judged by, is too little."""
    y = np.array(["a"] * 9 + ["b"])
    with pytest.raises(ValueError, match="Got 1 of class b, 9 of class a, by which fold"):
        check_folds(y, _folds(y), is_classification=True, is_r2=False)
    y = np.arange(6.0)
    folds = _folds(y, cv=6, classes=False)
    with pytest.raises(ValueError, match="Got 5 and 1 in fold 1 of 6, of 6 rows"):
        check_folds(y, folds, is_classification=False, is_r2=True)
    check_folds(y, folds, is_classification=False, is_r2=False)
