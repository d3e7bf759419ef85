"""What columns are, and which cannot help."""

import datetime as dt
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sk_tune.exceptions import TableError
from sk_tune.prepare import column_kinds
from sk_tune.prepare._columns import least_frequency, read_columns

N = 60
RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=N)


def _repeat(*values):
    return [values[i % len(values)] for i in range(N)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.arange(N) / 7, "numbers"),
        (_repeat(3, 1, 2), "numbers"),
        (RNG.integers(10**6, size=N), "numbers"),
        (_repeat(True, False), "numbers"),
        (_repeat(True, None, False), "numbers"),
        (_repeat(1, None), "numbers"),
        (pd.array(_repeat(1, None, 3), dtype="Int64"), "numbers"),
        (pd.array(_repeat(True, None, False), dtype="boolean"), "numbers"),
        (_repeat(decimal.Decimal("1.5"), decimal.Decimal(2)), "numbers"),
        (pd.to_timedelta(np.arange(N), unit="h"), "numbers"),
        (pd.array(range(N), dtype=pd.ArrowDtype(pa.duration("s"))), "numbers"),
        (pd.date_range("2020-01-01", periods=N), "dates"),
        (pd.date_range("2020-01-01", periods=N, tz="Europe/Berlin"), "dates"),
        (_repeat(dt.date(2020, 1, 1), dt.date(2021, 5, 5)), "dates"),
        (_repeat("2020-01-01", "2021-05-05", None), "dates"),
        (_repeat("a", "b"), "categories"),
        (pd.array(_repeat("a", None), dtype="string"), "categories"),
        (pd.Categorical(_repeat(1, 2, None)), "categories"),
        (_repeat("a", 1), "categories"),
        ([f"name {i}" if i % 2 else None for i in range(N)], "categories"),
        ([f"{x:.6f}" for x in NUMBERS], "numbers"),
        ([f"{x:.6f}" if x > 0 else " " for x in NUMBERS], "numbers"),
        (_repeat("1", "2", "3"), "categories"),
    ],
)
def test_each_type_has_a_kind(values, kind):
    """Whatever pandas holds, it is told apart by type and values."""
    assert getattr(column_kinds(pd.DataFrame({"column": values})), kind) == ("column",)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (_repeat(1), "constant"),
        (_repeat("a"), "constant"),
        (_repeat(None), "no values"),
        (_repeat(np.nan), "no values"),
        (_repeat(np.inf), "no values"),
        ([f"name {i}" for i in range(N)], "text that hardly recurs"),
        ([[i] for i in range(N)], "neither numbers, text nor dates"),
        (np.arange(N), "a whole number that counts or names the rows"),
        (RNG.permutation(2 * N)[:N] + 7000, "a whole number that counts or names the rows"),
        (NUMBERS, "tells the same as 'number'"),
    ],
)
def test_columns_that_cannot_help_are_dropped_with_a_reason(values, reason):
    """Constants, empty columns, names, counters, copies and lists are left out."""
    X = pd.DataFrame({"number": NUMBERS, "column": values})

    assert column_kinds(X).dropped == {"column": reason}


@pytest.mark.parametrize(
    "name", ["id", "ID", "user_id", "customer id", "customerID", "PassengerId", "uuid"]
)
def test_whole_numbers_named_like_ids_are_dropped_if_all_are_different(name):
    """Also where they are far apart."""
    ids = np.random.default_rng(1).permutation(10**6)[:N]
    X = pd.DataFrame({"number": NUMBERS, name: ids, f"{name} twice": [*ids[1:], ids[1]]})

    assert list(column_kinds(X).dropped) == [name]


@pytest.mark.parametrize("name", ["paid", "Druid", "idle", "kid", "bid"])
def test_words_that_end_like_an_id_are_not_ids(name):
    """The two letters must be a word."""
    X = pd.DataFrame({name: np.random.default_rng(1).permutation(10**6)[:N]})

    assert column_kinds(X).numbers == (name,)


def test_ids_can_be_kept():
    """Ranks, say, which look the same."""
    X = pd.DataFrame({"rank": np.arange(70), "number": np.arange(70) / 7})

    assert read_columns(X)[0].numbers == ("number",)
    assert read_columns(X, drop_ids=False)[0].numbers == ("rank", "number")


@pytest.mark.parametrize("name", ["year", "Year", "month_no", "daysSinceStart"])
def test_times_do_not_count_as_ids(name):
    """A year, one in each row, may well matter."""
    X = pd.DataFrame({name: np.arange(1950, 2020)})

    assert column_kinds(X).numbers == (name,)


def test_text_hardly_recurs_if_no_category_has_the_rows_to_stand_for_itself():
    """How many that takes can be said."""
    X = pd.DataFrame({"n": NUMBERS, "t": [f"name {i // 2}" for i in range(N)]})

    assert column_kinds(X).dropped == {"t": "text that hardly recurs"}
    assert read_columns(X, min_frequency=2)[0].categories == ("t",)
    unique = X.assign(t=[f"name {i}" for i in range(N)])
    assert read_columns(unique, min_frequency=1)[0].categories == ()


def test_categories_in_other_words_are_a_copy():
    """One column says m and f where the other says male and female."""
    short = np.random.default_rng(1).choice(["m", "f", "x"], size=N)
    words = {"m": "male", "f": "female", "x": "other"}
    X = pd.DataFrame({"short": short, "long": [words[s] for s in short], "n": NUMBERS})

    assert column_kinds(X).dropped == {"long": "tells the same as 'short'"}


def test_a_number_that_is_there_or_missing_is_not_constant_unless_that_is_ignored():
    """That it is missing may tell something."""
    X = pd.DataFrame({"a": _repeat(1, None), "n": NUMBERS})

    assert column_kinds(X).dropped == {}
    assert read_columns(X, missing_counts=False)[0].dropped == {"a": "constant"}


def test_a_table_without_a_usable_column_is_refused():
    """The error names each column and why it cannot be used."""
    with pytest.raises(TableError, match="'a': constant; 'b': no values"):
        column_kinds(pd.DataFrame({"a": _repeat(1), "b": _repeat(None)}))


def test_kinds_are_pairs_of_name_and_kind():
    """In the order numbers, dates, categories, with the values read."""
    X = pd.DataFrame({"t": _repeat("x", "y", "y"), "n": NUMBERS})
    X["d"] = pd.date_range("1970-01-01", periods=N)

    kinds, values = read_columns(X)

    assert list(kinds) == [("n", "number"), ("d", "date"), ("t", "category")]
    assert kinds.used == ("n", "d", "t")
    assert values["d"].tolist() == list(range(N))


@pytest.mark.parametrize(("n_rows", "n"), [(2, 3), (300, 3), (1000, 10), (10**6, 20)])
def test_a_category_needs_one_row_in_a_hundred_within_bounds(n_rows, n):
    """Three rows at least, 20 are enough."""
    assert least_frequency(n_rows) == n
