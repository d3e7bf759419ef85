# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How good predictions are by the usual metrics, and where they are wrong."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn import metrics

from sk_tune._text import number_texts
from sk_tune.report._search_trials import number_text
from sk_tune.report._svg import Frame, element, picture, point, scale_of

Array = npt.NDArray[Any]

# More samples make no metric more telling, but areas under curves slow.
_MOST_ROWS = 50_000
_MOST_POINTS = 400
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
    """Quality of predictions for samples that their models were not trained on.

    `lines` are by the usual metrics. Of a classification, `labels` are the classes and
    `counts`, (n_classes, n_classes), held-out samples by true and predicted class; of a
    regression, `points`, (n_points, 2), are some pairs of predicted and true number.
    """

    lines: Sequence[MetricLine]
    n_rows: int
    n_set_aside: int
    labels: tuple[str, ...] = ()
    counts: Array | None = None
    points: Array | None = None


def quality_of(
    y: Array,
    predictions: Array,
    classes: Array | None,
    set_aside: tuple[Array, Array] | None = None,
) -> Quality | None:
    """Return how good predictions of `y`, (n_samples,), are; None for other shapes.

    `predictions` are probabilities, (n_samples, n_classes), by `classes`, or numbers,
    (n_samples,), of models that lacked the sample; NaN where there are none. `set_aside`
    are targets and predictions of samples that no fold had.
    """
    y = np.asarray(y)
    n_axes = 1 if classes is None else 2
    if y.ndim != 1 or predictions.ndim != n_axes:
        return None
    known = np.isfinite(predictions).reshape(len(y), -1).all(axis=1)
    both = [(y[known], predictions[known])]
    both.append((y[:0], predictions[:0]) if set_aside is None else set_aside)
    if not known.any():
        return None
    measures = _REGRESSION if classes is None else _CLASSIFICATION
    taken = [_some(*pair) for pair in both]
    lines = []
    for name, better, measure in measures:
        folds, aside = (_measured(measure, *pair, classes) for pair in taken)
        if folds == folds:
            lines.append(MetricLine(name, better, folds, aside))
    sizes: dict[str, Any] = {"n_rows": len(both[0][0]), "n_set_aside": len(both[1][0])}
    if classes is None:
        truth, predicted = _some(*both[0], most=_MOST_POINTS)
        return Quality(lines=lines, points=np.stack([predicted, truth], axis=1), **sizes)
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    places = np.searchsorted(classes, both[0][0]), both[0][1].argmax(axis=1)
    np.add.at(counts, places, 1)
    return Quality(lines=lines, labels=tuple(map(str, classes)), counts=counts, **sizes)


def _some(y: Array, predictions: Array, most: int = _MOST_ROWS) -> tuple[Array, Array]:
    if len(y) <= most:
        return y, predictions
    rows = np.random.default_rng(0).choice(len(y), most, replace=False)
    return y[rows], predictions[rows]


def _measured(
    measure: Callable[..., float], y: Array, predictions: Array, classes: Array | None
) -> float:
    """Return a metric, NaN where it is not defined."""
    if not len(y):
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
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


_CLASSIFICATION: tuple[tuple[str, str, Callable[..., float]], ...] = (
    ("accuracy", "greater", _of_labels(metrics.accuracy_score)),
    ("balanced accuracy", "greater", _of_labels(metrics.balanced_accuracy_score)),
    ("F1, mean of the classes", "greater", _of_labels(metrics.f1_score, average="macro")),
    ("Matthews correlation", "greater", _of_labels(metrics.matthews_corrcoef)),
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
    """Return true and predicted classes as a table, or the worst mistakes of many.

    Rows ("rows") have a label, cells of a count and its share of the row, and the share
    that is right; "mistakes" are pairs of classes with a count.  None for a regression.
    """
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


def residual_picture(quality: Quality, target: str = "true value") -> dict[str, Any] | None:
    """Return true against predicted numbers as a picture with its caption, or None."""
    if quality.points is None:
        return None
    frame = Frame(left=64)
    predicted, truth = quality.points.T
    x = scale_of(predicted, *frame.x_range, is_log=False)
    y = scale_of(truth, *frame.y_range, is_log=False)
    ends = max(x.low, y.low), min(x.high, y.high)
    texts = number_texts([*predicted, *truth])
    dots = [
        point(
            f"predicted {mine}, true {theirs}, off by {number_text(p - t)}",
            x(p),
            y(t),
            2.5,
            "dot",
        )
        for p, t, mine, theirs in sorted(
            zip(predicted, truth, texts, texts[len(predicted) :], strict=False)
        )
    ]
    diagonal: Any = ""
    if ends[0] < ends[1]:
        first, last = ends
        diagonal = element(
            "line", x1=x(first), y1=y(first), x2=x(last), y2=y(last), class_="axis"
        )
    svg = picture(
        "residuals",
        "True values against predictions; on the line they are equal.",
        frame,
        frame.axes(x, y, x_label="prediction", y_label=target),
        diagonal,
        element("g", *dots, class_="points"),
    )
    shown = "" if len(predicted) == quality.n_rows else f" {len(predicted)} rows are drawn."
    return {
        "svg": svg,
        "caption": (
            "True value against prediction, of models that lacked the row; on the line "
            f"they are equal.{shown}"
        ),
    }
