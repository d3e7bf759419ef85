"""Columns that were scaled with the rows of all folds."""

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import QuantileTransformer, RobustScaler, StandardScaler

from sk_tune.diagnosis import find_leaks
from sk_tune.prepare import TablePreparer

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
