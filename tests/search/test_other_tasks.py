# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Searches over estimators that are no networks, whose fits nothing can stop."""

import time

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from sk_tune import GridSearchCV, RandomizedSearchCV

BUDGET = 2.0


class Sleeper(ClassifierMixin, BaseEstimator):
    """A classifier that nothing can stop, and that does nothing for a while."""

    def __init__(self, seconds=0.1, value=0):
        self.seconds = seconds
        self.value = value

    def fit(self, X, y):
        """Sleep."""
        self.classes_ = np.unique(y)
        time.sleep(self.seconds)
        return self

    def predict(self, X):
        """Return the first class."""
        return np.full(len(X), self.classes_[0])


def test_fits_that_nothing_can_stop_are_begun_if_they_end_in_time(iris):
    """The refit has its time, and what is left is used."""
    search = RandomizedSearchCV(
        Sleeper(), {"value": list(range(500))}, n_iter=500, cv=2, time_budget=BUDGET
    )
    began = time.monotonic()

    search.fit(*iris)

    assert 0.5 * BUDGET < time.monotonic() - began < 1.1 * BUDGET + 1.0
    assert np.isfinite(search.cv_results_["mean_test_score"]).sum() >= 3


def test_a_slow_candidate_of_what_nothing_can_stop_ends_the_search(iris):
    """After one of its folds the others are left out."""
    search = GridSearchCV(
        Sleeper(), {"seconds": [0.01, 1.5, 0.02]}, cv=3, time_budget=1.0, refit=False
    )
    began = time.monotonic()

    search.fit(*iris)

    assert time.monotonic() - began < 3.0
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist()[:2] == [False, True]
