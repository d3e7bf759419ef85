"""Cells that are not of their column's kind."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from sk_tune.exceptions import SkTuneWarning
from sk_tune.prepare import TablePreparer, TextFormat, read_text_columns, text_formats

NUMBERS = np.random.default_rng(0).normal(size=40).tolist()
TEXTS = [str(number) for number in NUMBERS]
DAYS = [dt.date(2020, 1, 1) + dt.timedelta(days=k) for k in range(40)]
EPSILON = {"number": 1e-15, "date": pd.Timedelta(1, "s")}
ISO = [f"{day}" for day in DAYS]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([*NUMBERS, "n/a"], "number"),
        ([*TEXTS, "unknown"], "number"),
        (["unknown", *TEXTS, None, " "], "number"),
        ([True, False] * 20 + ["unknown"], "number"),
        ([*DAYS, "n/a"], "date"),
        ([*ISO, "n/a"], "date"),
        (["2020-13-45", *ISO], "date"),
        ([*ISO, *["n/a"] * 4], "date"),
    ],
)
def test_few_cells_of_another_kind_are_missing(values, kind):
    """A tenth at most: the others tell what the column is."""
    X = pd.DataFrame({"a": values})

    found = text_formats(X)
    with pytest.warns(SkTuneWarning, match="Column 'a' holds"):
        plain = read_text_columns(X, found)["a"]

    assert found["a"].kind == kind
    assert text_formats(plain.to_frame()) == {}
    known = pd.Series(values).isin([*NUMBERS, *TEXTS, True, False, *DAYS, *ISO])
    expected = X["a"][known]
    if kind == "date":
        expected = pd.to_datetime(expected, utc=True)
    assert (plain[known] - expected.astype(plain.dtype)).abs().max() < EPSILON[kind]
    assert plain[~known].isna().all()


@pytest.mark.parametrize(
    "values",
    [
        [*TEXTS, *["n/a"] * 10],
        [*["1", "2", "3"] * 13, "A"],
        [*TEXTS[:20], *ISO[:20]],
    ],
    ids=["many", "codes that recur", "numbers and dates"],
)
def test_columns_of_several_kinds_are_categories_in_any_of_their_rows(values):
    """Also in those that all read as numbers."""
    X = pd.DataFrame({"a": values})

    found = text_formats(X)

    assert found == {"a": None}
    assert isinstance(read_text_columns(X, found)["a"].dtype, pd.CategoricalDtype)


@pytest.mark.parametrize(
    "values",
    [
        NUMBERS,
        TEXTS,
        DAYS,
        ["Bern", "Ulm"] * 20,
        pd.Categorical([*TEXTS, "A"]),
        [[1], "a"] * 20,
        [None] * 40,
    ],
)
def test_columns_of_one_kind_are_left_as_they_are(values):
    """Plain text, and what has a type of its own, too."""
    assert text_formats(pd.DataFrame({"a": values})) == {}


def test_cells_that_are_missing_are_named():
    """By column, value and row; numbers that come as such are not looked at."""
    X = pd.DataFrame({"a": ["1", "unknown", "2", "none"]})
    formats = {"a": TextFormat(kind="number", style="plain", is_strict=False)}

    with pytest.warns(SkTuneWarning, match="but for 'unknown' in row 2 and 1 more such"):
        plain = read_text_columns(X, formats)

    assert plain["a"].isna().tolist() == [False, True, False, True]
    later = pd.DataFrame({"a": [1.0, 2.0]})
    pd.testing.assert_frame_equal(read_text_columns(later, formats), later)


def test_rows_that_repeat_the_column_names_are_one_warning():
    """Of a doubled header, not of each of its columns; the columns are what they were."""
    rows = np.random.default_rng(0).normal(size=(30, 3)).astype(str)
    X = pd.DataFrame([*rows, ["a", "b", "c"], *rows], columns=list("abc"))

    with pytest.warns(SkTuneWarning) as told:
        preparer = TablePreparer().fit(X)

    assert [str(own.message)[:44] for own in told] == [
        "Row 31 of the table repeats the column names"
    ]
    assert preparer.kinds_.numbers == ("a", "b", "c")
