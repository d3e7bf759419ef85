# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The metric for models, requested or the default for the target."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import log_loss, make_scorer

from sk_tune._automl._splitting import check_scores
from sk_tune._diagnosis import check_classes
from sk_tune._scores import Metric, check_metric_names, scorer_metric
from sk_tune.exceptions import TableError

Array = npt.NDArray[Any]

_TEXTS = {"roc_auc": "ROC AUC", "r2": "R²", "f1": "F1"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scoring:
    """A metric and the reason for it.

    `name` is the name of `scorer`. `positive` is the positive class of metrics of one
    class, None unless there are two classes.
    """

    name: str
    scorer: Any
    reason: str
    positive: Any = None

    @property
    def metric(self) -> Metric:
        """The metric inside the scorer."""
        return checked_metric(self.scorer)

    @property
    def text(self) -> str:
        """The name for use in a sentence, such as "ROC AUC"."""
        return metric_text(self.name)


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


def checked_metric(scoring: Any, parameter: str = "The 'scoring' parameter") -> Metric:
    """Return the metric of a scorer; ValueError unless it scores predictions."""
    check_metric_names(scoring, parameter)
    metric = scorer_metric(scoring)
    if metric is None or not metric.takes_probabilities:
        raise ValueError(
            f"{parameter} must be the name of a scorer, or a result of make_scorer, of "
            f"labels, probabilities or numbers. Got {scoring!r} instead."
        )
    return metric


def positive_class(y: Array, positive: Any = None) -> Any:
    """Return the positive class of metrics of one class; None unless there are two.

    Without `positive` it is 1 if that is a class, as in scikit-learn's metrics, and the
    rarer class otherwise.  A text names the class with that text.
    """
    labels, counts = np.unique(y, return_counts=True)
    classes = labels.tolist()
    if positive is not None:
        matches = [label for label in classes if label == positive]
        matches = matches or [label for label in classes if str(label) == str(positive)]
        if len(classes) != 2 or not matches:
            shown = classes if len(classes) <= 10 else f"{len(classes)} classes"
            raise ValueError(
                "The 'positive' parameter must be one of the two classes of the target. "
                f"Got {positive!r} for {shown}."
            )
        return matches[0]
    if len(classes) != 2:
        return None
    # True equals 1.
    return classes[classes.index(1) if 1 in classes else int(counts[1] <= counts[0])]


def with_positive(scoring: Any, positive: Any) -> Any:
    """Return the scorer with `positive` as positive class, if its metric needs it."""
    metric = scorer_metric(scoring)
    if metric is None or positive is None or metric.pos_label == positive:
        return scoring
    takes_label = "pos_label" in inspect.signature(metric.function).parameters
    # Averages over classes have no positive class.
    is_of_one = metric.options.get("average", "binary") == "binary"
    if not takes_label or not is_of_one or metric.options.get("pos_label") is not None:
        return scoring
    return make_scorer(
        metric.function,
        response_method=metric.response_methods,
        greater_is_better=metric.sign > 0,
        **{**metric.options, "pos_label": positive},
    )


def scoring_of(
    y: Array,
    folds: Sequence[tuple[Array, Array]],
    *,
    scoring: Any,
    positive: Any = None,
    is_classification: bool,
) -> Scoring:
    """Return the metric for a target: `scoring`, or the default if that is None.

    The default is ROC AUC for two classes, log loss for more, and R² for regression.  If it
    is undefined in a fold, it is log loss or accuracy.  Raises TableError if `scoring` is
    undefined in a fold.
    """
    if scoring is not None:
        return _requested(y, folds, scoring, positive, is_classification=is_classification)
    if not is_classification:
        reason = "Scored by R², the default for numbers."
        return Scoring(name="r2", scorer="r2", reason=reason)
    labels, counts = np.unique(y, return_counts=True)
    positive = positive_class(y, positive)
    reason = "Scored by log loss, the default for more than two classes: it judges the "
    reason += "probabilities of all classes."
    name = "neg_log_loss"
    if len(labels) == 2:
        name = "roc_auc"
        reason = "Scored by ROC AUC, the default for two classes: it depends neither on a "
        reason += "threshold nor on the shares of the classes."
        if check_classes(y).outcome == "tip":
            rare, common = labels[np.argsort(counts)].tolist()
            share = _percent(counts.min() / counts.sum())
            reason = (
                f"Scored by ROC AUC: {share} of the rows are {rare!r}, so accuracy hardly "
                f"tells a useful model from one that always says {common!r}."
            )
    try:
        check_scores(y, folds, checked_metric(name))
    except TableError:
        return _instead_of(name, y, folds, positive)
    return Scoring(name=name, scorer=name, reason=reason, positive=positive)


def _instead_of(
    name: str, y: Array, folds: Sequence[tuple[Array, Array]], positive: Any
) -> Scoring:
    """Return log loss or accuracy, because a part lacks a class."""
    labels = np.unique(y)
    if any(len(np.unique(y[train])) < len(labels) for train, _ in folds):
        reason = "Scored by accuracy: the training part of a fold lacks a class."
        return Scoring(name="accuracy", scorer="accuracy", reason=reason, positive=positive)
    scorer = make_scorer(
        log_loss,
        response_method="predict_proba",
        greater_is_better=False,
        labels=labels.tolist(),
    )
    why = "the default for more than two classes."
    if name != "neg_log_loss":
        why = "because a held-out part lacks a class, which ROC AUC needs."
    return Scoring(
        name="neg_log_loss",
        scorer=scorer,
        reason=f"Scored by log loss, {why}",
        positive=positive,
    )


def _requested(
    y: Array,
    folds: Sequence[tuple[Array, Array]],
    scoring: Any,
    positive: Any,
    *,
    is_classification: bool,
) -> Scoring:
    metric = checked_metric(scoring)
    name = scoring if isinstance(scoring, str) else metric.function.__name__
    reason = f"Scored by {metric_text(name)}, as requested."
    if not is_classification:
        return Scoring(name=name, scorer=scoring, reason=reason)
    positive = positive_class(y, positive)
    scorer = with_positive(scoring, positive)
    metric = checked_metric(scorer)
    check_scores(y, folds, metric)
    if positive is not None and metric.pos_label == positive:
        share = _percent(float((y == positive).mean()))
        reason = (
            f"Scored by {metric_text(name)} of the class {positive!r} ({share} of the "
            "rows), as requested."
        )
    return Scoring(name=name, scorer=scorer, reason=reason, positive=positive)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"
