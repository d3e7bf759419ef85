"""Columns that hold the target, know of all rows, or have single values far from others."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import QuantileTransformer, RobustScaler, StandardScaler

from sk_tune.diagnosis import find_leaks
from sk_tune.diagnosis._leaks import outliers_of
from sk_tune.prepare import TablePreparer

RNG = np.random.default_rng(0)
Y = RNG.normal(size=120)
CLASSES = np.arange(120) % 3


def _found(name, X, y):
    return next(f for f in find_leaks(X, y, cv=3) if f.name == name)


TARGET, GIVEAWAY = "target among the features", "feature that gives the target away"


@pytest.mark.parametrize(
    ("column", "y", "outcome"),
    [
        # Each value goes with one class and each class with one value.
        (np.array(["red", "green", "blue"])[CLASSES], CLASSES, "issue"),
        (CLASSES * -2.5, CLASSES, "issue"),
        (CLASSES % 2, CLASSES, "passed"),
        (np.arange(120), CLASSES, "passed"),
        (np.where(np.arange(120) == 5, 0, CLASSES), CLASSES, "passed"),
        # A number is in other units, not only close.
        (32 + 1.8 * Y, Y, "issue"),
        (Y + 0.01 * RNG.normal(size=120), Y, "passed"),
    ],
)
def test_the_target_under_another_name_is_found(column, y, outcome):
    """Renamed or in other units, but neither coarser, finer nor nearly it."""
    assert _found(TARGET, pd.DataFrame({"a": column}), y).outcome == outcome


def test_a_column_that_tells_gives_the_target_away():
    """Among so many that only some get a tree, and where guessing is nearly right."""
    many = {f"c{i}": RNG.normal(size=120) for i in range(150)}
    many["told"] = CLASSES + 0.1 * RNG.normal(size=120)
    rare = np.zeros(2000, dtype=int)
    rare[::100] = 1
    two = {"a": RNG.normal(size=2000), "told": rare * RNG.uniform(10, 90, size=2000)}

    for columns, y in ((many, CLASSES), (two, rare)):
        finding = _found(GIVEAWAY, pd.DataFrame(columns), y)
        assert finding.outcome == "issue"
        assert "'told'" in finding.message


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_noise_gives_nothing_away():
    """Guessing the common class is right 99.6 times in 100, with any column."""
    rare = np.zeros(500, dtype=int)
    rare[:2] = 1

    for y in (Y, rare):
        X = pd.DataFrame({"a": RNG.normal(size=len(y))})
        assert _found(GIVEAWAY, X, y).outcome == "passed"


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
    return _found("scaled over all rows", X, y)


@pytest.mark.parametrize(
    "scale",
    [
        lambda X: (X - X.mean()) / X.std(ddof=0),
        lambda X: (X - X.mean()) / X.std(ddof=1),
        RobustScaler().fit_transform,
        QuantileTransformer(n_quantiles=N, output_distribution="normal").fit_transform,
    ],
    ids=["scikit-learn", "pandas", "quartiles", "normal ends"],
)
def test_columns_that_were_scaled_alike_are_recognised(scale):
    """By mean and deviation, by quartiles, or by the ends that scalers make."""
    finding = _finding(scale(_numbers()[["a", "b", "c", "area"]]))

    assert finding.outcome == "issue"
    assert "100 % of the columns of numbers have the same" in finding.message


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


def _outliers(X, y=None):
    y = np.arange(len(X)) % 2 if y is None else y
    return _found("outliers", X, y)


KINDS = ["normal", "uniform", "exponential", "lognormal", "counts"]


def _rows(values):
    return np.flatnonzero(outliers_of(pd.Series(values)).rows).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_with_a_slipped_point_is_found(kind):
    """A hundred times what it should be; skewed columns have no outliers by themselves."""
    assert all(_rows(_drawn(kind, seed=seed)) == [] for seed in range(5))
    if kind != "lognormal":
        values = _drawn(kind)
        values[17] = 100 * np.abs(values).max()
        assert _rows(values) == [17]


def test_codes_for_missing_values_are_found():
    """9999 in 3 % of the rows, all of them; missing ones neither are nor hide outliers."""
    coded, missing = _drawn("normal"), _drawn("normal")
    coded[:30] = 9999
    missing[:50], missing[60] = np.nan, 1e4

    assert _rows(coded) == list(range(30))
    assert _rows(missing) == [60]


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

    rows = _rows(sign * scale * values + shift)

    assert rows == [0, 1]


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
    assert _outliers(values[:, None].astype(float)).outcome == "not applicable"


def test_targets_of_a_regression_are_looked_at():
    """An outlier among them is worse than in a feature, and has another remedy."""
    X, y = load_diabetes(return_X_y=True)
    wrong = y.copy()
    wrong[5] = 1e5

    clean, found = (_outliers(X, own) for own in (y, wrong))

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

    finding = _outliers(X)

    assert "'column 4', 'column 3', 'column 2' and 2 more" in finding.message
    assert "RobustScaler" in finding.remedy
    assert finding.severity == "low"
