"""Cells that are not of their column's kind."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from sk_tune.exceptions import SkTuneWarning
from sk_tune.prepare import mixed_columns, without_strays

NUMBERS = np.random.default_rng(0).normal(size=40).tolist()
TEXTS = [str(number) for number in NUMBERS]
DAYS = [dt.date(2020, 1, 1) + dt.timedelta(days=k) for k in range(40)]
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

    found = mixed_columns(X)
    with pytest.warns(SkTuneWarning, match="Column 'a' holds"):
        plain = without_strays(X, found)["a"]

    assert found == {"a": kind}
    assert mixed_columns(plain.to_frame()) == {}
    known = pd.Series(values).isin([*NUMBERS, *TEXTS, True, False, *DAYS, *ISO])
    assert plain[known].tolist() == X["a"][known].tolist()
    assert (plain[~known].isna() | (plain[~known] == " ")).all()


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

    found = mixed_columns(X)

    assert found == {"a": "category"}
    assert isinstance(without_strays(X, found)["a"].dtype, pd.CategoricalDtype)


@pytest.mark.parametrize(
    "values",
    [
        NUMBERS,
        TEXTS,
        ISO,
        DAYS,
        ["Bern", "Ulm"] * 20,
        pd.Categorical([*TEXTS, "A"]),
        [[1], "a"] * 20,
        [None] * 40,
    ],
)
def test_columns_of_one_kind_are_left_as_they_are(values):
    """Plain text, and what has a type of its own, too."""
    assert mixed_columns(pd.DataFrame({"a": values})) == {}


def test_cells_that_are_missing_are_named():
    """By column, value and row; numbers that come as such are not looked at."""
    X = pd.DataFrame({"a": ["1", "unknown", "2", "none"]})

    with pytest.warns(SkTuneWarning, match="but for 'unknown' in row 2 and 1 more such"):
        plain = without_strays(X, {"a": "number"})

    assert plain["a"].isna().tolist() == [False, True, False, True]
    later = pd.DataFrame({"a": [1.0, 2.0]})
    pd.testing.assert_frame_equal(without_strays(later, {"a": "number"}), later)
