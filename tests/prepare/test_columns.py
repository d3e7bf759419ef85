"""Preparation of a table's columns."""

import datetime as dt
import decimal
import io
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from sk_tune.exceptions import TableError
from sk_tune.prepare import column_kinds, column_preparer

N = 60


def _repeat(*values):
    return [values[i % len(values)] for i in range(N)]


def _prepared(X):
    return column_preparer(X).fit_transform(X)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.arange(N) / 7, "numbers"),
        (_repeat(True, False), "numbers"),
        (_repeat(True, None, False), "numbers"),
        (pd.array(_repeat(1, None, 3), dtype="Int64"), "numbers"),
        (pd.array(_repeat(True, None, False), dtype="boolean"), "numbers"),
        (_repeat(decimal.Decimal("1.5"), decimal.Decimal(2)), "numbers"),
        (pd.to_timedelta(np.arange(N), unit="h"), "numbers"),
        (pd.date_range("2020-01-01", periods=N), "dates"),
        (pd.date_range("2020-01-01", periods=N, tz="Europe/Berlin"), "dates"),
        (_repeat(dt.date(2020, 1, 1), dt.date(2021, 5, 5)), "dates"),
        (_repeat("a", "b"), "categories"),
        (pd.array(_repeat("a", None), dtype="string"), "categories"),
        (pd.Categorical(_repeat(1, 2, None)), "categories"),
        (_repeat("a", 1), "categories"),
        ([f"name {i}" if i % 2 else None for i in range(N)], "categories"),
    ],
)
def test_each_type_has_a_kind_and_becomes_finite_numbers(values, kind):
    """Whatever pandas holds, it is told apart by type and comes out as finite numbers."""
    X = pd.DataFrame({"column": values})

    assert getattr(column_kinds(X), kind) == ("column",)
    assert np.isfinite(_prepared(X)).all()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (_repeat(1), "constant"),
        (_repeat("a"), "constant"),
        (_repeat(None), "no values"),
        (_repeat(np.nan), "no values"),
        ([f"name {i}" for i in range(N)], "text that hardly recurs"),
        ([[i] for i in range(N)], "neither numbers, text nor dates"),
    ],
)
def test_columns_that_cannot_help_are_dropped_with_a_reason(values, reason):
    """Constants, empty columns, names and lists are left out."""
    X = pd.DataFrame({"column": values, "number": np.arange(N)})

    assert column_kinds(X).dropped == {"column": reason}
    assert _prepared(X).shape == (N, 1)


def test_a_table_without_a_usable_column_is_refused():
    """The error names each column and why it cannot be used."""
    with pytest.raises(TableError, match="'a': constant"):
        column_preparer(pd.DataFrame({"a": _repeat(1)}))


def test_numbers_are_scaled_by_the_rows_they_were_fitted_on():
    """Mean and variance are those of the training rows, as scikit-learn computes them."""
    train, test = pd.DataFrame({"a": [0.0, 2.0] * 30}), pd.DataFrame({"a": [4.0]})

    preparer = column_preparer(train).fit(train)

    assert preparer.transform(train).std() == pytest.approx(1)
    assert preparer.transform(test) == pytest.approx(3.0)  # (4 - 1) / 1


def test_missing_numbers_become_the_median_and_are_marked():
    """A second column says where a value was missing."""
    X = pd.DataFrame({"a": _repeat(1.0, 2.0, np.nan, 2.0, 9.0)})

    Z = _prepared(X)

    assert Z.shape == (N, 2)
    assert Z[2, 0] == Z[1, 0]
    assert (Z[:, 1] > 0).tolist() == X["a"].isna().tolist()


def test_infinite_numbers_count_as_missing():
    """Infinity would spoil the mean, so it is treated like a missing value."""
    infinite = pd.DataFrame({"a": _repeat(1.0, 2.0, np.inf)})
    missing = pd.DataFrame({"a": _repeat(1.0, 2.0, np.nan)})

    assert np.array_equal(_prepared(infinite), _prepared(missing))


def test_a_column_may_be_without_values_in_one_fold():
    """The width stays what it is for the whole table."""
    X = pd.DataFrame({"a": [np.nan] * 30 + [1.0, 2.0] * 15, "b": np.arange(N)})

    Z = column_preparer(X).fit(X.iloc[:30]).transform(X)

    assert np.isfinite(Z).all()


def test_a_column_of_many_categories_does_not_explode():
    """However many categories there are, at most 32 columns come of them."""
    X = pd.DataFrame({"a": [f"c{i % 100}" for i in range(1000)], "b": np.arange(1000)})
    X.loc[:50, "a"] = "often"

    assert _prepared(X).shape[1] <= 33


def test_new_categories_are_treated_like_rare_ones():
    """A category that was not there in fit gives the columns of one that was rare."""
    X = pd.DataFrame({"a": [*_repeat("x", "y")[:-1], "rare"]})
    preparer = column_preparer(X).fit(X)

    new, rare = preparer.transform(pd.DataFrame({"a": ["new", "rare"]}))

    assert np.array_equal(new, rare)


def test_dates_become_days_and_places_in_year_week_and_day():
    """Sunday 1970-02-01 06:00 is 31.25 days, day 32, weekday 6, hour 6."""
    X = pd.DataFrame({"when": pd.date_range("1970-02-01 06:00", periods=N)})
    numbers = column_preparer(X).fit(X).named_transformers_["dates"][0].transform(X)

    assert numbers.iloc[0].tolist() == [31.25, 32, 6, 6, 0]


def test_columns_have_names():
    """The names tell which column each number comes from."""
    X = pd.DataFrame({"a": _repeat(1, 2), "t": _repeat("x", "y")})
    X["d"] = pd.date_range("2020-01-01", periods=N)

    names = column_preparer(X).fit(X).get_feature_names_out()

    assert names.tolist() == [
        "numbers__a",
        "dates__d_days",
        "dates__d_day_of_year",
        "dates__d_weekday",
        "dates__d_hour",
        "dates__d_missing",
        "categories__t_x",
        "categories__t_y",
    ]


@pytest.mark.parametrize(
    ("column", "value", "required"),
    [("a", "abc", "numbers"), ("d", "abc", "dates"), ("d", 7, "dates")],
)
def test_a_column_that_changes_its_kind_is_refused(column, value, required):
    """The error names the column, the value and its row."""
    X = pd.DataFrame({"a": np.arange(N), "d": pd.date_range("2020-01-01", periods=N)})
    preparer = column_preparer(X).fit(X)
    changed = X.head(3).astype(object)
    changed[column] = [None, value, value] if isinstance(value, str) else [7, 7, 7]

    with pytest.raises(
        TableError, match=f"'{column}' must hold {required}.*'{value}' in row"
    ):
        preparer.transform(changed)


def test_numbers_and_dates_may_come_as_text():
    """What reads as a number or a date is one, so that files of other types fit as well."""
    X = pd.DataFrame({"a": np.arange(N), "d": pd.date_range("2020-01-01", periods=N)})
    preparer = column_preparer(X).fit(X)

    assert np.allclose(preparer.transform(X.astype(str)), preparer.transform(X))
    categories = X.astype({"a": "category"})
    assert np.allclose(preparer.transform(categories), preparer.transform(X))


def test_a_table_read_from_csv_works():
    """The text columns that pandas makes of a CSV file are categories."""
    text = "a,t\n" + "\n".join(f"{i},{'xy'[i % 2] if i % 5 else ''}" for i in range(N))
    X = pd.read_csv(io.StringIO(text))

    assert _prepared(X).shape == (N, 4)


def test_the_preparer_can_be_cloned_and_pickled():
    """A search clones it for each fold, and a model file holds it."""
    X = pd.DataFrame({"a": _repeat(1, None, 2), "t": _repeat("x", "y")})
    preparer = clone(column_preparer(X)).fit(X)

    assert np.array_equal(
        pickle.loads(pickle.dumps(preparer)).transform(X), preparer.transform(X)
    )


def test_further_columns_are_ignored():
    """Columns that were not there in fit change nothing."""
    X = pd.DataFrame({"a": np.arange(N)})
    preparer = column_preparer(X).fit(X)

    assert np.array_equal(preparer.transform(X.assign(b=1)), preparer.transform(X))
