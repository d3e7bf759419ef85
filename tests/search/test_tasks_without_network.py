"""Searches over estimators without networks, with uninterruptible fits."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from sk_tune import GridSearchCV, RandomizedSearchCV
from sk_tune._search import _base_search, _rounds, _time_budget
from sk_tune._training import _time_limit
from sk_tune.exceptions import TimeBudgetWarning

BUDGET = 2.0


@pytest.fixture(autouse=True)
def _own_clock(monkeypatch):
    monkeypatch.setattr(Sleeper, "clock", 0.0)
    for module in (_base_search, _rounds, _time_budget, _time_limit):
        monkeypatch.setattr(module, "time", Sleeper)


class Sleeper(ClassifierMixin, BaseEstimator):
    """An uninterruptible classifier with its own clock."""

    clock = 0.0

    def __init__(self, seconds=0.1, value=0):
        self.seconds = seconds
        self.value = value

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        Sleeper.clock += self.seconds
        return self

    @staticmethod
    def monotonic():
        return Sleeper.clock

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


@pytest.mark.parametrize(("seconds", "refit"), [(0.1, True), (0.01, False), (0.24, False)])
def test_uninterruptible_fits_start_if_they_end_in_time(iris, seconds, refit):
    """The refit has its time; the remainder is used up to one candidate and a tenth."""
    search = RandomizedSearchCV(
        Sleeper(seconds),
        {"value": list(range(500))},
        n_iter=500,
        cv=2,
        time_budget=BUDGET,
        refit=refit,
    )

    with pytest.warns(TimeBudgetWarning, match="planned 500 candidates"):
        search.fit(*iris)

    assert 0.85 * BUDGET - 2.5 * seconds < Sleeper.clock <= BUDGET
    assert np.isfinite(search.cv_results_["mean_test_score"]).sum() >= 3


def test_a_slow_uninterruptible_candidate_ends_the_search(iris):
    """After one of its folds, all further folds are left out."""
    search = GridSearchCV(
        Sleeper(), {"seconds": [0.01, 1.5, 0.02]}, cv=3, time_budget=1.0, refit=False
    )

    with pytest.warns(TimeBudgetWarning, match=r"planned 3 .* was enough for 1\. Set"):
        search.fit(*iris)

    # The first, and one of the three fits of the second.
    assert Sleeper.clock == pytest.approx(3 * 0.01 + 1.5)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist()[:2] == [False, True]


def test_a_first_candidate_longer_than_the_budget_gives_a_warning(iris):
    """It cannot be stopped; the warning has its time."""
    search = GridSearchCV(Sleeper(), {"seconds": [1.0, 2.0]}, cv=3, time_budget=BUDGET)

    with pytest.warns(TimeBudgetWarning, match="cannot be stopped: it took 3.0 s"):
        search.fit(*iris)

    assert np.isfinite(search.cv_results_["mean_test_score"]).sum() == 1
