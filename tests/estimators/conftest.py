"""Fixtures for tests of several estimators."""

import pytest
from skorch.callbacks import Callback


@pytest.fixture(
    params=[
        network + task
        for network in ("MLP", "CNN", "RNN", "Net")
        for task in ("Classifier", "Regressor")
    ]
)
def name(request):
    """Return the name of each network class, unless a test has its own parametrization."""
    return request.param


class Sets(Callback):
    """Record the training and validation rows of a net."""

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.train = dataset_train
        self.valid = dataset_valid


@pytest.fixture
def sets():
    """Return a callback that records the training and validation rows."""
    return Sets()
