# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The metric for models, requested or the default for the target."""

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import skew
from sklearn.metrics import (
    check_scoring,
    d2_tweedie_score,
    get_scorer_names,
    log_loss,
    make_scorer,
    mean_gamma_deviance,
    mean_poisson_deviance,
    mean_tweedie_deviance,
)
from sklearn.utils.validation import check_is_fitted

from sk_tune._diagnosis import check_classes, share
from sk_tune._scores import Metric, check_metric_names, metric_text, scorer_metric
from sk_tune._types import Array
from sk_tune.exceptions import TableError

# Fewest different values of counts; fewer suggest grades.
_FEWEST_COUNTS = 6
# Least skewness of a long tail; the exponential distribution has 2.
_LONG_TAIL = 1.5
# Number of classes in a message.
_N_NAMED = 5
# Powers of deviances; 0 stands for the `power` option of the metric.
_POWERS: dict[Any, float] = {
    mean_poisson_deviance: 1.0,
    mean_gamma_deviance: 2.0,
    mean_tweedie_deviance: 0.0,
    d2_tweedie_score: 0.0,
}


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


def checked_metric(scoring: Any, parameter: str = "The 'scoring' parameter") -> Metric:
    """Return the metric of a scorer; ValueError unless it scores predictions."""
    check_metric_names(scoring, parameter)
    metric = scorer_metric(scoring)
    if metric is None or not metric.takes_probabilities:
        raise ValueError(
            f"{parameter} must be the name of a scorer, or the result of make_scorer, for "
            f"labels, probabilities or numbers. Got {scoring!r} instead."
        )
    return metric


def deviance_power(scoring: Any) -> float | None:
    """Return the power of a Tweedie deviance of positive means, None for other metrics.

    >>> deviance_power("neg_mean_poisson_deviance"), deviance_power("r2")
    (1.0, None)
    """
    metric = None if scoring is None else scorer_metric(scoring)
    if metric is None or metric.function not in _POWERS:
        return None
    power = _POWERS[metric.function] or float(metric.options.get("power", 0))
    return power if 1 <= power <= 2 else None


def positive_class(y: Array, positive: Any = None, n_classes: int | None = None) -> Any:
    """Return the positive class of metrics of one class; None unless there are two.

    Without `positive` it is 1 if that is a class, as in scikit-learn's metrics, and the
    rarer class otherwise.  A text names the class with that text. There may be more
    classes, `n_classes`, than in y.
    """
    labels, counts = np.unique(y, return_counts=True)
    classes = labels.tolist()
    n_classes = n_classes or len(classes)
    if positive is not None:
        matches = [label for label in classes if label == positive]
        matches = matches or [label for label in classes if str(label) == str(positive)]
        if n_classes != 2 or not matches:
            shown = classes if n_classes == len(classes) <= 10 else f"{n_classes} classes"
            raise ValueError(
                "The 'positive' parameter must be one of the two classes of the target. "
                f"Got {positive!r} for {shown}."
            )
        return matches[0]
    if n_classes != 2:
        return None
    # This also finds True.
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
    n_classes: int | None,
) -> Scoring:
    """Return the metric for a target: `scoring`, or the default if that is None.

    `n_classes` counts the classes of the estimator, which y may lack; None in regression.

    The default is ROC AUC for two classes, log loss for more, and R² for regression.  If
    the default is undefined in a fold, log loss or accuracy replaces it.  Raises TableError
    if `scoring` is undefined in a fold.
    """
    classes = positive_label = None
    if n_classes is not None:
        classes, positive_label = np.unique(y), positive_class(y, positive, n_classes)
    if scoring is not None:
        name = scoring
        if not isinstance(scoring, str):
            name = checked_metric(scoring).function.__name__
        scorer = with_positive(scoring, positive_label)
        check_scores(y, folds, scorer, classes)
        of_class = ""
        if (
            positive_label is not None
            and checked_metric(scorer).pos_label == positive_label
        ):
            of_rows = share(float((y == positive_label).mean()))
            of_class = f" of the class {positive_label!r} ({of_rows} of the rows)"
        reason = f"{of_class}, as requested."
        if deviance_power(scoring) is not None:
            reason = (
                ", as requested; linear models, boosting and networks minimise it with a "
                "log link, so they predict positive numbers."
            )
    else:
        name = scorer = "r2"
        reason = ", the default for numbers."
        if classes is None and are_counts(y):
            reason += (
                " The target looks like counts: scoring='neg_mean_poisson_deviance' "
                "gives more weight to errors of small means, and trains with the Poisson "
                "deviance."
            )
        elif classes is None and is_long_tailed(y):
            reason += (
                " The target is positive with a long tail, so errors of the largest "
                "values dominate it: scoring='neg_mean_gamma_deviance' measures relative "
                "errors, and trains with the gamma deviance."
            )
        if classes is not None:
            name, scorer, reason = _default(y, folds, classes, are_two=n_classes == 2)
    return Scoring(
        name=name,
        scorer=scorer,
        reason=f"Scored by {metric_text(name)}{reason}",
        positive=positive_label,
    )


def are_counts(y: Array) -> bool:
    """Return whether a target looks like counts: skewed whole numbers from 0 or 1 on.

    >>> are_counts(np.array([0, 1, 1, 0, 2, 3, 0, 9, 1, 4])), are_counts(np.arange(50))
    (True, False)
    """
    if y.ndim > 1 or y.min() not in {0, 1} or not np.array_equal(y, np.round(y)):
        return False
    return len(np.unique(y)) >= _FEWEST_COUNTS and _skewness(y) > 0.5


def is_long_tailed(y: Array) -> bool:
    """Return whether a target is positive and far less skewed after a logarithm.

    >>> prices = np.exp(np.random.default_rng(0).normal(size=200))
    >>> is_long_tailed(prices), is_long_tailed(prices - 1), is_long_tailed(np.arange(1, 50))
    (True, False, False)
    """
    if y.ndim > 1 or not y.min() > 0 or not _skewness(y) > _LONG_TAIL:
        return False
    return abs(_skewness(np.log(y))) < _skewness(y) / 2


def _skewness(y: Array) -> float:
    """Return the skewness; NaN for equal values, of which scipy would warn."""
    with warnings.catch_warnings(action="ignore"):
        return float(skew(y))


def _default(
    y: Array, folds: Sequence[tuple[Array, Array]], classes: Array, *, are_two: bool
) -> Any:
    """Return name, scorer and reason of the default metric for classes."""
    name, n_classes = "neg_log_loss", "more than two"
    why = "it evaluates the probabilities of all classes."
    if are_two:
        name, n_classes = "roc_auc", "two"
        why = "it depends neither on a threshold nor on the class shares."
    try:
        check_scores(y, folds, name, classes)
    except TableError:
        if any(len(np.unique(y[train])) < len(classes) for train, _ in folds):
            return "accuracy", "accuracy", ": the training part of a fold lacks a class."
        scorer = make_scorer(
            log_loss,
            response_method="predict_proba",
            greater_is_better=False,
            labels=classes.tolist(),
        )
        reason = ", the default for more than two classes."
        if are_two:
            reason = ", because a held-out part lacks a class, which ROC AUC needs."
        return "neg_log_loss", scorer, reason
    reason = f", the default for {n_classes} classes: {why}"
    if are_two and check_classes(y).outcome == "tip":
        counts = np.unique(y, return_counts=True)[1]
        rare, common = classes[np.argsort(counts)].tolist()
        reason = (
            f": {share(counts.min() / counts.sum())} of the rows are {rare!r}, so accuracy "
            f"hardly distinguishes a useful model from always predicting {common!r}."
        )
    return name, name, reason


def check_scores(
    y: Array,
    folds: Sequence[tuple[Array, Array]],
    scorer: Any,
    classes: Array | None,
    parameter: str = "scoring",
) -> None:
    """Raise TableError if a fold's constant and true predictions both have no score."""
    metric = checked_metric(scorer)
    truth = y if classes is None else (y[:, np.newaxis] == classes).astype(np.float64)
    for number, (train, test) in enumerate(folds, start=1):
        constant = np.broadcast_to(truth[train].mean(axis=0), truth[test].shape)
        # The true values are only scored if the constant has no score.
        reasons = (
            _undefined(metric, y[test], predictions, classes)
            for predictions in (constant, truth[test])
        )
        reason = next(reasons)
        if not reason or not next(reasons):
            continue
        lacking = [] if classes is None else np.setdiff1d(classes, y[test]).tolist()
        if lacking:
            raise TableError(
                f"The scoring must be defined in each fold. Fold {number} lacks "
                f"{lacking[:_N_NAMED]}, and scoring it fails: {reason}. Choose another "
                "scoring, fewer folds, or groups that have all classes."
            )
        task = "regression" if classes is None else "classification"
        raise TableError(
            f"The {parameter!r} parameter must suit the target, here for {task} with "
            f"{len(np.unique(y))} different values. Got {scorer!r}, which fails: {reason}."
            f"{_variants_text(scorer, y[test], truth[test], classes)}"
        )


def _variants_text(scorer: Any, y: Array, truth: Array, classes: Array | None) -> str:
    """Return advice to use a variant of a metric that is defined, as 'f1_macro' of 'f1'."""
    names = [n for n in sorted(get_scorer_names()) if n.startswith(f"{scorer}_")]
    variants = [n for n in names if not _undefined(checked_metric(n), y, truth, classes)]
    return f" Use {' or '.join(map(repr, variants))}." if variants else ""


def _undefined(metric: Metric, y: Array, predictions: Array, classes: Array | None) -> str:
    """Return the reason why a metric is undefined, or an empty text."""
    with warnings.catch_warnings(action="ignore"):
        try:
            if classes is not None:
                predictions = metric.response(predictions, classes)
            score = metric(y, predictions)
        except (TypeError, ValueError) as error:
            return str(error).strip().partition("\n")[0].rstrip(".")
    return "" if np.isfinite(score) else "no number"


class ScoredByMetric:
    """Scores with the metric of the search, instead of the default of scikit-learn."""

    _scorer: Any

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the score of the predictions with `scoring_`; greater is better.

        Returns
        -------
        float
            Without `scoring`, ROC AUC for two classes, negative log loss for more, and R^2
            for regression.
        """
        check_is_fitted(self)
        params = {} if sample_weight is None else {"sample_weight": sample_weight}
        scorer = check_scoring(self, scoring=self._scorer)
        return float(scorer(self, X, y, **params))
