"""What the tests of several estimators ask for."""

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
    """Return the name of each class of networks, unless a test names some itself."""
    return request.param


class Sets(Callback):
    """Keep the rows that a net trains and validates on."""

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.train = dataset_train
        self.valid = dataset_valid


@pytest.fixture
def sets():
    """Return a callback that keeps the rows of training and validation."""
    return Sets()
