"""scikit-learn's own checks, over the one call."""

from unittest import SkipTest

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import sk_tune
from sk_tune.automl import _models

# Without a clock and with a linear model only, because each check fits it many times.
_SMALL = {
    "time_budget": None,
    "n_rounds": 0,
    "models": ["linear"],
    "cv": 2,
    "leak_guard": False,
    "random_state": 0,
}
_NETWORKS = {**_SMALL, "models": ["network"]}

# Of a pipeline in scikit-learn too: what prepares the columns is given no weights.
_NOT_KEPT = {
    "check_sample_weight_equivalence_on_dense_data": "columns are scaled without weights"
}
# Without the preparation the regressor passes, and without calibration the classifier too.
_NOT_KEPT_BY_NETWORKS = {
    "check_sample_weight_equivalence_on_dense_data": (
        "columns are scaled without weights; nor does the temperature of the classifier, "
        "which is fitted to out-of-fold predictions, know weights"
    )
}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [sk_tune.AutoClassifier(**_SMALL), sk_tune.AutoRegressor(**_SMALL)],
    expected_failed_checks=lambda _: _NOT_KEPT,
    xfail_strict=False,
)
def test_automl_passes_the_checks_of_scikit_learn(estimator, check):
    """Every check passes but one that no pipeline with a scaler passes."""
    _run(estimator, check)


@pytest.fixture
def small_networks(monkeypatch):
    """Make the networks as small as the checks, which fit some hundreds of them."""
    quick = _models._perceptron

    def models(problem):
        model = quick(problem)
        model.estimator.set_params(net__width=16, net__learning_rate=0.03)
        return [model]

    monkeypatch.setattr("sk_tune.automl._base.network_models", models)
    monkeypatch.setattr(_models, "_MOST_EPOCHS", 30)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("small_networks")
@parametrize_with_checks(
    [sk_tune.AutoClassifier(**_NETWORKS), sk_tune.AutoRegressor(**_NETWORKS)],
    expected_failed_checks=lambda _: _NOT_KEPT_BY_NETWORKS,
    xfail_strict=False,
)
def test_automl_of_networks_passes_the_checks_of_scikit_learn(estimator, check):
    """Every check passes but the one that no pipeline with a scaler passes."""
    _run(estimator, check)


def _run(estimator, check):
    try:
        check(estimator)
    except SkipTest as reason:
        pytest.skip(str(reason))
