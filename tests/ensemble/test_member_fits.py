"""Members train together, stages in sequence."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from sk_tune import BaggingRegressor, BoostingRegressor, MLPRegressor, fleet
from sk_tune._ensemble import _member_fits as _members
from sk_tune._ensemble._member_fits import fit_members
from sk_tune.exceptions import ParameterWarning, TrainingDivergedError

RATES = [0.001, 0.01, 0.03]


@pytest.fixture
def nets(make_estimator):
    """Three networks in float64 that differ by their learning rate."""
    return [
        make_estimator("MLPClassifier", learning_rate=rate, dtype="float64", max_epochs=4)
        for rate in RATES
    ]


def test_networks_train_in_one_call(nets, iris, monkeypatch):
    """All networks go to the engine at once, as samples of fleets, and share their data."""
    calls = []
    original = _members.train

    def train(fits, **options):
        calls.append(fits)
        return original(fits, **options)

    monkeypatch.setattr(_members, "train", train)
    fit_members([make_pipeline(StandardScaler(), net) for net in nets], *iris)

    (fits,) = calls
    assert len(fits) == 3
    assert len({id(fit.X) for fit in fits}) == 1


@pytest.mark.slow
def test_other_estimators_are_fitted_too(nets, iris):
    """Estimators without networks keep their place among networks."""
    members = [LogisticRegression(), clone(nets[0]), RidgeClassifier()]
    fitted = fit_members(members, iris.X / 10, iris.y, n_jobs=2)

    expected = RidgeClassifier().fit(iris.X / 10, iris.y).predict(iris.X / 10)
    np.testing.assert_array_equal(fitted[2].predict(iris.X / 10), expected)


def test_networks_inside_of_others_are_fitted_as_usual(make_estimator, diabetes):
    """The containing estimator fits a network that is not the last step."""
    net = make_estimator("MLPRegressor", dtype="float64")
    held = TransformedTargetRegressor(net, transformer=StandardScaler())

    member = clone(held)
    fit_members([member], *diabetes)

    np.testing.assert_allclose(
        member.predict(diabetes.X), held.fit(*diabetes).predict(diabetes.X), atol=1e-6
    )
    with pytest.raises(ValueError, match="Only networks of sk_tune can be trained"):
        fit_members([Ridge()], *diabetes, epochs=[1])


def test_members_are_the_same_in_a_fleet_block(nets, iris):
    """Inside ``with fleet()`` members train together all the same."""
    with fleet(n_jobs=1):
        inside = clone(nets[0])
        fit_members([inside], *iris)

    np.testing.assert_allclose(
        inside.predict_proba(iris.X), nets[0].fit(*iris).predict_proba(iris.X), atol=1e-9
    )


def test_plain_skorch_nets_may_be_members(iris):
    """A plain skorch net trains in the same fleet and predicts like a fitted net."""
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    options = {"max_epochs": 20, "lr": 0.1, "train_split": None, "verbose": 0}
    net = NeuralNetClassifier(module, criterion=nn.CrossEntropyLoss, **options)
    X, y = iris.X.astype(np.float32), iris.y.astype(np.int64)

    first, second = clone(net), clone(net)
    fit_members([first, second], X, y)

    expected = clone(net).fit(X, y).predict_proba(X)
    for member in (first, second):
        np.testing.assert_allclose(member.predict_proba(X), expected, atol=1e-5)
        assert len(member.history) == 20


@pytest.mark.parametrize("kind", ["bagging", "boosting"])
@pytest.mark.parametrize("asked", ["from_dtype", None])
def test_categories_of_a_frame_are_categories_to_members(kind, asked):
    """Members get arrays, and the positions of the code columns."""
    rng = np.random.default_rng(0)
    codes = rng.permutation(np.arange(80) % 8)
    X = pd.DataFrame({"a": rng.normal(size=80), "town": pd.Categorical(codes)})
    net = MLPRegressor(n_layers=1, width=8, max_epochs=3, random_state=0)
    net.set_params(categorical_features=asked)
    cls = {"bagging": BaggingRegressor, "boosting": BoostingRegressor}[kind]

    model = cls(net, n_estimators=2, random_state=0).fit(X, codes % 2.0)

    for member in model.estimators_:
        assert member.is_categorical_.tolist() == [False, asked is not None]
    assert model.estimator is net
    assert net.categorical_features == asked
    assert np.isfinite(model.predict(X)).all()


def test_bags_of_some_columns_warn_of_categories():
    """Positions of columns differ from member to member."""
    X = pd.DataFrame({"a": np.arange(40.0), "town": pd.Categorical(np.arange(40) % 4)})
    net = MLPRegressor(n_layers=1, width=8, max_epochs=2)

    with pytest.warns(ParameterWarning, match=r"\['town'\] as numbers"):
        BaggingRegressor(net, 2, max_features=1, random_state=0).fit(X, X["a"])


def test_a_network_that_diverges_raises_its_own_error(diabetes, make_estimator):
    """A failure in the engine raises the error of ``fit``."""
    net = make_estimator("MLPRegressor", learning_rate=1e30, optimizer="sgd", max_epochs=5)

    with pytest.raises(TrainingDivergedError):
        BoostingRegressor(net, 2).fit(*diabetes)
