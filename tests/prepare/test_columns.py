"""The kind of each column, and its values."""

import datetime as dt
import decimal
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from joblib import parallel_config
from numpy.testing import assert_array_equal
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline

from sk_tune import AutoRegressor, GridSearchCV, MLPClassifier, TablePreparer
from sk_tune._prepare import (
    TextFormat,
    column_kinds,
    decide_columns,
    header_rows,
    read_text,
)
from sk_tune.exceptions import SkTuneWarning, TableError

N = 60
RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=N)
ARROW_TIME = pd.ArrowDtype(pa.time64("us"))


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
        (pd.array(_repeat(dt.time(7), None, dt.time(23)), dtype=ARROW_TIME), "numbers"),
        (pd.date_range("2020-01-01", periods=N), "dates"),
        (pd.date_range("2020-01-01", periods=N, tz="Europe/Berlin"), "dates"),
        (_repeat(dt.date(2020, 1, 1), dt.date(2021, 5, 5)), "dates"),
        (_repeat("2020-01-01", "2021-05-05", None), "dates"),
        (_repeat(pd.Timestamp("2020-01-01"), "2021-05-05", None), "dates"),
        ([x if x > 0 else f"{x:.6f}" for x in NUMBERS], "numbers"),
        (_repeat("a", "b"), "categories"),
        (pd.array(_repeat("a", None), dtype="string"), "categories"),
        (pd.Categorical(_repeat(1, 2, None)), "categories"),
        (_repeat("a", 1), "categories"),
        ([f"name {i}" if i % 2 else None for i in range(N)], "categories"),
        ([f"{x:.6f}" for x in NUMBERS], "numbers"),
        ([f"{x:.6f}" if x > 0 else " " for x in NUMBERS], "numbers"),
        ([f"{x:.6f}" if x > 0 else "N/A" for x in NUMBERS], "numbers"),
        ([x if x > 0 else " Unknown " for x in NUMBERS], "numbers"),
        ([f"{x:.2f} €" if x > 0 else "-" for x in NUMBERS], "numbers"),
        ([f"2020-{3 + i % 9:02}-01" if i % 4 else "?" for i in range(N)], "dates"),
        ([dt.date(2020, 1, 1 + i % 9) if i % 4 else "null" for i in range(N)], "dates"),
        ([f"2020-{3 + i % 9:02}-01" if i % 4 else "NaT" for i in range(N)], "dates"),
        (_repeat("17", "18", "<NA>", "#N/A"), "numbers"),
        (_repeat("a", "none", "N/A"), "categories"),
        (_repeat("17", "18", "?", "19"), "numbers"),
        (_repeat("17", "18", " ", "19"), "categories"),
        (_repeat("1", "2", "3"), "categories"),
        (["0.0" if i % 3 == 0 else f"{x:.6f}" for i, x in enumerate(NUMBERS)], "numbers"),
    ],
)
def test_each_type_has_a_kind(values, kind):
    """Type and values decide, for any content of a pandas column."""
    assert getattr(column_kinds(pd.DataFrame({"column": values})), kind) == ("column",)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (_repeat(1), "constant"),
        (_repeat("a"), "constant"),
        (_repeat(None), "no values"),
        (_repeat(np.nan), "no values"),
        (_repeat(np.inf), "no values"),
        ([f"name {i}" for i in range(N)], "text that differs in almost every row"),
        ([[i] for i in range(N)], "neither numbers, text nor dates"),
        (np.arange(N) + 1j, "neither numbers, text nor dates"),
        (np.arange(N), "a whole number that counts or names the rows"),
        (RNG.permutation(2 * N)[:N] + 7000, "a whole number that counts or names the rows"),
        (NUMBERS, "carries the same information as 'number'"),
    ],
)
def test_columns_that_cannot_help_are_dropped_with_a_reason(values, reason):
    """Constants, empty columns, names, counters, copies and lists are left out."""
    X = pd.DataFrame({"number": NUMBERS, "column": values})

    assert column_kinds(X).dropped == {"column": reason}


@pytest.mark.parametrize(
    "name", ["id", "ID", "user_id", "customer id", "customerID", "PassengerId", "uuid"]
)
@pytest.mark.parametrize("dtype", [int, str])
def test_whole_numbers_named_like_ids_are_dropped_if_all_are_different(name, dtype):
    """Also if they are far apart, or text."""
    ids = np.random.default_rng(1).permutation(10**6)[:N]
    X = pd.DataFrame({"number": NUMBERS, name: ids, f"{name} twice": [*ids[1:], ids[1]]})

    assert list(column_kinds(X.astype({name: dtype})).dropped) == [name]


IDS = np.random.default_rng(1).permutation(10**6)[:N]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        *((name, IDS) for name in ("paid", "Druid", "idle", "kid", "bid")),
        *((name, 1950 + np.arange(70)) for name in ("year", "Year", "month_no")),
        ("daysSinceStart", np.arange(70)),
    ],
)
def test_words_that_end_like_an_id_and_times_are_not_ids(name, values):
    """The two letters must be a word, and a year in each row may be informative."""
    assert column_kinds(pd.DataFrame({name: values})).numbers == (name,)


def test_ids_can_be_kept():
    """Ranks, for example, look the same."""
    X = pd.DataFrame({"rank": np.arange(70), "number": np.arange(70) / 7})

    assert TablePreparer().fit(X).kinds_.numbers == ("number",)
    assert TablePreparer(drop_ids=False).fit(X).kinds_.numbers == ("rank", "number")


def test_text_hardly_recurs_if_no_category_has_the_rows_to_stand_for_itself():
    """The required number of rows can be stated."""
    X = pd.DataFrame({"n": NUMBERS, "t": [f"name {i // 2}" for i in range(N)]})

    assert column_kinds(X).dropped == {"t": "text that differs in almost every row"}
    assert TablePreparer(min_frequency=2).fit(X).kinds_.categories == ("t",)
    unique = X.assign(t=[f"name {i}" for i in range(N)])
    assert TablePreparer(min_frequency=1).fit(unique).kinds_.categories == ()


def test_categories_in_other_words_are_a_copy():
    """m and f equal male and female; a date is not a copy of its days."""
    short = np.random.default_rng(1).choice(["m", "f", "x"], size=N)
    words = {"m": "male", "f": "female", "x": "other"}
    X = pd.DataFrame({"short": short, "long": [words[s] for s in short]})
    X = X.assign(n=np.arange(N) // 2, date=pd.to_datetime(np.arange(N) // 2, unit="D"))

    assert column_kinds(X).dropped == {"long": "carries the same information as 'short'"}


def test_a_number_that_is_there_or_missing_is_not_constant_unless_that_is_ignored():
    """Whether it is missing may be informative."""
    X = pd.DataFrame({"a": _repeat(1, None), "n": NUMBERS})

    assert column_kinds(X).dropped == {}
    assert TablePreparer(add_indicator=False).fit(X).dropped_ == {"a": "constant"}


def test_a_table_without_a_usable_column_is_refused():
    """The error names each column and why it cannot be used."""
    with pytest.raises(TableError, match="'a': constant; 'b': no values"):
        column_kinds(pd.DataFrame({"a": _repeat(1), "b": _repeat(None)}))


def test_kinds_are_pairs_of_name_and_kind():
    """In the order numbers, dates, categories, with the values read."""
    X = pd.DataFrame({"t": _repeat("x", "y", "y"), "n": NUMBERS})
    X["d"] = pd.date_range("1970-01-01", periods=N)

    kinds = column_kinds(X)

    assert list(kinds) == [("n", "number"), ("d", "date"), ("t", "category")]
    assert kinds.used == ("n", "d", "t")


@pytest.mark.parametrize(("n_rows", "n"), [(30, 3), (300, 3), (1000, 10), (3000, 20)])
def test_a_category_needs_one_row_in_a_hundred_within_bounds(n_rows, n):
    """Three rows at least, 20 are enough."""
    X = pd.DataFrame({"t": ["x"] * n_rows, "n": np.arange(n_rows) / 7})
    X.loc[: 2 * n - 2, "t"] = ["rare"] * (n - 1) + ["known"] * n

    names = TablePreparer().fit(X).get_feature_names_out().tolist()

    assert names[1:] == ["t_known", "t_x", "t_(rare)"]


POINT = "numbers with a decimal point"
MARCH, APRIL = pd.Timestamp("2024-03-04"), pd.Timestamp("2024-04-25")
OLD_APRIL = pd.Timestamp("1969-04-25")


@pytest.mark.parametrize(
    ("texts", "values", "words"),
    [
        (["1,234.56", "99.5"], [1234.56, 99.5], POINT),
        (["1.234,56", "99,5"], [1234.56, 99.5], "numbers with a decimal comma"),
        (["1.234.567", "1.000"], [1234567, 1000], "numbers with a decimal comma"),
        (["1\u00a0234,5", "-7"], [1234.5, -7], "numbers with a decimal comma"),
        (["1'234.50", "\u22127"], [1234.5, -7], POINT),
        (["€ 9.99", "-€1,200.00"], [9.99, -1200], "numbers with a decimal point, in €"),
        (["9,99 EUR", "3"], [9.99, 3], "numbers with a decimal comma, in EUR"),
        (["12.5 %", "7%"], [12.5, 7], "numbers with a decimal point, in %"),
        (["12 kg", "7.5 kg"], [12, 7.5], "numbers with a decimal point, in kg"),
        (["1 year", "2.5 years"], [1, 2.5], f"{POINT}, in year"),
        (["1 lb", "2.5 lbs."], [1, 2.5], f"{POINT}, in lb"),
        (["(1,234.50)", "$7"], [-1234.5, 7], f"{POINT}, in $"),
        (["($1,234.50)", "$7"], [-1234.5, 7], f"{POINT}, in $"),
        (["0:07", "23:59:30"], [420, 86370], "times such as 14:35"),
        (["12:05 AM", "2:35 pm"], [300, 52500], "times such as 14:35"),
        ([dt.time(0, 7), dt.time(23, 59, 30)], [420, 86370], "times such as 14:35"),
        (["30:00", "1:15:00.5"], [108_000, 4500.5], "times such as 14:35"),
        (["04.03.2024", "25.04.2024"], [MARCH, APRIL], "dates with the day first"),
        (["4/3/24", "25/4/24"], [MARCH, APRIL], "dates with the day first"),
        (["3/4/24", "4/25/69"], [MARCH, OLD_APRIL], "dates with the month first"),
        (["2.3k", "2,840"], [2300, 2840], f"{POINT}, with k for thousands"),
        (["1.25M", "12k"], [1.25e6, 12_000], f"{POINT}, with k for thousands"),
        (
            ["$1,5 K", "$900"],
            [1500, 900],
            "numbers with a decimal comma, in $, with k for thousands",
        ),
        (["7k", "12k"], [7, 12], f"{POINT}, in k"),
        (["1,234.5", "1e5"], [1234.5, 1e5], POINT),
        (["5 %", ".5"], [5, 0.5], f"{POINT}, in %"),
        ([1234, "1,234.5"], [1234, 1234.5], POINT),
        (["4/3/2024", "25/4/2024"], [MARCH, APRIL], "dates with the day first"),
        (["03/04/2024", "04/25/2024"], [MARCH, APRIL], "dates with the month first"),
        (["03-04-2024", "04-25-2024"], [MARCH, APRIL], "dates with the month first"),
        (
            ["04.03.2024 06:00", "25.04.2024, 6:00 PM"],
            [MARCH + pd.Timedelta(hours=6), APRIL + pd.Timedelta(hours=18)],
            "dates with the day first",
        ),
    ],
)
def test_text_is_read_by_the_format_of_its_column(texts, values, words):
    """In numbers the marks tell decimals from groups, in dates the days beyond 12."""
    X = pd.DataFrame({"a": [*texts * 10, None, " "], "b": np.arange(22) % 7})
    numbers = values
    if isinstance(values[0], pd.Timestamp):
        since = [own - pd.Timestamp("1970-01-01") for own in values]
        numbers = [own.total_seconds() / 86400 for own in since]

    preparer = TablePreparer(numeric=None, impute_strategy=None)
    prepared = preparer.set_output(transform="pandas").fit_transform(X)

    assert str(preparer.kinds_.formats["a"]) == words
    own = next(prepared[name] for name in ("a", "a_days") if name in prepared)
    assert own[:2].tolist() == pytest.approx(numbers, rel=1e-15)
    assert preparer.transform(X[:1])[own.name].tolist() == own[:1].tolist()


@pytest.mark.parametrize(
    "texts",
    [
        ["4 Mar 2024", "25 april 2024"],
        ["04-Mar-2024", "25-Apr-2024"],
        ["04MAR2024", "25APR2024"],
        ["March 4, 2024", "Apr 25 2024"],
        ["4 Mar. 2024", "Apr. 25, 2024"],
        ["2024/3/4", "2024-04-25"],
        ["2024.03.04", "2024.4.25"],
    ],
)
def test_dates_with_the_name_of_the_month_have_one_reading(texts):
    """They need no mention, like dates with the year first; hours may follow."""
    times = [f"{texts[0]} 06:00", f"{texts[1]} 18:00:00"]
    X = pd.DataFrame({"a": [*texts, *times] * 10})

    preparer = TablePreparer(numeric=None, impute_strategy=None)
    prepared = preparer.set_output(transform="pandas").fit_transform(X)

    assert preparer.kinds_.formats == {}
    dates = [MARCH, APRIL, MARCH + pd.Timedelta(hours=6), APRIL + pd.Timedelta(hours=18)]
    days = [(date - pd.Timestamp("1970-01-01")).total_seconds() / 86400 for date in dates]
    assert prepared["a_days"][:4].tolist() == pytest.approx(days, rel=1e-15)


@pytest.mark.parametrize("text", ["4 Sept 2024", "Sept. 4, 2024", "4 September 2024"])
def test_september_has_two_abbreviations(text):
    """The usual one in print has four letters."""
    X = pd.DataFrame({"a": [text, "5 Sep 2024"] * 10})

    assert dict(column_kinds(X)) == {"a": "date"}


@pytest.mark.parametrize("texts", [["may", "june"], ["12 May", "3 June"]])
def test_months_without_a_year_are_categories(texts):
    """They are no dates, with or without a day."""
    assert dict(column_kinds(pd.DataFrame({"a": texts * 20}))) == {"a": "category"}


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (
            ["01/02/2024", "03/04/2024"],
            "month first.*'01/02/2024' as 2024-01-02.*dayfirst=True",
        ),
        (
            ["01-02-2024", "03-04-2024"],
            "day first.*'01-02-2024' as 2024-02-01.*dayfirst=False",
        ),
        (["1,234", "12,500"], "decimal point.*'1,234' as 1234"),
        (["1.234", "345", "12.500"], "decimal comma.*'1.234' as 1234"),
        (["1.234 km", "345 km"], "decimal comma, in km.*'1.234 km' as 1234"),
    ],
)
def test_columns_that_could_be_read_in_two_ways_are_named(texts, words):
    """The warning shows the reading of one cell."""
    X = pd.DataFrame({"a": texts * 10})

    with pytest.warns(SkTuneWarning, match=f"Column 'a' is read as .*{words}"):
        column_kinds(X)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            [f"{x:.6f}" for x in NUMBERS] + ["abc"] * 9,
            "numbers: 60 of 69 .*, but not 'abc'",
        ),
        ([*NUMBERS, *["a", "b"] * 4], "numbers: 60 of 68 .*, but not 'a', 'b'"),
        ([f"20{i}-01-01" for i in range(10, 70)] + ["x"] * 9, "dates: .*, but not 'x'"),
    ],
)
def test_words_that_make_a_category_of_numbers_are_named(values, told):
    """With what to do; codes and text that has few numbers are categories."""
    X = pd.DataFrame({
        "a": values,
        "t": ["x", "1"] * (len(values) // 2) + ["y"] * (len(values) % 2),
    })

    with pytest.warns(SkTuneWarning, match=f"Column 'a' is not read as .*{told}"):
        kinds = column_kinds(X)

    assert kinds.categories == ("a", "t")


@pytest.mark.parametrize("read", [column_kinds, decide_columns])
def test_one_warning_names_all_columns_of_an_ambiguous_format(read):
    """With the reading of one cell each."""
    X = pd.DataFrame({
        "from": ["01/02/2024", "03/04/2024"] * 10,
        "to": ["05/06/2024", "01/02/2024"] * 10,
    })

    with pytest.warns(SkTuneWarning) as warned:
        read(X)

    assert [str(own.message) for own in warned] == [
        "2 columns are read as dates with the month first, but are ambiguous: 'from' "
        "('01/02/2024' as 2024-01-02), 'to' ('05/06/2024' as 2024-05-06). If that is "
        "wrong, pass pd.to_datetime(X[name], dayfirst=True) instead of the column."
    ]


@pytest.mark.parametrize("read", [column_kinds, decide_columns])
def test_one_warning_names_all_columns_with_words(read):
    """A table of many such columns does not repeat it for each of them."""
    X = pd.DataFrame({
        name: np.roll(np.array([*NUMBERS, *[name * 3] * 9], dtype=object), k)
        for k, name in enumerate("abc")
    })

    with pytest.warns(SkTuneWarning) as warned:
        read(X)

    assert [str(own.message) for own in warned] == [
        "3 columns are not read as numbers or dates, because of a few words in each: 'a' "
        "('aaa'), 'b' ('bbb'), 'c' ('ccc'). To read the columns, replace these "
        "words with NaN."
    ]


@pytest.mark.parametrize(
    "values",
    [
        _repeat("2", "4", "5", "NA"),
        [*map(str, NUMBERS[1:]), "none"],
        [f"{x:.2f} €" if x > 0 else "-" for x in NUMBERS],
        [*range(N - 1), "?"],
        [dt.date(2020, 1, 1 + i % 9) if i % 4 else "" for i in range(N)],
        [f"2020-{3 + i % 9:02}-01" if i % 4 else "?" for i in range(N)],
    ],
    ids=["codes", "texts", "amounts", "numbers", "days", "dates"],
)
def test_what_a_missing_word_made_readable_takes_other_words(values):
    """They are missing, as if rows to train on had them too they would be categories."""
    X = pd.DataFrame({"a": values, "b": NUMBERS})
    preparer = TablePreparer().set_output(transform="pandas").fit(X)
    others = X[:9].replace({"a": {values[1]: "5more"}})

    with pytest.warns(
        SkTuneWarning, match="Column 'a' holds .* except for '5more' in row 2"
    ):
        taken = preparer.transform(others)

    assert taken["a_missing"][1] == 1
    assert taken["b"].tolist() == preparer.transform(X[:9])["b"].tolist()


def test_one_warning_names_all_columns_with_cells_of_another_kind():
    """They are missing in each of the columns."""
    X = pd.DataFrame({
        name: [*NUMBERS[n:], *["none"] * n] for name, n in (("b", 1), ("c", 2))
    })
    preparer = TablePreparer().fit(X)

    with pytest.warns(SkTuneWarning) as warned:
        preparer.transform(X.replace("none", "free"))

    assert [str(own.message) for own in warned] == [
        "2 columns hold cells in another format: 'b' ('free' in row 60), 'c' ('free' in "
        "row 59 and 1 more such cells). Cells in another format are treated as missing."
    ]


@pytest.mark.parametrize(
    ("last", "options"),
    [(MLPClassifier(max_epochs=1), {}), (DummyClassifier(), {"n_jobs": 2, "refit": False})],
    ids=["refit", "workers"],
)
def test_a_search_names_such_words_once(last, options):
    """Not in each fold or in the refit; also if workers fit the folds."""
    values = ["abc" if i % 5 == 0 else i / 7 for i in range(72)]
    X = pd.DataFrame({"a": values, "b": np.arange(72) % 7})
    pipe = make_pipeline(TablePreparer(), last)

    with parallel_config("threading"), pytest.warns(SkTuneWarning) as told:
        GridSearchCV(pipe, {}, cv=3, **options).fit(X, np.arange(72) % 2)

    assert ["'a' is not read as" in str(own.message) for own in told] == [True]


@pytest.mark.parametrize("read", [column_kinds, decide_columns])
@pytest.mark.parametrize(
    ("texts", "units"),
    [
        (["170 cm", "175 cm", "1.7 m", "68 in"], "'cm' (20), 'in' (10), 'm' (10)"),
        (["170", "175", "1.7 m", "68 in"], "'in' (10), 'm' (10)"),
        ([f"{150 + k} cm" for k in range(30)] + ["1.7 m"], "'cm' (300), 'm' (10)"),
        (["$ 5", "7 €", "US$ 6"], "'$' (10), 'US$' (10), '€' (10)"),
    ],
)
def test_a_column_with_several_units_is_named_with_them(read, texts, units):
    """The most frequent first; it is a category in any of its rows."""
    X = pd.DataFrame({"a": texts * 10, "b": np.arange(10 * len(texts)) / 7})

    with pytest.warns(SkTuneWarning) as warned:
        read(X)

    assert [str(own.message) for own in warned] == [
        "Column 'a' is not read as numbers, because its values have different units: "
        f"{units}. To read the column, convert its values to one unit."
    ]


@pytest.mark.parametrize("read", [column_kinds, decide_columns])
def test_one_warning_names_all_columns_with_several_units(read):
    """Also columns that are dropped, because each of their texts is rare."""
    X = pd.DataFrame({
        "a": ["1 kg", "2 lbs."] * 20,
        "b": [f"{k} {'cm' if k % 2 else 'in'}" for k in range(40)],
    })

    with pytest.warns(SkTuneWarning) as warned:
        read(X)

    assert [str(own.message) for own in warned] == [
        "2 columns are not read as numbers, because the values of each have different "
        "units: 'a' ('kg' (20), 'lb' (20)), 'b' ('cm' (20), 'in' (20)). To read the "
        "columns, convert the values of each to one unit."
    ]


@pytest.mark.filterwarnings("ignore:Column 'a' is not read as numbers")
def test_a_column_with_several_units_is_a_category_in_any_of_its_rows():
    """Rows with only one of the units would be numbers, unlike the others."""
    X = pd.DataFrame({"a": ["170 cm", "180 cm"] * 20 + ["1.7 m"]})

    table, formats, _ = decide_columns(X)

    assert formats == {"a": None}
    assert TablePreparer().fit(table[:40]).transform(table[40:]).shape == (1, 2)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "values",
    [
        *[["1", "2", "3", "S"], ["a", "b", "1.5"], ["x", "N/A"], ["-", " "]],
        *[["10A", "10B", "12C"], ["1st", "2nd", "3rd"], ["38L", "40R", "42S"]],
    ],
)
def test_other_categories_do_not_warn(values):
    """Recurring codes, words with one number, words for missing values, and sizes."""
    assert column_kinds(pd.DataFrame({"a": _repeat(*values)})).categories == ("a",)


@pytest.mark.filterwarnings("ignore:Column 'a' is not read as numbers")
@pytest.mark.parametrize(
    "texts",
    [
        ["31.02.2024"],
        ["31-02-24"],
        ["13:60", "13:00 pm"],
        ["$ 5", "€ 7"],
        ["10A", "11B"],
        ["1.2.3"],
    ],
)
def test_the_error_names_a_cell_that_is_not_a_number(texts):
    """Neither dates that are not of the calendar, nor numbers in several units."""
    cells = [f"{texts[k % len(texts)]}{' ' * k}" for k in range(20)]
    X = pd.DataFrame({"a": cells, "b": np.arange(20) / 7})

    reason = column_kinds(X).dropped["a"]

    assert reason.startswith("text that differs in almost every row and cannot be read")
    assert f"'{texts[0]}'" in reason


def test_the_reason_names_the_dtype_that_keeps_dates_from_being_read():
    """As text, the same column has dates."""
    days = pd.Series(pd.date_range("2024-01-01", periods=60).astype(str))

    kinds = column_kinds(
        pd.DataFrame({"a": days.astype("category"), "b": np.arange(60) / 7})
    )

    reason = "text that differs in almost every row, in dtype category"
    assert kinds.dropped["a"] == f"{reason}, which is not read as numbers or dates"
    assert column_kinds(days.to_frame("a")).dates == ("a",)


def test_a_point_with_other_than_three_digits_behind_it_parts_fractions():
    """Also next to integers, and if each number has three digits behind the point."""
    for texts in (["1.234", "345", "12.5"], ["1.234", "12.500"], ["0.125", "345"]):
        X = pd.DataFrame({"a": [f"{text}{' ' * k}" for text in texts for k in range(20)]})

        values = TablePreparer(numeric=None, impute_strategy=None).fit_transform(X)[:, 0]

        assert values[::20].tolist() == [float(text) for text in texts]


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["9,99 €", "1.234,50 €"], [Decimal("9.99"), None, 1234.5]),
        (["04.03.2024", "25.04.2024"], [MARCH.date(), None, APRIL.to_pydatetime()]),
    ],
)
def test_numbers_and_dates_among_objects_are_themselves_where_fit_had_text(texts, values):
    """As records of a data base give them, which hold no text at all."""
    preparer = TablePreparer(numeric=None, impute_strategy=None)
    preparer.fit(pd.DataFrame({"a": [*texts, None] * 10}))

    prepared = preparer.transform(pd.DataFrame({"a": pd.Series(values, dtype=object)}))

    same = preparer.transform(pd.DataFrame({"a": [texts[0], None, texts[1]]}))
    assert_array_equal(prepared, same)


@pytest.mark.parametrize("cell", ["$ 5", "free", "1.234,5"])
def test_cells_in_another_format_than_in_fit_are_refused(cell):
    """``fit`` decides on the format; the error names a cell in another format."""
    X = pd.DataFrame({"a": ["€ 1.50", "€ 1,000.00", "€ 7"] * 10})
    preparer = TablePreparer().fit(X)

    with pytest.raises(TableError, match="with a decimal point, in €, as .*in row 1"):
        preparer.transform(pd.DataFrame({"a": [cell]}))


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_dates_are_refused_where_fit_had_numbers(zone):
    """They are not read as nanoseconds since 1970."""
    preparer = TablePreparer().fit(pd.DataFrame({"a": NUMBERS}))
    X = pd.DataFrame({"a": pd.date_range("2024-01-01", periods=2, tz=zone)})

    with pytest.raises(TableError, match="'a' must hold numbers, as in fit. Got '2024-01"):
        preparer.transform(X)


def test_automl_reads_a_column_in_one_way_in_fit_and_predict():
    """Also rows that could be read in another way by themselves."""
    rng = np.random.default_rng(0)
    days = pd.Series(
        pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, 80), "D")
    )
    X = pd.DataFrame({"day": days.dt.strftime("%d/%m/%Y"), "paid": rng.normal(size=80)})
    X["paid"] = [f"{1000 * own:,.2f} €" for own in X["paid"]]
    y = days.dt.day_of_year.to_numpy(float)

    auto = AutoRegressor(
        time_budget=None, n_rounds=0, models=["linear"], cv=3, random_state=0
    )
    auto.fit(X, y)

    formats = {name: str(own) for name, own in auto.kinds_.formats.items()}
    assert formats == {
        "day": "dates with the day first",
        "paid": "numbers with a decimal point, in €",
    }
    is_early = (days.dt.day <= 12).to_numpy()
    assert np.allclose(auto.predict(X[is_early]), auto.predict(X)[is_early])
    assert auto.score(X[is_early], y[is_early]) > 0.9


MOSTLY_NUMBERS = np.random.default_rng(0).normal(size=40).tolist()
TEXTS = [str(number) for number in MOSTLY_NUMBERS]
DAYS = [dt.date(2020, 1, 1) + dt.timedelta(days=k) for k in range(40)]
EPSILON = {"number": 1e-15, "date": pd.Timedelta(1, "s")}
ISO = [f"{day}" for day in DAYS]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([*MOSTLY_NUMBERS, "free"], "number"),
        ([*TEXTS, "free"], "number"),
        (["free", *TEXTS, None, " ", "N/A"], "number"),
        ([True, False] * 20 + ["free"], "number"),
        ([*DAYS, "later"], "date"),
        ([*ISO, "later"], "date"),
        (["2020-13-45", *ISO], "date"),
        ([*ISO, *["later"] * 4], "date"),
    ],
)
def test_few_cells_of_another_kind_are_missing(values, kind):
    """At most a tenth: the remaining cells decide the kind of the column."""
    X = pd.DataFrame({"a": values})

    with pytest.warns(SkTuneWarning, match="Column 'a' holds"):
        table, found, _ = decide_columns(X)

    plain = table["a"]
    assert found["a"].kind == kind
    assert decide_columns(table)[1] == {}
    known = pd.Series(values).isin([*MOSTLY_NUMBERS, *TEXTS, True, False, *DAYS, *ISO])
    expected = X["a"][known]
    if kind == "date":
        expected = pd.to_datetime(expected, utc=True)
    assert (plain[known] - expected.astype(plain.dtype)).abs().max() < EPSILON[kind]
    assert plain[~known].isna().all()


@pytest.mark.parametrize(
    "values",
    [[*TEXTS, *["free"] * 10], [*["1", "2", "3"] * 13, "A"], [*TEXTS[:20], *ISO[:20]]],
    ids=["many", "codes that recur", "numbers and dates"],
)
@pytest.mark.filterwarnings("ignore:Column 'a' is not read as")
def test_columns_of_several_kinds_are_categories_in_any_of_their_rows(values):
    """Also in rows that all parse as numbers."""
    X = pd.DataFrame({"a": values})

    table, found, _ = decide_columns(X)

    assert found == {"a": None}
    assert isinstance(table["a"].dtype, pd.CategoricalDtype)


@pytest.mark.parametrize(
    "values",
    [
        MOSTLY_NUMBERS,
        TEXTS,
        DAYS,
        ["Bern", "Ulm"] * 20,
        pd.Categorical([*TEXTS, "A"]),
        [[1], "a"] * 20,
        [None] * 40,
    ],
)
def test_columns_of_one_kind_are_left_as_they_are(values):
    """Plain text, and columns with a dtype of their own."""
    assert decide_columns(pd.DataFrame({"a": values}))[1] == {}


def test_numbers_that_recur_next_to_a_missing_word_are_numbers_in_all_rows():
    """Also in those without the word, which could be codes."""
    X = pd.DataFrame({"a": ["17", "18", "19"] * 20 + ["unknown"]})

    table, formats, kinds = decide_columns(X)

    assert kinds.numbers == ("a",)
    assert table["a"].isna().tolist() == [False] * 60 + [True]
    assert read_text(X[:3], formats)["a"].tolist() == [17, 18, 19]


def test_cells_that_are_missing_are_named():
    """By column, value and row; numeric columns are not checked."""
    X = pd.DataFrame({"a": ["1", "free", "2", "later"]})
    formats = {"a": TextFormat(kind="number", style="plain", is_strict=False)}

    with pytest.warns(SkTuneWarning, match="except for 'free' in row 2 and 1 more such"):
        plain = read_text(X, formats)

    assert plain["a"].isna().tolist() == [False, True, False, True]
    later = pd.DataFrame({"a": [1.0, 2.0]})
    pd.testing.assert_frame_equal(read_text(later, formats), later)


def test_rows_that_repeat_the_column_names_are_one_warning():
    """For a repeated header, not for each column; the columns keep their kinds."""
    rows = np.random.default_rng(0).normal(size=(30, 3)).astype(str)
    X = pd.DataFrame([*rows, ["a", "b", "c"], *rows], columns=list("abc"))

    with pytest.warns(SkTuneWarning) as told:
        preparer = TablePreparer().fit(X)

    assert [str(own.message)[:44] for own in told] == [
        "Row 31 of the table repeats the column names"
    ]
    assert preparer.kinds_.numbers == ("a", "b", "c")


def _read(values, kind):
    """Return values as they are where fit found numbers, dates or categories."""
    categories = [*_repeat("1", "x", "y", None)[:-1], "rare"]
    seen = {"number": NUMBERS, "date": pd.date_range("2020", periods=N)}
    X = pd.DataFrame({"a": seen.get(kind, categories)})
    preparer = TablePreparer(numeric=None, impute_strategy=None).set_output(
        transform="pandas"
    )
    rows = pd.DataFrame({"a": values})
    found = preparer.fit(X).transform(rows)
    if kind == "category":
        return [name.removeprefix("a_") for name in found.idxmax(axis=1)]
    return found[{"number": "a", "date": "a_days"}[kind]].tolist()


ARROW_DURATION = pd.ArrowDtype(pa.duration("ms"))
DAY_NS = 24 * 60 * 60 * 10**9
NAN = np.nan


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        # Truth values are 0 and 1, durations are seconds, and infinity is missing.
        *(
            ("number", *case)
            for case in (
                ([1, 2], [1, 2]),
                ([1.5, None], [1.5, NAN]),
                ([True, None, False], [1, NAN, 0]),
                (pd.array([1, None], dtype="Int64"), [1, NAN]),
                (pd.array([True, None], dtype="boolean"), [1, NAN]),
                ([decimal.Decimal("1.5"), decimal.Decimal(2)], [1.5, 2]),
                ([np.inf, -np.inf, 0], [NAN, NAN, 0]),
                (pd.to_timedelta([1, 2], unit="h"), [3600, 7200]),
                (pd.array([3_600_000], dtype=ARROW_DURATION), [3600]),
                # More than 2**53 nanoseconds.
                (pd.array([200 * DAY_NS], dtype="duration[ns][pyarrow]"), [200 * 86400]),
                (pd.Categorical([3, 1]), [3, 1]),
                (["3", "1.5"], [3, 1.5]),
                (["3", " ", "", None], [3, NAN, NAN, NAN]),
                (["3", " NULL", "-", True], [3, NAN, NAN, 1]),
            )
        ),
        # Days since 1970, of which half a one is 0.5; zones are those of UTC.
        *(
            ("date", values, [1.5, NAN])
            for values in (
                pd.to_datetime(["1970-01-02 12:00", None]),
                pd.to_datetime(["1970-01-02 13:00", None]).tz_localize("Europe/Berlin"),
                ["1970-01-02 12:00", None],
                [dt.datetime(1970, 1, 2, 12), None],
                ["1970-01-02 12:00", " "],
            )
        ),
        ("date", pd.array([200 * DAY_NS], dtype="timestamp[ns][pyarrow]"), [200]),
        # Such as the usual "no end", which nanoseconds do not reach.
        *(
            ("date", [make("2024-05-01"), make(day)], [19844, n])
            for make in (str, dt.date.fromisoformat, np.datetime64)
            for day, n in (("9999-12-31", 2932896), ("0101-01-01", -682638))
        ),
        # A whole number is the same text, also where missing ones make it a float.
        *(
            ("category", values, ["1", "(missing)"])
            for values in (
                ["1", None],
                [1, None],
                [1.0, NAN],
                pd.array([1, None], dtype="Int64"),
                pd.array([1, None], dtype="Float32"),
                pd.Categorical([1, None]),
            )
        ),
        # True is not 1.
        (
            "category",
            [1, True, "x", None, 2.5],
            ["1", "(rare)", "x", "(missing)", "(rare)"],
        ),
    ],
)
def test_values_of_any_type_read_the_same(kind, values, expected):
    """Values of files or programs may have any type."""
    found = _read(values, kind)

    assert found == (
        expected if kind == "category" else pytest.approx(expected, nan_ok=True)
    )


def test_a_header_row_is_found_among_categories():
    """A file that was read with categories of text repeats its header all the same."""
    table = pd.DataFrame({"a": ["x", "a", "y"], "b": ["1", "b", "2"]})

    for kinds in ({}, {"a": "category"}, {"a": "category", "b": "category"}):
        assert header_rows(table.astype(kinds)).tolist() == [False, True, False]


def test_dates_written_as_numbers_are_named():
    """20240131 is followed by 20240201: the warning says how to read such a column."""
    dates = pd.date_range("2023-12-20", periods=30).strftime("%Y%m%d").astype(int)
    X = pd.DataFrame({"day": dates, "weight": np.arange(30) * 1e5 + 20230000})

    with pytest.warns(SkTuneWarning) as caught:
        TablePreparer().fit(X)

    (message,) = [str(warning.message) for warning in caught]
    assert message.startswith("Column 'day' (20231220) looks like dates but is read as")
    assert "pd.to_datetime(X['day'], format='%Y%m%d')" in message
