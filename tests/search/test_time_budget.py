"""Time budgets hold for any candidate."""

import time
from contextlib import contextmanager

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sk_tune import (
    BayesSearchCV,
    GridSearchCV,
    HalvingGridSearchCV,
    HyperbandSearchCV,
    MLPClassifier,
    RandomizedSearchCV,
    diagnose,
)
from sk_tune._search import _base_search, _rounds, _time_budget
from sk_tune._training import _time_limit
from sk_tune.exceptions import TimeBudgetWarning

# Epochs for which nobody has the time.
ENDLESS = 10**6
RATES = {"learning_rate": [1e-4, 1e-3, 1e-2]}
BUDGET = 1.0


@pytest.fixture
def net():
    """Return a network that takes an hour to train."""
    return MLPClassifier(width=8, max_epochs=ENDLESS, random_state=0)


@pytest.fixture(autouse=True, scope="module")
def _imported():
    """Let torch import the modules of a first training, which takes long."""
    MLPClassifier(width=2, max_epochs=1).fit(np.eye(8, dtype=np.float32), [0, 1] * 4)


class ProcessorTime:
    """In place of ``time``: other processes on the machine take no time."""

    monotonic = staticmethod(time.process_time)
    perf_counter = staticmethod(time.process_time)


@pytest.fixture(autouse=True)
def _own_clock(monkeypatch):
    for module in (_base_search, _rounds, _time_budget, _time_limit):
        monkeypatch.setattr(module, "time", ProcessorTime)


@contextmanager
def in_time(budget=BUDGET):
    """Fail if a block takes longer than its budget, a tenth of it and two seconds."""
    began = time.process_time()
    yield
    assert time.process_time() - began < 1.1 * budget + 2.0


def n_epochs_of(search):
    """Return the least number of epochs of the networks of the folds."""
    curves = search.learning_curves_
    return int(curves.groupby(["result_row", "fold"])["epoch"].max().min())


SEARCHES = {
    "grid": (GridSearchCV, {}),
    "random": (RandomizedSearchCV, {"n_iter": 3}),
    "bayes": (BayesSearchCV, {"n_iter": 3}),
    "halving": (HalvingGridSearchCV, {"min_resources": 60}),
    "hyperband": (HyperbandSearchCV, {"min_resources": ENDLESS // 3}),
    "BOHB": (HyperbandSearchCV, {"min_resources": ENDLESS // 3, "sampler": "bayes"}),
    "asynchronous": (
        HyperbandSearchCV,
        {"min_resources": ENDLESS // 3, "asynchronous": True},
    ),
    "best": (GridSearchCV, {"select_epoch": "best"}),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_without_time_for_a_candidate_has_one_with_fewer_epochs(net, iris, name):
    """Its score and the refit have whole epochs, and the result says so."""
    kind, options = SEARCHES[name]
    search = kind(net, RATES, cv=3, time_budget=BUDGET, **options)

    with (
        in_time(),
        pytest.warns(TimeBudgetWarning, match="too short for a single candidate"),
    ):
        search.fit(*iris)

    assert np.isfinite(search.cv_results_["mean_test_score"]).sum() == 1
    assert 1 <= n_epochs_of(search) < ENDLESS
    assert 1 <= len(search.best_estimator_.net_.history) <= n_epochs_of(search)
    assert "too short for a single candidate" in search.cut_short_
    (finding,) = [f for f in diagnose(search) if f.name == "search cut short"]
    assert (finding.outcome, finding.evidence["n_epochs"]) == ("issue", n_epochs_of(search))
    assert finding.remedy.startswith("Set a larger time_budget or fewer epochs.")
    assert search.cut_short_ == f"{finding.message} {finding.remedy}"
    (finding,) = [f for f in diagnose(search) if f.name == "underfitting"]
    assert finding.message == "The time budget ended this training early."


def test_a_candidate_left_out_for_time_has_no_score(net, iris):
    """It has a reason, and finished candidates are refitted in full."""
    pipeline = make_pipeline(StandardScaler(), net)
    grid = {"mlpclassifier__max_epochs": [3, ENDLESS]}
    search = GridSearchCV(pipeline, grid, cv=3, time_budget=2 * BUDGET)

    with in_time(2 * BUDGET), pytest.warns(TimeBudgetWarning, match="was enough for 1"):
        search.fit(*iris)

    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True]
    assert "the time budget was up" in search.cv_results_["failure_reason"][1]
    assert search.ledger_.n_failed == 0
    assert len(search.best_estimator_[-1].net_.history) == 3
    assert "planned 2 candidates" in search.cut_short_
    (finding,) = [f for f in diagnose(search) if f.name == "search cut short"]
    assert (finding.outcome, finding.severity) == ("tip", "low")


class SlowWithAll(FunctionTransformer):
    """A transformer that is slow only for all rows, not for folds."""

    def fit(self, X, y=None):
        end = time.process_time() + 2 * BUDGET
        while len(X) == 150 and time.process_time() < end:
            pass
        return self


def test_a_refit_ends_in_time_with_its_present_epochs(net, iris):
    """An unforeseeable delay leaves it one full epoch, and the result says so."""
    pipeline = make_pipeline(SlowWithAll(), net.set_params(max_epochs=3))
    grid = {"mlpclassifier__learning_rate": [1e-3]}
    search = GridSearchCV(pipeline, grid, cv=3, time_budget=BUDGET)

    with pytest.warns(TimeBudgetWarning, match="ended the refit after 1 of 3"):
        search.fit(*iris)

    assert len(search.best_estimator_[-1].net_.history) == 1
    assert n_epochs_of(search) == 3
    assert search.predict(iris.X).shape == (150,)


def test_a_sufficient_time_changes_no_result(iris):
    """Limits do not change a result."""
    net = MLPClassifier(width=8, max_epochs=4, random_state=0)
    free, timed = (
        GridSearchCV(net, RATES, cv=3, time_budget=budget).fit(*iris)
        for budget in (None, 1000.0)
    )

    assert timed.cut_short_ == free.cut_short_ == ""
    np.testing.assert_array_equal(timed.predict_proba(iris.X), free.predict_proba(iris.X))
