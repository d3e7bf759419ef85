# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What an ensemble is chosen by: a loss of averaged predictions, with its error.

Notation: M candidates, N rows, K classes or outputs.  Classes are numbered from 0.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    root_mean_squared_error,
)

from sk_tune._metric import Metric, scorer_metric

__all__ = [
    "MetricObjective",
    "Objective",
    "RowObjective",
    "SignedObjective",
    "default_objective",
    "make_objective",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Kind = Literal["log_loss", "label_log_loss", "zero_one", "squared", "absolute"]

_SMALLEST = 1e-12
# Blocks of rows that are left out in turn, for the error of a metric that is no mean over
# rows.
_N_BLOCKS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RowObjective:
    """A loss that is a mean over samples; less is better.

    `kind` is "log_loss", "label_log_loss" (the mean of log loss over the labels of a
    multilabel problem), "zero_one", "squared" or "absolute".
    """

    kind: Kind

    def statistics(self, predictions: Array, y: Array) -> Array:
        """Return what the loss needs of predictions, (M, N, ...), linear in them.

        Predictions are probabilities, (M, N, K), or targets, (M, N); log loss needs the
        probability of the true class only.
        """
        if self.kind == "log_loss":
            return np.ascontiguousarray(predictions[:, np.arange(len(y)), y])
        return predictions

    def rows(self, statistics: Array, y: Array) -> Floats:
        """Return the loss of each sample, (..., N), from (averages of) statistics."""
        if self.kind == "log_loss":
            return np.asarray(-np.log(np.maximum(statistics, _SMALLEST)))
        if self.kind == "zero_one":
            return np.asarray(statistics.argmax(axis=-1) != y, dtype=np.float64)
        if self.kind == "label_log_loss":
            true = np.where(y > 0.5, statistics, 1 - statistics)
            losses = -np.log(np.maximum(true, _SMALLEST))
        else:
            errors = statistics - y
            losses = np.square(errors) if self.kind == "squared" else np.abs(errors)
        return np.asarray(losses.mean(axis=-1) if y.ndim == 2 else losses)

    def losses(self, statistics: Array, y: Array) -> Floats:
        """Return the loss of each of M candidates, (M,), from their statistics."""
        return np.asarray(self.rows(statistics, y).mean(axis=-1))

    def difference(self, first: Array, second: Array, y: Array) -> tuple[float, float]:
        """Return by how much the first of two has more loss, and the standard error.

        Both are statistics of the same samples, whose differences are paired.
        """
        return _mean_and_error(self.rows(first, y) - self.rows(second, y))

    def estimate(self, statistics: Array, y: Array) -> tuple[float, float]:
        """Return the loss of one candidate's statistics, and its standard error."""
        return _mean_and_error(self.rows(statistics, y))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MetricObjective:
    """The negative of any metric of all samples; less is better.

    `classes` are labels by their number, or None.
    """

    metric: Metric
    classes: Array | None
    is_classification: bool

    def statistics(self, predictions: Array, y: Array) -> Array:
        """Return the predictions as they are, as ``RowObjective.statistics`` does."""
        return predictions

    def losses(self, statistics: Array, y: Array) -> Floats:
        """Return the loss of each of several, as ``RowObjective.losses`` does.

        It is the same for all on rows of which the metric says nothing.
        """
        every = np.arange(len(y))
        found = np.array([
            _or_nan(partial(self._loss_on, own, y), every) for own in statistics
        ])
        is_known = np.isfinite(found)
        return np.where(is_known, found, found[is_known].max(initial=0.0))

    def difference(self, first: Array, second: Array, y: Array) -> tuple[float, float]:
        """Return a paired difference and its jackknife error over blocks of rows."""
        return self._jackknifed(y, lambda rows: self._gap(first, second, y, rows))

    def estimate(self, statistics: Array, y: Array) -> tuple[float, float]:
        """Return a loss and its jackknife error over blocks of rows."""
        return self._jackknifed(y, partial(self._loss_on, statistics, y))

    def _gap(self, first: Array, second: Array, y: Array, rows: Array) -> float:
        return self._loss(first[rows], y[rows]) - self._loss(second[rows], y[rows])

    def _loss_on(self, statistics: Array, y: Array, rows: Array) -> float:
        return self._loss(statistics[rows], y[rows])

    def _loss(self, predictions: Array, y: Array) -> float:
        try:
            return self._loss_of(predictions, y, self.classes)
        except ValueError:
            if self.classes is None or not self.is_classification:
                raise
            present = np.unique(y)
            if len(present) == len(self.classes):
                raise
            # Some metrics want to see every class: these rows tell of some only.
            own = predictions[:, present] + _SMALLEST
            own = own / own.sum(axis=1, keepdims=True)
            numbers = np.searchsorted(present, y)
            return self._loss_of(own, numbers, self.classes[present])

    def _loss_of(self, predictions: Array, y: Array, classes: Array | None) -> float:
        response = predictions
        if self.is_classification:
            response = self.metric.response(predictions, classes)
        y_true = y if classes is None else classes[y]
        with warnings.catch_warnings():
            # A metric may warn of rows that lack a class.
            warnings.simplefilter("ignore")
            return -self.metric(y_true, response)

    def _jackknifed(
        self, y: Array, statistic: Callable[[Array], float]
    ) -> tuple[float, float]:
        block = np.arange(len(y)) % min(_N_BLOCKS, len(y))
        whole = statistic(np.arange(len(y)))
        without = []
        for left_out in range(int(block.max()) + 1):
            rows = np.flatnonzero(block != left_out)
            # A metric may be undefined where a class is left out.
            value = _or_nan(statistic, rows)
            if np.isfinite(value):
                without.append(value)
        n = len(without)
        if n < 2:
            return whole, float("inf")
        return whole, float(np.sqrt((n - 1) * np.var(without)))


Objective = RowObjective | MetricObjective


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SignedObjective:
    """The loss of some samples less that of others.

    The true values that it takes, (N, 2), have the samples' signs in their second column.
    """

    objective: Objective

    def losses(self, statistics: Array, y: Array) -> Floats:
        """Return the difference for each of M candidates, as a mean over all samples."""
        own, signs = y.T
        if isinstance(self.objective, RowObjective):
            return np.asarray((self.objective.rows(statistics, own) * signs).mean(axis=-1))
        total = np.zeros(len(statistics))
        for sign in np.unique(signs):
            rows = signs == sign
            losses = self.objective.losses(statistics[:, rows], own[rows])
            total += sign * rows.mean() * losses
        return total


def default_objective(classes: Array | None) -> RowObjective:
    """Return log loss for classes, squared error for targets.

    `classes` is empty for a multilabel problem, None for regression.
    """
    if classes is None:
        return RowObjective(kind="squared")
    return RowObjective(kind="log_loss" if len(classes) else "label_log_loss")


def make_objective(
    scoring: Any, y: Array, classes: Array | None, *, is_exact: bool = False
) -> Objective:
    """Return the loss that belongs to a scoring; log loss or squared error if it is None.

    `classes` is empty for a multilabel problem, None for regression. Unless `is_exact`, the
    loss may be another one that orders predictions as the score does. Raises ValueError if
    the scoring is no function of targets and predictions.
    """
    if scoring is None:
        return default_objective(classes)
    metric = scorer_metric(scoring)
    if metric is None:
        raise ValueError(
            "The 'scoring' parameter must be None, the name of a scorer or a scorer made "
            f"by make_scorer. Got {scoring!r} instead."
        )
    kind = _kind(metric, y, classes, is_exact=is_exact)
    if kind is not None:
        return RowObjective(kind=kind)
    return MetricObjective(
        metric=metric,
        classes=classes if classes is not None and len(classes) else None,
        is_classification=classes is not None,
    )


def _kind(
    metric: Metric, y: Array, classes: Array | None, *, is_exact: bool
) -> Kind | None:
    """Return which mean over rows is a metric or orders as it does, if one does."""
    if metric.options:
        return None
    if classes is not None:
        if len(classes) == 0:
            return None
        kinds: dict[Any, Kind] = {log_loss: "log_loss"}
        if not is_exact:
            kinds[accuracy_score] = "zero_one"
    else:
        kinds = {mean_squared_error: "squared", mean_absolute_error: "absolute"}
        if y.ndim == 1 and not is_exact:
            # R^2 falls as the squared error of the same rows grows, and its root grows.
            kinds[r2_score] = kinds[root_mean_squared_error] = "squared"
    return kinds.get(metric.function)


def _mean_and_error(values: Floats) -> tuple[float, float]:
    n = len(values)
    error = values.std(ddof=1) / np.sqrt(n) if n > 1 else np.inf
    return float(values.mean()), float(error)


def _or_nan(statistic: Callable[[Array], float], rows: Array) -> float:
    try:
        return statistic(rows)
    except ValueError:
        return float("nan")
