"""Searches to draw: small real searches, and fake searches for rare cases."""

import matplotlib
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV as PlainGridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune import GridSearchCV, MLPClassifier, MLPRegressor, RandomizedSearchCV

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def closed_figures():
    """Close all figures after each test."""
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


class FakeSearch(BaseEstimator):
    """A search with given results, without training."""

    refit = True
    scoring = "r2"
    n_splits_ = 2

    def fit(self, X=None, y=None):
        return self

    def __init__(self, params=(), scores=(), more=None):
        self.params = params
        self.scores = scores
        self.more = more


@pytest.fixture(scope="session")
def made():
    """Return a function that makes a search of configurations and scores."""

    def make(params, scores, **more):
        search = FakeSearch()
        n_rows = len(params)
        search.cv_results_ = {
            "params": list(params),
            "mean_test_score": np.array(scores, dtype=float),
            "std_test_score": np.full(n_rows, 0.1),
            "mean_fit_time": np.full(n_rows, 2.0),
            "mean_score_time": np.full(n_rows, 0.5),
            **{name: np.array(values) for name, values in more.items()},
        }
        if np.isfinite(search.cv_results_["mean_test_score"]).any():
            search.best_index_ = int(np.nanargmax(search.cv_results_["mean_test_score"]))
        return search

    return make


@pytest.fixture(scope="session")
def iris_grid():
    """Grid search of a classifier in a pipeline, two scores, epochs chosen by the loss."""
    X, y = load_iris(return_X_y=True)
    net = MLPClassifier(width=8, batch_size=16, max_epochs=6, random_state=0)
    grid = {"net__learning_rate": [1e-3, 1e-1], "net__activation": ["relu", "tanh"]}
    return GridSearchCV(
        Pipeline([("scale", StandardScaler()), ("net", net)]),
        grid,
        cv=3,
        scoring=["neg_log_loss", "accuracy"],
        refit="neg_log_loss",
        select_epoch="best",
    ).fit(X, y)


@pytest.fixture(scope="session")
def diabetes_one():
    """One candidate of a regressor on one fold, worse than the mean."""
    X, y = load_diabetes(return_X_y=True)
    net = MLPRegressor(width=4, max_epochs=2, learning_rate=1e-6, random_state=0)
    fold = [(np.arange(300), np.arange(300, 442))]
    return RandomizedSearchCV(net, {"dropout": [0.0]}, n_iter=1, cv=fold).fit(X, y)


@pytest.fixture(scope="session")
def ridge_grid():
    """scikit-learn's own search of an estimator that is not a network."""
    X, y = load_diabetes(return_X_y=True)
    grid = {"alpha": [0.1, 1.0, 10.0, 100.0], "fit_intercept": [True, False]}
    return PlainGridSearchCV(Ridge(), grid, cv=3).fit(X, y)
