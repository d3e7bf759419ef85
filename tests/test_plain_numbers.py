# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Columns of numbers that are prepared all at once."""

import warnings

import numpy as np
import pandas as pd
import pytest

import sk_tune
from sk_tune import TablePreparer
from sk_tune._plain_numbers import different_values, percentiles, unique_counts

N = 60


def _table():
    """Return plain numbers of each kind between columns of other kinds."""
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(N, 3))
    return pd.DataFrame({
        "normal": normal[:, 0],
        "town": rng.choice(["Bern", "Ulm"], N),
        "gaps": np.where(rng.random(N) < 0.3, np.nan, normal[:, 1]),
        "infinite": np.where(rng.random(N) < 0.2, np.inf, normal[:, 2]),
        "endless": np.where(rng.random(N) < 0.5, np.inf, -np.inf),
        "empty": np.full(N, np.nan),
        "constant": np.full(N, 2.0),
        "there": np.where(rng.random(N) < 0.5, 1.0, np.nan),
        "outlier": np.append(rng.random(N - 1), 1e99),
        "truth": rng.random(N) < 0.5,
        "day": pd.date_range("2024-01-01", periods=N, freq="31h"),
        "two": np.where(rng.random(N) < 0.5, -1.0, 4.0),
        "two with gaps": rng.choice([0.0, 5.0, np.nan], N),
        "zeros": rng.choice([0.0, -0.0], N),
        "count": rng.poisson(3.0, N),
        "counter": np.arange(N) + 7,
        "user_id": rng.permutation(10**6)[:N],
        "copy": normal[:, 0],
    })


def _one_by_one(table):
    """Return the table with nullable numbers, whose columns are read one at a time."""
    nullable = {"f": "Float64", "i": "Int64", "b": "boolean"}
    dtypes = {name: nullable.get(dtype.kind, dtype) for name, dtype in table.dtypes.items()}
    return table.astype(dtypes)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"numeric": "standard", "impute_strategy": "mean"},
        {"numeric": "quantile", "crosses": 3},
        {"numeric": None, "impute_strategy": None, "add_indicator": False},
    ],
)
def test_many_columns_at_once_have_the_values_of_single_columns(options):
    """Equal to the last bit, with the same names and dropped columns."""
    table, y = _table(), np.arange(N) % 2
    new = table.sample(frac=0.5, random_state=0)
    fast, slow = TablePreparer(**options), TablePreparer(**options)

    results = fast.fit_transform(table, y), fast.transform(new)
    expected = slow.fit_transform(_one_by_one(table), y), slow.transform(_one_by_one(new))

    for result, values in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, values, strict=True)
    assert fast.dropped_ == slow.dropped_
    assert fast.kinds_ == slow.kinds_
    assert [*fast.get_feature_names_out()] == [*slow.get_feature_names_out()]


def test_a_number_does_not_depend_on_the_columns_next_to_it():
    """A column alone and in a wide table."""
    X = pd.DataFrame(np.random.default_rng(0).standard_cauchy((50, 300)))
    X = X.rename(columns="c{}".format)

    together = TablePreparer().fit_transform(X)

    alone = np.hstack([TablePreparer().fit_transform(X[[name]]) for name in X])
    np.testing.assert_array_equal(together, alone)


def test_plain_numbers_are_not_read_one_by_one(monkeypatch):
    """A column of pandas takes longer to access than to prepare."""

    def read_values(*args, **options):
        raise AssertionError

    for module in ("_column_kinds", "_table_preparer"):
        module = getattr(sk_tune._prepare, module)
        monkeypatch.setattr(module, "read_values", read_values)
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 5)))

    assert TablePreparer().fit(X.to_numpy()).transform(X.to_numpy()).shape == X.shape


def test_the_fitted_transformers_have_the_names_of_their_columns():
    """So that they also prepare tables with another order of the columns."""
    table = _table()
    preparer = TablePreparer().fit(table)

    of_blocks = {name: columns for name, _, columns in preparer.columns_.transformers_}

    assert of_blocks["numbers"] == ["normal", "gaps", "infinite", "outlier", "count"]
    assert of_blocks["days"] == ["day"]
    assert of_blocks["one_hot"] == ["town"]


def test_different_values_are_counted():
    """As by pandas, all or up to three: 0.0 and -0.0 are equal, and missing is no value."""
    X = pd.DataFrame({
        "none": [np.nan] * 4,
        "one": [1.0, 1.0, np.nan, 1.0],
        "zeros": [0.0, -0.0, 0.0, np.nan],
        "two": [1.0, 2.0, 1.0, np.nan],
        "three": [3.0, 2.0, 1.0, np.nan],
        "four": [3.0, 2.0, 1.0, 4.0],
    })

    counts = different_values(X.to_numpy())

    assert counts.tolist() == X.nunique().clip(upper=3).tolist()
    assert unique_counts(X.to_numpy()).tolist() == X.nunique().tolist()


def test_percentiles_ignore_missing_values():
    """As by numpy, to the last bit."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, 40)) * 10.0 ** rng.integers(-9, 9, 40)
    values[rng.random(values.shape) < np.linspace(0, 1, 40)] = np.nan
    orders = (0, 12.5, 25, 50, 75, 99, 100)

    result = percentiles(values, orders)

    with warnings.catch_warnings(action="ignore"):
        # The last column has no value.
        np.testing.assert_array_equal(result, np.nanpercentile(values, orders, axis=0))
    whole = np.where(np.isnan(values), 0.0, values)
    expected = np.percentile(whole, orders, axis=0)
    np.testing.assert_array_equal(percentiles(whole, orders), expected)
