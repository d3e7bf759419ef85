"""The tuned defaults for tables, and the space around them."""

import numpy as np
import pytest
from sklearn.model_selection import ParameterSampler

from sk_tune import MLPClassifier, MLPRegressor, RandomizedSearchCV
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
    """Where a search starts is a point of what it searches."""
    defaults = {**TASKS[task]().get_params(), **table_defaults(task)}

    for name, values in table_space(task).items():
        if isinstance(values, list):
            assert defaults[name] in values
        else:
            low, high = values.support()
            assert low <= defaults[name] <= high
    # What is tuned may vary, but for what only costs time.
    assert set(table_defaults(task)) - set(table_space(task)) <= {"max_epochs"}


@pytest.mark.parametrize("task", TASKS)
def test_every_point_of_the_space_is_a_network(task):
    """Of fifty points that scikit-learn draws, each passes the checks of fit."""
    for params in ParameterSampler(table_space(task), 50, random_state=0):
        check_parameters(TASKS[task](**params))


def test_a_prefix_names_the_step_of_a_pipeline():
    """As scikit-learn writes parameters of a step."""
    for make in (table_defaults, table_space):
        plain, named = make("regression"), make("regression", prefix="net__")

        assert list(named) == [f"net__{name}" for name in plain]


@pytest.mark.parametrize("make", [table_defaults, table_space])
def test_other_tasks_are_refused(make):
    """The message names the two that there are."""
    with pytest.raises(ValueError, match="'classification' or 'regression'. Got 'rank'"):
        make("rank")


def test_defaults_can_be_changed_without_changing_them_for_others():
    """Each call gives a dict of its own."""
    table_defaults("regression")["members"] = 99
    table_space("regression")["members"].append(99)

    assert table_defaults("regression")["members"] != 99
    assert 99 not in table_space("regression")["members"]


def test_a_search_takes_the_space(iris):
    """As the distributions of a randomised search."""
    X, y = iris
    space = {**table_space("classification"), "width": [8], "members": [1, 2]}
    net = MLPClassifier(**{**table_defaults("classification"), "max_epochs": 2})
    search = RandomizedSearchCV(net, space, n_iter=3, cv=2, random_state=0)

    search.fit(X, y)

    assert np.isfinite(search.best_score_)
