# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Estimators with known predictions, which replace the trained networks of tasks."""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score

from sk_tune._compat import FoldTask, num_samples
from sk_tune._scores import quick_metric
from sk_tune._types import Array


class _Positions(np.ndarray[Any, Any]):
    """An array of positions.

    With the attribute `iloc`, scikit-learn takes rows directly. Without it, it first tries
    to use the array as a data frame of several libraries, which takes twice the time.
    """

    iloc = None


def prediction_positions(task: FoldTask) -> Array:
    """Return positions of a task's samples in the predictions of its stand-in, (n, 1)."""
    positions = np.zeros((num_samples(task.X), 1), np.intp).view(_Positions)
    if task.scores_train:
        n_train = len(task.train)
        positions[task.train, 0] = np.arange(n_train)
        positions[task.test, 0] = np.arange(n_train, n_train + len(task.test))
    return positions


class _Predicted(BaseEstimator):  # type: ignore[misc]
    """Accepts any parameters; returns all predictions, or those at the positions in X."""

    def __init__(self, predictions: Array, *, takes_positions: bool) -> None:
        self.predictions, self.takes_positions = predictions, takes_positions

    def _of(self, X: Any) -> Array:
        # A copy, because a metric may work in place.
        values: Array = self.predictions
        return values[np.asarray(X)[:, 0]] if self.takes_positions else values.copy()

    def set_params(self, **params: Any) -> Self:
        """Ignore the parameters of a candidate, which belong to its network."""
        return self

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True


class PredictedClassifier(ClassifierMixin, _Predicted):  # type: ignore[misc]
    """A classifier with known probabilities, (n_samples, C)."""

    def __init__(
        self, predictions: Array, classes: Array, *, takes_positions: bool
    ) -> None:
        super().__init__(predictions, takes_positions=takes_positions)
        self.classes = self.classes_ = classes

    def predict_proba(self, X: Any) -> Array:
        return self._of(X)

    def predict(self, X: Any) -> Array:
        labels: Array = self.classes[self._of(X).argmax(axis=1)]
        return labels

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return float(quick_metric(accuracy_score)(y, self.predict(X), **weights))


class PredictedRegressor(RegressorMixin, _Predicted):  # type: ignore[misc]
    def predict(self, X: Any) -> Array:
        return self._of(X)
