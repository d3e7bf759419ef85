"""Boosting that ends with its time."""

import math
import time

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from sk_tune.automl._models import (
    TimedBoostingClassifier,
    TimedBoostingRegressor,
    fits_within,
)


@pytest.mark.parametrize("early_stopping", [True, False])
def test_a_fit_in_parts_is_the_fit_of_scikit_learn(early_stopping):
    """With time enough the probabilities are those of a single call."""
    X, y = load_breast_cancer(return_X_y=True)
    params = {"max_iter": 60, "early_stopping": early_stopping, "random_state": 0}
    expected = HistGradientBoostingClassifier(**params).fit(X, y)

    with fits_within(math.inf, math.inf):
        own = TimedBoostingClassifier(**params).fit(X, y)

    assert own.n_iter_ == expected.n_iter_
    np.testing.assert_allclose(own.predict_proba(X), expected.predict_proba(X), atol=1e-8)


def test_without_time_there_are_the_first_iterations():
    """Parameters stay as they were, and the second fit does not go on from the first."""
    X, y = load_diabetes(return_X_y=True)
    model = TimedBoostingRegressor(max_iter=500, early_stopping=False)

    with fits_within(1e-9, time.monotonic()):
        first = model.fit(X, y).n_iter_
        second = model.fit(X, y).n_iter_

    assert first == second == 10
    assert (
        clone(model).get_params()
        == HistGradientBoostingRegressor(max_iter=500, early_stopping=False).get_params()
    )


def test_outside_it_is_scikit_learns():
    """Without a limit there are all iterations."""
    X, y = load_diabetes(return_X_y=True)

    assert TimedBoostingRegressor(max_iter=30, early_stopping=False).fit(X, y).n_iter_ == 30
