"""Rounds: the same folds in all of them, and an end when the time is up."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
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
from sk_tune._search._outcomes import best_first
from sk_tune._search._rounds import _check_names
from sk_tune.exceptions import SpaceError

CV = StratifiedKFold(3, shuffle=True, random_state=1)


def test_the_highest_level_has_the_best():
    """Then the highest score, the first of equals; no row without a score."""
    scores = [0.9, 0.2, np.nan, 0.3, 0.3, np.nan, -np.inf]

    assert best_first(scores) == [0, 3, 4, 1, 6]
    assert best_first(scores, [0, 1, 1, 1, 1, 2, 2]) == [6, 3, 4, 1, 0]
    assert best_first([np.nan], [0]) == []


@pytest.mark.parametrize(
    ("search", "options"),
    [
        (GridSearchCV, {}),
        (HalvingGridSearchCV, {"resource": "max_epochs", "max_resources": 9, "factor": 2}),
        (HyperbandSearchCV, {"max_resources": 4, "factor": 2, "random_state": 0}),
    ],
)
def test_a_generous_budget_changes_no_result(
    make_estimator, iris, assert_same_results, search, options
):
    """Divided calls have the folds, columns and results of undivided calls."""
    net = make_estimator("MLPClassifier", dtype="float64")
    grid = {"learning_rate": np.geomspace(1e-4, 0.1, 12)}
    free, timed = (
        search(net, grid, cv=CV, time_budget=budget, **options).fit(*iris)
        for budget in (None, 600.0)
    )

    if search is HalvingGridSearchCV:
        # With a budget a rung begins with its best candidates, so that others win ties.
        for name in ("iter", "n_resources"):
            np.testing.assert_array_equal(timed.cv_results_[name], free.cv_results_[name])
    else:
        assert_same_results(timed.cv_results_, free.cv_results_, rtol=1e-12)


def test_a_divided_rung_has_one_subsample(iris):
    """Candidates of all calls are compared on the same rows, as in scikit-learn."""
    search = HalvingGridSearchCV(
        LogisticRegression(max_iter=1000),
        {"C": [0.1, 1.0, 10.0]},
        cv=CV,
        min_resources=90,
        time_budget=1000.0,
        random_state=None,
    ).fit(*iris)

    first, *later = search.held_out_rows_[:3]
    for rows in later:
        np.testing.assert_array_equal(rows, first)


PIPE = make_pipeline(StandardScaler(), MLPClassifier())


@pytest.mark.parametrize(
    ("estimator", "name", "meant"),
    [
        (MLPClassifier(), "learing_rate", "Did you mean 'learning_rate'?"),
        (MLPClassifier(), "lr", "Did you mean 'learning_rate'?"),
        (MLPClassifier(), "epochs", "Did you mean 'max_epochs'?"),
        (PIPE, "mlpclassifier__lr", "Did you mean 'mlpclassifier__learning_rate'?"),
        (PIPE, "width", "Did you mean 'mlpclassifier__width'?"),
        (PIPE, "mlp__width", "Did you mean 'mlpclassifier__width'?"),
        (PIPE, "mlpclassifier__widht", "Did you mean 'mlpclassifier__width'?"),
        (PIPE, "verbose", None),
        (PIPE, "zzz", "Got 'zzz' instead. Its get_params"),
    ],
)
def test_a_wrong_name_gets_the_right_one(estimator, name, meant):
    """Also a name without its step, or with a wrong step."""
    if meant is None:
        _check_names(estimator, [{name: True}])
        return

    with pytest.raises(SpaceError) as caught:
        _check_names(estimator, [{name: 1}])

    assert f"parameters of the {type(estimator).__name__}. Got {name!r}" in str(
        caught.value
    )
    assert meant in str(caught.value)


def test_names_known_only_to_set_params_are_accepted():
    """A module's arguments, and parameters of a searched step."""
    net = NeuralNetClassifier(nn.Linear, module__in_features=4)
    _check_names(net, [{"module__out_features": 3, "optimizer__weight_decay": 0.1}])
    pipe = Pipeline([("net", "passthrough")])
    _check_names(pipe, [{"net": LogisticRegression(), "net__C": 2.0}])

    with pytest.raises(SpaceError, match="'net__C'"):
        _check_names(pipe, [{"net__C": 2.0}])


@pytest.mark.parametrize(
    "make",
    [
        lambda space: GridSearchCV(PIPE, space, cv=2),
        lambda space: RandomizedSearchCV(PIPE, space, n_iter=2, cv=2),
        lambda space: HalvingGridSearchCV(PIPE, space, cv=2),
        lambda space: HyperbandSearchCV(PIPE, space, max_resources=3, cv=2),
        lambda space: HyperbandSearchCV(
            PIPE, space, max_resources=3, cv=2, asynchronous=True
        ),
        lambda space: BayesSearchCV(PIPE, space, n_iter=2, cv=2),
    ],
    ids=["grid", "random", "halving", "hyperband", "asynchronous", "bayes"],
)
def test_every_search_refuses_wrong_names(make, iris):
    """As a ValueError, as in scikit-learn, before any training."""
    scores = []
    search = make({"drop_out": [0.1, 0.2]}).set_params(verbose=scores.append)

    with pytest.raises(ValueError, match="Did you mean 'mlpclassifier__dropout'"):
        search.fit(*iris)

    assert scores == []


@pytest.mark.parametrize(("resource", "n_rows"), [("n_samples", 50), ("max_depth", 150)])
def test_only_the_resource_samples_shortens_folds(iris, resource, n_rows):
    """50 of 150 rows are each held out once; other resources keep all folds."""
    search = HyperbandSearchCV(
        DecisionTreeClassifier(),
        {"min_samples_leaf": [1, 2, 3]},
        resource=resource,
        min_resources=50,
        max_resources=150,
        cv=2,
        random_state=0,
    ).fit(*iris)

    assert sum(len(rows) for rows in search.held_out_rows_[0]) == n_rows
    assert sum(len(rows) for rows in search.held_out_rows_[-1]) == 150
