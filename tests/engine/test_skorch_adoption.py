"""A plain skorch net that takes over a training is as if it had trained itself."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from skorch import NeuralNetClassifier
from torch import nn

from sk_tune.engine import Fit, fitted_estimator, train

X, Y = load_iris(return_X_y=True)
X, Y = X.astype(np.float32), Y.astype(np.int64)


def _net(**params):
    own = {"criterion": nn.CrossEntropyLoss, "max_epochs": 3, "lr": 0.1, "verbose": 0}
    sizes = {"module__in_features": 4, "module__out_features": 3}
    return NeuralNetClassifier(nn.Linear, **{**sizes, **own, **params})


@pytest.mark.parametrize("engine", ["fleet", "reference"])
def test_it_predicts_what_was_trained(engine):
    """Outputs are those of the engine, and the history is that of the training."""
    fit = Fit(estimator=_net(), X=X, y=Y, rows=np.arange(100), seed=5, monitor=np.arange(9))

    (trained,) = train([fit], engine=engine)
    net = fitted_estimator(fit, trained)

    np.testing.assert_array_equal(net.predict_proba(X[:9]), trained.predictions)
    assert net.history == list(trained.state.history)
    assert torch.isfinite(net.module_.weight).all()
