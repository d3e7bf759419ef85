"""Checks of X and y, and samples of a problem."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.model_selection import KFold, ShuffleSplit, TimeSeriesSplit

from sk_tune import AutoClassifier, AutoRegressor
from sk_tune._automl._problem import _sampling_order, as_features, as_target, kind_of
from sk_tune.exceptions import DataWarning, TableError


def test_a_sample_has_fewer_training_rows_and_the_same_held_out_rows(mixed, make_problem):
    """Smaller samples are subsets of larger samples."""
    problem = make_problem(*mixed)

    small, large = problem.sampled(20), problem.sampled(50)

    assert (small.n_train, large.n_train) == (20, 50)
    assert (problem.n_values, small.n_values) == (400, 100)
    for (few, test), (more, same), (train, _) in zip(
        small.folds, large.folds, problem.folds, strict=True
    ):
        np.testing.assert_array_equal(test, same)
        assert set(few) < set(more) < set(train)
    assert problem.sampled(80) is problem


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=200).map(np.array), st.integers(0, 9)
)
def test_first_rows_have_each_class_and_then_its_share(y, seed):
    """Two rows of each class come first; any longer prefix is stratified."""
    order = _sampling_order(y, True, seed)

    np.testing.assert_array_equal(np.sort(order), np.arange(len(y)))
    classes, counts = np.unique(y, return_counts=True)
    n_first = np.minimum(counts, 2).sum()
    assert set(y[order[:n_first]]) == set(classes)
    for n in range(n_first, len(y) + 1):
        of_class = (y[order[:n], None] == classes).sum(axis=0)
        # The shares of classes differ by one row at most, apart from the first two rows of
        # each.
        reached = (of_class - 0.5) / counts
        lagging = (of_class + 0.5) / counts
        later = of_class > 2
        if later.any() and (of_class < counts).any():
            assert reached[later].max() <= lagging[of_class < counts].min() + 1e-9


def test_a_sample_can_reduce_training_and_held_out_rows_equally(make_problem):
    """Each class is in both, so that measured times can be scaled to all rows."""
    y = np.repeat(np.arange(4), [500, 300, 150, 50])
    problem = make_problem(np.zeros((1000, 2)), y, n_folds=5)

    small = problem.sampled(80, holds_all=False)

    assert [(len(train), len(test)) for train, test in small.folds] == [(80, 20)] * 5
    for (train, test), (all_train, all_held) in zip(
        small.folds, problem.folds, strict=True
    ):
        assert set(train) <= set(all_train)
        assert set(test) <= set(all_held)
        assert set(y[test]) == set(range(4))
    assert problem.sampled(10_000, holds_all=False) is problem


@pytest.mark.parametrize(
    ("splitter", "expected"),
    [
        (TimeSeriesSplit(4), True),
        (TimeSeriesSplit(4, max_train_size=20), True),
        (KFold(4), False),
        (ShuffleSplit(4, random_state=0), False),
        (ShuffleSplit(1, random_state=0), False),
    ],
)
def test_folds_are_in_time_order_if_later_ones_train_on_earlier_ones(
    make_problem, splitter, expected
):
    """A single split has no order."""
    X = np.zeros((100, 2))
    problem = make_problem(X, np.arange(100) % 2, folds=list(splitter.split(X)))

    assert problem.is_in_time_order is expected


pl = pytest.importorskip("polars")


class _Any(BaseEstimator):
    """Learns names."""


def test_tables_of_any_library_become_tables_of_pandas(mixed):
    """The estimator learns the column names."""
    X, _ = mixed
    estimator = _Any()

    assert isinstance(as_features(estimator, pl.from_pandas(X), reset=True), pd.DataFrame)
    assert estimator.feature_names_in_.tolist() == X.columns.tolist()
    assert len(as_features(estimator, X.iloc[:1], reset=False)) == 1


def test_arrays_become_tables_with_numbers_for_names():
    """Arrays with more than two axes are unchanged."""
    estimator = _Any()

    table = as_features(estimator, np.zeros((4, 3)), reset=True)

    assert table.columns.tolist() == ["0", "1", "2"]
    assert estimator.n_features_in_ == 3
    assert as_features(_Any(), np.zeros((4, 3, 2)), reset=True).shape == (4, 3, 2)


@pytest.mark.parametrize("kind", ["object", "text", "list"])
def test_columns_of_arrays_may_be_text(kind):
    """Numbers among texts are read as numbers; texts are categories."""
    towns, sizes = ["Bern", "Genf"] * 20, [k / 4 for k in range(40)]
    X = np.array([towns, sizes], dtype=object).T
    X = {"object": X, "text": X.astype(str), "list": X.tolist()}[kind]
    estimator = _Any()

    table = as_features(estimator, X, reset=True)

    assert estimator.kinds_.categories == ("0",)
    assert estimator.kinds_.numbers == ("1",)
    assert table["0"].tolist() == towns
    assert table["1"].astype(float).tolist() == sizes
    later = as_features(estimator, X[:1], reset=False)
    assert later["1"].astype(float).tolist() == sizes[:1]


@pytest.mark.parametrize("n_features", [None, 2])
def test_sequences_of_unequal_length_are_padded(n_features):
    """A list becomes an array with NaN at the ends and the number of steps of `fit`."""
    shape = () if n_features is None else (n_features,)
    rows = [np.full((n, *shape), float(n)) for n in (2, 4, 3)]
    estimator = AutoClassifier()

    X = as_features(estimator, rows, reset=True)
    estimator._row_shape = X.shape[1:]

    assert X.shape == (3, 4, n_features or 1)
    for values, row in zip(X, rows, strict=True):
        assert_array_equal(values[: len(row)], row.reshape(len(row), -1))
        assert np.isnan(values[len(row) :]).all()
    for one in ([rows[0]], np.array([rows[0].reshape(2, -1)])):
        assert_array_equal(as_features(estimator, one, reset=False), X[:1])
    with pytest.raises(ValueError, match=r"at most 4 steps, as in fit\. Got 5"):
        as_features(estimator, [np.zeros((5, *shape))], reset=False)


def test_other_columns_than_in_fit_are_refused(mixed):
    """Columns are compared by name if they have names, else by number."""
    X, _ = mixed
    estimator = _Any()
    as_features(estimator, X, reset=True)

    with pytest.raises(ValueError, match="feature names"):
        as_features(estimator, X.rename(columns={"town": "city"}), reset=False)


def test_columns_of_one_name_are_refused():
    """In the words of TablePreparer."""
    table = pd.DataFrame(np.eye(3), columns=["a", "b", "a"])

    with pytest.raises(TableError, match=r"unique column names. Got \['a'\] twice"):
        as_features(AutoClassifier(), table, reset=True)


def test_dropped_columns_may_be_absent():
    """If present, they are emptied."""
    estimator = _Any()
    X = pd.DataFrame({"id": range(40), "size": np.arange(40) / 7})
    table = as_features(estimator, X, reset=True)

    pd.testing.assert_frame_equal(as_features(estimator, X[["size"]], reset=False), table)


def test_dropped_columns_may_hold_any_text():
    """Their format in ``fit`` does not matter later."""
    estimator = _Any()
    X = pd.DataFrame({"size": np.arange(40) / 7, "rate": ["5 %"] * 40})
    table = as_features(estimator, X, reset=True)

    later = as_features(estimator, X.assign(rate="free"), reset=False)

    pd.testing.assert_frame_equal(later, table)


def test_names_of_several_levels_are_tuples():
    """As pandas shows them, for example after a pivot."""
    names = pd.MultiIndex.from_tuples([("size", "mean"), ("size", "max")])
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=names)

    table = as_features(_Any(), X, reset=True)

    assert table.columns.tolist() == ["('size', 'mean')", "('size', 'max')"]


@pytest.mark.parametrize("has_names", [True, False])
def test_columns_are_matched_by_position_if_either_table_has_no_names(has_names):
    """scikit-learn's estimators also warn and predict."""
    array = np.arange(6.0).reshape(3, 2)
    frame = pd.DataFrame(array, columns=["a", "b"])
    before, after = (frame, array) if has_names else (array, frame)
    estimator = _Any()
    table = as_features(estimator, before, reset=True)

    with pytest.warns(UserWarning, match="feature names"):
        later = as_features(estimator, after, reset=False)

    pd.testing.assert_frame_equal(later, table)


def test_an_unreadable_cell_is_missing_in_fit_and_predict():
    """The kind of a column is decided by all rows of ``fit``."""
    estimator = _Any()
    X = pd.DataFrame({"a": [*map(str, np.linspace(0, 1, 30)), "free"]})

    with pytest.warns(DataWarning, match="'free' in row 31"):
        table = as_features(estimator, X, reset=True)
    with pytest.warns(DataWarning, match="'later' in row 1"):
        later = as_features(estimator, pd.DataFrame({"a": ["later"]}), reset=False)

    assert table["a"].isna().tolist() == [False] * 30 + [True]
    assert later["a"].isna().tolist() == [True]


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (pd.DataFrame({"a": [1.0]}), "minimum of 2"),
        (pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), "unique"),
        (np.zeros(5), "1D"),
    ],
)
def test_unusable_features_are_refused(X, message):
    """The message states the requirement."""
    with pytest.raises(ValueError, match=message):
        as_features(_Any(), X, reset=True)


def test_the_number_of_axes_decides_the_kind_of_data():
    """Two axes are a table, three sequences, four images."""
    kinds = [kind_of(np.zeros((2,) * n)) for n in (2, 3, 4)]

    assert kinds == ["table", "sequence", "image"]
    with pytest.raises(ValueError, match="5"):
        kind_of(np.zeros((2, 2, 2, 2, 5)))


@pytest.mark.parametrize(
    ("y", "is_classification", "message"),
    [
        (None, True, "requires y"),
        (["a", "a", "a"], True, "two classes"),
        ([1.0, np.nan, 2.0], False, "NaN"),
        ([1.0, -2e160, 3.0], False, r"at most 1e\+150 in absolute value.*Got 2e\+160"),
        ([1, 2], True, "inconsistent"),
        (["a", "b", "a"], False, "Got text, .* 'a'. AutoClassifier learns labels"),
        (["a", "b", "c"], True, "Got 3 rows of different classes"),
        (pd.date_range("2020", periods=3), False, "Got dtype datetime64.*. Choose a unit"),
    ],
)
def test_invalid_targets_are_refused(y, is_classification, message):
    """The message is scikit-learn's where it exists, and names the right estimator."""
    auto = AutoClassifier() if is_classification else AutoRegressor()

    with pytest.raises(ValueError, match=message):
        as_target(auto, np.zeros((3, 1)), y, is_classification=is_classification)


FLAT = np.arange(24.0).reshape(2, 12)
PIXELS = pd.DataFrame(FLAT).add_prefix("pixel")
CHANNELS_LAST = np.arange(120.0).reshape(2, 4, 5, 3)


@pytest.mark.parametrize(
    ("X", "shape"),
    [
        (FLAT, (1, 3, 4)),
        (FLAT, (4, 3)),
        # As loaded from OpenML.
        (PIXELS, (1, 3, 4)),
        # Axes of length 1 are ignored.
        (CHANNELS_LAST[..., 0], (1, 4, 5)),
    ],
)
def test_rows_get_the_input_shape(X, shape):
    """Three numbers for images, two for sequences, with equally many values."""
    features = as_features(_Any(), X, reset=True, shape=shape)

    assert_array_equal(features, np.reshape(X, (2, *shape)))


@pytest.mark.parametrize(
    ("X", "shape", "message"),
    [
        (FLAT, (5, 5), "input_shape"),
        (PIXELS.assign(pixel3="a"), (1, 3, 4), "could not convert"),
        (CHANNELS_LAST, (3, 4, 5), r"unless X is flat.*Transpose X"),
    ],
    ids=["of another number", "text", "axes in another order"],
)
def test_rows_that_cannot_have_the_shape_are_refused(X, shape, message):
    """Channels in the last axis would be mixed with pixels; text is not a pixel."""
    with pytest.raises(ValueError, match=message):
        as_features(_Any(), X, reset=True, shape=shape)


def test_a_dropped_column_changes_no_prediction():
    """Its text recurs often enough for the rows of a fold, but not for all rows."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=600)
    texts = np.array([f"note {k // 5}" for k in range(600)])
    X = pd.DataFrame({"x": x, "text": rng.permutation(texts)})
    auto = AutoRegressor(
        models=["boosting"], cv=3, test_size=0, n_rounds=0, time_budget=None, n_jobs=1
    )

    auto.fit(X, x + rng.normal(size=600))

    assert auto.kinds_.dropped["text"].startswith("text that differs in almost every row")
    assert_array_equal(auto.predict(X), auto.predict(X.assign(text=None)))


def test_row_counters_are_dropped_in_all_folds():
    """In half of the rows the counter has gaps and looks like a number."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"row": np.arange(100), "x": rng.normal(size=100)})
    estimator = _Any()

    fitted = as_features(estimator, X, reset=True)
    later = as_features(estimator, X.assign(row=np.nan).head(3), reset=False)

    for table in (fitted, later):
        assert list(table.columns) == ["row", "x"]
        assert table["row"].isna().all()
        assert table["x"].notna().all()
    assert as_features(_Any(), X[["row"]], reset=True)["row"].notna().all()


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA, pd.NaT])
@pytest.mark.parametrize("kind", [AutoClassifier, AutoRegressor])
def test_rows_without_a_target_are_refused_and_counted(missing, kind):
    """Also in an array of objects, as from the column of a file."""
    y = np.array([0, 1] * 5, dtype=object)
    y[[3, 7]] = missing
    options = {"is_classification": kind is AutoClassifier}

    message = "Input y contains NaN.*Got 2 missing of 10, at position 3, 7. Remove"
    with pytest.raises(TableError, match=message):
        as_target(kind(), np.zeros((10, 1)), y, **options)


def test_several_targets_are_for_regression():
    """A regressor accepts columns; the error of a classifier names alternatives."""
    y = np.array([[1, 2], [3, 4]])
    X = np.zeros((2, 1))

    targets = as_target(AutoRegressor(), X, y, is_classification=False)

    assert targets.dtype == np.float64
    assert_array_equal(targets, y)
    one = as_target(AutoRegressor(), X, y[:, 0], is_classification=False)
    assert_array_equal(one, y[:, 0])
    with pytest.raises(ValueError, match=r"one label .*\(2, 2\).*MultiOutputClassifier"):
        as_target(AutoClassifier(), X, y, is_classification=True)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"a": np.zeros((3, 2)), "b": np.ones((3, 2))}, "Got a dict; NetClassifier"),
        ([["good", "film"], ["bad"]], r"must hold numbers: .*'good'.* n_tokens="),
    ],
    ids=["dict", "text"],
)
def test_errors_name_the_network_for_other_data(values, words):
    """Dicts of arrays and token sequences need other estimators."""
    with pytest.raises(ValueError, match=words):
        as_features(AutoClassifier(), values, reset=True)


@pytest.mark.parametrize("labels", [[True, False], [1, 2]])
def test_labels_stored_as_objects_have_their_own_type(labels):
    """As in a column without its missing cells."""
    y = pd.Series([*labels, None] * 2, dtype=object).dropna()

    targets = as_target(AutoClassifier(), np.zeros((4, 1)), y, is_classification=True)

    assert targets.dtype == np.array(labels).dtype
    assert targets.tolist() == labels * 2


def test_texts_become_strings_of_fixed_length():
    """Numpy finds unique values of such strings faster than of objects."""
    labels = np.array(["b", "aa", "b", "c"], dtype=object)

    targets = as_target(AutoClassifier(), np.zeros((4, 1)), labels, is_classification=True)

    assert targets.dtype == "<U2"
    assert targets.tolist() == labels.tolist()


def test_folds_in_time_order_count_by_their_rows(make_problem, mixed):
    """Of 10 to 50 rows, five folds train on as many rows as three largest folds."""
    X, y = mixed
    problem = make_problem(X, y)
    in_order = replace(problem, folds=list(TimeSeriesSplit(5).split(np.zeros(60))))

    assert in_order.n_largest_folds == 3.0
    assert problem.n_largest_folds == len(problem.folds)
