# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""AutoML for classification, with a positive class and a threshold."""

from collections.abc import Callable
from dataclasses import replace
from numbers import Real
from typing import Annotated, Any

import numpy as np
from sklearn.base import ClassifierMixin

from sk_tune._automl._auto import AutoEstimator
from sk_tune._automl._problem import Problem
from sk_tune._automl._scoring import (
    ScoredByMetric,
    Scoring,
    check_scores,
    checked_metric,
    with_positive,
)
from sk_tune._automl._splitting import Split
from sk_tune._automl._threshold import Threshold, ThresholdChoice
from sk_tune._compat import Interval
from sk_tune._conformal import PredictsSets
from sk_tune._declaration import parameters
from sk_tune._diagnosis import Finding, check_classes
from sk_tune._ensemble import CombinedClassifier
from sk_tune._text import is_number
from sk_tune._types import Array


@parameters
class AutoClassifier(  # type: ignore[misc]
    ScoredByMetric, ClassifierMixin, PredictsSets, CombinedClassifier, AutoEstimator
):
    """A classifier chosen and tuned within a time budget.

    {description}

    Parameters
    ----------
    calibrate : bool, default=True
        Whether to scale the averaged probabilities by a temperature, fitted to out-of-fold
        predictions.
    positive : object, default=None
        Positive class of two classes, for the threshold and for metrics of one class such
        as "average_precision" or "f1".  None chooses 1 if that is a class, as in
        scikit-learn's metrics, and the rarer class otherwise.
    threshold : float, str or callable, default=0.5
        ``predict`` returns `positive` from this probability on.  A scorer of labels, such
        as "balanced_accuracy", chooses its best threshold on out-of-fold predictions.  Only
        for two classes.  A number may be set on a fitted estimator.
    {parameters}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    positive_ : object
        Positive class for the threshold and for metrics of one class; None unless there are
        two classes.
    threshold_ : float
        Smallest probability for which ``predict`` returns `positive_`.
    {attributes}

    See Also
    --------
    AutoRegressor : The same for regression.
    HyperbandSearchCV : The search of networks.

    {notes}

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sk_tune import AutoClassifier
    >>> X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    >>> auto = AutoClassifier(time_budget=None, n_rounds=0, random_state=0).fit(X, y)
    >>> auto.scoring_, bool(auto.expected_score_.score > 0.98)
    ('roc_auc', True)
    >>> list(auto.leaderboard_)[:5]
    ['family', 'cv_score', 'cv_std', 'seconds', 'predict_ms']
    """

    calibrate: Annotated[bool, "boolean"] = True
    positive: object = None
    threshold: Annotated[
        float | str | Callable[..., float],
        Interval(Real, 0, 1, closed="both"),
        str,
        callable,
    ] = 0.5

    def _check(self) -> None:
        super()._check()
        if not is_number(self.threshold):
            parameter = f"The 'threshold' parameter of {type(self).__name__}"
            if not checked_metric(self.threshold, parameter).takes_labels:
                raise ValueError(
                    f"{parameter} must be a number from 0 to 1 or a scorer of labels, such "
                    f"as 'balanced_accuracy' or 'f1'. Got {self.threshold!r}, which scores "
                    "probabilities."
                )

    def _scoring(self, y: Array, split: Split) -> Scoring:
        scoring = super()._scoring(y, split)
        self.positive_ = scoring.positive
        if scoring.positive is None and self.threshold != 0.5:
            raise ValueError(
                f"The 'threshold' parameter of {type(self).__name__} must be 0.5 for more "
                f"than two classes. Got {self.threshold!r} for {len(self.classes_)}."
            )
        if not is_number(self.threshold):
            scorer = with_positive(self.threshold, scoring.positive)
            check_scores(y, split.folds, scorer, np.unique(y), "threshold")
        return scoring

    def _findings(self, problem: Problem, *structure: Any) -> tuple[Finding, ...]:
        finding = check_classes(problem.y)
        class_findings = (finding,) if finding.outcome == "tip" else ()
        return (*class_findings, *super()._findings(problem, *structure))

    def _threshold_choice(self, scoring: Scoring) -> ThresholdChoice:
        if scoring.positive is None:
            return ThresholdChoice()
        column = int(np.flatnonzero(self.classes_ == scoring.positive)[0])
        if is_number(self.threshold):
            return ThresholdChoice(value=float(self.threshold), column=column)
        scorer = with_positive(self.threshold, scoring.positive)
        return ThresholdChoice(metric=checked_metric(scorer), column=column)

    def _threshold(self) -> Threshold:
        """Return the threshold of the blend in use, or a number set after ``fit``."""
        threshold = super()._threshold()
        if self.positive_ is None or not is_number(self.threshold):
            return threshold
        return replace(threshold, value=float(self.threshold))

    @property
    def threshold_(self) -> float:
        """Least probability for which ``predict`` returns `positive_`."""
        return self._threshold().value

    def _decided(self, probabilities: Array) -> Array:
        return self._threshold().labels(probabilities, self.classes_)
