# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The average of the models of several folds and trials, which is what predicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sk_tune._metric import Metric
from sk_tune.automl._threads import few_threads
from sk_tune.automl._trials import Trial
from sk_tune.ensemble import Combination, Member, with_temperature

__all__ = ["Blend", "blend_of", "held_out_score"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blend:
    """Fitted pipelines and their weights.

    Parameters
    ----------
    combination : Combination
        Of each trial one member for each fold, with weights of sum 1.
    temperature : float
        Of the averaged probabilities.
    names : tuple of str, default=()
        Of the trial of each member.
    """

    combination: Combination
    temperature: float
    names: tuple[str, ...] = ()

    @property
    def classes(self) -> Array | None:
        """Labels; None for regression."""
        return self.combination.classes

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
        with few_threads(np.size(X)):
            total = self.combination(X)
        total /= total.sum(axis=1, keepdims=True)
        if self.temperature == 1:
            return total
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
        with few_threads(np.size(X)):
            return self.combination(X)[:, 0]


def blend_of(
    trials: Sequence[Trial], weights: Array, temperature: float, classes: Array | None
) -> Blend:
    """Return the average of the models of trials; a trial's weight is shared by its folds.

    Trials without a weight are no members. Averaged probabilities get the temperature;
    `classes` is None for regression.
    """
    own = [(t, float(w)) for t, w in zip(trials, weights, strict=True) if w > 0]
    members = [
        Member(model, weight / len(trial.models))
        for trial, weight in own
        for model in trial.models
    ]
    return Blend(
        combination=Combination(members, classes),
        temperature=temperature,
        names=tuple(trial.name for trial, _ in own for _ in trial.models),
    )


def held_out_score(blend: Blend, metric: Metric, X: Any, y: Array) -> float:
    """Return the score of a fitted average on the samples that were set aside.

    NaN if there are none, or the metric is not defined for them.
    """
    if not len(y):
        return float("nan")
    try:
        if blend.classes is None:
            return metric(y, blend.predict(X))
        return metric(y, metric.response(blend.predict_proba(X), blend.classes))
    except ValueError:
        # Not defined without a row of each class.
        return float("nan")
