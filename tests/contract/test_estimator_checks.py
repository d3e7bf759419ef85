"""scikit-learn's own checks, over every public network; ensembles have their own tests."""

from unittest import SkipTest

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

import sk_tune
from sk_tune.estimators import NetworkEstimator


class SmallNet(nn.Module):
    """A module for the estimators that ask for one."""

    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_features, 32), nn.ReLU(), nn.Linear(32, n_outputs)
        )

    def forward(self, x):
        """Return unnormalised outputs."""
        return self.layers(x)


def _estimators():
    for name in sk_tune.__all__:
        if name.startswith("Net"):
            # The checks' few rows make one batch, hence one small step in each epoch.
            yield getattr(sk_tune, name)(SmallNet, learning_rate=0.01, max_epochs=60)
        elif name.endswith(("Classifier", "Regressor")):
            kind = getattr(sk_tune, name)
            if issubclass(kind, NetworkEstimator):
                yield kind()
    # What stands before the first layer of a table's network, and several networks in one.
    own = {"members": 2, "width": 32}
    yield sk_tune.MLPClassifier(**own, numerical_embedding="piecewise_linear")
    yield sk_tune.MLPRegressor(**own, numerical_embedding="periodic")


ESTIMATORS = list(_estimators())

# What scikit-learn itself leaves out: a check for an experimental switch of scipy, and one
# of a method that a classifier need not have.
NOT_APPLICABLE = ("SCIPY_ARRAY_API", "does not have a decision_function method")


@parametrize_with_checks(ESTIMATORS)
def test_estimator_passes_the_checks_of_scikit_learn(estimator, check):
    """Every check passes; none is declared to fail, and only two kinds do not apply."""
    try:
        check(estimator)
    except SkipTest as reason:
        if not any(words in str(reason) for words in NOT_APPLICABLE):
            pytest.fail(f"skipped: {reason}")
        raise


def test_every_public_network_is_checked():
    """The checks run over all eight networks."""
    checked = {type(estimator).__name__ for estimator in ESTIMATORS}

    assert checked == {
        f"{network}{task}"
        for network in ("MLP", "CNN", "RNN", "Net")
        for task in ("Classifier", "Regressor")
    }
