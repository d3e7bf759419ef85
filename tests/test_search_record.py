# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The record of a search, and the layout of its folds."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV as SklearnGridSearchCV
from sklearn.model_selection import KFold, RepeatedKFold, ShuffleSplit

from sk_tune import GridSearchCV, HalvingGridSearchCV
from sk_tune._search_record import SearchRecord, fold_layout, rows_of_most, search_record

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2))
Y = (X[:, 0] > 0).astype(int)
GRID = {"C": [0.1, 1.0]}


def test_a_record_has_rows_targets_and_rungs():
    """A configuration of several rungs has its last row."""
    search = HalvingGridSearchCV(
        LogisticRegression(), GRID, resource="max_iter", max_resources=90, cv=3
    )
    search.set_params(min_resources=30, aggressive_elimination=False).fit(X, Y)

    record = search_record(search)

    assert (record.n_rows, record.resource) == (60, "max_iter")
    np.testing.assert_array_equal(record.y, Y)
    n_resources = search.cv_results_["n_resources"]
    assert len(record.last_rows) == 2
    assert max(n_resources[list(record.last_rows)]) == n_resources.max()


def test_other_searches_have_no_record():
    """scikit-learn's searches and unfitted searches have none."""
    assert search_record(SklearnGridSearchCV(LogisticRegression(), GRID)) is None
    assert search_record(GridSearchCV(LogisticRegression(), GRID)) is None


@pytest.mark.parametrize(
    ("kind", "cv", "expected"),
    [
        # Each repetition holds each sample out once.
        (GridSearchCV, RepeatedKFold(n_splits=5, n_repeats=1), (5, 1, 1 / 4)),
        (GridSearchCV, RepeatedKFold(n_splits=5, n_repeats=4), (20, 4, 1 / 4)),
        # Ten draws of half the samples hold each sample out about five times.
        (GridSearchCV, ShuffleSplit(10, test_size=0.5, random_state=0), (10, 5, 1)),
        # Without recorded folds, the folds are assumed to partition the samples.
        (SklearnGridSearchCV, KFold(4), (4, 1, 1 / 3)),
    ],
    ids=["folds", "repeated", "random", "not told"],
)
def test_layout_of_folds(kind, cv, expected):
    """Number of folds, repetitions of a held-out sample, and the ratio of both sides."""
    layout = fold_layout(kind(LogisticRegression(), GRID, cv=cv).fit(X, Y), 1)

    n_folds, n_repeats, ratio = expected
    assert layout.n_folds == n_folds
    assert layout.n_repeats == pytest.approx(n_repeats, rel=0.05 if ratio == 1 else 0)
    assert layout.test_by_train == pytest.approx(ratio)


def test_rungs_of_samples_have_smaller_training_sets():
    """A rung with half of the rows has training sets of half the size."""
    held = [[np.arange(6)] * 5]
    search = SimpleNamespace(
        n_splits_=5,
        held_out_rows_=held,
        cv_results_={"n_resources": np.array([30])},
        _search_record=SearchRecord(
            n_rows=60, y=None, groups=None, last_rows=(0,), resource="n_samples"
        ),
    )

    assert fold_layout(search, 0).test_by_train == pytest.approx(6 / 24)


def test_rows_of_most_are_the_rows_of_candidates_with_most_rows():
    """Candidates eliminated early, with other rows, do not count."""
    present = np.array([[1, 1, 1, 0], [1, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=bool)

    assert rows_of_most(present).tolist() == [True, True, False, False]
    assert rows_of_most(present[2:]).tolist() == [False, False, False, True]
