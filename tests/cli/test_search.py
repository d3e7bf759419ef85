"""A randomized search that a clock ends."""

import time
import warnings

import numpy as np
import pytest
from scipy.stats import uniform
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import KFold

import sk_tune.cli._search
from sk_tune.cli._search import TimedRandomizedSearchCV
from sk_tune.exceptions import SearchError

X = np.zeros((20, 1))
y = np.arange(20) % 2


class Guess(ClassifierMixin, BaseEstimator):
    """Predicts class 0; its parameter decides whether it fails."""

    def __init__(self, value=0.0, fail_above=2.0, seconds=0.0):
        self.value = value
        self.fail_above = fail_above
        self.seconds = seconds

    def fit(self, X, y):
        """Fail, or take some time."""
        if self.value > self.fail_above:
            raise ArithmeticError("the value is too large")
        time.sleep(self.seconds)
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        """Return zeros."""
        return np.zeros(len(X), dtype=int)


class Clock:
    """A clock that goes on by one second whenever candidates were evaluated."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        """Return the time in seconds."""
        return self.now

    def tick(self, n_candidates, best_score):
        """Go on by a second."""
        self.now += 1


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that the search reads."""
    clock = Clock()
    monkeypatch.setattr(sk_tune.cli._search, "time", clock)
    return clock


def _search(clock, *, deadline, estimator=None, first=0.0, cost=lambda params: 1.0, seed=0):
    searched = TimedRandomizedSearchCV(
        estimator or Guess(),
        {"value": uniform(0, 1)},
        first_candidate={"value": first},
        deadline=deadline,
        cost=cost,
        on_batch=clock.tick,
        scoring="accuracy",
        n_jobs=1,
        cv=KFold(2),
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return searched.fit(X, y)


def _values(searched):
    return [params["value"] for params in searched.cv_results_["params"]]


def test_it_ends_when_the_next_batch_would_pass_the_deadline(clock):
    """With a second for each batch and ten seconds, there are ten batches."""
    searched = _search(clock, deadline=10 - 1e-9 + 0.9)

    assert len(_values(searched)) == 11


def test_a_deadline_in_the_past_leaves_one_candidate(clock):
    """There is always something to refit."""
    assert _values(_search(clock, deadline=-5)) == [0.0]


def test_fits_that_would_last_too_long_are_not_begun(clock):
    """What fits have taken tells what the next ones will take."""
    searched = _search(clock, deadline=1.05, estimator=Guess(seconds=0.05))

    assert len(_values(searched)) == 1


def test_the_clock_changes_how_many_candidates_but_not_which(clock):
    """A longer search begins like a shorter one of the same seed."""
    short, long = (_values(_search(clock, deadline=clock.now + n)) for n in (3.5, 6.5))
    other = _values(_search(clock, deadline=clock.now + 3.5, seed=1))

    assert long[: len(short)] == short
    assert len(long) > len(short)
    assert other[1:] != short[1:]


def test_expensive_candidates_are_not_drawn(clock):
    """None costs more than four times the first."""
    searched = _search(clock, deadline=20, first=0.1, cost=lambda params: params["value"])

    assert max(_values(searched)) <= 0.4


def test_batches_of_failures_do_not_end_the_search(clock):
    """Candidates of which no fold could be fitted are counted, and others still tried."""
    searched = _search(clock, deadline=20, estimator=Guess(fail_above=0.5))

    failed = [params["value"] for params in searched.failed_candidates_]
    assert failed
    assert min(failed) > 0.5
    assert max(_values(searched)) <= 0.5
    assert searched.best_score_ == 0.5


def test_a_first_candidate_that_fails_does_not_end_the_search(clock):
    """The defaults may be the ones that cannot be fitted."""
    searched = _search(clock, deadline=5, first=0.9, estimator=Guess(fail_above=0.8))

    assert searched.failed_candidates_[0] == {"value": 0.9}
    assert _values(searched)


def test_nothing_but_failures_is_an_error(clock):
    """After three batches without one success, the reason is given and the search ends."""
    with pytest.raises(
        SearchError, match=r"all 3 .*ArithmeticError: the value is too large"
    ):
        _search(clock, deadline=1000, estimator=Guess(fail_above=-1))


def test_other_errors_are_not_taken_for_failed_fits(clock):
    """A mistake in what is passed comes out as it is."""
    with pytest.raises(ValueError, match="n_splits"):
        TimedRandomizedSearchCV(
            Guess(),
            {"value": uniform(0, 1)},
            first_candidate={"value": 0.0},
            deadline=1,
            cost=lambda params: 1.0,
            on_batch=clock.tick,
            scoring="accuracy",
            n_jobs=1,
            cv=KFold(50),
            random_state=0,
        ).fit(X, y)


def test_progress_is_told_the_number_and_the_best_score(clock):
    """Failed candidates count as tried."""
    seen = []
    clock.tick = lambda *news: (seen.append(news), Clock.tick(clock, *news))

    searched = _search(clock, deadline=10, estimator=Guess(fail_above=0.5))

    assert seen[0] == (1, 0.5)
    assert seen[-1][0] <= len(_values(searched)) + len(searched.failed_candidates_)


def test_a_first_fit_that_includes_imports_does_not_stop_the_search(clock):
    """One slow fold among fast ones is an outlier, which the estimate discounts."""
    searched = _search(clock, deadline=0)
    uniform_times = {
        "params": [{}],
        "mean_fit_time": np.array([1.0]),
        "std_fit_time": np.array([0.0]),
        "mean_score_time": np.array([0.0]),
    }
    outlier = {**uniform_times, "std_fit_time": np.array([2.0])}

    assert searched._seconds_per_unit(uniform_times) == 1.0
    assert searched._seconds_per_unit(outlier) == 0.25
