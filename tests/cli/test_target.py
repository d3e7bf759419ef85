"""The target column."""

import decimal

import numpy as np
import pandas as pd
import pytest

from sk_tune.cli._tables import read_target
from sk_tune.exceptions import TableError

N = 100


def _repeat(*values):
    return [values[i % len(values)] for i in range(N)]


def _target(values, task="auto"):
    return read_target(pd.DataFrame({"y": values}), "y", task)


@pytest.mark.parametrize(
    ("values", "task", "labels"),
    [
        (_repeat("a", "b"), "classification", ["a", "b"]),
        (_repeat(True, False), "classification", [False, True]),
        (pd.array(_repeat(True, False), dtype="boolean"), "classification", [False, True]),
        (pd.Categorical(_repeat("a", "b")), "classification", ["a", "b"]),
        (pd.Categorical(_repeat(1, 2)), "classification", ["1", "2"]),
        (_repeat(0, 1), "classification", [0, 1]),
        (_repeat(3, 4, 5, 6, 7, 8, 9), "classification", [3, 4, 5, 6, 7, 8, 9]),
        (_repeat(0.0, 1.0), "classification", [0.0, 1.0]),
        (pd.array(_repeat(0, 1), dtype="Int64"), "classification", [0, 1]),
        (_repeat("a", 1), "classification", ["1", "a"]),
        (np.arange(N), "regression", None),
        (_repeat(*range(11)), "regression", None),
        (_repeat(0.5, 1.0), "regression", None),
        (np.arange(N) * 1.0, "regression", None),
    ],
)
def test_the_task_follows_from_the_values(values, task, labels):
    """Texts, truth values and few whole numbers are classes; other numbers are amounts."""
    decided = _target(values)

    assert decided.task == task
    if labels:
        assert np.unique(decided.y).tolist() == labels
    else:
        assert decided.y.dtype == np.float64


def test_numbers_that_are_kept_as_objects_are_numbers():
    """Decimals of a database, and whole numbers of a column that was anything."""
    decimals = [decimal.Decimal(k) / 4 for k in range(N)]
    whole = pd.Series(_repeat(0, 1), dtype=object)

    assert _target(decimals).task == "regression"
    assert _target(decimals).y[:3].tolist() == [0.0, 0.25, 0.5]
    assert _target(whole).y.dtype == np.int64


def test_few_whole_numbers_of_few_rows_are_amounts():
    """A class needs rows: eight values in 30 rows are too many."""
    values = [i % 8 for i in range(30)]

    assert _target(values).task == "regression"


def test_the_task_can_be_named():
    """What the user says overrules the values, in either direction."""
    assert _target(_repeat(0, 1), "regression").y.dtype == np.float64
    assert _target(_repeat(True, False), "regression").y.tolist() == _repeat(1.0, 0.0)
    assert _target(_repeat(*range(12)), "classification").task == "classification"
    assert set(_target(_repeat(0.5, 1.5), "classification").y) == {"0.5", "1.5"}


def test_the_other_task_is_offered_where_it_is_possible():
    """Few whole numbers could be either; text and fractions could not."""
    assert _target(_repeat(0, 1)).other_task == "regression"
    assert _target(_repeat(*range(12))).other_task == "classification"
    assert _target(_repeat("a", "b")).other_task == ""
    assert _target(_repeat(0, 1), "classification").other_task == ""


@pytest.mark.parametrize("wrong", ["Qualty", "QUALITY", "qualities"])
def test_a_missing_column_is_named_with_the_nearest(wrong):
    """A misspelt name gets a proposal, whatever its case."""
    frame = pd.DataFrame({"alcohol": [1], "quality": [2]})

    with pytest.raises(TableError, match=f"'{wrong}' instead. Did you mean 'quality'"):
        read_target(frame, wrong, "auto")


def test_a_missing_column_without_a_near_one_lists_some():
    """Wide tables do not flood the terminal."""
    frame = pd.DataFrame({f"c{i}": [1] for i in range(50)})

    with pytest.raises(TableError, match=r"'c0', .*'c11' and 38 more\.$"):
        read_target(frame, "zzz", "auto")


@pytest.mark.parametrize(
    ("values", "task", "message"),
    [
        ([*range(N - 2), None, None], "auto", r"NaN\) of 100, the first in row 99"),
        (["a", None, *_repeat("b")], "auto", "1 missing"),
        (_repeat("a"), "auto", "two different values. Got only 'a'"),
        (_repeat(1.5), "regression", "two different values. Got only '1.5'"),
        (_repeat(1, 2)[:19], "auto", "at least 20 rows. Got 19"),
        (pd.date_range("2020-01-01", periods=N), "auto", "Got dates"),
        (_repeat("1", "many"), "regression", "numbers for regression. Got 'many' in row 2"),
        ([np.inf, *range(N)], "auto", "finite numbers. Got inf in row 1"),
        ([f"n{i}" for i in range(N)], "auto", "classes that recur.*100 different values"),
        (np.arange(N) / 7, "classification", "--task regression|classes that recur"),
    ],
)
def test_targets_that_cannot_be_predicted_are_refused(values, task, message):
    """The error names the column, what it must hold and what it holds."""
    with pytest.raises(TableError, match=message) as caught:
        _target(values, task)

    assert "'y'" in str(caught.value) or "rows" in str(caught.value)
