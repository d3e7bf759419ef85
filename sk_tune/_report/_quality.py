# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Quality of predictions: common metrics, simple models to compare with, leak checks."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn import metrics
from sklearn.base import is_classifier, is_regressor
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import check_cv, cross_validate
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_tune._conformal import measured_coverage
from sk_tune._diagnosis import Finding
from sk_tune._estimators import as_sequences
from sk_tune._frames import as_pandas
from sk_tune._nesting import nested
from sk_tune._prepare import TablePreparer, column_kinds
from sk_tune._search_record import deciding_scorer, search_record
from sk_tune._types import Array, Ints
from sk_tune.exceptions import TableError

# More samples add little precision, but make areas under curves slow.
_MOST_ROWS = 50_000
_MOST_POINTS = 400
# Requested coverage of intervals and sets.
_COVERAGE = 0.9
# If there are more classes, only the most frequent mistakes are shown.
_MOST_CLASSES = 12


class MetricLine(NamedTuple):
    """A metric on samples held out by the folds, and on samples set aside; NaN if none."""

    name: str
    better: str
    folds: float
    set_aside: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quality:
    """Quality of predictions for samples that their models were not trained on."""

    lines: Sequence[MetricLine]  # by the usual metrics
    n_rows: int
    n_set_aside: int
    labels: tuple[str, ...] = ()  # classes
    counts: Array | None = None  # (n_classes, n_classes), by true and predicted class
    points: Array | None = None  # (n_points, 2), some pairs of true and predicted number
    intervals: str = ""  # a sentence on intervals or sets of labels


def quality_of(
    y: Array,
    predictions: Array,
    classes: Array | None,
    set_aside: tuple[Array, Array] | None = None,
    decide: Callable[[Array], Array] | None = None,
    intervals: str = "",
) -> Quality | None:
    """Return how good predictions of `y`, (n_samples,), are; None for other shapes.

    `predictions` are probabilities, (n_samples, n_classes), or numbers, (n_samples,); NaN
    where missing. `set_aside` are targets and predictions of samples that no fold had.
    `decide` changes probabilities so that the predicted label has the largest.
    """
    y = np.asarray(y)
    n_axes = 1 if classes is None else 2
    if y.ndim != 1 or predictions.ndim != n_axes:
        return None
    is_predicted = np.isfinite(predictions).reshape(len(y), -1).all(axis=1)
    both = [(y[is_predicted], predictions[is_predicted])]
    both.append((y[:0], predictions[:0]) if set_aside is None else set_aside)
    if not is_predicted.any():
        return None
    sampled = [_some(*pair) for pair in both]
    decided = sampled if decide is None else [(y, decide(p)) for y, p in sampled]
    measures = [(line, sampled) for line in _REGRESSION]
    if classes is not None:
        measures = [(line, decided) for line in _OF_LABELS]
        measures += [(line, sampled) for line in _OF_PROBABILITIES]
    lines = []
    for (name, better, measure), pairs in measures:
        folds, aside = (_measured(measure, *pair, classes) for pair in pairs)
        if folds == folds:
            lines.append(MetricLine(name, better, folds, aside))
    sizes: dict[str, Any] = {"n_rows": len(both[0][0]), "n_set_aside": len(both[1][0])}
    sizes["intervals"] = intervals
    if classes is None:
        truth, predicted = _some(*both[0], most=_MOST_POINTS)
        return Quality(lines=lines, points=np.stack([predicted, truth], axis=1), **sizes)
    truth, held_out = both[0]
    labels = classes[(held_out if decide is None else decide(held_out)).argmax(axis=1)]
    counts = metrics.confusion_matrix(truth, labels, labels=classes)
    return Quality(lines=lines, labels=tuple(map(str, classes)), counts=counts, **sizes)


def _some(y: Array, predictions: Array, most: int = _MOST_ROWS) -> tuple[Array, Array]:
    if len(y) <= most:
        return y, predictions
    rows = np.random.default_rng(0).choice(len(y), most, replace=False)
    return y[rows], predictions[rows]


def intervals_text(y: Array, predictions: Array, part: Array, classes: Array | None) -> str:
    """Return coverage and size of intervals or sets as text.

    The text is empty for several targets, and for infinite intervals of few rows, whose
    coverage shows nothing.
    """
    n_axes = 1 if classes is None else 2
    if np.ndim(y) != 1 or predictions.ndim != n_axes:
        return ""
    if np.isfinite(predictions).reshape(len(y), -1).all(axis=1).sum() < 2:
        return ""
    rows, part = _some(np.arange(len(y)), part)
    target = y[rows] if classes is None else np.searchsorted(classes, y[rows])
    is_classification = classes is not None
    share, size = measured_coverage(
        target, predictions[rows], part, _COVERAGE, is_classification=is_classification
    )
    if np.isinf(size):
        return ""
    rows_text = f"{100 * share:.1f} % of the held-out rows"
    if classes is None:
        return (
            f"{100 * _COVERAGE:.0f} % intervals contain the target of {rows_text}; their "
            f"median width is {size:.3g}."
        )
    return (
        f"{100 * _COVERAGE:.0f} % prediction sets contain the label of {rows_text}, "
        f"with {size:.3g} of {len(classes)} labels on average."
    )


def _measured(
    measure: Callable[..., float], y: Array, predictions: Array, classes: Array | None
) -> float:
    """Return a metric, NaN where it is not defined."""
    if not len(y):
        return float("nan")
    with warnings.catch_warnings(action="ignore"):
        try:
            if classes is None:
                return float(measure(y, predictions))
            return float(measure(y, predictions, classes))
        except ValueError:
            return float("nan")


def _of_labels(measure: Callable[..., float], **options: Any) -> Callable[..., float]:
    return lambda y, p, classes: measure(y, classes[p.argmax(axis=1)], **options)


def _log_loss(y: Array, p: Array, classes: Array) -> float:
    return float(metrics.log_loss(y, p / p.sum(axis=1, keepdims=True), labels=classes))


def _roc_auc(y: Array, p: Array, classes: Array) -> float:
    if len(classes) == 2:
        return float(metrics.roc_auc_score(y == classes[1], p[:, 1]))
    p = p / p.sum(axis=1, keepdims=True)
    return float(metrics.roc_auc_score(y, p, multi_class="ovr", labels=classes))


def _precision(y: Array, p: Array, classes: Array) -> float:
    if len(classes) > 2:
        return float("nan")
    rarer = int((y == classes[1]).mean() <= 0.5)
    return float(metrics.average_precision_score(y == classes[rarer], p[:, rarer]))


def _relative(y: Array, predicted: Array) -> float:
    if (y == 0).any():
        return float("nan")
    return float(metrics.mean_absolute_percentage_error(y, predicted))


_OF_LABELS: tuple[tuple[str, str, Callable[..., float]], ...] = (
    ("accuracy", "greater", _of_labels(metrics.accuracy_score)),
    ("balanced accuracy", "greater", _of_labels(metrics.balanced_accuracy_score)),
    (
        "F1, averaged over the classes",
        "greater",
        _of_labels(metrics.f1_score, average="macro"),
    ),
    ("Matthews correlation", "greater", _of_labels(metrics.matthews_corrcoef)),
)
_OF_PROBABILITIES: tuple[tuple[str, str, Callable[..., float]], ...] = (
    ("ROC AUC", "greater", _roc_auc),
    ("average precision of the rarer class", "greater", _precision),
    ("log loss", "less", _log_loss),
)
_REGRESSION: tuple[tuple[str, str, Callable[..., float]], ...] = (
    ("R²", "greater", metrics.r2_score),
    ("mean absolute error", "less", metrics.mean_absolute_error),
    ("median absolute error", "less", metrics.median_absolute_error),
    ("root mean squared error", "less", metrics.root_mean_squared_error),
    ("mean absolute error relative to the target", "less", _relative),
)


def confusion_table(quality: Quality) -> dict[str, Any] | None:
    """Return true and predicted classes as a table, or the worst mistakes of many."""
    if quality.counts is None:
        return None
    counts, labels = quality.counts, quality.labels
    totals = counts.sum(axis=1)
    if len(labels) <= _MOST_CLASSES:
        shares = counts / np.maximum(totals, 1)[:, np.newaxis]
        rows = [
            (label, list(zip(row, part, strict=True)), part[k])
            for k, (label, row, part) in enumerate(zip(labels, counts, shares, strict=True))
        ]
        return {"labels": labels, "rows": rows, "mistakes": []}
    wrong = np.where(np.eye(len(labels), dtype=bool), 0, counts)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CLASSES]
    places = zip(*np.unravel_index(order, wrong.shape), strict=True)
    mistakes = [
        (labels[i], labels[j], int(wrong[i, j]), int(totals[i]))
        for i, j in places
        if wrong[i, j]
    ]
    return {"labels": labels, "rows": [], "mistakes": mistakes}


Fold = tuple[Ints, Ints]
# Outcome and message of a check.
Answer = tuple[Any, str]


def folds_of(search: Any, X: Any, y: Any, n_rows: int) -> tuple[list[Fold] | None, bool]:
    """Return the samples of each fold, if known, and whether they are certain."""
    remembered: list[Ints] = []
    # The last candidate that was scored on all folds; early rungs may use fewer samples.
    for tests in reversed(getattr(search, "held_out_rows_", ())):
        remembered = [test for test in tests if test is not None]
        if len(remembered) == len(tests):
            break
        remembered = []
    everything = np.arange(n_rows)
    if remembered and np.array_equal(np.sort(np.concatenate(remembered)), everything):
        return [(np.setdiff1d(everything, rows), rows) for rows in remembered], True
    if X is None:
        return None, False
    # A generator yields its folds once; a fitted search has kept them.
    cv = getattr(search, "_checked_cv_orig", search.cv)
    cv = check_cv(cv, y, classifier=is_classifier(search.estimator))
    record = search_record(search)
    groups = None if record is None else record.groups
    try:
        # The search has already warned of a splitter that ignores groups.
        with warnings.catch_warnings(action="ignore"):
            drawn, again = (
                [(np.asarray(a), np.asarray(b)) for a, b in cv.split(X, y, groups)]
                for _ in range(2)
            )
    except (TypeError, ValueError):
        # For example, a splitter by groups in a search of scikit-learn.
        return None, False
    held_out = remembered or [rows for _, rows in again]
    return drawn, all(
        np.array_equal(rows, other)
        for (_, rows), other in zip(drawn, held_out, strict=True)
    )


# How the number of epochs is chosen, by the parameter that decides.
_EPOCH_CHOICES: dict[str, Answer] = {
    "select_epoch": (
        "by design",
        "Each candidate uses the best epoch of its mean curve over the folds, which is "
        "chosen on the held-out rows. The expected score corrects for this choice if "
        "the metric is accuracy, or R2 of targets that are not transformed.",
    ),
    "early_stopping": (
        "passed",
        "Each network uses its best epoch by early stopping on some of its training rows, "
        "so the held-out rows do not influence the number of epochs.",
    ),
    "max_epochs": (
        "passed",
        "Each network is scored after its last epoch, so the held-out rows do not "
        "influence the number of epochs.",
    ),
}


def leak_checks(
    search: Any, *, has_curves: bool, has_corrected: bool, stops_early: bool = False
) -> list[Finding]:
    """Return checks for leaks and selection bias in a search."""
    answers: dict[str, Answer] = {"Preparation inside the folds": _transformers(search)}
    if has_curves:
        answers["No early stopping on held-out rows"] = (
            "by design",
            "Networks are scored on the held-out rows after each epoch, but these scores "
            "neither stop a fit nor choose anything within a fold. Early stopping holds "
            "out some of the training rows.",
        )
        parameter = "early_stopping" if stops_early else "max_epochs"
        if getattr(search, "select_epoch", "last") == "best":
            parameter = "select_epoch"
        answers["Choice of the epoch"] = _EPOCH_CHOICES[parameter]
    answers["Choice of the best candidate"] = (
        "passed" if has_corrected else "issue",
        "The best of many scores is optimistic. The expected score resamples rows, chooses "
        "the candidate that is best on the drawn rows, and scores it on the remaining rows."
        if has_corrected
        else "The best of many scores is optimistic, and this score is not corrected. "
        "Score the best estimator on rows that the search did not use.",
    )
    answers["Copies of rows, groups and time"] = (
        "not applicable",
        "Copies of a row, rows of a group and rows close in time must be in one fold. The "
        "search does not check this; find_leaks does.",
    )
    return [
        Finding(code="", name=name, outcome=outcome, severity=None, message=message)
        for name, (outcome, message) in answers.items()
    ]


def _transformers(search: Any) -> Answer:
    parts = [part for part, _ in nested(search.estimator)]
    pipelines = [part for part in parts if isinstance(part, Pipeline)]
    if not pipelines:
        return (
            "not applicable",
            "The estimator is not a pipeline. A transformer that was fitted before the "
            "search, such as a scaler, has already used the held-out rows.",
        )
    every = [step for pipeline in pipelines for step in pipeline.steps[:-1]]
    steps = [name for name, transformer in every if transformer is not None]
    return (
        "by design",
        "The steps of the pipeline are fitted on the training rows of each fold only: "
        f"{', '.join(steps) or 'no step before the last'}.",
    )


_LINEAR_STEPS = 1000  # Enough for a comparison on scaled columns.
# Values of X from which on a linear model takes minutes.
_MOST_VALUES = 20_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Mean and standard deviation over folds of the score of a dummy or linear model."""

    name: str
    mean: float
    std: float


def baseline_models(
    X: Any, *, is_classification: bool, n_targets: int = 1, text_components: int = 0
) -> list[Any]:
    """Return a dummy and a linear model for a table; TableError without a usable column."""
    if not is_classification:
        return [DummyRegressor(), _linear(X, Ridge(), text_components)]
    model: Any = LogisticRegression(max_iter=_LINEAR_STEPS)
    if n_targets > 1:
        model = OneVsRestClassifier(model)
    return [DummyClassifier(), _linear(X, model, text_components)]


def search_baselines(search: Any, X: Any, y: Any) -> tuple[list[Baseline], list[str]]:
    """Return scores of simple models on a search's folds, and notes on missing scores."""
    is_classification = is_classifier(search)
    if not (is_classification or is_regressor(search)):
        return [], ["Baselines exist only for classifiers and regressors."]
    record = search_record(search)
    y = record.y if y is None and record is not None else y
    if y is None:
        return [], ["Baselines need the data: pass X and y to `report`."]
    y = np.asarray(y)
    folds, are_same = folds_of(search, X, y, len(y))
    if folds is None:
        return [], ["Baselines need the folds, which this search does not record."]
    notes = []
    if not are_same:
        notes.append(
            "The baselines and the candidates are scored on different folds, because the "
            "splitter draws new folds each time."
        )
    n_targets = 1 if y.ndim == 1 else y.shape[1]
    # A dummy needs a table, too.
    table = np.zeros((len(y), 1)) if X is None else _as_table(as_sequences(X))
    try:
        models = baseline_models(
            table, is_classification=is_classification, n_targets=n_targets
        )
    except TableError as error:
        models = [DummyClassifier() if is_classification else DummyRegressor()]
        notes.append(f"The linear baseline is missing. {error}")
    if X is None:
        models = models[:1]
        notes.append("A linear baseline needs the data: pass X and y to `report`.")
    elif getattr(table, "size", 0) > _MOST_VALUES:
        models = models[:1]
        notes.append("The linear baseline is missing, because the data are too large.")
    names = ("dummy", "linear")
    scores = [_score(model, table, y, search, folds) for model in models]
    if not is_classification:
        # The best constant is the mean for squared errors, the median for absolute errors.
        median = _score(DummyRegressor(strategy="median"), table, y, search, folds)
        scores[0] = max(scores[0], median, key=np.mean)
    return [
        Baseline(name=name, mean=float(values.mean()), std=float(values.std()))
        for name, values in zip(names, scores, strict=False)
    ], notes


def _linear(X: Any, model: Any, text_components: int) -> Pipeline:
    if isinstance(X, pd.DataFrame):
        # Refuses a table without a usable column before any fold does.
        column_kinds(X, keeps_text=text_components > 0)
        prepare = TablePreparer(text_components=text_components)
        return Pipeline([("prepare", prepare), ("linear", model)])
    return make_pipeline(StandardScaler(with_mean=not sparse.issparse(X)), model)


def _as_table(X: Any) -> Any:
    """Return numbers as an array, all else as a DataFrame of pandas."""
    if sparse.issparse(X):
        return X
    table = as_pandas(X)
    if table is not None:
        return table
    array = np.asarray(X)
    # Texts are one column, sequences a column for each step and feature.
    flat = array.reshape(len(array), -1)
    is_plain = array.dtype.kind in "fiub" and array.ndim >= 2
    if is_plain and not np.isnan(array).any():
        return flat
    return pd.DataFrame(flat).rename(columns=str)


def _score(model: Any, X: Any, y: Any, search: Any, folds: Any) -> Any:
    scorer, _ = deciding_scorer(search)
    with warnings.catch_warnings(action="ignore"):
        # NaN shows that a fold lacks a class; convergence does not matter here.
        try:
            scores = cross_validate(
                model, X, y, scoring=scorer, cv=folds, error_score=np.nan
            )
        except ValueError:
            # scikit-learn raises this if all folds failed, whatever error_score is.
            scores = {}
    # A scorer may return several scores.
    name = f"test_{search.refit}" if "test_score" not in scores else "test_score"
    return scores.get(name, np.full(len(folds), np.nan))
