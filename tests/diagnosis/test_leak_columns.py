"""Columns that hold the target, know of all rows, or have single values far from others."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import QuantileTransformer, RobustScaler, StandardScaler

from sk_tune.diagnosis import find_leaks
from sk_tune.diagnosis._leak_columns import (
    MOST_TREES,
    check_giveaway,
    check_outliers,
    check_target,
    outliers_of,
)
from sk_tune.diagnosis._leak_copies import as_leak_table
from sk_tune.prepare import TablePreparer

RNG = np.random.default_rng(0)
Y = RNG.normal(size=120)
CLASSES = np.arange(120) % 3


def _table(columns, y=CLASSES):
    X = pd.DataFrame(columns)
    is_classification = y.dtype.kind != "f"
    return as_leak_table(X, y, is_classification=is_classification, folds=[])


@pytest.mark.parametrize(
    ("column", "outcome"),
    [
        (np.array(["red", "green", "blue"])[CLASSES], "issue"),
        (CLASSES * -2.5, "issue"),
        (CLASSES % 2, "passed"),
        (np.arange(120), "passed"),
        (np.where(np.arange(120) == 5, 0, CLASSES), "passed"),
    ],
    ids=["renamed", "other numbers", "coarser", "finer", "one differs"],
)
def test_a_class_under_another_name_is_the_target(column, outcome):
    """If each value goes with one class and each class with one value."""
    assert check_target(_table({"a": column})).outcome == outcome


def test_a_number_in_other_units_is_the_target():
    """Not one that is only close to it."""
    noisy = Y + 0.01 * RNG.normal(size=120)

    assert check_target(_table({"a": 32 + 1.8 * Y}, Y)).outcome == "issue"
    assert check_target(_table({"a": noisy}, Y)).outcome == "passed"
    assert check_giveaway(_table({"a": RNG.normal(size=120)}, Y)).outcome == "passed"


def test_among_many_columns_the_one_that_tells_is_found():
    """Only some get a tree; it is among them."""
    columns = {f"c{i}": RNG.normal(size=120) for i in range(MOST_TREES + 50)}
    columns["told"] = CLASSES + 0.1 * RNG.normal(size=120)

    finding = check_giveaway(_table(columns))

    assert finding.outcome == "issue"
    assert "'told'" in finding.message


def test_a_column_that_tells_a_rare_class_gives_it_away():
    """Guessing is right 99 times in 100, so that little is left to be better by."""
    y = np.zeros(2000, dtype=int)
    y[::100] = 1
    charged = y * RNG.uniform(10, 90, size=2000)

    found = check_giveaway(_table({"a": RNG.normal(size=2000), "charged": charged}, y))

    assert found.outcome == "issue"
    assert "'charged'" in found.message


def test_a_class_that_is_rare_gives_nothing_away():
    """Guessing the common class is right 99.6 times in 100, with any column."""
    y = np.zeros(500, dtype=int)
    y[:2] = 1

    assert check_giveaway(_table({"a": RNG.normal(size=500)}, y)).outcome == "passed"


N = 300


def _raw(seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(3, 2, size=(N, 3)), columns=["a", "b", "c"])
    return X.assign(
        area=np.exp(rng.normal(size=N)),
        gain=np.where(rng.random(N) < 0.9, 0.0, rng.random(N) * 5000),
        rooms=rng.integers(0, 3, size=N),
        town=rng.choice(["Bern", "Köln", "Ulm"], N),
        day=pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(900, size=N), "D"),
    )


def _numbers(seed=0):
    return _raw(seed).drop(columns=["town", "day"])


def _finding(X):
    y = np.random.default_rng(9).integers(2, size=N)
    return next(f for f in find_leaks(X, y) if f.name == "scaled over all rows")


@pytest.mark.parametrize("ddof", [0, 1])
def test_columns_of_one_mean_and_deviation_were_scaled(ddof):
    """By scikit-learn's scaler or by pandas."""
    X = _numbers()

    finding = _finding((X - X.mean()) / X.std(ddof=ddof))

    assert finding.outcome == "issue"
    assert "100 % of the columns of numbers have the same mean" in finding.message


@pytest.mark.parametrize(
    "scaler",
    [RobustScaler(), QuantileTransformer(n_quantiles=N, output_distribution="normal")],
)
def test_other_scalers_are_recognised_too(scaler):
    """By the quartiles and by the ends that they make."""
    X = _numbers()[["a", "b", "c", "area"]]

    assert _finding(scaler.fit_transform(X)).outcome == "issue"


@pytest.mark.parametrize("numeric", ["smooth_clip", "quantile", "standard"])
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_what_the_preparer_prepared_over_all_rows_is_recognised(numeric, missing):
    """With dates, categories and columns of which values are missing."""
    X = _raw()
    X.loc[np.random.default_rng(1).random(N) < missing, ["a", "area"]] = np.nan

    prepared = TablePreparer(numeric=numeric).fit_transform(X)

    assert _finding(X).outcome == "passed"
    assert _finding(prepared).outcome == "issue"


@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler(),
        RobustScaler(),
        TablePreparer(numeric="smooth_clip"),
        TablePreparer(numeric="standard"),
    ],
)
def test_rows_that_were_scaled_by_others_are_not_suspected(scaler):
    """Scaled by the training rows, as it should be, means and quartiles are only near."""
    scaled = scaler.fit(_numbers(seed=1)).transform(_numbers())

    assert _finding(scaled).outcome == "passed"


def test_counts_with_the_quartiles_of_a_scaler_are_not_suspected():
    """Half of the values 0 and a quarter 1 make a median of 0 and quartiles 0 and 1."""
    counts = np.random.default_rng(0).permutation(np.repeat([0, 0, 1, 2], N // 4))
    X = np.column_stack([counts, np.roll(counts, 1), np.roll(counts, 5)])

    assert _finding(X).outcome == "passed"


def test_circles_alone_are_no_columns_of_numbers():
    """Sine and cosine of an hour have the mean 0 wherever hours are even."""
    angle = 2 * np.pi * np.arange(N) / 24

    finding = _finding(np.column_stack([np.sin(angle), np.cos(angle)]))

    assert finding.outcome == "not applicable"


def _drawn(kind, n=1000, seed=0):
    rng = np.random.default_rng(seed)
    drawn = {
        "normal": rng.normal,
        "uniform": rng.uniform,
        "exponential": rng.exponential,
        "lognormal": rng.lognormal,
        "counts": lambda size: rng.poisson(20, size=size),
    }
    return np.asarray(drawn[kind](size=n), dtype=float)


def _outlier_finding(X, y=None, *, is_classification=True):
    y = np.zeros(len(X)) if y is None else y
    table = as_leak_table(X, y, is_classification=is_classification, folds=[])
    return check_outliers(table)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "kind", ["normal", "uniform", "exponential", "lognormal", "counts"]
)
def test_no_distribution_that_is_usual_has_outliers(kind, seed):
    """Skewed ones neither: what is far there has company."""
    assert not outliers_of(pd.Series(_drawn(kind, seed=seed))).rows.any()


@pytest.mark.parametrize("kind", ["normal", "uniform", "exponential", "counts"])
def test_a_value_with_a_slipped_point_is_found(kind):
    """A hundred times what it should be."""
    values = _drawn(kind)
    values[17] = 100 * np.abs(values).max()

    assert np.flatnonzero(outliers_of(pd.Series(values)).rows).tolist() == [17]


def test_codes_for_missing_values_are_found():
    """9999 in 3 % of the rows, all of them."""
    values = _drawn("normal")
    values[:30] = 9999

    assert np.flatnonzero(outliers_of(pd.Series(values)).rows).tolist() == list(range(30))


def test_tails_that_widen_the_deviation_are_outliers():
    """Student's t with 1.3 degrees of freedom has no variance: all that is far is found."""
    values = np.random.default_rng(0).standard_t(1.3, size=2000)
    deviation = 1.4826 * np.median(np.abs(values - np.median(values)))

    own = outliers_of(pd.Series(values))

    far = np.abs(values - np.median(values)) > 10 * deviation
    assert own.widened > 5
    assert 10 < far.sum() < 100
    np.testing.assert_array_equal(own.rows, far)


@given(
    shift=st.floats(-1e3, 1e3), scale=st.floats(1e-3, 1e3), sign=st.sampled_from([-1, 1])
)
def test_units_do_not_matter(shift, scale, sign):
    """Metres or feet, and turned round: the same rows."""
    values = _drawn("normal", 100)
    values[:2] = [60.0, -50.0]

    own = outliers_of(pd.Series(sign * scale * values + shift))

    assert np.flatnonzero(own.rows).tolist() == [0, 1]


@pytest.mark.parametrize(
    "values",
    [
        np.arange(10.0),
        np.arange(200) % 5,
        np.append(np.zeros(100), np.arange(100)),
        np.full(100, np.nan),
    ],
    ids=["few rows", "few values", "a lump", "nothing"],
)
def test_columns_without_a_scale_are_not_judged(values):
    """One pixel that is mostly white has no usual spread."""
    assert outliers_of(pd.Series(values)) is None
    assert _outlier_finding(values[:, None]).outcome == "not applicable"


def test_missing_values_are_passed_over():
    """They are no outliers, nor do they hide one."""
    values = _drawn("normal")
    values[:50] = np.nan
    values[60] = 1e4

    assert np.flatnonzero(outliers_of(pd.Series(values)).rows).tolist() == [60]


def test_targets_of_a_regression_are_looked_at():
    """An outlier among them is worse than in a feature, and has another remedy."""
    X, y = load_diabetes(return_X_y=True)
    wrong = y.copy()
    wrong[5] = 1e5

    clean, found = (_outlier_finding(X, own, is_classification=False) for own in (y, wrong))

    assert clean.outcome == "passed"
    assert (found.code, found.outcome, found.severity) == ("SKT208", "tip", "medium")
    assert "the target" in found.message
    assert "TransformedTargetRegressor" in found.remedy
    assert "RobustScaler" not in found.remedy
    assert found.evidence["share"] == pytest.approx(1 / len(y))


def test_only_the_worst_columns_are_named():
    """Of many, the three with the furthest values, and how many more there are."""
    X = np.random.default_rng(0).normal(size=(200, 5))
    X[0] = [1e2, 1e3, 1e4, 1e5, 1e6]

    finding = _outlier_finding(X)

    assert "'column 4', 'column 3', 'column 2' and 2 more" in finding.message
    assert "RobustScaler" in finding.remedy
    assert finding.severity == "low"
