"""scikit-learn's own checks, over networks and AutoML; other estimators have theirs."""

from unittest import SkipTest

import pytest
from marks import parametrize_with_checks
from torch import nn

import sk_tune
from sk_tune._automl import _models
from sk_tune._estimators import NetworkEstimator


class SmallNet(nn.Sequential):
    """A module for estimators that require a module."""

    def __init__(self, n_features, n_outputs):
        super().__init__(nn.Linear(n_features, 32), nn.ReLU(), nn.Linear(32, n_outputs))


def _networks():
    for name in sk_tune.__all__:
        if name.startswith("Net"):
            # The checks' few rows make one batch, hence one step in each epoch.
            yield getattr(sk_tune, name)(SmallNet, learning_rate=0.03, max_epochs=20)
        elif name.endswith(("Classifier", "Regressor")):
            kind = getattr(sk_tune, name)
            if issubclass(kind, NetworkEstimator):
                yield kind()
    # What stands before the first layer of a table's network, and several networks in one.
    several = {"members": 2, "width": 32}
    yield sk_tune.MLPClassifier(**several, numerical_embedding="piecewise_linear")
    yield sk_tune.MLPRegressor(**several, numerical_embedding="periodic")
    yield sk_tune.MLPRegressor(**several, loss="poisson")
    yield sk_tune.MLPRegressor(**several, loss="quantile")


NETWORKS = list(_networks())

# What scikit-learn itself leaves out: a check for an experimental switch of scipy, and one
# of a method that a classifier need not have.
NOT_APPLICABLE = ("SCIPY_ARRAY_API", "does not have a decision_function method")


@parametrize_with_checks(NETWORKS)
def test_networks_pass_the_checks_of_scikit_learn(estimator, check):
    """Every check passes; none is declared to fail, and only two kinds do not apply."""
    try:
        check(estimator)
    except SkipTest as reason:
        if not any(words in str(reason) for words in NOT_APPLICABLE):
            pytest.fail(f"skipped: {reason}")
        raise


def test_every_public_network_is_checked():
    """The checks run over all eight networks."""
    assert {type(estimator).__name__ for estimator in NETWORKS} == {
        f"{network}{task}"
        for network in ("MLP", "CNN", "RNN", "Net")
        for task in ("Classifier", "Regressor")
    }


# AutoML without a clock and with one family, because each check fits it many times.
_SMALL = {
    "time_budget": None,
    "n_rounds": 0,
    "cv": 2,
    "leak_guard": False,
    "random_state": 0,
}
# Of a pipeline in scikit-learn too: what prepares the columns is given no weights.  Nor
# does the temperature of a network know any, which is fitted to out-of-fold predictions.
_NOT_KEPT = {
    "check_sample_weight_equivalence_on_dense_data": "columns are scaled without weights"
}


@pytest.fixture
def small_models(monkeypatch):
    """Make AutoML's models small, because the checks fit some hundreds of them."""
    plain = _models._plain_network

    def models(problem):
        model = plain(problem, family="MLP")
        model.estimator.set_params(net__width=16, net__learning_rate=0.03)
        return [model]

    monkeypatch.setattr("sk_tune._automl._auto.network_models", models)
    monkeypatch.setattr(_models, "_MOST_EPOCHS", 30)
    monkeypatch.setattr(_models, "_REGULARISATION", [0.1, 1.0])
    monkeypatch.setattr(_models, "_LINEAR_NUMERIC", {})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("small_models")
@parametrize_with_checks(
    [
        kind(**_SMALL, models=[family])
        for family in ("linear", "networks")
        for kind in (sk_tune.AutoClassifier, sk_tune.AutoRegressor)
    ],
    expected_failed_checks=lambda _: _NOT_KEPT,
    xfail_strict=False,
)
def test_automl_passes_the_checks_of_scikit_learn(estimator, check):
    """All checks pass, except one that every pipeline with a scaler fails."""
    check(estimator)
