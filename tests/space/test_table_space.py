"""The space around a network for tables."""

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
from sk_tune._space import table_space

TASKS = {"classification": MLPClassifier, "regression": MLPRegressor}


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_the_space_surrounds_the_estimator(kind):
    """The start of a search is a point of its space, also with other parameters."""
    pipe = table_pipeline(kind)
    other = table_pipeline(kind).set_params(
        net__n_layers=4, net__width=32, net__learning_rate=0.05, net__dropout=0.6
    )

    for estimator in (pipe, other):
        params = estimator.get_params()
        for name, values in table_space(estimator).items():
            if isinstance(values, list):
                assert params[name] in values
            else:
                low, high = values.support()
                assert low <= params[name] <= high


def test_no_point_of_the_space_is_a_smaller_or_much_slower_network():
    """Such networks do not finish their training in the epochs of the centre."""
    pipe = table_pipeline("classifier")
    net = pipe.named_steps["net"]

    for params in ParameterSampler(table_space(pipe), 50, random_state=0):
        assert params["net__width"] >= net.width
        assert params["net__n_layers"] >= net.n_layers
        assert params["net__learning_rate"] >= net.learning_rate / 1.5


@pytest.mark.parametrize("dropout", [0.0, 0.8])
@pytest.mark.parametrize("task", TASKS)
def test_every_point_of_the_space_is_a_network(task, dropout):
    """Of fifty points that scikit-learn draws, each passes the checks of fit."""
    space = table_space(TASKS[task](dropout=dropout))
    for params in ParameterSampler(space, 50, random_state=0):
        check_parameters(TASKS[task](**params))


@pytest.mark.parametrize("network", TASKS.values())
def test_the_space_has_the_full_names_of_parameters(network):
    """Task and names come from the network in a pipeline or behind scaled targets."""
    pipe = table_pipeline("classifier" if network is MLPClassifier else "regressor")
    plain = table_space(network())

    bins = "net__numerical_embedding__n_bins"
    assert list(table_space(pipe)) == [*(f"net__{name}" for name in plain), bins]
    behind = TransformedTargetRegressor(pipe)
    assert list(table_space(behind))[:1] == ["regressor__net__n_layers"]


def test_other_estimators_are_refused():
    """The message names the valid ones."""
    with pytest.raises(ValueError, match="MLPClassifier or MLPRegressor.*Got CNN"):
        table_space(CNNClassifier())


def test_a_space_can_be_changed_without_changing_others():
    """Each call returns new lists."""
    table_space(MLPRegressor())["width"].append(99)

    assert 99 not in table_space(MLPRegressor())["width"]


def test_a_search_takes_the_space(iris):
    """As the distributions of a randomised search."""
    X, y = iris
    space = {**table_space(MLPClassifier()), "width": [8], "members": [1, 2]}
    net = table_pipeline("classifier")["net"].set_params(max_epochs=2)
    search = RandomizedSearchCV(net, space, n_iter=3, cv=2, random_state=0)

    search.fit(X, y)

    assert np.isfinite(search.best_score_)
