"""Random search, against scikit-learn's own."""

import numpy as np
import pytest
from scipy.stats import loguniform, uniform
from sklearn import model_selection
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from sk_tune import RandomizedSearchCV
from sk_tune.exceptions import ParameterWarning, SpaceError

CV = StratifiedKFold(2, shuffle=True, random_state=1)
SPACES = {
    "lists": {"learning_rate": [0.001, 0.01, 0.1], "dropout": [0.0, 0.2]},
    "distributions": {"learning_rate": loguniform(1e-3, 0.1), "dropout": uniform(0, 0.5)},
    "two dicts": [{"learning_rate": [0.01, 0.1]}, {"dropout": uniform(0, 0.5)}],
}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_candidates_and_results_are_scikit_learns(net, iris, assert_same_search, space):
    """The same random_state draws the same candidates, which score the same."""
    options = {"n_iter": 4, "cv": CV, "random_state": 3}

    assert_same_search(
        RandomizedSearchCV(net, space, **options),
        model_selection.RandomizedSearchCV(net, space, **options),
        *iris,
    )


@pytest.mark.parametrize(
    ("space", "candidates"),
    [({"dropout": [0.0, 0.1]}, [{"dropout": 0.0}, {"dropout": 0.1}]), ({}, [{}])],
    ids=["two values", "the estimator as it is"],
)
def test_a_finite_space_is_exhausted_with_a_warning(net, iris, space, candidates):
    """Each candidate of a space smaller than n_iter is evaluated once."""
    search = RandomizedSearchCV(net, space, n_iter=5, cv=CV)

    message = f"has {len(candidates)} candidates?, fewer than n_iter=5"
    with pytest.warns(ParameterWarning, match=message):
        search.fit(*iris)

    assert sorted(search.cv_results_["params"], key=str) == candidates
    assert search.plan().n_candidates == len(candidates)


def test_a_tuple_is_a_list_of_values(iris):
    """As in scikit-learn, and not a range as in scikit-optimize."""
    search = RandomizedSearchCV(
        LogisticRegression(max_iter=500), {"C": (0.1, 10.0)}, n_iter=2, cv=CV
    ).fit(*iris)

    assert {p["C"] for p in search.cv_results_["params"]} == {0.1, 10.0}


@pytest.mark.parametrize(
    ("space", "message"),
    [([], "at least one parameter"), ({"dropout": []}, "dropout")],
    ids=["nothing", "no values"],
)
def test_a_space_without_candidates_is_refused_before_training(net, iris, space, message):
    """The message names the parameter, if there is one."""
    search = RandomizedSearchCV(net, space, n_iter=1, cv=CV)

    with pytest.raises(SpaceError, match=message):
        search.fit(*iris)


@pytest.mark.parametrize(("n_iter", "planned"), [(4, 4), (9, 6)])
def test_the_plan_counts_each_candidate_of_a_finite_space_once(net, n_iter, planned):
    """Six combinations are the maximum."""
    search = RandomizedSearchCV(net, SPACES["lists"], n_iter=n_iter, cv=3)

    plan = search.plan()

    assert plan.n_candidates == planned
    assert plan.n_fits == 3 * planned
    assert plan.n_epochs == 3 * planned * net.max_epochs
    assert np.all([plan.seconds is None, plan.memory is None])
