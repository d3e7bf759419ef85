"""A column's values in one form for each kind."""

import datetime as dt
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sk_tune.exceptions import TableError
from sk_tune.prepare._formats import MISSING, read_values

ARROW_DURATION = pd.ArrowDtype(pa.duration("ms"))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2], [1, 2]),
        ([1.5, None], [1.5, np.nan]),
        ([True, None, False], [1, np.nan, 0]),
        (pd.array([1, None], dtype="Int64"), [1, np.nan]),
        (pd.array([True, None], dtype="boolean"), [1, np.nan]),
        ([decimal.Decimal("1.5"), decimal.Decimal(2)], [1.5, 2]),
        ([np.inf, -np.inf, 0], [np.nan, np.nan, 0]),
        (pd.to_timedelta([1, 2], unit="h"), [3600, 7200]),
        (pd.array([3_600_000], dtype=ARROW_DURATION), [3600]),
        (pd.Categorical([3, 1]), [3, 1]),
        (["3", "1.5"], [3, 1.5]),
        (["3", " ", "", None], [3, np.nan, np.nan, np.nan]),
    ],
)
def test_numbers_of_any_type_are_floats(values, expected):
    """Truth values are 0 and 1, durations are seconds, and infinity is missing."""
    numbers = read_values(pd.Series(values, name="a"), "number")

    assert numbers.dtype == np.float64
    assert np.array_equal(numbers, expected, equal_nan=True)


@pytest.mark.parametrize(
    "values",
    [
        pd.to_datetime(["1970-01-02 12:00", None]),
        pd.to_datetime(["1970-01-02 13:00", None]).tz_localize("Europe/Berlin"),
        ["1970-01-02 12:00", None],
        [dt.datetime(1970, 1, 2, 12), None],
        ["1970-01-02 12:00", " "],
    ],
)
def test_dates_of_any_type_are_days_since_1970(values):
    """Half a day is 0.5; zones are those of UTC."""
    days = read_values(pd.Series(values, name="a"), "date")

    assert np.array_equal(days, [1.5, np.nan], equal_nan=True)


@pytest.mark.parametrize("date", ["9999-12-31", "0101-01-01", "1600-02-29", "2262-04-12"])
@pytest.mark.parametrize("make", [str, dt.date.fromisoformat, np.datetime64])
def test_dates_beyond_what_nanoseconds_reach_are_days_too(date, make):
    """Such as the usual "no end": their column may be of text, dates or times."""
    column = pd.Series([make("2024-05-01"), make(date)], name="a")

    days = read_values(column, "date")

    expected = [dt.date.fromisoformat(d).toordinal() for d in ("2024-05-01", date)]
    assert days.tolist() == [n - dt.date(1970, 1, 1).toordinal() for n in expected]


@pytest.mark.parametrize(
    "values",
    [
        ["1", None],
        [1, None],
        [1.0, np.nan],
        pd.array([1, None], dtype="Int64"),
        pd.Categorical([1, None]),
    ],
)
def test_categories_read_the_same_whatever_type_a_file_gives_them(values):
    """A whole number is the same text, also where missing ones make it a float."""
    texts = read_values(pd.Series(values, name="a"), "category")

    assert texts.tolist() == ["1", MISSING]


def test_categories_that_python_takes_for_equal_stay_apart():
    """True is not 1, in whatever order they come."""
    texts = read_values(pd.Series([1, True, "x", None, 2.5], name="a"), "category")

    assert texts.tolist() == ["1", "True", "x", MISSING, "2.5"]


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ([1, "abc", "x"], "number", "numbers.*'abc' in row 2, and 1 more such value"),
        (["1970-01-01", "abc"], "date", "dates.*'abc' in row 2"),
        ([7, 8], "date", "dates.*'7' in row 1"),
    ],
)
def test_values_of_another_kind_are_refused(values, kind, message):
    """The error names the column, the first such value and its row."""
    with pytest.raises(TableError, match=f"Column 'a' must hold {message}"):
        read_values(pd.Series(values, name="a"), kind)
