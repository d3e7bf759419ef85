"""Names of parameters that an estimator does not have."""

import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
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
from sk_tune.search._rounds import check_names

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
