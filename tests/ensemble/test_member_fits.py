"""Members fitted together, and stages one after the other."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Ridge,
    RidgeClassifier,
)
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from sk_tune import BaggingRegressor, BoostingRegressor, MLPClassifier, MLPRegressor, fleet
from sk_tune.ensemble import _member_fits as _members
from sk_tune.ensemble._member_fits import (
    asks_for_types,
    fit_members,
    fit_stage,
    last_step,
    with_categories,
)
from sk_tune.exceptions import SkTuneWarning, TrainingDivergedError

RATES = [0.001, 0.01, 0.03]


@pytest.fixture
def nets(make_estimator):
    """Three networks in float64 that differ by their learning rate."""
    return [
        make_estimator("MLPClassifier", learning_rate=rate, dtype="float64", max_epochs=4)
        for rate in RATES
    ]


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_networks_are_fitted_as_if_alone(nets, iris, in_pipeline):
    """A member predicts what the same network predicts that was fitted by hand."""
    if in_pipeline:
        nets = [make_pipeline(StandardScaler(), net) for net in nets]
    fitted = fit_members([clone(net) for net in nets], *iris)

    for (member,), net in zip(fitted, nets, strict=True):
        np.testing.assert_allclose(
            member.predict_proba(iris.X),
            net.fit(*iris).predict_proba(iris.X),
            atol=1e-9,
        )


def test_networks_train_in_one_call(nets, iris, monkeypatch):
    """All networks go to the engine at once, as rows of fleets, and share their data."""
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


def test_a_member_may_be_wanted_after_several_epochs(nets, iris):
    """Snapshots are what a training of so many epochs gives, schedule and all."""
    net = nets[1].set_params(lr_schedule="constant")
    ((early, late),) = fit_members([clone(net)], *iris, epochs=[[1, 4]])

    for member, n_epochs in ((early, 1), (late, 4)):
        alone = clone(net).set_params(max_epochs=n_epochs).fit(*iris)
        np.testing.assert_allclose(
            member.predict_proba(iris.X), alone.predict_proba(iris.X), atol=1e-9
        )
    assert early.max_epochs == late.max_epochs == 4


def test_weights_of_rows_reach_the_networks(nets, iris):
    """Fit parameters are handed on, alone and in a pipeline."""
    weight = np.where(iris.y == 0, 0.1, 2.0)
    ((alone,),) = fit_members([clone(nets[1])], *iris, fit_params={"sample_weight": weight})
    ((behind,),) = fit_members(
        [make_pipeline("passthrough", clone(nets[1]))],
        *iris,
        fit_params={"mlpclassifier__sample_weight": weight},
    )

    expected = nets[1].fit(*iris, sample_weight=weight).predict_proba(iris.X)
    for member in (alone, behind):
        np.testing.assert_allclose(member.predict_proba(iris.X), expected, atol=1e-9)


def test_other_estimators_are_fitted_too(nets, iris):
    """Estimators without networks keep their place among networks."""
    members = [LogisticRegression(), clone(nets[0]), RidgeClassifier()]
    fitted = fit_members(members, iris.X / 10, iris.y, n_jobs=2)

    assert [type(member).__name__ for (member,) in fitted] == [
        "LogisticRegression",
        "MLPClassifier",
        "RidgeClassifier",
    ]
    expected = RidgeClassifier().fit(iris.X / 10, iris.y).predict(iris.X / 10)
    np.testing.assert_array_equal(fitted[2][0].predict(iris.X / 10), expected)


def test_networks_inside_of_others_are_fitted_as_usual(make_estimator, diabetes):
    """A network that is no last step is fitted by what holds it."""
    net = make_estimator("MLPRegressor", dtype="float64")
    held = TransformedTargetRegressor(net, transformer=StandardScaler())

    ((member,),) = fit_members([clone(held)], *diabetes)

    np.testing.assert_allclose(
        member.predict(diabetes.X), held.fit(*diabetes).predict(diabetes.X), atol=1e-6
    )
    with pytest.raises(ValueError, match="can only be asked of a network"):
        fit_members([Ridge()], *diabetes, epochs=[[1]])


def test_a_training_that_fails_raises_its_own_error(make_estimator, iris):
    """Who asks for nonsense is told so by the network."""
    nets = [make_estimator("MLPClassifier", dropout=drop) for drop in (0.0, -1.0)]

    with pytest.raises(ValueError, match="'dropout' parameter"):
        fit_members(nets, *iris)


def test_members_are_the_same_in_a_fleet_block(nets, iris):
    """Inside ``with fleet()`` members train together all the same."""
    with fleet(n_jobs=1):
        ((inside,),) = fit_members([clone(nets[0])], *iris)

    np.testing.assert_allclose(
        inside.predict_proba(iris.X), nets[0].fit(*iris).predict_proba(iris.X), atol=1e-9
    )


def test_plain_skorch_nets_may_be_members(iris):
    """A plain skorch net trains in the same fleet, and predicts as one that is fitted."""
    net = NeuralNetClassifier(
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)),
        criterion=nn.CrossEntropyLoss,
        max_epochs=20,
        lr=0.1,
        train_split=None,
        verbose=0,
    )
    X, y = iris.X.astype(np.float32), iris.y.astype(np.int64)

    ((first,), (second,)) = fit_members([clone(net), clone(net)], X, y)

    expected = clone(net).fit(X, y).predict_proba(X)
    for member in (first, second):
        np.testing.assert_allclose(member.predict_proba(X), expected, atol=1e-5)
        assert len(member.history) == 20


def test_the_last_step_is_found_in_nested_pipelines():
    """A pipeline in a pipeline ends in the last step of the inner one."""
    ridge = Ridge()

    assert (
        last_step(make_pipeline(StandardScaler(), make_pipeline("passthrough", ridge)))
        is ridge
    )
    assert last_step(ridge) is ridge


@pytest.mark.parametrize(
    ("estimator", "asks"),
    [
        (MLPClassifier(), True),
        (MLPClassifier(categorical_features=[1]), False),
        (MLPClassifier(categorical_features=None), False),
        (make_pipeline(StandardScaler(), MLPClassifier()), False),
        (Ridge(), False),
    ],
)
def test_only_who_would_look_at_types_is_told(estimator, asks):
    """The estimator that a user gave is left as it is."""
    before = str(estimator.get_params())

    told = with_categories(estimator, [0, 2])

    assert asks_for_types(estimator) is asks
    assert (told is not estimator) is asks
    assert not asks or told.categorical_features == [0, 2]
    assert str(estimator.get_params()) == before
    assert with_categories(estimator, []) is estimator


@pytest.mark.parametrize("kind", ["bagging", "boosting"])
def test_categories_of_a_frame_are_categories_to_members(kind):
    """Members get arrays, and are told which columns hold codes."""
    rng = np.random.default_rng(0)
    codes = rng.permutation(np.arange(80) % 8)
    X = pd.DataFrame({"a": rng.normal(size=80), "town": pd.Categorical(codes)})
    net = MLPRegressor(n_layers=1, width=8, max_epochs=3, random_state=0)
    cls = {"bagging": BaggingRegressor, "boosting": BoostingRegressor}[kind]

    model = cls(net, n_estimators=2, random_state=0).fit(X, codes % 2.0)

    for member in model.estimators_:
        assert member.is_categorical_.tolist() == [False, True]
    assert model.estimator is net
    assert net.categorical_features == "from_dtype"
    assert np.isfinite(model.predict(X)).all()


def test_bags_of_some_columns_warn_of_categories():
    """Each member sees others, of which positions say nothing."""
    X = pd.DataFrame({"a": np.arange(40.0), "town": pd.Categorical(np.arange(40) % 4)})
    net = MLPRegressor(n_layers=1, width=8, max_epochs=2)

    with pytest.warns(SkTuneWarning, match=r"\['town'\] are numbers to them"):
        BaggingRegressor(net, 2, max_features=1, random_state=0).fit(X, X["a"])


WEIGHTS = np.random.default_rng(0).uniform(0.5, 2.0, 200)


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("behind", [False, True], ids=["alone", "pipeline"])
def test_a_network_is_what_its_own_fit_makes(diabetes, make_estimator, weight, behind):
    """The engine's network equals the estimator's, alone or behind a scaler."""

    def make():
        net = make_estimator("MLPRegressor", dtype="float64")
        return make_pipeline(StandardScaler(), net) if behind else net

    X, y = diabetes
    params = {}
    if weight is not None:
        params = {"mlpregressor__sample_weight" if behind else "sample_weight": weight}

    stage = fit_stage(make(), X, y[:, np.newaxis], weight)

    np.testing.assert_allclose(
        stage.predict(X), make().fit(X, y, **params).predict(X), rtol=1e-9
    )


def test_several_columns_are_several_outputs(diabetes):
    """A single column is passed as a vector, which every regressor takes."""
    X, y = diabetes

    assert fit_stage(LinearRegression(), X, y[:, np.newaxis]).predict(X).shape == (200,)
    two = fit_stage(LinearRegression(), X, np.column_stack([y, y]))
    assert two.predict(X).shape == (200, 2)


def test_a_network_that_diverges_raises_its_own_error(diabetes, make_estimator):
    """What fails in the engine fails as in fit."""
    net = make_estimator("MLPRegressor", learning_rate=1e30, optimizer="sgd", max_epochs=5)

    with pytest.raises(TrainingDivergedError):
        fit_stage(net, diabetes.X, diabetes.y[:, np.newaxis])


def test_weights_are_refused_where_nobody_heeds_them(diabetes):
    """The message names the estimator."""
    with pytest.raises(ValueError, match="KNeighborsRegressor does not"):
        fit_stage(KNeighborsRegressor(), diabetes.X, diabetes.y[:, np.newaxis], WEIGHTS)
