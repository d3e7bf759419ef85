"""A whole table as numbers for a network, and the transformers for its columns."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from marks import parametrize_with_checks
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler, StandardScaler

from sk_tune import MLPClassifier, TablePreparer
from sk_tune._cell_formats import read_values
from sk_tune._frames import as_pandas
from sk_tune._prepare import CategoryCodes, SmoothClipScaler
from sk_tune.exceptions import TableError

N = 60
SETTINGS = [
    {},
    {"numeric": "quantile"},
    {"numeric": "standard", "add_indicator": False},
    {"embeddings": True},
]


def _repeat(*values):
    return [values[i % len(values)] for i in range(N)]


def _table(n=300, seed=0):
    """Return numbers, dates, truth values and categories, some missing."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({
        "size": rng.normal(size=n),
        "rooms": rng.integers(1, 6, size=n),
        "open": rng.random(n) < 0.5,
        "since": pd.Timestamp("2020-01-01")
        + pd.to_timedelta(rng.integers(900, size=n), "D"),
        "town": rng.choice(["Bern", "Köln", "Ulm"], n),
        "street": [f"street {i}" for i in rng.integers(20, size=n)],
    })
    X.loc[rng.random(n) < 0.1, ["size", "town"]] = None
    X.loc[rng.random(n) < 0.1, "since"] = pd.NaT
    return X


@parametrize_with_checks([
    *(TablePreparer(**setting) for setting in SETTINGS),
    TablePreparer(target_encoding=True, crosses=3),
    SmoothClipScaler(),
])
def test_transformers_pass_the_checks_of_scikit_learn(estimator, check):
    """They are like scikit-learn's own."""
    check(estimator)


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_cell_is_a_finite_number(setting):
    """Also in new rows with new categories."""
    X = _table()
    new = _table(seed=1).assign(town="elsewhere", street=None)
    preparer = TablePreparer(**setting).fit(X)

    empty = X.head(3).astype(object)
    empty[:] = None
    for rows in (X, new, empty):
        assert np.isfinite(np.asarray(preparer.transform(rows), dtype=float)).all()


# scikit-learn's scalers take a range below 1e-14 for constant.
COLUMNS = {
    "float": lambda rng, n: rng.normal(size=n) * 10.0 ** rng.integers(-9, 99),
    "infinite": lambda rng, n: np.where(rng.random(n) < 0.3, np.inf, rng.normal(size=n)),
    "mostly zero": lambda rng, n: np.where(rng.random(n) < 0.9, 0, rng.standard_cauchy(n)),
    "int": lambda rng, n: rng.integers(-5, 5, size=n),
    "uint64": lambda rng, n: rng.integers(2**62, 2**63, size=n).astype(np.uint64),
    "Int64": lambda rng, n: pd.array(rng.integers(3, size=n), dtype="Int64"),
    "bool": lambda rng, n: rng.random(n) < 0.5,
    "text": lambda rng, n: rng.choice(["a", "b", ""], n),
    "names": lambda rng, n: [f"name {i}" for i in rng.integers(n, size=n)],
    "category": lambda rng, n: pd.Categorical(rng.integers(4, size=n)),
    "mixed": lambda rng, n: pd.Series(rng.choice([1, "a", 2.5, True], n), dtype=object),
    "dates": lambda rng, n: np.datetime64("1800-01-01") + rng.integers(150_000, size=n),
    "durations": lambda rng, n: pd.to_timedelta(rng.integers(10**9, size=n), unit="s"),
    "periods": lambda rng, n: pd.period_range("2020-01", periods=n, freq="D"),
    "empty": lambda rng, n: np.full(n, np.nan),
    "lists": lambda rng, n: [[1]] * n,
}


@given(
    kinds=st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=6),
    n=st.sampled_from([2, 30, 200]),
    missing=st.sampled_from([0.0, 0.1, 0.9]),
    numeric=st.sampled_from(["smooth_clip", "quantile", "standard"]),
    indicator=st.booleans(),
    embeddings=st.booleans(),
    min_frequency=st.sampled_from([None, 1]),
    features=st.sampled_from([{}, {"target_encoding": True}, {"crosses": 3}]),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=40, deadline=None)
@pytest.mark.filterwarnings("ignore:Column .* is not read as numbers")
def test_whatever_a_table_holds_it_becomes_columns_that_vary(
    kinds, n, missing, numeric, indicator, embeddings, min_frequency, features, seed
):
    """Finite, with different names, row by row; or the table is refused."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({f"{j} {kind}": COLUMNS[kind](rng, n) for j, kind in enumerate(kinds)})
    X = X.mask(rng.random(X.shape) < missing)
    preparer = TablePreparer(
        numeric=numeric,
        add_indicator=indicator,
        embeddings=embeddings,
        min_frequency=min_frequency,
        **features,
    )
    try:
        trained = np.asarray(preparer.fit_transform(X, rng.random(n)), dtype=float)
    except TableError:  # No column is left.
        return

    Z = np.asarray(preparer.transform(X), dtype=float)
    backwards = np.asarray(preparer.transform(X[::-1]), dtype=float)

    names = preparer.get_feature_names_out()
    assert np.isfinite([trained, Z]).all()
    assert "target_encoding" in features or np.array_equal(trained, Z)
    assert np.array_equal(backwards[::-1], Z)
    assert len(set(names)) == Z.shape[1]
    # Ratios and means of the target may be equal in all rows.
    assert features or (np.ptp(Z, axis=0) > 0).all()


def test_numbers_are_scaled_by_the_training_rows():
    """Mean and variance of the training rows, as in scikit-learn."""
    train, test = pd.DataFrame({"a": [0.0, 1.0, 2.0] * 20}), pd.DataFrame({"a": [4.0]})

    preparer = TablePreparer(numeric="standard").fit(train)

    assert preparer.transform(train).std() == pytest.approx(1)
    assert preparer.transform(test) == pytest.approx((4 - 1) / np.sqrt(2 / 3))


def test_numbers_can_have_a_normal_distribution():
    """Quantiles of any distribution become normal quantiles."""
    X = pd.DataFrame({"a": np.exp(np.random.default_rng(0).normal(size=2000) * 3)})

    Z = TablePreparer(numeric="quantile").fit_transform(X)

    assert np.quantile(Z, [0.16, 0.5, 0.84]) == pytest.approx([-1, 0, 1], abs=0.02)


@pytest.mark.parametrize("numeric", ["smooth_clip", "quantile", "standard"])
@pytest.mark.parametrize("values", [(3, 7), (False, True)])
def test_two_values_are_as_far_from_zero_as_each_other(numeric, values):
    """However rare one of them is; new values are possible, and missing values are 0."""
    low, high = values
    X = pd.DataFrame({"a": [*_repeat(low)[2:], high, None]})
    preparer = TablePreparer(numeric=numeric).fit(X)

    rows = preparer.transform(pd.DataFrame({"a": [low, high, None, 99]}))

    assert rows.tolist() == [[-1, 0], [1, 0], [0, 1], [1, 0]]


def test_missing_numbers_become_the_median_and_are_marked():
    """A second column says where a value was missing; without values the median counts."""
    X = pd.DataFrame({"a": _repeat(1.0, 2.0, np.nan, 2.0, 9.0)})

    Z = TablePreparer(numeric=None).fit_transform(X)

    assert Z[2].tolist() == [2.0, 1.0]
    assert (Z[:, 1] == 1).tolist() == X["a"].isna().tolist()


def test_missing_values_do_not_move_the_scale():
    """A mostly missing column is scaled by its present values."""
    present = np.random.default_rng(0).normal(size=N)
    X = pd.DataFrame({"a": np.concatenate([present, np.full(9 * N, np.nan)])})

    Z = TablePreparer(numeric="standard", add_indicator=False).fit_transform(X)

    assert np.allclose(Z[:N, 0], StandardScaler().fit_transform(present[:, None])[:, 0])


def test_a_column_of_many_categories_does_not_explode():
    """It becomes at most 32 columns."""
    X = pd.DataFrame({"a": [f"c{i % 100}" for i in range(1000)]})
    X.loc[:50, "a"] = "often"

    assert TablePreparer().fit_transform(X).shape[1] == 32
    assert TablePreparer(max_categories=5).fit_transform(X).shape[1] == 5


DAYS = pd.date_range("2020-01-01", periods=N)


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        # Numbers called t_x and t_x_2 next to a category x of t.
        (
            {"t_x": np.arange(N) / 7, "t_x_2": np.arange(N) % 7, "t": _repeat("x", "y")},
            ["t_x", "t_x_2", "t_x_3", "t_y"],
        ),
        (
            {"a": _repeat(1, None, 2, 5), "d": DAYS},
            [
                *("a", "d_days", "d_year_sin", "d_year_cos", "d_week_sin", "d_week_cos"),
                "a_missing",
            ],
        ),
        # Its values are constant, so that only the indicator is left.
        ({"a": _repeat(1.0, np.nan), "b": np.arange(N) / 7}, ["b", "a_missing"]),
        # Two first Wednesdays of January at midnight: no circle tells them apart.
        (
            {"wave": _repeat("2014-01-01", "2020-01-01"), "a": np.arange(N) / 7},
            ["a", "wave_days"],
        ),
    ],
    ids=["names recur", "dates", "there or missing", "days only"],
)
def test_columns_have_names_that_differ(columns, names):
    """They name the source column and the operation."""
    X = pd.DataFrame(columns)
    preparer = TablePreparer().fit(X)

    assert preparer.get_feature_names_out().tolist() == names
    assert preparer.transform(X[:3]).shape == (3, len(names))


def test_missing_is_a_category_and_new_categories_count_as_rare():
    """Missing has a column, and so have all others that are rare or new."""
    X = pd.DataFrame({"a": [*_repeat("x", "y", None)[:-1], "rare"]})
    preparer = TablePreparer().fit(X)

    missing, new, rare = preparer.transform(pd.DataFrame({"a": [None, "new", "rare"]}))

    names = preparer.get_feature_names_out().tolist()
    assert names == ["a_(missing)", "a_x", "a_y", "a_(rare)"]
    assert missing.tolist() == [1, 0, 0, 0]
    assert new.tolist() == rare.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("max_categories", [1, 2, None])
def test_a_category_has_the_numbers_of_the_fitted_transformers(max_categories):
    """One-hot columns, codes and means of the target, also of new and missing ones."""
    X, new = _table(), _table(50, seed=1)
    new.loc[:5, "street"] = "a new one"
    preparer = TablePreparer(
        embeddings=True, target_encoding=True, max_categories=max_categories
    ).fit(X, np.arange(len(X)) % 3)
    kinds, unread = preparer.kinds_, {}
    values = {name: read_values(new[name], kind, unread=unread) for name, kind in kinds}

    prepared = np.asarray(preparer.transform(new), dtype=float)

    expected = preparer.columns_.transform(pd.DataFrame(values))
    assert np.array_equal(prepared, expected)


def test_categories_can_be_codes_in_the_last_columns():
    """Columns with more categories than the limit; their numbers of codes are stored."""
    X = _table()
    preparer = TablePreparer(embeddings=True).fit(X)

    Z = preparer.transform(X)

    assert preparer.n_categories_ == {"street": 21}
    assert list(Z.columns)[-1] == "street"
    assert Z["street"].cat.categories.tolist() == list(range(21))
    assert Z.dtypes.iloc[:-1].eq(np.float64).all()
    assert np.array_equal(Z["street"].astype(int) == 0, X["street"].isna())
    # One to one with the streets; rare and new ones are 0, as are those beyond the limit.
    assert len(set(zip(Z["street"], X["street"], strict=True))) == X["street"].nunique()
    assert Z.index.equals(X.index)
    few = TablePreparer(embeddings=True, max_categories=2, max_codes=10, min_frequency=2)
    often = [f"c{i % 50}" for i in range(500)] + ["c7"] * 9 + ["once"]
    few.fit(pd.DataFrame({"a": often}))
    rows = pd.DataFrame({"a": [*(f"c{i}" for i in range(50)), "new", "once"]})
    codes = few.transform(rows)["a"].astype(int).tolist()
    assert few.n_categories_ == {"a": 10}
    assert sorted(set(codes)) == list(range(10))
    assert codes[7] != 0
    assert codes[50:] == [0, 0]


def test_estimators_that_look_for_categories_find_them():
    """scikit-learn's gradient boosting by the type of the column, in every fold."""
    X = _table(1000)
    y = X["street"].isin([f"street {i}" for i in range(0, 20, 2)])
    trees = HistGradientBoostingClassifier(
        categorical_features="from_dtype", max_leaf_nodes=4, max_iter=10, random_state=0
    )
    preparer = TablePreparer(numeric=None, impute_strategy=None, embeddings=True)

    model = make_pipeline(preparer, trees).fit(X, y)

    assert model[-1].is_categorical_.tolist() == [
        name in model[0].n_categories_ for name in model[0].get_feature_names_out()
    ]
    assert cross_val_score(model, X, y, cv=3).mean() > 0.9


def test_networks_find_the_codes_in_every_fold():
    """Also where the folds have different numbers of columns and codes."""
    X = _table()
    X["street"] = [f"street {i // 8}" for i in range(300)]
    y = X["size"].fillna(0) > 0
    net = MLPClassifier(width=16, learning_rate=0.02, random_state=0)
    model = make_pipeline(TablePreparer(embeddings=True), net)

    fits = cross_validate(model, X, y, cv=3, return_estimator=True)["estimator"]

    assert len({tuple(fit[0].n_categories_.items()) for fit in fits}) > 1
    for fit in fits:
        assert fit[1].is_categorical_.sum() == len(fit[0].n_categories_) > 0
        assert fit.score(X, y) > 0.8


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_the_output_can_be_a_frame(setting, container):
    """set_output and the configuration give frames with the names and the numbers."""
    X = _table()
    preparer = TablePreparer(**setting)
    Z = preparer.fit_transform(X)
    kind = {"pandas": pd.DataFrame, "polars": pl.DataFrame}[container]

    own = clone(preparer).set_output(transform=container).fit(X).transform(X)
    with config_context(transform_output=container):
        configured = clone(preparer).fit_transform(X)

    for frame in (own, configured):
        assert isinstance(frame, kind)
        assert list(frame.columns) == preparer.get_feature_names_out().tolist()
        assert np.array_equal(np.asarray(frame, dtype=float), np.asarray(Z, dtype=float))


@pytest.mark.parametrize("setting", SETTINGS)
def test_polars_and_pandas_give_the_same(setting):
    """The same table in both libraries."""
    X = _table()
    own = pl.DataFrame({
        name: pl.Series(name, [None if pd.isna(v) else v for v in X[name].tolist()])
        for name in X.columns
    })
    as_category = own.with_columns(pl.col("town").cast(pl.Categorical))

    expected = TablePreparer(**setting).fit_transform(X)

    for table in (own, as_category):
        Z = TablePreparer(**setting).fit_transform(table)
        assert np.array_equal(np.asarray(Z, float), np.asarray(expected, float))


def test_arrays_and_lists_of_mixed_values_have_kinds_too():
    """Values decide the kind of a column of an object array."""
    X = _table()[["size", "rooms", "town"]]
    rows = X.to_numpy(dtype=object)
    expected = TablePreparer().fit_transform(X)

    from_array = TablePreparer().fit(rows)

    assert np.array_equal(from_array.transform(rows), expected)
    assert np.array_equal(TablePreparer().fit_transform(rows.tolist()), expected)
    assert list(from_array.kinds_) == [
        ("x0", "number"),
        ("x1", "number"),
        ("x2", "category"),
    ]


@pytest.mark.parametrize(
    ("column", "value", "required"),
    [("a", "abc", "numbers"), ("d", "abc", "dates"), ("d", 7, "dates")],
)
def test_a_column_that_changes_its_kind_is_refused(column, value, required):
    """The error names the column, the value and its row."""
    X = pd.DataFrame({"a": np.arange(N) / 7, "d": pd.date_range("2020-01-01", periods=N)})
    preparer = TablePreparer().fit(X)
    changed = X.head(3).astype(object)
    changed[column] = [None, value, value] if isinstance(value, str) else [7, 7, 7]

    with pytest.raises(
        TableError, match=f"'{column}' must hold {required}.*'{value}' in row"
    ):
        preparer.transform(changed)


def test_numbers_and_dates_may_come_as_text():
    """Text that parses as numbers or dates is converted, for files of all types."""
    X = pd.DataFrame({"a": np.arange(N) / 7, "d": pd.date_range("2020-01-01", periods=N)})
    preparer = TablePreparer().fit(X)

    assert np.allclose(preparer.transform(X.astype(str)), preparer.transform(X))
    categories = X.astype({"a": "category"})
    assert np.allclose(preparer.transform(categories), preparer.transform(X))


@pytest.mark.parametrize("dtype", ["datetime64[s]", str])
@pytest.mark.parametrize("cell", ["03/04/2024", "10:30", "now", "May", "5 pm"])
def test_text_that_pandas_would_take_for_a_date_is_refused(dtype, cell):
    """The day of 03/04/2024 is open; pandas reads 10:30 and "now" as today."""
    X = pd.DataFrame({"d": pd.date_range("2020-01-01", periods=N), "a": np.arange(N) / 7})
    preparer = TablePreparer().fit(X.astype({"d": dtype}))

    with pytest.raises(TableError, match=f"dates such as 2024-03-15.*'{cell}' in row 1"):
        preparer.transform(pd.DataFrame({"d": [cell], "a": [0.0]}))


def test_years_with_two_digits_are_not_in_the_future():
    """They are between 1969 and 2068, as in POSIX."""
    texts = [f"{day:02}-Mar-{year}" for day in range(1, 29) for year in (69, 70, 24)]
    days = pd.to_datetime([
        text[:7] + ("20" if text[-2:] == "24" else "19") + text[7:] for text in texts
    ])
    preparer = TablePreparer(numeric=None)

    prepared = preparer.fit_transform(pd.DataFrame({"d": texts, "a": np.arange(84) / 7}))

    assert preparer.kinds_.dates == ("d",)
    by_date = pd.DataFrame({"d": days, "a": np.arange(84) / 7})
    assert_array_equal(prepared, TablePreparer(numeric=None).fit_transform(by_date))


@pytest.mark.parametrize("dtype", [str, "period[M]"])
def test_a_month_is_its_first_day(dtype):
    """Periods begin with this day; text is the year and two digits."""
    months = pd.Series(pd.period_range("2023-11", periods=14, freq="M")).repeat(3)
    X = pd.DataFrame({"month": months.astype(dtype), "a": np.arange(42) / 7})
    preparer = TablePreparer()

    prepared = preparer.fit_transform(X)

    assert preparer.kinds_.dates == ("month",)
    days = X.assign(month=months.dt.to_timestamp())
    assert np.array_equal(prepared, TablePreparer().fit_transform(days))


def test_numbers_of_parts_are_not_months():
    """A season or a part number may look like a month."""
    parts = [f"{1400 + i}-{i % 12 + 1:02}" for i in range(20)]
    seasons = [f"20{i:02}-{i + 1:02}" for i in range(1, 21)]
    X = pd.DataFrame({"part": parts * 5, "season": np.repeat(seasons, 5)})

    assert TablePreparer().fit(X).kinds_.categories == ("part", "season")


def test_no_end_is_a_date():
    """In fit, and in a table that is transformed later."""
    days = pd.date_range("2024-01-01", periods=40).astype(str).tolist()
    usual = pd.DataFrame({"valid_to": days, "a": np.arange(40.0)})
    endless = usual.assign(valid_to=["9999-12-31", *days[1:]])

    for X in (usual, endless):
        assert np.isfinite(TablePreparer().fit(X).transform(endless)).all()


def test_columns_that_are_left_out_are_not_looked_at():
    """In transform they may have any content or be missing; other columns may not."""
    X = _table().assign(name=[f"name {i}" for i in range(300)])
    preparer = TablePreparer().fit(X)

    assert preparer.dropped_ == {"name": "text that differs in almost every row"}
    prepared = preparer.transform(X)
    assert np.array_equal(preparer.transform(X.assign(name=1.0)), prepared)
    without = X.drop(columns="name")
    for table in (without, pl.from_pandas(without)):
        assert np.array_equal(preparer.transform(table), prepared)
    with pytest.raises(
        ValueError, match=r"seen at fit time, yet now missing:\n- name\n- size"
    ):
        preparer.transform(without.drop(columns="size"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"numeric": "robust"}, "'numeric' parameter of TablePreparer must be"),
        ({"impute_strategy": "zero"}, "'impute_strategy' parameter"),
        ({"max_categories": 0}, "'max_categories' parameter"),
        (
            {"max_categories": 1},
            "'max_categories' parameter .* must be at least 2 without embeddings",
        ),
        ({"min_frequency": 0.1}, "'min_frequency' parameter"),
        ({"max_codes": 1}, "'max_codes' parameter"),
    ],
)
def test_parameters_are_checked(options, message):
    """In scikit-learn's words."""
    with pytest.raises(ValueError, match=message):
        TablePreparer(**options).fit(_table())


@pytest.mark.parametrize(
    ("shape", "names", "message"),
    [
        ((3, 3), ["a", "b", "a"], r"unique column names. Got \['a'\] twice"),
        ((0, 2), ["a", "b"], "0 sample.* while a minimum of 1"),
        ((2, 0), [], "0 feature.* while a minimum of 1"),
    ],
)
def test_tables_of_no_cells_or_of_equal_names_are_refused(shape, names, message):
    """With the words that scikit-learn has for arrays."""
    with pytest.raises(ValueError, match=message):
        TablePreparer().fit(pd.DataFrame(np.empty(shape), columns=names))


@pytest.mark.parametrize("package", [pd, pl])
def test_a_single_column_is_refused_as_in_scikit_learn(package):
    """X must have two dimensions."""
    with pytest.raises(ValueError, match="Expected (2D array|a 2-dimensional container)"):
        TablePreparer().fit(package.Series([1.0, 2.0]))


def test_tables_of_other_packages_match_pandas():
    """Missing values stay missing; an index stored by pandas is an ordinary column."""
    towns = pa.array(["A", "B", None, "C"]).dictionary_encode()
    source = pd.DataFrame({"a": [1, 2]}, index=pd.Index([7, 8], name="key"))

    own = as_pandas(pa.table({"town": towns, "n": pa.array([1, None, 3, 4])}))

    assert own["town"].isna().tolist() == [False, False, True, False]
    assert own["town"].astype(object).tolist()[:2] == ["A", "B"]
    assert own["n"].isna().tolist() == [False, True, False, False]
    assert as_pandas(pa.Table.from_pandas(source)).columns.tolist() == ["a", "key"]
    # One long text among many would else make all as long.
    texts = as_pandas(pl.DataFrame({"a": ["x", "y" * 1000]}))
    assert texts["a"].to_numpy().dtype == object
    for column in (pd.Series([1, 2]), pl.Series([1, 2])):
        assert as_pandas(column).to_numpy().tolist() == [[1], [2]]
    assert as_pandas(source) is source
    assert all(as_pandas(values) is None for values in ([1, 2], np.eye(2), None, "text"))


DATES = st.datetimes(pd.Timestamp("1700-01-01"), pd.Timestamp("2200-01-01"))


@settings(max_examples=30)
@given(st.lists(DATES, min_size=20, max_size=40, unique=True))
def test_positions_of_dates_match_the_calendar(dates):
    """Angles equal pandas' day of the year, weekday and time of day."""
    times = pd.DatetimeIndex(dates).floor("s")
    X = pd.DataFrame({"d": times, "a": np.arange(len(times)) / 7})
    day = (times - times.normalize()) / pd.Timedelta(days=1)
    shares = {
        "year": (times.day_of_year - 1 + day) / np.where(times.is_leap_year, 366, 365),
        "week": (times.day_of_week + day) / 7,
        "day": day,
    }

    found = TablePreparer(numeric=None).set_output(transform="pandas").fit_transform(X)

    for circle, share in shares.items():
        for name, function in (("sin", np.sin), ("cos", np.cos)):
            places = found[f"d_{circle}_{name}"]
            # A double holds days of 2200 to about 1e-11, of which a circle has 6.3 in one.
            assert places.tolist() == pytest.approx(function(2 * np.pi * share), abs=1e-6)


# scikit-learn adds all values up to see whether one is NaN.
FINITE = st.floats(-1e307, 1e307)


def test_it_is_robust_scaling_with_the_formula_of_the_paper():
    """f(x) = x / sqrt(1 + (x / 3)^2) of scikit-learn's RobustScaler."""
    X = np.random.default_rng(0).standard_t(2, size=(200, 3))
    scaled = RobustScaler().fit_transform(X)

    clipped = SmoothClipScaler().fit_transform(X)

    assert np.allclose(clipped, scaled / np.sqrt(1 + (scaled / 3) ** 2))


@pytest.mark.parametrize(
    ("column", "scale"),
    [
        ([0, 1, 2, 3, 4], 1 / 2),  # Quartiles 1 and 3.
        ([0, 0, 0, 0, 0, 4], 2 / 4),  # Equal quartiles: 2 over the range.
        ([7, 7, 7], 0.0),
        ([0, 1, 2, 3, 4, np.nan, np.nan], 1 / 2),
    ],
)
def test_the_scale_is_the_papers(column, scale):
    """The three cases of section 3, and missing values left out."""
    X = np.array(column, dtype=float)[:, None]

    assert SmoothClipScaler().fit(X).scale_.tolist() == [scale]


@given(X=arrays(np.float64, (7, 2), elements=FINITE), new=FINITE)
# What is as far on the other side differs by more than any number.
@example(X=np.full((7, 2), 1.7e308), new=-1.7e308)
@example(X=np.array([[-1e308, 1e308], [1e308, 1.0]]), new=0.0)
@example(X=np.array([[-1.79e308, 0.0]] + [[1e292, 0.0]] * 6), new=0.0)
def test_the_result_is_bounded_and_monotonic(X, new):
    """Between -3 and 3, and monotonic."""
    scaler = SmoothClipScaler().fit(X)

    Z = scaler.transform(np.sort(np.vstack([X, [[new, -new]]]), axis=0))

    assert (np.abs(Z) <= 3).all()
    assert (np.diff(Z, axis=0) >= 0).all()


@pytest.mark.parametrize(
    "text",
    [
        [f"{day:02d}.{month:02d}.2020" for month in (1, 5, 9) for day in range(1, 29, 2)],
        [f"{k / 7:.2f}".replace(".", ",") for k in range(1, 43)],
    ],
    ids=["day first", "decimal comma"],
)
def test_a_column_of_categories_is_read_as_its_text(text):
    """A fitted preparer knows how the text writes dates and numbers, in either type."""
    table = pd.DataFrame({"a": text, "b": np.arange(len(text)) ** 1.5})
    preparer = TablePreparer().fit(table)

    as_categories = preparer.transform(table.astype({"a": "category"}))

    np.testing.assert_array_equal(as_categories, preparer.transform(table))


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([{"x": 1, "y": 2}] * N),
        pl.Series([[1, 2]] * N),
        pl.Series([[1, 2]] * N, dtype=pl.Array(pl.Int64, 2)),
        pd.Series([np.ones(3)] * N),
        pd.Series([[1, 2]] * N, dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
        pd.Series([{"x": 1}] * N, dtype=pd.ArrowDtype(pa.struct([("x", pa.int64())]))),
    ],
    ids=["struct", "list", "array", "objects", "arrow list", "arrow struct"],
)
def test_a_first_column_of_nested_values_is_dropped(column):
    """With the reason; the other column remains."""
    frame = pl.DataFrame if isinstance(column, pl.Series) else pd.DataFrame
    table = frame({"nested": column, "z": np.random.default_rng(0).normal(size=N)})

    preparer = TablePreparer().fit(table)

    assert preparer.dropped_ == {"nested": "neither numbers, text nor dates"}
    assert preparer.transform(table).shape == (N, 1)


def test_a_single_row_has_the_kinds_of_its_table():
    """Durations and periods next to a text become objects."""
    table = pd.DataFrame({
        "text": _repeat("a", "b"),
        "duration": pd.to_timedelta(np.arange(N), unit="h"),
        "period": pd.period_range("2020-01", periods=N, freq="M"),
    })
    preparer = TablePreparer().fit(table)

    row = preparer.transform(table.iloc[1].to_frame().T)

    assert_array_equal(row, preparer.transform(table.iloc[[1]]))
    as_objects = table.astype(object)
    assert TablePreparer().fit(as_objects).kinds_ == preparer.kinds_


def test_numbers_are_no_dates_in_a_column_of_objects():
    """pandas would read them as nanoseconds since 1970."""
    dates = pd.DataFrame({"date": pd.date_range("2024-01-01", periods=N)})
    preparer = TablePreparer().fit(dates)

    for cell in (20240315, pd.Timestamp("2024-03-15")):
        cells = pd.DataFrame({"date": pd.Series([20240315, cell, None], dtype=object)})
        with pytest.raises(TableError, match="must hold dates.*20240315"):
            preparer.transform(cells)


def test_codes_need_a_fit():
    """The error is scikit-learn's."""
    with pytest.raises(NotFittedError):
        CategoryCodes(min_frequency=1, max_codes=9).transform(pd.DataFrame({"a": ["b"]}))


@pytest.mark.parametrize("estimator", [TablePreparer(), MLPClassifier(max_epochs=1)])
def test_a_lazy_frame_must_be_collected(estimator):
    """The error names the call."""
    X = pl.LazyFrame({"a": [1.0, 2.0, 3.0, 4.0]})

    with pytest.raises(TypeError, match=r"Got a LazyFrame of polars: pass X\.collect\(\)"):
        estimator.fit(X, [0, 1, 0, 1])
