"""Every estimator goes through skops, with the types trusted that it reports."""

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import clone, is_regressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import sk_tune
from sk_tune import (
    CNNClassifier,
    GridSearchCV,
    HyperbandSearchCV,
    MLPClassifier,
    MLPRegressor,
    NetClassifier,
    NetRegressor,
    RNNClassifier,
    TablePreparer,
    ensemble,
)

_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(90, 4))
X[:, 3] = _RNG.integers(0, 3, size=90)
Y = np.array(["a", "b", "c"])[X[:, :3].argmax(axis=1)]
TARGET = X[:, 0] - X[:, 1]


class Module(nn.Module):
    """One linear layer."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.layer = nn.Linear(n_features, n_outputs)

    def forward(self, x):
        return self.layer(x)


def _mlp(**params):
    return MLPClassifier(**{"max_epochs": 2, "width": 8, "random_state": 0, **params})


def _search(cls=GridSearchCV, **params):
    return cls(_mlp(), {"l1": [0.0, 1e-3]}, cv=2, **params)


OWN = {"max_epochs": 2, "random_state": 0}
ESTIMATORS = {
    "MLPClassifier": _mlp(categorical_features=[3], numerical_embedding="periodic"),
    "MLPRegressor": MLPRegressor(**OWN, early_stopping=True, members=2),
    "CNNClassifier": CNNClassifier(input_shape=(2, 2), augmentation=["noise"], **OWN),
    "RNNClassifier": RNNClassifier(hidden_size=4, **OWN),
    "NetClassifier": NetClassifier(Module, **OWN),
    "NetRegressor": NetRegressor(Module, dtype="float64", **OWN),
    "pipeline": make_pipeline(StandardScaler(), _mlp()),
    "prepared": make_pipeline(TablePreparer(), _mlp()),
    "search": _search(),
    "hyperband": _search(HyperbandSearchCV, max_resources=3, random_state=0),
    "bagging": ensemble.BaggingClassifier(_mlp(), n_estimators=2, random_state=0),
    "boosting": ensemble.BoostingClassifier(MLPRegressor(**OWN), n_estimators=2),
    "stacking": ensemble.StackingClassifier([("a", _mlp()), ("b", _mlp(l1=1e-3))], cv=2),
    "seeds": ensemble.SeedEnsembleClassifier(_mlp(), n_estimators=2),
    "trials": ensemble.TrialEnsembleClassifier(_search(keep_models="all")),
}


def _through_skops(estimator):
    data = skops.io.dumps(estimator)
    return skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_predict_the_same_after_skops(name):
    """To the bit; every type that has to be trusted is named."""
    y = TARGET if is_regressor(ESTIMATORS[name]) else Y
    fitted = clone(ESTIMATORS[name]).fit(X, y)
    found = _through_skops(fitted)

    np.testing.assert_array_equal(found.predict(X), fitted.predict(X))
    if hasattr(fitted, "predict_proba"):
        np.testing.assert_array_equal(found.predict_proba(X), fitted.predict_proba(X))


def test_training_goes_on_after_skops():
    """Moments and history are held, too, beside parameters that were set after `fit`."""
    net = _mlp(lr_schedule="constant", early_stopping=True).fit(X, Y)
    net.set_params(width=16)
    found = _through_skops(net)

    assert found.get_params()["width"] == 16
    assert list(found.history_) == list(net.history_)
    np.testing.assert_array_equal(
        found.partial_fit(X, Y).predict_proba(X), net.partial_fit(X, Y).predict_proba(X)
    )


def test_unfitted_estimators_are_those_that_they_were():
    """Parameters alone."""
    assert _through_skops(_mlp()).get_params() == _mlp().get_params()


def test_what_candidates_contribute_is_held():
    """A table, though skops knows no tables."""
    fitted = clone(ESTIMATORS["trials"]).fit(X, Y)

    pd.testing.assert_frame_equal(
        _through_skops(fitted).contributions_, fitted.contributions_
    )


def test_automl_predicts_the_same_after_skops():
    """By its ensemble, with the leaderboard, from a table with text."""
    table = pd.DataFrame(X, columns=list("wxyz")).assign(
        kind=np.where(X[:, 0] > 0, "u", "v")
    )
    fitted = sk_tune.AutoClassifier(
        time_budget=None, n_rounds=0, cv=2, diagnosis=False, random_state=0
    ).fit(table, Y)
    found = _through_skops(fitted)

    np.testing.assert_array_equal(found.predict_proba(table), fitted.predict_proba(table))
    pd.testing.assert_frame_equal(found.leaderboard_, fitted.leaderboard_)


def test_all_networks_are_tried():
    """Of those that are public."""
    networks = {n for n in sk_tune.__all__ if n.startswith(("MLP", "CNN", "RNN", "Net"))}

    assert networks - set(ESTIMATORS) == {"CNNRegressor", "RNNRegressor"}
