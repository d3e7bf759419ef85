# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Metrics that are functions of sums over samples, for many weightings at once.

Notation: B weightings of N samples, C candidates.  A resample weights each sample by its
number of draws, so that the sums of all candidates in all resamples are the matrix product
(B, N) x (N, C).  The area under the ROC curve is the weight of correctly ranked pairs of a
positive and a negative sample, ties counted half, among all such pairs: the weight of each
positive sample times the weight of all negative samples below it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial, wraps
from typing import Any

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    fbeta_score,
    jaccard_score,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    precision_score,
    r2_score,
    recall_score,
    roc_auc_score,
    root_mean_squared_error,
)

from sk_tune._scores._metric import Metric
from sk_tune._types import Array, Bools, Floats, Ints

# Largest number of classes times predictions for which counts fit into memory.
_MOST_COUNTED = 2**25


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AucSums:
    """The area under the ROC curve as a function of weights; see ``MetricSums``."""

    scores: Array  # (C, N), greater for a more likely positive sample
    is_positive: Bools  # (N,)
    sign: int = 1  # -1 if less is better

    def of(self, candidates: Any) -> "AucSums":
        return replace(self, scores=self.scores[candidates])

    def of_all(self, weights: Floats) -> Floats:
        """Return the area of each candidate under each weighting, (B, C), by (B, N)."""
        # Rows are fast to reorder.
        by_row = np.ascontiguousarray(weights.T)
        positive, negative = by_row[self.is_positive], by_row[~self.is_positive]
        areas = []
        for scores in self.scores:
            of_positive, of_negative = scores[self.is_positive], scores[~self.is_positive]
            order = np.argsort(of_negative)
            # Weight of the 0, 1, 2, ... lowest negative samples: M + 1 values.
            lowest = np.zeros((len(order) + 1, negative.shape[1]))
            np.cumsum(negative[order], axis=0, out=lowest[1:])
            n_below = np.searchsorted(of_negative, of_positive, side="left", sorter=order)
            n_up_to = np.searchsorted(of_negative, of_positive, side="right", sorter=order)
            right = np.einsum("pb,pb->b", positive, lowest[n_below])
            tied = np.flatnonzero(n_up_to > n_below)
            ties = lowest[n_up_to[tied]] - lowest[n_below[tied]]
            right += np.einsum("pb,pb->b", positive[tied], ties) / 2
            with np.errstate(invalid="ignore"):
                areas.append(self.sign * right / (positive.sum(axis=0) * lowest[-1]))
        return np.stack(areas, axis=1)

    def terms(self, weight: Floats) -> list[Floats]:
        """Return the contribution of each sample to the area, linearised at the weights.

        The shapes are (C, P) and (C, M).  A contribution is the weight of the other class
        that a sample is ranked correctly against, for negative samples minus the area, so
        that the weighted means of both sum to the area without the sign.  The rest is
        smaller than the area's standard error by the square root of the size of the larger
        class (DeLong, DeLong, Clarke-Pearson. Biometrics 44:837-845, 1988).
        """
        positive = np.where(self.is_positive, weight, 0.0)
        negative = weight - positive
        below, above = [], []
        for scores in self.scores:
            order = np.argsort(scores)
            starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
            share_below = _weight_below(negative[order], starts)
            share_above = 1 - _weight_below(positive[order], starts)
            by_row = np.empty((2, len(order)))
            by_row[:, order] = share_below, share_above
            below.append(by_row[0, self.is_positive])
            area = below[-1] @ weight[self.is_positive] / positive.sum()
            above.append(by_row[1, ~self.is_positive] - area)
        return [np.stack(below), np.stack(above)]


def _weight_below(weight: Floats, starts: Ints) -> Floats:
    """Return the share of the weight below each of the sorted samples, ties by half."""
    sums = np.concatenate([[0.0], np.cumsum(weight)])
    ends = np.append(starts[1:], len(weight))
    middle = (sums[starts] + sums[ends]) / (2 * sums[-1])
    shares: Floats = np.repeat(middle, ends - starts)
    return shares


_Combine = Callable[[Sequence[Floats], Sequence[Floats]], Floats]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MetricSums:
    """A metric as a function of weighted sums."""

    terms: Sequence[tuple[Any, Floats]]  # positions and values, (C, n), to sum
    row_terms: Sequence[Floats]  # (N,), the same for each candidate
    combine: _Combine  # computes the metric from the sums
    sign: int = 1  # -1 if less is better

    def of(self, candidates: Any) -> "MetricSums":
        return replace(self, terms=[(r, values[candidates]) for r, values in self.terms])

    def of_all(self, weights: Floats) -> Floats:
        """Return the score of each candidate under each weighting, (B, C), by (B, N)."""
        sums = [weights[:, rows] @ values.T for rows, values in self.terms]
        row_sums = [(weights @ values)[:, np.newaxis] for values in self.row_terms]
        # A weighting may exclude all samples, or all of a class.
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.sign * self.combine(sums, row_sums)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeanOfSums:
    """The mean of metrics that are functions of weights; see ``MetricSums``."""

    parts: Sequence["Sums"]
    sign: int = 1

    def of(self, candidates: Any) -> "MeanOfSums":
        return replace(self, parts=[part.of(candidates) for part in self.parts])

    def of_all(self, weights: Floats) -> Floats:
        """Return the score of every candidate under every weighting, (B, C)."""
        scores = [part.of_all(weights) for part in self.parts]
        return np.asarray(self.sign * np.mean(scores, axis=0))


Sums = MetricSums | AucSums | MeanOfSums


def in_blocks(
    sums: Sums, weight: Floats, block: Ints, n_blocks: int
) -> MetricSums | MeanOfSums:
    """Return sums over blocks of samples, for weightings of shape (B, n_blocks).

    `weight` (N,) is each sample's weight within its block. The area under the ROC curve is
    linearised in the weights, see ``AucSums.terms``.
    """

    def summed(values: Floats, rows: Any = slice(None)) -> Floats:
        totals = np.bincount(block[rows], weights=values * weight[rows], minlength=n_blocks)
        return totals.astype(np.float64, copy=False)

    if isinstance(sums, MeanOfSums):
        parts = [in_blocks(part, weight, block, n_blocks) for part in sums.parts]
        return replace(sums, parts=parts)
    if isinstance(sums, AucSums):
        classes = [sums.is_positive, ~sums.is_positive]
        sums = MetricSums(
            terms=[*zip(map(np.flatnonzero, classes), sums.terms(weight), strict=True)],
            row_terms=[in_class.astype(np.float64) for in_class in classes],
            combine=lambda sums, row_sums: sums[0] / row_sums[0] + sums[1] / row_sums[1],
            sign=sums.sign,
        )
    every = slice(None)
    return replace(
        sums,
        terms=[
            (every, np.stack([summed(term, rows) for term in values]))
            for rows, values in sums.terms
        ],
        row_terms=[summed(values) for values in sums.row_terms],
    )


def metric_sums(
    metric: Metric, y: Array, responses: Array, classes: Array | None = None
) -> Sums | None:
    """Return a metric of responses, (C, N, ...), as a function of sums, if possible."""
    make = _MAKERS.get(metric.function)
    if metric.function in _RATIOS:
        make = partial(_ratio_of_counts, metric)
    elif make is _roc_auc and metric.options == {"multi_class": "ovr"}:
        # With two classes the responses are for one class, else for all.
        if responses.ndim == 3 and y.ndim == 1:
            make, y = _mean_roc_auc, y[:, np.newaxis] == np.unique(y)
    elif metric.function is log_loss and metric.options.keys() <= {"labels"}:
        classes = np.unique(metric.options["labels"]) if metric.options else classes
    elif metric.options or make is None:
        return None
    # The squared error of a diverged network may be infinite, which is then its score.
    sums: Sums | None = None
    with np.errstate(over="ignore"):
        if make is None:
            sums = _log_loss(y, responses, classes)
        elif responses.shape[1:] == y.shape:
            sums = make(y, responses)
    return None if sums is None else replace(sums, sign=metric.sign)


def _log_loss(y: Array, probabilities: Array, classes: Array | None) -> MetricSums | None:
    classes = np.unique(y) if classes is None else classes
    if y.ndim != 1 or not np.isin(y, classes).all():
        return None
    is_of_second = probabilities.ndim == 2 and len(classes) == 2
    if not is_of_second and probabilities.shape[1:] != (len(y), len(classes)):
        return None
    return _mean(losses_of_classes(y, probabilities, classes))


def losses_of_classes(y: Array, probabilities: Array, classes: Array) -> Array:
    """Return log losses, (C, N), by probabilities of all or the second of two classes."""
    column = np.argmax(y[:, np.newaxis] == classes, axis=1)
    if probabilities.ndim == 2:
        true = np.where(column == 1, probabilities, 1 - probabilities)
    else:
        true = probabilities[:, np.arange(len(y)), column]
    eps = np.finfo(probabilities.dtype).eps
    losses: Array = -np.log(np.clip(true, eps, 1 - eps))
    return losses


def _accuracy(y: Array, labels: Array) -> MetricSums:
    right = labels == y
    return _mean(right if y.ndim == 1 else right.all(axis=-1))


def _balanced_accuracy(y: Array, labels: Array) -> MetricSums | None:
    if y.ndim != 1:
        return None
    right = (labels == y).astype(np.float64)
    # One term per class, over its samples; together they contain each sample once.
    members = [y == label for label in np.unique(y)]

    def combine(sums: Sequence[Floats], row_sums: Sequence[Floats]) -> Floats:
        # A class without a sample has no recall.
        recalls = [np.where(n > 0, s / n, 0.0) for s, n in zip(sums, row_sums, strict=True)]
        n_present = np.sum([n > 0 for n in row_sums], axis=0)
        return np.asarray(np.sum(recalls, axis=0) / n_present)

    return MetricSums(
        terms=[(np.flatnonzero(m), right[:, m]) for m in members],
        row_terms=[m.astype(np.float64) for m in members],
        combine=combine,
    )


def _are_classes(known: Array, *, is_multilabel: bool) -> bool:
    """Return whether values are classes or labels; the metric rejects all others."""
    if is_multilabel:
        return set(known.tolist()) <= {0, 1}
    return known.dtype.kind != "f" or not (known % 1).any()


def _ratio_of_counts(metric: Metric, y: Array, labels: Array) -> MetricSums | None:
    """Return the sums of a precision, recall, F or Jaccard score: counts of each class."""
    options: dict[str, Any] = {"average": "binary", "pos_label": 1, "beta": 1.0}
    options |= {"zero_division": 0, **metric.options}
    average, of_none = options["average"], options["zero_division"]
    of_none = 0 if of_none == "warn" else of_none
    if y.dtype.kind != labels.dtype.kind or 2 * labels.size > _MOST_COUNTED:
        return None
    is_multilabel, labels_present = y.ndim == 2, np.unique([y, *labels])
    classes = labels_present.tolist()
    if (
        len(options) > 4
        or not np.isfinite(options["beta"])
        or of_none not in {0, 1}
        or average not in {"binary", "micro", "macro", "weighted"}
        or not _are_classes(labels_present, is_multilabel=is_multilabel)
        or len(classes) * labels.size > _MOST_COUNTED
    ):
        return None
    if average == "binary":
        if is_multilabel or len(classes) > 2 or options["pos_label"] not in classes:
            return None
        classes = [options["pos_label"]]
    if is_multilabel:
        true, pred = [*(y.T == 1)], [*(np.moveaxis(labels, 2, 0) == 1)]
    else:
        true = [y == label for label in classes]
        pred = [labels == label for label in classes]
    hits = [a & b for a, b in zip(true, pred, strict=True)]
    ratio = partial(_RATIOS[metric.function], options["beta"] ** 2)

    def combine(sums: Sequence[Floats], row_sums: Sequence[Floats]) -> Floats:
        n, n_true = row_sums[0], np.stack(row_sums[1:])
        # Of shape (classes, B, C).
        n_hits, n_pred = np.split(np.stack(sums), 2)
        counts = n_hits, n_true, n_pred
        if average == "micro":
            counts = tuple(each.sum(axis=0, keepdims=True) for each in counts)
        above, below = ratio(*counts)
        share = np.where(below > 0, above / below, of_none)
        if average in {"macro", "weighted"}:
            # Classes in neither targets nor predictions do not count; labels always do.
            by = n_true if average == "weighted" else (n_true + n_pred > 0) | is_multilabel
            total, n_by = (share * by).sum(axis=0, keepdims=True), by.sum(axis=0)
            share = np.where(n_by > 0, total / n_by, of_none)
        return np.where(n > 0, share[0], np.nan)

    return MetricSums(
        terms=[(slice(None), each.astype(np.float64)) for each in (*hits, *pred)],
        row_terms=[np.ones(len(y)), *(each.astype(np.float64) for each in true)],
        combine=combine,
    )


def _roc_auc(y: Array, scores: Array) -> AucSums | None:
    labels = np.unique(y)
    if y.ndim != 1 or len(labels) != 2:
        return None
    return AucSums(scores=scores, is_positive=np.asarray(y == labels[1]))


def _mean_roc_auc(y: Array, probabilities: Array) -> MeanOfSums:
    columns = np.moveaxis(probabilities, 2, 0)
    parts = [
        AucSums(scores=p, is_positive=is_class)
        for p, is_class in zip(columns, y.T, strict=True)
    ]
    return MeanOfSums(parts=parts)


def _mean_of_errors(loss: Any, root: Any, y: Array, predictions: Array) -> MetricSums:
    """Return the mean over outputs of a function of the mean loss."""
    return MetricSums(
        terms=[(slice(None), values) for values in _by_output(loss, y, predictions)],
        row_terms=[np.ones(len(y))],
        combine=lambda sums, row_sums: np.mean(
            [root(s / row_sums[0]) for s in sums], axis=0
        ),
    )


def _r2(y: Array, predictions: Array) -> MetricSums:
    # Centred, because the variance is a difference of sums of squares.
    targets = np.atleast_2d((y - y.mean(axis=0, dtype=np.float64)).T)

    def combine(sums: Sequence[Floats], row_sums: Sequence[Floats]) -> Floats:
        n, firsts, seconds = row_sums[0], row_sums[1::2], row_sums[2::2]
        scores = []
        for residual, first, second in zip(sums, firsts, seconds, strict=True):
            total = second - first**2 / n
            # scikit-learn's rule for constant targets.
            constant = total <= 4 * len(y) * np.finfo(np.float64).eps * second
            usual = 1 - residual / np.where(constant, 1.0, total)
            scores.append(np.where(constant, (residual == 0).astype(np.float64), usual))
        return np.where(n > 0, np.mean(scores, axis=0), np.nan)

    return MetricSums(
        terms=[(slice(None), squares) for squares in _by_output(np.square, y, predictions)],
        row_terms=[np.ones(len(y)), *(t**power for t in targets for power in (1, 2))],
        combine=combine,
    )


def _mean(values: Array) -> MetricSums:
    return MetricSums(
        terms=[(slice(None), values.astype(np.float64, copy=False))],
        row_terms=[np.ones(values.shape[1])],
        combine=lambda sums, row_sums: sums[0] / row_sums[0],
    )


def _by_output(loss: Any, y: Array, predictions: Array) -> list[Floats]:
    losses = loss(predictions.astype(np.float64) - y)
    return [losses] if y.ndim == 1 else list(np.moveaxis(losses, -1, 0))


def _f_score(
    beta2: float, hits: Floats, true: Floats, predicted: Floats
) -> tuple[Floats, Floats]:
    return (1 + beta2) * hits, beta2 * true + predicted


# Numerator and denominator; the first argument is the square of beta.
_RATIOS: dict[Callable[..., Any], Callable[..., tuple[Floats, Floats]]] = {
    f1_score: _f_score,
    fbeta_score: _f_score,
    precision_score: lambda _, hits, true, predicted: (hits, predicted),
    recall_score: lambda _, hits, true, predicted: (hits, true),
    jaccard_score: lambda _, hits, true, predicted: (hits, true + predicted - hits),
}
_MAKERS: dict[Callable[..., Any], Callable[..., Sums | None]] = {
    accuracy_score: _accuracy,
    balanced_accuracy_score: _balanced_accuracy,
    mean_squared_error: partial(_mean_of_errors, np.square, np.asarray),
    mean_absolute_error: partial(_mean_of_errors, np.abs, np.asarray),
    root_mean_squared_error: partial(_mean_of_errors, np.square, np.sqrt),
    r2_score: _r2,
    roc_auc_score: _roc_auc,
}


# Metrics that `quick_metric` computes without scikit-learn's validation, which takes ten
# times their own time.
_OF_PROBABILITIES = {log_loss, roc_auc_score}
# Undefined, with a warning, for a class without samples or predictions.
_OF_EACH_CLASS = {balanced_accuracy_score, precision_score, recall_score}
_QUICK = {accuracy_score, f1_score, fbeta_score, jaccard_score}
_QUICK |= _OF_PROBABILITIES | _OF_EACH_CLASS
# scikit-learn warns about more classes per sample.
_MOST_CLASSES = 0.5


@cache
def quick_metric(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return an equal metric, which computes plain cases without scikit-learn.

    It passes all other arguments on, such as weights and classes without samples, about
    which scikit-learn may warn or raise.
    """
    if function not in _QUICK:
        return function

    @wraps(function)
    def metric(y: Any, response: Any, **options: Any) -> Any:
        score = _plain_score(function, y, response, options)
        return function(y, response, **options) if np.isnan(score) else score

    return metric


def _plain_score(
    function: Callable[..., Any], y: Any, response: Any, options: dict[str, Any]
) -> float:
    """Return the score of one label per sample, nan if the case is not plain."""
    if not (isinstance(y, np.ndarray) and isinstance(response, np.ndarray)):
        return np.nan
    if y.ndim != 1 or not len(y) or y.dtype.kind not in "biuU" or "labels" in options:
        return np.nan
    are_labels = response.shape == y.shape and response.dtype.kind == y.dtype.kind
    if function is accuracy_score and are_labels and not options:
        return float(np.mean(y == response))
    classes = np.unique(y)
    if not 1 < len(classes) <= _MOST_CLASSES * len(y):
        return np.nan
    if function in _OF_PROBABILITIES:
        if not _are_probabilities(response, len(y), len(classes)):
            return np.nan
    elif not are_labels or (
        function in _OF_EACH_CLASS and not np.array_equal(np.unique(response), classes)
    ):
        return np.nan
    if function is log_loss and not options:
        # A mean in the precision of the probabilities, as scikit-learn's.
        return float(losses_of_classes(y, response[np.newaxis], classes)[0].mean())
    metric = Metric(function=function, options=options)
    sums = metric_sums(metric, y, response[np.newaxis])
    return np.nan if sums is None else float(sums.of_all(np.ones((1, len(y))))[0, 0])


def _are_probabilities(response: Array, n_rows: int, n_classes: int) -> bool:
    """Return whether all classes have probabilities, or the second of two."""
    columns = () if n_classes == 2 else (n_classes,)
    if response.dtype.kind != "f" or response.shape != (n_rows, *columns):
        return False
    if not (response.min() >= 0 and response.max() <= 1):
        return False
    # scikit-learn's tolerances are 1e-5 and this root.
    tolerance = min(1e-5, np.sqrt(np.finfo(response.dtype).eps))
    return not columns or bool(np.abs(response.sum(axis=1) - 1).max() < tolerance)
