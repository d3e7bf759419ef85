# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Estimators that know what a network predicts of a fold's held-out samples.

The engine has these predictions when a network is trained.  A task of a search that only
wants a score of them needs no network: to make one, check the samples and compute them
again takes several times as long as the metric.
"""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
from sklearn.pipeline import Pipeline

from sk_tune._compat import (
    FoldTask,
    callbacks_see_fits,
    callbacks_see_rows,
    num_samples,
    scorers_in,
)
from sk_tune._metric import scorer_metric
from sk_tune.estimators import NetworkEstimator, predicts_unchanged, take_rows
from sk_tune.search._fold_fits import network_of

__all__ = [
    "PredictedClassifier",
    "PredictedRegressor",
    "classes_of_fold",
    "predicted_by",
    "rows_for_predicted",
]

Array = npt.NDArray[Any]


class _Predicted(BaseEstimator):  # type: ignore[misc]
    """Takes any parameters, learns nothing, and responds to the held-out samples only."""

    def set_params(self, **params: Any) -> Self:
        """Take the parameters of a candidate for what they are: those of its network."""
        return self

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Do nothing."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True


class PredictedClassifier(ClassifierMixin, _Predicted):  # type: ignore[misc]
    """A classifier whose probabilities of the held-out samples, (n_test, C), are known."""

    def __init__(self, probabilities: Array, classes: Array) -> None:
        self.probabilities = probabilities
        self.classes = classes

    @property
    def classes_(self) -> Array:
        """The label of each column."""
        return self.classes

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the held-out samples."""
        # A metric must not change what is kept.
        return self.probabilities.copy()

    def predict(self, X: Any) -> Array:
        """Return the most probable label of the held-out samples."""
        labels: Array = self.classes[self.probabilities.argmax(axis=1)]
        return labels


class PredictedRegressor(RegressorMixin, _Predicted):  # type: ignore[misc]
    """A regressor whose predictions of the held-out samples are known."""

    def __init__(self, predictions: Array) -> None:
        self.predictions = predictions

    def predict(self, X: Any) -> Array:
        """Return the predictions of the held-out samples."""
        return self.predictions.copy()


def classes_of_fold(task: FoldTask) -> Array | None:
    """Return the labels that a classifier learns from a fold.

    None for a regressor, and where samples have no labels or several of them.
    """
    if not is_classifier(task.estimator):
        return None
    try:
        y = np.asarray(take_rows(task.y, task.train))
        return np.unique(y) if y.ndim == 1 else None
    except Exception:  # noqa: BLE001 - the task says what is wrong with them
        return None


def predicted_by(
    task: FoldTask, predictions: Array | None, classes: Array | None
) -> PredictedClassifier | PredictedRegressor | None:
    """Return an estimator that gives a task the scores that its network would get.

    The task's estimator is a network, or a pipeline that ends in one; `predictions` are the
    network's of the held-out samples, probabilities of a classifier. None if a scorer may
    look at more than these, or the network's class predicts otherwise than the engine does.
    """
    estimator = task.estimator
    network = network_of(estimator)
    if not isinstance(network, NetworkEstimator) or not predicts_unchanged(network):
        return None
    is_plain = estimator is network or type(estimator) is Pipeline
    if not is_plain or task.scores_train or callbacks_see_fits(task):
        return None
    if predictions is None or len(predictions) != len(task.test):
        return None
    if not np.isfinite(predictions).all() or not _asks_predicted(network, task):
        # The scorer says what it thinks of such predictions.
        return None
    if not is_classifier(network):
        return PredictedRegressor(predictions)
    if classes is None or predictions.shape[1:] != classes.shape:
        return None
    return PredictedClassifier(predictions, classes)


def rows_for_predicted(task: FoldTask) -> Any:
    """Return as many samples as a task has, for an estimator that looks at none.

    They are the task's if somebody is told of them; else the time to cut a fold out of a
    table is saved.
    """
    if callbacks_see_rows(task):
        return task.X
    return np.arange(num_samples(task.X))[:, np.newaxis]


def _asks_predicted(network: NetworkEstimator, task: FoldTask) -> bool:
    """Return whether the scorers of a task ask its network for what is known."""
    scorers = scorers_in(task.scorer)
    if scorers is None:
        return False
    known = {"predict", "predict_proba"} if is_classifier(network) else {"predict"}
    for metric in (scorer_metric(scorer, task.estimator) for scorer in scorers):
        methods = () if metric is None else metric.response_methods
        # scikit-learn takes the first method that there is.
        if next((m for m in methods if hasattr(network, m)), None) not in known:
            return False
    return True
