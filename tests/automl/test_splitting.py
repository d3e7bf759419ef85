"""Rows set aside, folds, and leaks between them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, PredefinedSplit, TimeSeriesSplit

from sk_tune._automl import _splitting
from sk_tune._automl._splitting import (
    as_groups,
    guarded,
    split_rows,
    warn_of_leaks,
)
from sk_tune._diagnosis import Finding, find_leaks
from sk_tune._splits import as_times
from sk_tune.exceptions import LeakWarning, TableError


def _split(y, cv="auto", *, classes=True, groups=None, times=None, **changes):
    return split_rows(**{
        "y": np.asarray(y),
        "cv": cv,
        "test_size": "auto",
        "is_classification": classes,
        "is_r2": False,
        "structure": (groups, times),
        "time_budget": 60.0,
        "seed": 0,
        "row_size": 1,
        **changes,
    })


def _folds(y, **options):
    return _split(y, test_size=0.0, **options).folds


def _held(y, **options):
    return _split(y, **options).held_out


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60))
def test_folds_hold_out_each_row_once(y):
    """For any classes, there are at most five folds."""
    y = [0, 0, 1, 1, *y]
    folds = _folds(y)

    rows = np.sort(np.concatenate([test for _, test in folds]))
    assert rows.tolist() == list(range(len(y)))
    assert 2 <= len(folds) <= 5
    for train, test in folds:
        assert not set(train) & set(test)


@pytest.mark.parametrize("row_size", [1, 100])
def test_a_table_too_large_for_the_budget_is_sampled(row_size):
    """5,000 rows, or 400,000 values, per second; the classes keep their shares."""
    y = np.repeat([0, 1], [30_000, 10_000])
    n_sampled = min(15_000, 1_200_000 // row_size)

    split = _split(y, time_budget=3.0, row_size=row_size, is_table=True)

    ((train, test),) = split.folds
    rows = split.trained_on(len(y))
    assert len(split.held_out) == 4_000
    assert len(train) + len(test) == len(rows) == n_sampled
    assert len(split.left_out) == len(y) - 4_000 - n_sampled
    assert not set(split.left_out) & set(split.held_out)
    assert y[rows].mean() == pytest.approx(0.25, abs=0.01)


def test_a_sample_does_not_divide_groups():
    """A group is trained on, set aside, or left out."""
    groups = np.repeat(np.arange(900), 20)

    split = _split(groups % 2, groups=groups, time_budget=0.5, test_size=0.1, is_table=True)

    of_rows = groups[split.trained_on(len(groups))]
    assert len(split.left_out) > 0
    assert not set(of_rows) & set(groups[split.left_out])


@pytest.mark.parametrize("changes", [{"time_budget": None}, {"cv": GroupKFold(2)}])
def test_tables_are_not_sampled_without_a_budget_or_with_custom_folds(changes):
    """Custom folds refer to all rows."""
    groups = np.arange(24_000) % 7

    split = _split(
        groups % 2, groups=groups, is_table=True, **{"time_budget": 1.0, **changes}
    )

    assert len(split.left_out) == 0


def test_many_rows_for_the_budget_are_split_once():
    """With more than 400 rows per second, five trainings per model take too long."""
    y = np.arange(5000) % 2

    assert len(_folds(y)) == 5
    assert len(_folds(y, time_budget=None)) == 5
    # Images have many values per row, so the limit is lower.
    assert len(_folds(y[:4000], row_size=64)) == 5
    assert len(_folds(y[:4000], row_size=784)) == 1
    assert len(_folds(y[:4000], cv=3, row_size=784)) == 3
    ((train, test),) = _folds(y, time_budget=10.0)
    assert len(test) == 1000
    assert abs(y[test].mean() - 0.5) < 0.01
    assert len(train) == 4000


def test_wide_tables_of_few_rows_have_folds():
    """A fifth of 100 rows is too few to score models."""
    y = np.arange(100) % 2

    assert len(_folds(y, row_size=10_000, time_budget=20.0, is_table=True)) == 5
    assert len(_folds(y, row_size=10_000, time_budget=20.0)) == 1
    assert len(_folds(y, row_size=100_000, time_budget=20.0, is_table=True)) == 1


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize("budget", [60.0, 1.0])
def test_groups_are_not_divided(classes, budget):
    """No group is on both sides of a split, in folds and in a single split."""
    groups = np.repeat(np.arange(100), 5)
    y = np.arange(500) % 2

    for train, test in _folds(y, classes=classes, groups=groups, time_budget=budget):
        assert not set(groups[train]) & set(groups[test])


def test_custom_folds_are_unchanged():
    """A splitter, a number, lists or masks are used as in scikit-learn."""
    y = np.arange(60) % 2
    first, last = [0, 1, 2], [3, 4, 5]

    assert len(_folds(y, cv=3)) == 3
    ordered = _folds(y, cv=TimeSeriesSplit(4), classes=False)
    assert all(train.max() < test.min() for train, test in ordered)
    folds = _folds(y[:6], cv=[(first, last), (np.arange(6) >= 3, np.arange(6) < 3)])
    assert all(isinstance(part, np.ndarray) for fold in folds for part in fold)
    parts = [[part.tolist() for part in fold] for fold in folds]
    assert parts == [[first, last], [last, first]]


@pytest.mark.parametrize("kind", ["positions", "splitter"])
def test_custom_folds_refer_to_all_rows(kind):
    """No rows are set aside unless `test_size` requests it."""
    y, thirds = np.arange(6000) % 2, np.arange(6000) // 2000
    splitter = PredefinedSplit(thirds)
    cv = splitter if kind == "splitter" else list(splitter.split())

    whole, part = _split(y, cv), _split(y, cv, test_size=0.2)

    assert len(whole.held_out) == 0
    for (train, test), (all_train, all_held) in zip(
        whole.folds, splitter.split(), strict=True
    ):
        np.testing.assert_array_equal(train, all_train)
        np.testing.assert_array_equal(test, all_held)
    assert len(part.held_out) == 1200
    rows = np.setdiff1d(np.arange(6000), part.held_out)
    for number, (train, test) in enumerate(part.folds):
        assert set(thirds[rows[test]]) == {number}
        assert number not in thirds[rows[train]]
        assert len(train) + len(test) == 4800
    assert len(_split(y, 3).held_out) == 600


def test_custom_folds_without_remaining_rows_are_dropped():
    """Rows set aside do not score models; without any fold there is an error."""
    y = np.arange(40) % 2
    rows = np.arange(40)

    split = _split(y, [(rows[rows != k], [k]) for k in rows], test_size=0.25)

    assert len(split.held_out) == 10
    assert len(split.folds) == 30
    with pytest.raises(ValueError, match="Provide more rows, or use fewer folds"):
        _split(y, iter([]))
    with pytest.raises(ValueError, match="Provide more rows, or use fewer folds"):
        _split(y, [([0, 1], [40])])


def test_rows_are_set_aside_only_from_large_tables():
    """A tenth of 5,000 rows or more, never more than 5,000, or the requested share."""
    assert len(_held(np.arange(4999) % 2)) == 0
    assert len(_held(np.arange(6000) % 2)) == 600
    assert len(_held(np.arange(90_000) % 2)) == 5000
    assert len(_held(np.arange(101) % 2, test_size=0.2)) == 21
    assert len(_held(np.arange(9000) % 2, test_size=0.0)) == 0
    # A class with too few rows for both parts is split at random.
    assert len(_held(np.r_[2, np.arange(99) % 2], test_size=0.2)) == 20


def test_rows_set_aside_do_not_divide_groups():
    """A group is set aside as a whole or not at all."""
    groups = np.repeat(np.arange(50), 4)

    rows = _held(np.arange(200) % 2, test_size=0.25, groups=groups)

    inside = np.isin(np.arange(200), rows)
    assert inside.any()
    assert not set(groups[inside]) & set(groups[~inside])


def test_with_times_held_out_rows_are_later():
    """Folds are trained on earlier rows, and the last rows of all are set aside."""
    times = np.random.default_rng(0).permutation(100)
    y = np.arange(100) % 2

    folds = _folds(y, times=times)
    rows = _held(y, test_size=0.2, times=times)

    order = np.argsort(times)
    for (train, test), (before, after) in zip(
        folds, TimeSeriesSplit(5).split(order), strict=True
    ):
        np.testing.assert_array_equal(train, order[before])
        np.testing.assert_array_equal(test, order[after])
    assert sorted(times[rows]) == list(range(80, 100))


@pytest.mark.parametrize("n_times", [3, 4, 7, 40])
def test_rows_of_one_time_stay_together(n_times):
    """Each part is later than the part before, for any number of rows per time."""
    rng = np.random.default_rng(n_times)
    times = np.concatenate([np.arange(n_times), rng.integers(0, n_times, 500)])
    y = np.arange(len(times)) % 2

    split = _split(y, "auto", test_size=0.1, times=times)

    rows = np.setdiff1d(np.arange(len(y)), split.held_out)
    assert times[rows].max() < times[split.held_out].min()
    assert 1 <= len(split.folds) <= min(5, n_times - 2)
    for train, test in split.folds:
        assert times[rows[train]].max() < times[rows[test]].min()


def test_a_number_of_folds_follows_times_or_groups():
    """The number is exact, or a message says why it is not possible."""
    y, values = np.arange(60) % 2, np.arange(60) // 5

    by_time, by_group = _folds(y, cv=3, times=values), _folds(y, cv=3, groups=values)

    assert len(by_time) == len(by_group) == 3
    assert all(values[train].max() < values[test].min() for train, test in by_time)
    assert not any(set(values[train]) & set(values[test]) for train, test in by_group)
    with pytest.raises(ValueError, match="cv=12 for 12 different times"):
        _folds(y, cv=12, times=values)
    with pytest.raises(ValueError, match="at least 13 different groups.*Got 12"):
        _folds(y, cv=13, groups=values)


def test_times_and_groups_together_need_custom_folds():
    """The default folds can follow only one of them."""
    y, values = np.arange(60) % 2, np.arange(60) // 5

    for params in ({"cv": "auto"}, {"cv": 3}, {"cv": GroupKFold(3), "test_size": 0.2}):
        with pytest.raises(ValueError, match="'times' and 'groups' cannot be combined"):
            _split(y, groups=values, times=values, **params)
    assert len(_split(y, GroupKFold(3), groups=values, times=values).folds) == 3


def test_each_row_needs_a_group():
    """Rows without one might be on both sides of a split."""
    assert as_groups(["a", "b"]).tolist() == ["a", "b"]
    for missing in (np.nan, None, pd.NA):
        with pytest.raises(TableError, match="Got 1 missing, the first in row 2"):
            as_groups(pd.Series(["a", missing, "b"]))


@pytest.mark.parametrize("name", ["groups", "times"])
def test_groups_and_times_are_one_column(name):
    """A frame with one column is accepted, as scikit-learn accepts such a target."""
    convert = {"groups": as_groups, "times": as_times}[name]

    assert convert(pd.DataFrame({"a": [3, 4]})).tolist() == [3, 4]
    with pytest.raises(TableError, match=rf"'{name}' must have shape .*\(5, 2\)"):
        convert(np.ones((5, 2)))


def test_rows_of_one_time_cannot_be_split():
    """Two times are needed for folds, three if rows are set aside."""
    y = np.arange(60) % 2

    with pytest.raises(ValueError, match="at least 2 different times.*Got 1"):
        _folds(y, times=np.zeros(60))
    with pytest.raises(ValueError, match="at least 3 different times.*Got 2"):
        _held(y, test_size=0.2, times=y)


@pytest.mark.parametrize("n", [4, 5, 9])
def test_small_regressions_hold_out_two_rows_at_a_time(n):
    """R^2 is undefined for one row."""
    folds = _folds(np.arange(float(n)), classes=False)

    assert min(len(test) for _, test in folds) >= 2
    # Only R^2 needs two rows; errors need one.
    assert len(_split(np.arange(6.0), 6, classes=False).folds) == 6


@pytest.mark.parametrize(
    ("y", "params", "message"),
    [
        (
            [0, 1, 0, 1],
            {"cv": 5},
            "Got cv=5 for 4 rows.*Provide more rows, or use fewer folds",
        ),
        ([0] * 9 + [1], {"groups": np.zeros(10)}, "at least 2 different groups.*Got 1\\."),
        ([0, 1] * 4, {"test_size": 0.9}, "test_size=0.9, which sets 8 of 8 aside"),
        (["a"] * 9 + ["b"], {}, "Got 1 of class b, 9 of class a; fold"),
        (
            np.arange(6.0),
            {"cv": 6, "classes": False, "is_r2": True},
            "Got 5 and 1 in fold 1 of 6, of 6 rows",
        ),
    ],
)
def test_too_few_rows_are_refused(y, params, message):
    """The message has the requirement, the value and the remedy."""
    with pytest.raises(ValueError, match=message):
        _split(y, **{"test_size": 0.0, **params})


def _issues(findings):
    return {finding.name for finding in findings if finding.outcome == "issue"}


@pytest.mark.parametrize(("n", "n_groups"), [(60_000, None), (4000, 800)])
def test_large_data_are_checked_for_leaks_on_a_sample(make_problem, n, n_groups):
    """A second's share of the rows shows the leak, even if some folds become empty."""
    rng, rows = np.random.default_rng(0), np.arange(n)
    y = rng.integers(0, 2, n)
    problem = make_problem(pd.DataFrame({"a": rng.normal(size=n), "b": 5.0 * y}), y)
    if n_groups:
        folds = [(np.setdiff1d(rows, k), k) for k in np.split(rows, n_groups)]
        problem = replace(problem, folds=folds)

    assert "target among the features" in _issues(guarded(problem, 0.1))


@pytest.mark.slow
def test_very_wide_data_are_checked_for_leaks_on_some_columns(make_problem, monkeypatch):
    """The number of columns depends on the time; duplicates need all of them."""
    y = np.arange(300) // 2 % 2
    few, seen = np.repeat(np.random.default_rng(0).normal(size=(150, 130)), 2, axis=0), []
    monkeypatch.setattr(
        _splitting,
        "find_leaks",
        lambda X, y, **own: seen.append(X) or find_leaks(X, y, **own),
    )

    first = guarded(make_problem(pd.DataFrame(few), y), 0.1)
    unseen = next(column for column in range(130) if column not in seen[0].columns)
    few[:, unseen] = np.arange(300)
    second = guarded(make_problem(pd.DataFrame(few), y), 0.1)

    assert [X.shape[1] for X in seen] == [100, 130, 100, 130]
    assert "duplicates across folds" in _issues(first)
    assert "duplicates across folds" not in _issues(second)


def test_serious_leaks_are_one_warning():
    """It lists all of them."""
    options = {"code": "SKT201", "name": "", "outcome": "issue"}
    findings = [
        Finding(severity=severity, message=f"{severity} issue.", **options)
        for severity in ("low", "medium", "high")
    ]

    with pytest.warns(LeakWarning, match="scores. medium issue. high issue.$") as warned:
        warn_of_leaks(findings)

    assert len(warned) == 1


@pytest.mark.parametrize("sizes", [[1150] * 10, [9500, 1000, 700, 300]])
def test_a_sample_of_a_large_table_has_whole_groups(sizes):
    """Two at least, and more as long as they fit."""
    groups = np.repeat(np.arange(len(sizes)), sizes)

    options = {"time_budget": 2.0, "is_table": True, "test_size": 0.0}
    split = _split(np.arange(11500.0), classes=False, groups=groups, **options)

    left_out = set(groups[split.left_out])
    assert left_out
    kept = set(groups) - left_out
    assert len(kept) >= 2
    n_kept = sum(sizes[group] for group in kept)
    assert len(split.left_out) == 11500 - n_kept
    assert n_kept <= 10_000 or len(kept) == 2


def test_a_large_part_of_few_groups_leaves_too_few_to_train_on():
    """Seven tenths of three groups are all of them, rounded up."""
    groups = np.arange(30) % 3

    with pytest.raises(TableError, match="at least 2 different groups"):
        _split(np.arange(30.0), classes=False, groups=groups, test_size=0.7)


def test_folds_of_groups_suit_classes_of_few_rows():
    """Stratified folds need a class with as many rows."""
    folds = _folds([0, 1] * 4, groups=np.arange(8))

    assert len(folds) == 4
