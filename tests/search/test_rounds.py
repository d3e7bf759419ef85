"""Rounds: same folds in all of them, and an end when the time is up."""

import time
from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ShuffleSplit, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from sk_tune import (
    BayesSearchCV,
    GridSearchCV,
    HalvingGridSearchCV,
    HyperbandSearchCV,
    MLPClassifier,
    RandomizedSearchCV,
)
from sk_tune.exceptions import SpaceError
from sk_tune.search import _rounds, _time_budget
from sk_tune.search._rounds import Rounds, best_first, check_names, subsampled
from sk_tune.search._time_budget import TimeBudget

CV = StratifiedKFold(3, shuffle=True, random_state=1)


class Clock:
    """A clock that goes on by hand."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        """Return the time."""
        return self.now


class Model(BaseEstimator):
    """An estimator of one parameter."""

    def __init__(self, a=0):
        self.a = a


class Search:
    """A search over that estimator."""

    estimator = Model()
    refit = True

    def __init__(self, session, n_splits):
        self._session = session
        self._checked_cv_orig = ShuffleSplit(n_splits)
        self.n_splits_ = n_splits


class Session:
    """A session that nothing interrupts; the refit takes a part of a candidate's time."""

    is_interrupted = False
    has_complete_candidate = True
    options = SimpleNamespace(resource=None)

    def __init__(self, budget=None, seconds=0.0):
        self.budget = self.time = budget
        self.seconds = seconds
        self.quiet = ExitStack()

    def measure_refit(self, row, seconds_of_fit):
        """Note it."""
        if self.budget is not None:
            self.budget.measure_refit(row, None, self.seconds)

    # As of a search whose tasks were known.
    outcomes = range(100_000)

    def begin_round(self, groups, n_new):
        """Do nothing."""

    def end_round(self, n_candidates, scores, best):
        """Do nothing."""


@pytest.fixture
def clock(monkeypatch):
    """A clock in the place of ``time``."""
    own = Clock()
    for module in (_rounds, _time_budget):
        monkeypatch.setattr(module, "time", own)
    return own


def rounds(clock, budget, seconds, *, n_splits=4, reserve=0.0):
    """Return rounds whose candidates take `seconds` each, and their calls."""
    calls, params = [], []

    def evaluate(candidates, *, cv, more_results, callback_ctx):
        calls.append((list(candidates), cv, more_results))
        params.extend(candidates)
        clock.now += seconds * len(candidates)
        return {"params": list(params), "mean_test_score": np.ones(len(params))}

    limited = TimeBudget(budget, 0.0)
    session = Session(limited, reserve * seconds)
    own = Rounds(evaluate, Search(session, n_splits))
    return own, calls


@pytest.mark.parametrize("seconds", [0.01, 0.3, 1.0, 2.4])
@pytest.mark.parametrize("reserve", [0.0, 0.5])
def test_a_budget_is_kept_within_a_tenth(clock, seconds, reserve):
    """With steady candidates a search and its refit end in the budget, and use it."""
    own, calls = rounds(clock, 60.0, seconds, reserve=reserve)

    own.evaluate([{"a": i} for i in range(10_000)])

    assert own.is_over
    ends = clock.now + reserve * seconds
    assert ends <= 60
    assert ends > 60 - 2 * seconds - 0.1 * 60
    assert own.n_candidates == sum(len(call[0]) for call in calls)


def test_without_a_budget_there_is_one_call(clock):
    """All candidates are evaluated together where no time is set."""
    own, calls = rounds(clock, None, 1e6)

    own.evaluate(({"a": i} for i in range(100)), more_results={"iter": [0] * 100})

    assert len(calls) == 1
    assert not own.is_over


def test_parts_carry_their_own_columns_and_all_the_same_folds(clock):
    """Further columns are cut with the candidates, and the splitter is one for all."""
    own, calls = rounds(clock, 1e9, 1.0)
    own.evaluate([{"a": i} for i in range(20)], more_results={"rank": list(range(20))})
    own.evaluate([{"a": i} for i in range(3)])

    assert len(calls) > 2
    for candidates, cv, more in calls[:-1]:
        assert more["rank"] == [c["a"] for c in candidates]
        assert cv is calls[0][1]
    X = np.zeros((30, 1))
    first, second = (calls[0][1].split(X) for _ in range(2))
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one[1], two[1])


def test_parts_of_a_rung_with_folds_of_its_own_have_the_same(clock):
    """A splitter that draws anew whenever it is asked is asked once for all parts."""
    own, calls = rounds(clock, 1e9, 1.0)
    own.evaluate([{"a": i} for i in range(20)], ShuffleSplit(4))
    n_parts = len(calls)
    own.evaluate([{"a": i} for i in range(20)], ShuffleSplit(4))

    X = np.zeros((30, 1))
    drawn = [np.stack([test for _, test in cv.split(X)]) for _, cv, _ in calls]
    assert n_parts > 1
    for part in drawn[:n_parts]:
        np.testing.assert_array_equal(part, drawn[0])
    assert not np.array_equal(drawn[0], drawn[-1])


def test_those_compete_that_were_given_as_much_on_the_same_folds(clock):
    """In all calls of a search; folds of a rung's own are of that call only."""
    own, _ = rounds(clock, None, 1.0)
    groups = []
    own._session.begin_round = lambda of_round, n_new: groups.extend(of_round)
    two, other = [{"a": 0}, {"a": 1}], ShuffleSplit(4)

    own.evaluate(two)
    own.evaluate(two, more_results={"n_resources": [1, 3]})
    own.evaluate(two, more_results={"n_resources": [3, 9]})
    own.evaluate(two, other, more_results={"n_resources": [9, 9]})
    own.evaluate(two, other, more_results={"n_resources": [9, 9]})

    numbers = list(dict.fromkeys(groups))
    assert [numbers.index(group) for group in groups] == [0, 0, 1, 2, 2, 3, 4, 4, 5, 5]


def test_the_first_candidates_are_evaluated_in_any_case(clock):
    """A budget that is up before the first candidate still gives a few."""
    own, calls = rounds(clock, 1e-9, 5.0)

    own.evaluate([{"a": i} for i in range(100)])

    assert len(calls) == 1
    assert 1 <= len(calls[0][0]) <= 4


def test_nothing_to_evaluate_is_left_to_scikit_learn(clock):
    """An empty round is one call, so that scikit-learn says what is wrong."""
    own, calls = rounds(clock, 10.0, 1.0)

    own.evaluate([])

    assert [call[0] for call in calls] == [[]]


def test_the_best_are_those_of_the_highest_level():
    """Then those of the highest score, of equal ones the first; none without a score."""
    scores = [0.9, 0.2, np.nan, 0.3, 0.3, np.nan, -np.inf]

    assert best_first(scores) == [0, 3, 4, 1, 6]
    assert best_first(scores, [0, 1, 1, 1, 1, 2, 2]) == [6, 3, 4, 1, 0]
    assert best_first([np.nan], [0]) == []


@pytest.mark.filterwarnings("ignore:The time budget")
@pytest.mark.parametrize("search", [GridSearchCV, HalvingGridSearchCV])
def test_a_search_whose_time_is_up_is_usable(make_estimator, iris, search):
    """With a budget of no time some candidates are there, and the best is fitted."""
    net = make_estimator("MLPClassifier", dtype="float64")
    options = {"resource": "max_epochs", "max_resources": 4, "random_state": 0}
    began = time.monotonic()

    fitted = search(
        net,
        {"learning_rate": np.geomspace(1e-4, 0.1, 60)},
        cv=CV,
        time_budget=1e-3,
        **(options if search is HalvingGridSearchCV else {}),
    ).fit(*iris)

    assert 0 < len(fitted.cv_results_["params"]) < 60
    assert fitted.predict(iris.X).shape == (150,)
    assert time.monotonic() - began < 30


def test_a_generous_budget_changes_no_result(make_estimator, iris, assert_same_results):
    """A budget that is not used up gives the results of a search without one."""
    net = make_estimator("MLPClassifier", dtype="float64")
    grid = {"learning_rate": np.geomspace(1e-4, 0.1, 12)}
    free, timed = (
        GridSearchCV(net, grid, cv=CV, time_budget=budget).fit(*iris)
        for budget in (None, 600.0)
    )

    assert_same_results(timed.cv_results_, free.cv_results_, rtol=1e-12)


def test_a_rung_that_the_budget_cuts_has_one_sample_of_rows(iris):
    """Candidates of all calls are compared on the same rows, as in scikit-learn."""
    search = HalvingGridSearchCV(
        LogisticRegression(max_iter=1000),
        {"C": [0.1, 1.0, 10.0]},
        cv=CV,
        min_resources=90,
        time_budget=1000.0,
        random_state=None,
    ).fit(*iris)

    first, *others = search.held_out_rows_[:3]
    for rows in others:
        np.testing.assert_array_equal(rows, first)


PIPE = make_pipeline(StandardScaler(), MLPClassifier())


@pytest.mark.parametrize(
    ("estimator", "name", "meant"),
    [
        (MLPClassifier(), "learing_rate", "Did you mean 'learning_rate'?"),
        (PIPE, "width", "Did you mean 'mlpclassifier__width'?"),
        (PIPE, "mlp__width", "Did you mean 'mlpclassifier__width'?"),
        (PIPE, "mlpclassifier__widht", "Did you mean 'mlpclassifier__width'?"),
        (PIPE, "verbose", None),
        (PIPE, "zzz", "Got 'zzz' instead. Its get_params"),
    ],
)
def test_a_wrong_name_gets_the_right_one(estimator, name, meant):
    """Also one that lacks its step, or names another one."""
    if meant is None:
        check_names(estimator, [{name: True}])
        return

    with pytest.raises(SpaceError) as caught:
        check_names(estimator, [{name: 1}])

    assert f"parameters of the {type(estimator).__name__}. Got {name!r}" in str(
        caught.value
    )
    assert meant in str(caught.value)


def test_names_that_only_setting_knows_are_taken():
    """A module's arguments, and parameters of a step that is itself searched."""
    net = NeuralNetClassifier(nn.Linear, module__in_features=4)
    check_names(net, [{"module__out_features": 3, "optimizer__weight_decay": 0.1}])
    pipe = Pipeline([("net", "passthrough")])
    check_names(pipe, [{"net": LogisticRegression(), "net__C": 2.0}])

    with pytest.raises(SpaceError, match="'net__C'"):
        check_names(pipe, [{"net__C": 2.0}])


@pytest.mark.parametrize(
    "make",
    [
        lambda space: GridSearchCV(PIPE, space, cv=2),
        lambda space: RandomizedSearchCV(PIPE, space, n_iter=2, cv=2),
        lambda space: HalvingGridSearchCV(PIPE, space, cv=2),
        lambda space: HyperbandSearchCV(PIPE, space, max_resources=3, cv=2),
        lambda space: BayesSearchCV(PIPE, space, n_iter=2, cv=2),
    ],
    ids=["grid", "random", "halving", "hyperband", "bayes"],
)
def test_every_search_says_so(make):
    """As a ValueError, which is what scikit-learn raises."""
    X, y = load_iris(return_X_y=True)

    with pytest.raises(ValueError, match="Did you mean 'mlpclassifier__dropout'"):
        make({"drop_out": [0.1, 0.2]}).fit(X, y)


@pytest.mark.parametrize(("resource", "n_rows"), [("n_samples", 60), ("max_iter", 150)])
def test_only_samples_cut_the_folds(iris, resource, n_rows):
    """Folds of 60 of 150 rows have 40 % of their rows; other resources leave them whole."""
    search = HyperbandSearchCV(
        LogisticRegression(max_iter=200),
        {"C": [1.0]},
        resource=resource,
        min_resources=60,
        max_resources=150,
        cv=2,
        random_state=0,
    ).fit(*iris)

    splits = list(subsampled(search, StratifiedKFold(3), 60).split(*iris))

    assert [len(train) + len(test) for train, test in splits] == [n_rows] * 3
    assert not any(np.isin(test, train).any() for train, test in splits)
