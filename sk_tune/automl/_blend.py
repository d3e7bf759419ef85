# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The average of the models of several folds and trials, which is what predicts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sk_tune.automl._threads import few_threads
from sk_tune.automl._trials import Trial
from sk_tune.ensemble import average_prediction, average_probabilities, with_temperature

__all__ = ["Blend", "blend_of"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blend:
    """Fitted pipelines and their weights.

    Parameters
    ----------
    estimators : tuple of Pipeline
        Of each member one for each fold.
    weights : ndarray of shape (n_estimators,)
        With sum 1.
    temperature : float
        Of the averaged probabilities.
    classes : ndarray of shape (n_classes,) or None
        Labels; None for regression.
    """

    estimators: tuple[Any, ...]
    weights: Array
    temperature: float
    classes: Array | None

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, ...)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes`.
        """
        total: Any = 0.0
        classes: Any = self.classes
        with few_threads(np.size(X)):
            for last, weight, rows in self._prepared(X):
                own = average_probabilities([last], np.ones(1), rows, classes)
                total = total + weight * own
        total /= total.sum(axis=1, keepdims=True)
        if self.temperature == 1:
            return np.asarray(total)
        return with_temperature(total, self.temperature)

    def predict(self, X: Any) -> Array:
        """Return the most probable labels, or the mean of the predictions.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, ...)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels or numbers.
        """
        if self.classes is not None:
            return np.asarray(self.classes[self.predict_proba(X).argmax(axis=1)])
        total: Any = 0.0
        with few_threads(np.size(X)):
            for last, weight, rows in self._prepared(X):
                total = total + weight * average_prediction([last], np.ones(1), rows)
        return np.asarray(total)

    def _prepared(self, X: Any) -> Iterator[tuple[Any, float, Any]]:
        """Yield last steps with their weights and rows, which are prepared once."""
        done: dict[tuple[int, ...], Any] = {}
        for pipeline, weight in zip(self.estimators, self.weights, strict=True):
            *before, (_, last) = pipeline.steps
            key = tuple(id(step) for _, step in before)
            if key not in done:
                done[key] = pipeline[:-1].transform(X) if before else X
            yield last, float(weight), done[key]


def blend_of(
    trials: Sequence[Trial], weights: Array, temperature: float, classes: Array | None
) -> Blend:
    """Return the average of the models of trials.

    Parameters
    ----------
    trials : sequence of Trial
        Members and others.
    weights : ndarray of shape (n_trials,)
        Of each; those without any are no members.
    temperature : float
        Of the averaged probabilities.
    classes : ndarray of shape (n_classes,) or None
        Labels; None for regression.

    Returns
    -------
    Blend
        A trial's weight is shared by its folds.
    """
    own = [(t, w) for t, w in zip(trials, weights, strict=True) if w > 0]
    shares = [np.full(len(t.models), w / len(t.models)) for t, w in own]
    return Blend(
        estimators=tuple(model for t, _ in own for model in t.models),
        weights=np.concatenate(shares),
        temperature=temperature,
        classes=classes,
    )
