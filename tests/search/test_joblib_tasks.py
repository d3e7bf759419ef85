"""The backend that passes joblib's tasks to the session of a search."""

from types import SimpleNamespace

import joblib
import pytest
from joblib.parallel import get_active_backend
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression

from sk_tune import GridSearchCV
from sk_tune._search._search_session import SearchBackend


class Recording:
    """A session that records rounds, and runs only its given tasks."""

    def __init__(self):
        self.rounds = []

    def run(self, jobs):
        self.rounds.append(len(jobs))
        for job in jobs:
            job.run()


@pytest.mark.parametrize("pre_dispatch", ["2*n_jobs", "all", 3])
def test_all_tasks_of_a_call_come_in_one_round(pre_dispatch):
    """The session gets all tasks of a call together, and joblib the results in order."""
    session = Recording()
    search = SimpleNamespace(_rounds=SimpleNamespace(session=session))

    with joblib.parallel_config(backend=SearchBackend(search)):
        parallel = joblib.Parallel(n_jobs=2, pre_dispatch=pre_dispatch)
        results = parallel(joblib.delayed(pow)(2, i) for i in range(500))

    assert results == [2**i for i in range(500)]
    assert session.rounds == [500]


SEEN = []


class Looking(ClassifierMixin, BaseEstimator):
    """Records joblib's backend in its fits."""

    def fit(self, X, y):
        SEEN.append(type(get_active_backend()[0]).__name__)
        self.classes_ = sorted(set(y))
        return self

    def predict(self, X):
        return [self.classes_[0]] * len(X)


def test_neither_tasks_nor_the_refit_see_the_backend(iris):
    """joblib calls of estimators use the same backend as outside of a search."""
    SEEN.clear()
    ambient = get_active_backend()

    GridSearchCV(Looking(), [{}], cv=2).fit(*iris)

    assert len(SEEN) == 3
    assert "SearchBackend" not in SEEN
    assert type(get_active_backend()[0]) is type(ambient[0])


def test_the_backend_is_gone_after_an_error(iris):
    """A search that raises restores joblib's backend."""
    ambient = type(get_active_backend()[0])
    with pytest.raises(ValueError, match="no_such"):
        GridSearchCV(LogisticRegression(), {"no_such": [1]}, cv=2).fit(*iris)

    assert type(get_active_backend()[0]) is ambient


def test_nested_calls_of_joblib_work(iris):
    """Estimators that use joblib inside a task, with their own workers, are fitted."""
    bagging = BaggingClassifier(
        LogisticRegression(max_iter=1000), n_estimators=3, n_jobs=2, random_state=0
    )

    search = GridSearchCV(bagging, {"max_samples": [0.5]}, cv=2).fit(*iris)

    assert search.best_score_ > 0.8
