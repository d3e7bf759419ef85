"""How columns of text write numbers and dates."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sk_tune import AutoRegressor, TablePreparer
from sk_tune.exceptions import SkTuneWarning, TableError
from sk_tune.prepare import column_kinds

MARCH, APRIL = pd.Timestamp("2024-03-04"), pd.Timestamp("2024-04-25")


@pytest.mark.parametrize(
    ("texts", "values", "words"),
    [
        (["1,234.56", "99.5"], [1234.56, 99.5], "numbers with a decimal point"),
        (["1.234,56", "99,5"], [1234.56, 99.5], "numbers with a decimal comma"),
        (["1.234.567", "1.000"], [1234567, 1000], "numbers with a decimal comma"),
        (["1\u00a0234,5", "-7"], [1234.5, -7], "numbers with a decimal comma"),
        (["1'234.50", "\u22127"], [1234.5, -7], "numbers with a decimal point"),
        (["€ 9.99", "-€1,200.00"], [9.99, -1200], "numbers with a decimal point, in €"),
        (["9,99 EUR", "3"], [9.99, 3], "numbers with a decimal comma, in EUR"),
        (["12.5 %", "7%"], [12.5, 7], "numbers with a decimal point, in %"),
        (["12 kg", "7.5 kg"], [12, 7.5], "numbers with a decimal point, in kg"),
        (["04.03.2024", "25.04.2024"], [MARCH, APRIL], "dates with the day first"),
        (["4/3/2024", "25/4/2024"], [MARCH, APRIL], "dates with the day first"),
        (["03/04/2024", "04/25/2024"], [MARCH, APRIL], "dates with the month first"),
        (["03-04-2024", "04-25-2024"], [MARCH, APRIL], "dates with the month first"),
        (
            ["04.03.2024 06:00", "25.04.2024 18:00"],
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

    preparer = TablePreparer(numeric=None, imputation=None)
    prepared = preparer.set_output(transform="pandas").fit_transform(X)

    assert str(preparer.kinds_.formats["a"]) == words
    own = next(prepared[name] for name in ("a", "a_days") if name in prepared)
    assert own[:2].tolist() == pytest.approx(numbers, rel=1e-15)
    assert preparer.transform(X[:1])[own.name].tolist() == own[:1].tolist()


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["01/02/2024", "03/04/2024"], "month first.*'01/02/2024' as 2024-01-02"),
        (["01-02-2024", "03-04-2024"], "day first.*'01-02-2024' as 2024-02-01"),
        (["1,234", "12,500"], "decimal point.*'1,234' as 1234"),
        (["1.234", "345", "12.500"], "decimal comma.*'1.234' as 1234"),
        (["1.234 km", "345 km"], "decimal comma, in km.*'1.234 km' as 1234"),
    ],
)
def test_columns_that_could_be_read_in_two_ways_are_named(texts, words):
    """With the way that is taken, for one cell."""
    X = pd.DataFrame({"a": texts * 10})

    with pytest.warns(SkTuneWarning, match=f"Column 'a' is read as .*{words}"):
        column_kinds(X)


@pytest.mark.parametrize(
    "texts", [["31.02.2024"], ["$ 5", "€ 7"], ["10A", "11B"], ["1.2.3"]]
)
def test_text_that_is_no_number_is_named_by_a_cell(texts):
    """Neither dates that are not of the calendar, nor numbers in several units."""
    cells = [f"{texts[k % len(texts)]}{' ' * k}" for k in range(20)]
    X = pd.DataFrame({"a": cells, "b": np.arange(20) / 7})

    reason = column_kinds(X).dropped["a"]

    assert reason.startswith("text that hardly recurs and reads neither")
    assert f"'{texts[0]}'" in reason


def test_a_point_with_other_than_three_digits_behind_it_parts_fractions():
    """As beside whole numbers, and where each number has three digits behind the point."""
    for texts in (["1.234", "345", "12.5"], ["1.234", "12.500"], ["0.125", "345"]):
        X = pd.DataFrame({"a": [f"{text}{' ' * k}" for text in texts for k in range(20)]})

        values = TablePreparer(numeric=None, imputation=None).fit_transform(X)[:, 0]

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
    preparer = TablePreparer(numeric=None, imputation=None)
    preparer.fit(pd.DataFrame({"a": [*texts, None] * 10}))

    prepared = preparer.transform(pd.DataFrame({"a": pd.Series(values, dtype=object)}))

    same = preparer.transform(pd.DataFrame({"a": [texts[0], None, texts[1]]}))
    assert_array_equal(prepared, same)


@pytest.mark.parametrize("cell", ["$ 5", "n/a", "1.234,5"])
def test_what_is_written_in_another_way_than_in_fit_is_refused(cell):
    """The format was decided once; a cell of another one is named."""
    X = pd.DataFrame({"a": ["€ 1.50", "€ 1,000.00", "€ 7"] * 10})
    preparer = TablePreparer().fit(X)

    with pytest.raises(TableError, match="with a decimal point, in €, as .*in row 1"):
        preparer.transform(pd.DataFrame({"a": [cell]}))


def test_automl_reads_a_column_in_one_way_in_fit_and_predict():
    """Rows that alone could be read in another way, too."""
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

    formats = {name: str(own) for name, own in auto.columns_.formats.items()}
    assert formats == {
        "day": "dates with the day first",
        "paid": "numbers with a decimal point, in €",
    }
    is_early = (days.dt.day <= 12).to_numpy()
    assert np.allclose(auto.predict(X[is_early]), auto.predict(X)[is_early])
    assert auto.score(X[is_early], y[is_early]) > 0.9
