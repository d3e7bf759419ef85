"""Searches that end at a target score or on a plateau."""

import warnings

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold

from sk_tune import (
    BayesSearchCV,
    GridSearchCV,
    HalvingGridSearchCV,
    HyperbandSearchCV,
    MLPClassifier,
    RandomizedSearchCV,
)
from sk_tune.exceptions import SkTuneWarning

CV = StratifiedKFold(3, shuffle=True, random_state=1)
SPACE = {"learning_rate": loguniform(1e-4, 0.1)}


@pytest.fixture
def net():
    """Return a small network."""
    return MLPClassifier(width=8, max_epochs=4, batch_size=16, random_state=0)


def test_a_search_of_networks_ends_after_the_round_that_reached_the_target(net, iris):
    """The candidates are the first of the whole search, in rounds of eight."""
    options = {"n_iter": 24, "cv": CV, "random_state": 0}
    whole = RandomizedSearchCV(net, SPACE, **options).fit(*iris)
    scores = whole.cv_results_["mean_test_score"]
    target = scores[:16].max()
    assert scores[:8].max() < target

    search = RandomizedSearchCV(net, SPACE, **options, target_score=target)
    with warnings.catch_warnings(action="error"):
        search.fit(*iris)

    assert search.cv_results_["mean_test_score"].tolist() == scores[:16].tolist()
    assert search.best_score_ == target
    assert search.cut_short_.startswith("RandomizedSearchCV ended after 16 of 24 candidate")
    assert f"reached target_score={target:g}" in search.cut_short_


def test_a_target_at_the_end_of_the_plan_cuts_nothing(net, iris):
    """The sentence is about omitted parts only."""
    options = {"n_iter": 3, "cv": CV, "random_state": 0, "target_score": 0.0}

    assert RandomizedSearchCV(net, SPACE, **options).fit(*iris).cut_short_ == ""


# Scores of a candidate, named by C, on three folds.
FLAT = {1: [0.5] * 3, 2: [0.9, 0.4, 0.5], 3: [0.6] * 3, 4: [0.6] * 3, 5: [0.6] * 3}
FLAT[6] = [1.0] * 3


def table_score(estimator, X, y):
    """Return the score of a candidate from the table; the first feature is the fold."""
    return FLAT[estimator.C][int(X[0, 0])]


def test_a_plateau_is_counted_beyond_the_noise():
    """The mean of candidate 2 is better by 0.1, with a standard error of 0.15."""
    X, y = np.repeat(np.eye(3), 8, axis=0), np.tile([0, 1], 12)
    X[:, 0] = np.repeat([0, 1, 2], 8)
    search = GridSearchCV(
        LogisticRegression(),
        {"C": list(FLAT)},
        cv=KFold(3),
        scoring=table_score,
        n_iter_no_change=2,
    ).fit(X, y)

    # Candidates 4 and 5 are as good as candidate 3.
    assert len(search.cv_results_["params"]) == 5
    assert search.cut_short_ == (
        "GridSearchCV ended after 5 of 6 candidates, because the last 2 candidates "
        "improved the score by no more than its noise (n_iter_no_change=2)."
    )


def test_a_model_based_search_ends_on_a_plateau(net, iris):
    """Learning rates of this narrow range are equally good."""
    space = {"learning_rate": (0.0100, 0.0101)}
    search = BayesSearchCV(net, space, n_iter=40, cv=CV, random_state=0, n_iter_no_change=4)

    assert len(search.fit(*iris).cv_results_["params"]) == 8


def test_hyperband_ends_before_a_bracket(net, iris):
    """A bracket is completed; enough candidates without improvement end the search."""
    options = {"max_resources": 9, "factor": 3, "cv": CV, "random_state": 0}
    options |= {"n_iter_no_change": 3, "select_epoch": "last"}
    space = {"learning_rate": [0.03]}
    space |= {"dropout": np.linspace(0, 1e-3, 50)}
    search = HyperbandSearchCV(net, space, **options).fit(*iris)

    brackets = search.cv_results_["bracket"]
    rungs = [int((brackets == bracket).sum()) for bracket in (2, 1, 0)]
    # The first bracket has rungs of 9, 3 and 1 candidates, the second of 5 and 1.
    assert rungs == [13, 6, 0]
    assert search.best_params_["max_epochs"] == 9


@pytest.mark.parametrize("options", [{}, {"factor": 3, "asynchronous": True}])
def test_hyperband_warns_if_it_cannot_end_on_a_plateau(net, iris, options):
    """The default plan is one bracket, and asynchronous brackets run together."""
    search = HyperbandSearchCV(net, SPACE, max_resources=3, n_iter_no_change=3, **options)

    with pytest.warns(SkTuneWarning, match="'n_iter_no_change' has no effect here"):
        search.fit(*iris)


def test_a_target_counts_with_the_most_resources(net, iris):
    """In the first rung, all candidates have the most resources so far."""
    options = {"resource": "max_epochs", "max_resources": 4, "factor": 2}
    grid = {"learning_rate": [0.001, 0.003, 0.01, 0.03]}
    whole = HalvingGridSearchCV(net, grid, cv=CV, **options).fit(*iris)
    first, second = (
        whole.cv_results_["mean_test_score"][whole.cv_results_["iter"] == rung].max()
        for rung in (0, 1)
    )
    assert first < second

    search = HalvingGridSearchCV(net, grid, cv=CV, **options, target_score=second)

    assert search.fit(*iris).n_resources_ == [1, 2]
    assert search.best_score_ == second
    assert "none of them with all 4 epochs; the best had 2, because" in search.cut_short_
    assert search.ledger_.epochs_left_out == 3 * (4 - 2)


def test_asynchronous_rungs_end_at_the_target(net, iris):
    """No candidate starts after the target is reached."""
    options = {"max_resources": 4, "factor": 2, "cv": CV, "random_state": 0}
    search = HyperbandSearchCV(net, SPACE, **options, asynchronous=True, target_score=0.0)

    assert len(search.fit(*iris).cv_results_["params"]) == 1


def test_rules_and_a_time_budget_work_together(net, iris):
    """The target ends the search long before the time does."""
    options = {"n_iter": 10**4, "cv": CV, "random_state": 0, "target_score": 0.0}
    search = RandomizedSearchCV(net, SPACE, **options, time_budget=600.0).fit(*iris)

    assert len(search.cv_results_["params"]) <= 8
    assert "target_score" in search.cut_short_


def test_a_search_that_a_callback_ends_was_cut_short(net, iris, do_nothing):
    """By a callback of scikit-learn or scikit-optimize; not after the last round."""

    class Stop(do_nothing):
        def on_fit_task_end(self, estimator, context, **_):
            return context.task_name == "trials"

    space = {"learning_rate": (1e-4, 0.1, "log-uniform")}
    search = BayesSearchCV(net, space, n_iter=12, n_points=4, cv=CV, random_state=0)
    by_ours = clone(search).set_callbacks(Stop()).fit(*iris).cut_short_
    by_theirs = clone(search).fit(*iris, callback=lambda _: True).cut_short_
    of_last = clone(search).set_params(n_iter=4).fit(*iris, callback=lambda _: True)

    expected = "BayesSearchCV ended after 4 of 12 candidates, because a callback ended it."
    assert by_ours == by_theirs == expected
    assert of_last.cut_short_ == ""


@pytest.mark.parametrize("value", [0, 1.5, True])
def test_the_number_of_candidates_is_checked(net, iris, value):
    """It is a positive integer, and a parameter as any other."""
    search = RandomizedSearchCV(net, SPACE, n_iter_no_change=value)

    assert clone(search).n_iter_no_change == value
    with pytest.raises(ValueError, match="'n_iter_no_change' parameter of Randomized"):
        search.fit(*iris)
