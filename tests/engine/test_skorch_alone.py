"""Skorch nets that train alone are watched as those in fleets are."""

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from torch import nn

from sk_tune.engine import Fit, train


class Module(nn.Module):
    """A linear network that seeds torch itself."""

    def __init__(self):
        torch.manual_seed(3)
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x)


@pytest.mark.parametrize("callbacks", [None, "disable"])
def test_curves_of_the_monitor_are_those_of_a_fleet(callbacks, iris):
    """Losses and scores of samples that are only looked at, epoch by epoch."""
    X, y = map(np.copy, iris)
    net = NeuralNetClassifier(
        Module, criterion=nn.CrossEntropyLoss, max_epochs=3, verbose=0, callbacks=callbacks
    )
    monitor = np.arange(0, 150, 3)
    fit = Fit(estimator=net, X=X.astype(np.float32), y=y, monitor=monitor, seed=0)

    (alone,), (row,) = (train([fit], engine=engine) for engine in ("reference", "fleet"))

    assert (alone.engine, row.engine) == ("reference", "fleet")
    for name in ("monitor_loss", "monitor_score"):
        curves = [trained.state.curve(name) for trained in (alone, row)]
        np.testing.assert_allclose(*curves, rtol=1e-5)
    assert not alone.state.modules
