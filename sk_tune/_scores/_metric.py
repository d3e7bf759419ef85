# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The metric of a scikit-learn scorer, applied to predictions without the estimator."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from inspect import isfunction
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin, is_classifier, is_regressor
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.pipeline import Pipeline

from sk_tune._compat import passed_through_estimator, scorer_parts
from sk_tune._nesting import nested
from sk_tune._text import did_you_mean
from sk_tune._types import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Metric:
    """A function of true and predicted values; calling it returns a score."""

    function: Callable[..., float]
    sign: int = 1  # -1 if lower values of `function` are better
    options: Mapping[str, Any] = field(default_factory=dict)
    response_methods: tuple[str, ...] = ("predict",)  # the preferred method first
    pos_label: Any = None  # None is the second class

    def __call__(self, y_true: Array, response: Array, **weights: Array) -> float:
        options = {**self.options, **weights}
        return self.sign * float(self.function(y_true, response, **options))

    @property
    def takes_probabilities(self) -> bool:
        """Whether the metric can be computed from probabilities."""
        return bool({"predict", "predict_proba"} & set(self.response_methods))

    @property
    def takes_labels(self) -> bool:
        """Whether the metric takes the result of ``predict``."""
        return self.response_methods == ("predict",)

    def of_predictions(self, y: Array, predictions: Array, classes: Array | None) -> float:
        """Return the score of targets or probabilities of `classes`; NaN if undefined."""
        try:
            if classes is not None:
                predictions = self.response(predictions, classes)
            return self(y, predictions)
        except ValueError:
            # The metric may need a sample of each class.
            return float("nan")

    def response(self, probabilities: Array, classes: Array | None) -> Array:
        """Return the argument of the metric for probabilities of shape (..., K).

        `classes` is None if `y` is a multilabel indicator. Raises ValueError if the metric
        needs another response, such as a decision function.
        """
        if "predict_proba" in self.response_methods:
            if classes is None or len(classes) != 2:
                return probabilities
            column = 1
            if self.pos_label is not None:
                positions = np.flatnonzero(classes == self.pos_label)
                if not len(positions):
                    raise ValueError(
                        f"The 'pos_label' parameter of the metric must be one of the "
                        f"classes {classes.tolist()}. Got {self.pos_label!r} instead."
                    )
                column = int(positions[0])
            return probabilities[..., column]
        if "predict" not in self.response_methods:
            raise ValueError(
                "The metric must take labels or probabilities. It takes "
                f"{' or '.join(self.response_methods)} instead."
            )
        if classes is None:
            return (probabilities > 0.5).astype(np.int64)
        labels: Array = classes[probabilities.argmax(axis=-1)]
        return labels


_TEXTS = {"roc_auc": "ROC AUC", "r2": "R²", "f1": "F1"}


def metric_text(name: str) -> str:
    """Return a scorer's name for use in a sentence.

    >>> metric_text("neg_log_loss")
    'log loss'
    """
    return _TEXTS.get(name, name.removeprefix("neg_").replace("_", " "))


def metric_label(name: str) -> str:
    """Return a scorer's name for tables of scores, in which losses are negative.

    >>> metric_label("neg_log_loss"), metric_label("roc_auc")
    ('negative log loss', 'ROC AUC')
    """
    text = metric_text(name)
    return f"negative {text}" if name.startswith("neg_") else text


def as_columns(probabilities: Any, classes: Any) -> Array:
    """Return probabilities as an array; for multilabel y, of each label's presence."""
    if not isinstance(probabilities, list):
        return np.asarray(probabilities)
    # A label with one class, 0 or 1, has a single column.
    pairs = zip(probabilities, classes, strict=True)
    return np.column_stack([
        indicator @ np.asarray(values, float) for indicator, values in pairs
    ])


def with_all_classes(values: Array, of: Array, classes: Array) -> Array:
    """Return values with a column for each of `classes`, 0 for those that `of` lacks.

    Both are sorted, and `of` has the classes of the columns of the values.

    >>> with_all_classes(np.array([[0.3, 0.7]]), np.array([1, 4]), np.array([1, 2, 4]))
    array([[0.3, 0. , 0.7]])
    """
    if np.array_equal(of, classes):
        return values
    columns = np.zeros((len(values), len(classes)), dtype=values.dtype)
    columns[:, np.searchsorted(classes, of)] = values
    return columns


def check_metric_names(scoring: Any, parameter: str) -> None:
    """Raise ValueError, with suggestions, for unknown names and functions of metrics."""
    scoring = [*scoring.values()] if isinstance(scoring, dict) else scoring
    names = sorted(get_scorer_names())
    for name in scoring if isinstance(scoring, list | tuple | set) else [scoring]:
        if isinstance(name, str) and name not in names:
            advice = did_you_mean(name, names)
            listing = "sklearn.metrics.get_scorer_names()" if advice else ", ".join(names)
            raise ValueError(
                f"{parameter} must be the name of a scorer of scikit-learn. Got {name!r} "
                f"instead.{advice} Names: {listing}."
            )
        if isfunction(name) and name.__module__.startswith("sklearn.metrics."):
            raise ValueError(
                f"{parameter} must be a scorer, not a metric. Got {name.__name__!r}: use "
                f"make_scorer({name.__name__}), with greater_is_better=False for a loss."
            )


def scorer_metric(scorer: Any, estimator: Any = None) -> Metric | None:
    """Return the metric of a scorer or scorer name; None means the estimator's ``score``.

    Returns None for callables other than scorers, and for a ``score`` other than accuracy
    or R^2 of scikit-learn's mixins.

    >>> metric = scorer_metric("neg_mean_absolute_error")
    >>> metric([1.0, 2.0], [1.5, 2.0])
    -0.25
    """
    if isinstance(scorer, str):
        scorer = get_scorer(scorer)
    if scorer is None:
        return _metric_of_score(estimator)
    scored = passed_through_estimator(scorer)
    if scored is not None:
        return _metric_of_score(scored)
    parts = scorer_parts(scorer)
    if parts is None:
        return None
    method = parts.pop("response_method")
    methods = (method,) if isinstance(method, str) else tuple(method)
    return Metric(response_methods=methods, **parts)


def _metric_of_score(estimator: Any) -> Metric | None:
    last = next(part for part, _ in nested(estimator) if not isinstance(part, Pipeline))
    score = getattr(type(last), "score", None)
    if score is ClassifierMixin.score and is_classifier(last):
        return _metric_named("accuracy")
    if score is RegressorMixin.score and is_regressor(last):
        return _metric_named("r2")
    return None


# scikit-learn copies a scorer at each request, and searches ask once for each fit.
@cache
def _metric_named(name: str) -> Metric | None:
    return scorer_metric(name)
