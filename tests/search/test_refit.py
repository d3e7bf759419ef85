"""The refit: what it costs, and as what its network trains."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline
from skorch import NeuralNetClassifier
from torch import nn

from sk_tune import GridSearchCV
from sk_tune.exceptions import TrainingDivergedError

CV = StratifiedKFold(3, shuffle=True, random_state=1)
GRID = {"learning_rate": [0.003, 0.03]}


@pytest.fixture
def net(make_estimator):
    """Return a small classifier in float64."""
    return make_estimator("MLPClassifier", dtype="float64")


def test_a_skorch_net_is_refitted_to_the_best_epoch(iris):
    """As its candidate was scored in the folds."""
    # Where nothing is learnt the first epoch is as good as any, and comes first.
    X, y = iris.X.astype(np.float32), iris.y.astype(np.int64)
    torch.manual_seed(0)
    net = NeuralNetClassifier(
        nn.Linear, module__in_features=4, module__out_features=3, verbose=0,
        criterion=nn.CrossEntropyLoss, max_epochs=12, batch_size=8,
    )  # fmt: skip

    search = GridSearchCV(net, {"lr": [1e-12, 2e-12]}, cv=CV, epochs="best").fit(X, y)

    assert search.best_epochs_[search.best_index_] == 1
    assert len(search.best_estimator_.history) == 1
    assert search.predict(X).shape == (150,)


def test_a_refit_that_fails_says_why(net, iris):
    """If the best candidate cannot be trained on all rows the error names the reason."""
    search = GridSearchCV(
        net, {"learning_rate": [1e25, 0.01]}, cv=CV, refit=lambda results: 0
    )

    with (
        pytest.warns(Warning, match="3 fits failed|non-finite"),
        pytest.raises(TrainingDivergedError, match="learning_rate"),
    ):
        search.fit(*iris)


def test_a_refit_grants_its_epochs_to_the_last_step_only(make_estimator, net, iris):
    """Epochs that were chosen for the network are none of a transformer's."""
    X = iris.X.copy()
    X[::7, 1] = X[::11, 3] = np.nan
    inner = make_estimator("MLPRegressor", max_epochs=3, dtype="float64")
    imputer = IterativeImputer(inner, max_iter=1, tol=1e9, random_state=0)
    pipeline = Pipeline([("impute", imputer), ("net", net.set_params(max_epochs=8))])

    search = GridSearchCV(pipeline, {"net__learning_rate": [3e-3]}, cv=2, epochs="best")
    search.fit(X, iris.y)

    assert search.best_epochs_[0] != 3
    np.testing.assert_allclose(
        search.best_estimator_[:-1].transform(X),
        clone(imputer).fit(X).transform(X),
        atol=1e-9,
    )
