# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Single values far from all others."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes

from sk_tune.diagnosis._leak_columns import check_outliers, outliers_of
from sk_tune.diagnosis._leak_copies import as_leak_table


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


def _found(X, y=None, *, is_classification=True):
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
    assert _found(values[:, None]).outcome == "not applicable"


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

    clean, found = (_found(X, own, is_classification=False) for own in (y, wrong))

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

    finding = _found(X)

    assert "'column 4', 'column 3', 'column 2' and 2 more" in finding.message
    assert "RobustScaler" in finding.remedy
    assert finding.severity == "low"
