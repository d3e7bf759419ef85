"""The tuned defaults for tables, and the space around them."""

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import ParameterSampler

from sk_tune import (
    CNNClassifier,
    MLPClassifier,
    MLPRegressor,
    RandomizedSearchCV,
    table_pipeline,
)
from sk_tune._estimators import check_parameters
from sk_tune._space import table_defaults, table_space

TASKS = {"classification": MLPClassifier, "regression": MLPRegressor}


@pytest.mark.parametrize("task", TASKS)
def test_the_defaults_are_parameters_of_the_network(task):
    """Each is accepted, and at least one differs from the network's own."""
    plain = TASKS[task]()
    net = TASKS[task](**table_defaults(task))

    check_parameters(net)
    assert net.get_params() != plain.get_params()


@pytest.mark.parametrize("task", TASKS)
def test_the_space_holds_the_defaults(task):
    """The start of a search is a point of its space."""
    defaults = {**TASKS[task]().get_params(), **table_defaults(task)}

    space = table_space(TASKS[task]())
    for name, values in space.items():
        if isinstance(values, list):
            assert defaults[name] in values
        else:
            low, high = values.support()
            assert low <= defaults[name] <= high
    # More epochs only cost time.
    assert set(table_defaults(task)) - set(space) <= {"max_epochs", "n_iter_no_change"}


@pytest.mark.parametrize("task", TASKS)
def test_every_point_of_the_space_is_a_network(task):
    """Of fifty points that scikit-learn draws, each passes the checks of fit."""
    for params in ParameterSampler(table_space(TASKS[task]()), 50, random_state=0):
        check_parameters(TASKS[task](**params))


@pytest.mark.parametrize("network", TASKS.values())
def test_the_space_has_the_full_names_of_parameters(network):
    """Task and names come from the network in a pipeline or behind scaled targets."""
    pipe = table_pipeline("classifier" if network is MLPClassifier else "regressor")
    plain = table_space(network())

    assert list(table_space(pipe)) == [f"net__{name}" for name in plain]
    assert ("label_smoothing" in plain) == (network is MLPClassifier)
    behind = TransformedTargetRegressor(pipe)
    assert list(table_space(behind))[:1] == ["regressor__net__n_layers"]


def test_other_tasks_and_estimators_are_refused():
    """The messages name the valid ones."""
    with pytest.raises(ValueError, match="'classification' or 'regression'. Got 'rank'"):
        table_defaults("rank")
    with pytest.raises(ValueError, match="MLPClassifier or MLPRegressor.*Got CNN"):
        table_space(CNNClassifier())


def test_defaults_can_be_changed_without_changing_them_for_others():
    """Each call returns a new dict."""
    table_defaults("regression")["members"] = 99
    table_space(MLPRegressor())["members"].append(99)

    assert table_defaults("regression")["members"] != 99
    assert 99 not in table_space(MLPRegressor())["members"]


def test_a_search_takes_the_space(iris):
    """As the distributions of a randomised search."""
    X, y = iris
    space = {**table_space(MLPClassifier()), "width": [8], "members": [1, 2]}
    net = MLPClassifier(**{**table_defaults("classification"), "max_epochs": 2})
    search = RandomizedSearchCV(net, space, n_iter=3, cv=2, random_state=0)

    search.fit(X, y)

    assert np.isfinite(search.best_score_)
