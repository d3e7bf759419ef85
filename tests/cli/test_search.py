"""A randomized search that begins with a given candidate and ends when its time is up."""

import time
import warnings

import numpy as np
import pytest
from scipy.stats import uniform
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import KFold, ParameterSampler

import sk_tune.search._rounds
from sk_tune.cli._search import TableSearchCV, n_failed
from sk_tune.exceptions import SearchError

X = np.zeros((20, 1))
y = np.arange(20) % 2


class Guess(ClassifierMixin, BaseEstimator):
    """Predicts class 0; its parameter decides whether it fails."""

    def __init__(self, value=0.0, fail_above=2.0):
        self.value = value
        self.fail_above = fail_above

    def fit(self, X, y):
        """Fail, or learn the classes."""
        if self.value > self.fail_above:
            raise ArithmeticError("the value is too large")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        """Return zeros."""
        return np.zeros(len(X), dtype=int)


@pytest.fixture
def end_after(monkeypatch):
    """Return a function that has searches end after some candidates, whatever the clock."""

    def end(n_candidates):
        def part_size(self):
            return n_candidates - self.n_candidates

        monkeypatch.setattr(sk_tune.search._rounds.Rounds, "_part_size", part_size)

    return end


def _search(*, estimator=None, first=0.0, cost=lambda params: 1.0, **params):
    options = {
        "on_batch": lambda n_candidates, best_score: None,
        "time_budget": 60.0,
        "progress": None,
        "scoring": "accuracy",
        "n_jobs": 1,
        "cv": KFold(2),
        "random_state": 0,
        **params,
    }
    search = TableSearchCV(
        estimator or Guess(),
        {"value": uniform(0, 1)},
        first_candidate={"value": first},
        cost=cost,
        **options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return search.fit(X, y)


def _values(search):
    return [params["value"] for params in search.cv_results_["params"]]


def test_the_first_candidate_is_followed_by_those_of_scikit_learn(end_after):
    """The same seed draws the same values as scikit-learn's sampler."""
    end_after(40)
    drawn = ParameterSampler({"value": uniform(0, 1)}, 39, random_state=3)

    values = _values(_search(first=0.5, random_state=3))

    assert values == [0.5, *(params["value"] for params in drawn)]


def test_a_budget_that_is_used_up_leaves_one_candidate():
    """There is always something to refit."""
    assert _values(_search(time_budget=1e-9)) == [0.0]


def test_it_ends_when_its_time_is_up():
    """Half a second is enough for many guesses, and not exceeded by much."""
    began = time.monotonic()

    search = _search(time_budget=0.5)

    assert len(_values(search)) > 1
    assert time.monotonic() - began < 2


def test_expensive_candidates_are_not_drawn(end_after):
    """None costs more than four times the first."""
    end_after(20)

    search = _search(first=0.1, cost=lambda params: params["value"])

    assert len(_values(search)) == 20
    assert max(_values(search)) <= 0.4


def test_failures_are_counted_and_do_not_end_the_search(end_after):
    """Candidates of which a fold could not be fitted have a reason and no score."""
    end_after(30)

    search = _search(estimator=Guess(fail_above=0.5))

    failed = np.array(_values(search)) > 0.5
    assert n_failed(search) == failed.sum() > 0
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == failed.tolist()
    assert search.best_score_ == 0.5


def test_a_first_candidate_that_fails_does_not_end_the_search(end_after):
    """The defaults may be the ones that cannot be fitted."""
    end_after(5)

    search = _search(first=0.9, estimator=Guess(fail_above=0.8))

    assert "too large" in search.cv_results_["failure_reason"][0]
    assert search.best_score_ == 0.5


@pytest.mark.parametrize("time_budget", [1e-9, 60.0])
def test_nothing_but_failures_is_an_error(time_budget):
    """When time is up, or after three batches, the reason is given and the search ends."""
    began = time.monotonic()

    with pytest.raises(SearchError, match=r"all \d+ .*: the value is too large"):
        _search(time_budget=time_budget, estimator=Guess(fail_above=-1))

    assert time.monotonic() - began < 30


def test_a_scorer_without_a_score_is_no_failure_of_networks(end_after):
    """The caller sees it from the scores."""
    end_after(5)

    search = _search(scoring=lambda estimator, X, y: np.nan)

    assert np.isnan(search.best_score_)
    assert n_failed(search) == 0


def test_other_errors_are_not_taken_for_failed_fits():
    """A mistake in what is passed comes out as it is."""
    with pytest.raises(ValueError, match="n_splits"):
        _search(cv=KFold(50))


def test_news_has_the_number_and_the_best_score(end_after):
    """Failed candidates count as tried; the score is NaN before the first."""
    end_after(40)
    seen = []

    _search(
        first=0.9,
        estimator=Guess(fail_above=0.5),
        on_batch=lambda *news: seen.append(news),
    )

    assert seen[0][0] == 1
    assert np.isnan(seen[0][1])
    assert seen[-1] == (40, 0.5)
    assert len(seen) > 2
