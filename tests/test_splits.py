# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Folds among retained samples, and times that can be sorted."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sk_tune import AutoRegressor
from sk_tune._splits import as_times, folds_among
from sk_tune.exceptions import TableError


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 4))
def test_positions_refer_to_the_same_rows(is_kept, n_folds):
    """The retained samples of each part, in its order."""
    n = len(is_kept)
    rows = np.random.default_rng(0).permutation(n)
    folds = [(rows[rows % n_folds != i], rows[rows % n_folds == i]) for i in range(n_folds)]
    kept = np.flatnonzero(is_kept)

    found = folds_among(kept, folds, n)

    assert len(found) == n_folds
    for fold, own in zip(folds, found, strict=True):
        for part, places in zip(fold, own, strict=True):
            assert kept[places].tolist() == [row for row in part if is_kept[row]]


# Times in order, which differs from the order of their text.
ISO = ["2024-1-15", "2024-02", "2024-03-15 10:30", "2024-10-01T08:00:00+02:00"]


@pytest.mark.parametrize("make", [list, np.array, pd.Series, pd.Categorical])
def test_text_that_begins_with_the_year_is_read_as_dates(make):
    """With different lengths, a time of day, and a time zone."""
    times = as_times(make(ISO[::-1]))

    assert times.argsort().tolist() == [3, 2, 1, 0]
    assert times[0] == np.datetime64("2024-10-01T06:00")


def test_numbers_and_dates_are_unchanged():
    """They can be sorted in any time zone."""
    dates = pd.Series(pd.to_datetime(["2024-03-01", "2023-12-31"]))

    for times in (np.array([2.5, -1.0]), dates.to_numpy(), dates.dt.tz_localize("UTC")):
        assert as_times(times).tolist() == np.asarray(times).tolist()


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (["2024-03-01", "03/15/2024"], "'03/15/2024' in row 2"),
        (["15.03.2024", "01.12.2023"], "'15.03.2024' in row 1"),
        (["2024-02-30"], "2024-02-30"),
        (["2024-03-01", None], "row 2"),
        ([1.0, np.nan], "row 2"),
        (np.array(["2024", "NaT"], dtype="datetime64[s]"), "row 2"),
    ],
)
def test_other_text_and_missing_times_are_refused(times, words):
    """The order of such text is not the order of time."""
    with pytest.raises(TableError, match=f"begin with the year.*{words}"):
        as_times(times)


@pytest.mark.filterwarnings("ignore:No model clearly beats")
def test_held_out_rows_follow_the_calendar(monkeypatch):
    """As text 2024-10 precedes 2024-9, which would give another held-out part."""
    monkeypatch.setattr("sk_tune._automl._models._REGULARISATION", [1.0])
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), rng.normal(size=60)
    y += X[:, 0]
    order = rng.permutation(60)
    texts = np.array([f"2024-{9 + n // 28}-{n % 28 + 1}" for n in order])
    auto = AutoRegressor(
        time_budget=None, n_rounds=0, models=["linear"], test_size=0.2, random_state=0
    )

    by_text = asdict(auto.fit(X, y, times=texts).model_scores_["linear"])

    # NaN equals NaN.
    np.testing.assert_equal(
        by_text, asdict(auto.fit(X, y, times=order).model_scores_["linear"])
    )
    with pytest.raises(TableError, match="begin with the year"):
        auto.fit(X, y, times=[f"{n}/1/2024" for n in range(60)])
