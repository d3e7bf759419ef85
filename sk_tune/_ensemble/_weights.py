# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Weights of an average: the objective, greedy selection, and a stacker.

Notation: M candidates, N samples, K classes or outputs.  Classes are numbered from 0.

References
----------
.. [1] R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes. Ensemble selection from
   libraries of models. ICML 2004.  With replacement: section 2.1; sorted start: 2.2.
   Their bags (2.3) are of candidates; a search trains few, and most bags would lack the
   best, so these bags are of samples.
.. [2] L. Breiman. Stacked regressions. Machine Learning 24:49-64, 1996.  Non-negative
   weights make stacking of similar predictors work.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    root_mean_squared_error,
)

from sk_tune._scores import Metric, scorer_metric

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
MeanLoss = Literal["log_loss", "label_log_loss", "zero_one", "squared", "absolute"]

_SMALLEST = 1e-12
# Number of blocks of samples left out in turn, for the jackknife error of metrics that are
# not a mean over samples.
_N_BLOCKS = 20
# If the losses of two candidates differ by less than this share, prefer a current member.
_TIE = 1e-12
# Selection ends after this number of consecutive additions without gain.
_PATIENCE = 10
# Most samples in a bag: more would make weights little steadier, and cost more.
_MOST_SAMPLES = 5000
# A metric that is not a mean over samples is called for each candidate in each round, about
# a millisecond each.
_MOST_BAGS_OF_METRIC = 5
# Strengths of shrinkage towards equal weights, in units of the loss of equal weights.
_STRENGTHS = (0.0, 0.001, 0.01, 0.1, 1.0)
# Smaller weights are rounding errors.
_NEGLIGIBLE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleObjective:
    """A loss that is a mean over samples; less is better.

    `kind` is "log_loss", "label_log_loss" (the mean of log loss over the labels of a
    multilabel problem), "zero_one", "squared" or "absolute".
    """

    kind: MeanLoss

    def statistics(self, predictions: Array, y: Array) -> Array:
        """Return sufficient statistics of predictions, (M, N, ...), linear in them.

        Predictions are probabilities, (M, N, K), or targets, (M, N); log loss needs
        only the probability of the true class.
        """
        if self.kind == "log_loss":
            return np.ascontiguousarray(predictions[:, np.arange(len(y)), y])
        return predictions

    def each(self, statistics: Array, y: Array) -> Floats:
        """Return the loss of each sample, (..., N), from statistics or averages of them."""
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

    def losses(self, statistics: Array, y: Array, signs: Array | None = None) -> Floats:
        """Return the loss of each of M candidates, (M,), from their statistics.

        Losses of samples with a sign of -1, (N,), are subtracted.
        """
        each = self.each(statistics, y)
        return np.asarray((each if signs is None else each * signs).mean(axis=-1))

    def difference(self, first: Array, second: Array, y: Array) -> tuple[float, float]:
        """Return the paired difference of two losses, first minus second, and its error."""
        return _mean_and_error(self.each(first, y) - self.each(second, y))

    def estimate(self, statistics: Array, y: Array) -> tuple[float, float]:
        """Return the loss of one candidate's statistics, and its standard error."""
        return _mean_and_error(self.each(statistics, y))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MetricObjective:
    """The negative of any metric; less is better.  `classes` are labels or None."""

    metric: Metric
    classes: Array | None
    is_classification: bool

    def statistics(self, predictions: Array, y: Array) -> Array:
        """Return the predictions unchanged; see ``SampleObjective.statistics``."""
        return predictions

    def losses(self, statistics: Array, y: Array, signs: Array | None = None) -> Floats:
        """Return losses as ``SampleObjective.losses`` does; all equal where undefined."""
        if signs is not None:
            parts = [(sign, signs == sign) for sign in np.unique(signs)]
            return np.asarray(
                sum(
                    sign * chosen.mean() * self.losses(statistics[:, chosen], y[chosen])
                    for sign, chosen in parts
                )
            )
        every = np.arange(len(y))
        losses = np.array([
            _or_nan(partial(self._loss_on, one, y), every) for one in statistics
        ])
        is_known = np.isfinite(losses)
        return np.where(is_known, losses, losses[is_known].max(initial=0.0))

    def difference(self, first: Array, second: Array, y: Array) -> tuple[float, float]:
        """Return a paired difference and its jackknife error over blocks of samples."""

        def gap(chosen: Array) -> float:
            return self._loss_on(first, y, chosen) - self._loss_on(second, y, chosen)

        return self._jackknifed(y, gap)

    def estimate(self, statistics: Array, y: Array) -> tuple[float, float]:
        """Return a loss and its jackknife error over blocks of samples."""
        return self._jackknifed(y, partial(self._loss_on, statistics, y))

    def _loss_on(self, statistics: Array, y: Array, chosen: Array) -> float:
        predictions, y = statistics[chosen], y[chosen]
        try:
            return self._loss_of(predictions, y, self.classes)
        except ValueError:
            if self.classes is None or not self.is_classification:
                raise
            present = np.unique(y)
            if len(present) == len(self.classes):
                raise
            # Some metrics need every class, and these samples may have only some.
            probabilities = predictions[:, present] + _SMALLEST
            probabilities /= probabilities.sum(axis=1, keepdims=True)
            numbers = np.searchsorted(present, y)
            return self._loss_of(probabilities, numbers, self.classes[present])

    def _loss_of(self, predictions: Array, y: Array, classes: Array | None) -> float:
        response = predictions
        metric = self.metric
        is_accuracy = metric.function is accuracy_score and not metric.options
        if is_accuracy and metric.takes_labels and classes is not None:
            # Class numbers give the same result at a hundredth of the cost.
            return -metric.sign * float(np.mean(predictions.argmax(axis=-1) == y))
        if self.is_classification:
            response = self.metric.response(predictions, classes)
        y_true = y if classes is None else classes[y]
        # A metric may warn about samples that lack a class.
        with warnings.catch_warnings(action="ignore"):
            return -self.metric(y_true, response)

    def _jackknifed(
        self, y: Array, statistic: Callable[[Array], float]
    ) -> tuple[float, float]:
        block = np.arange(len(y)) % min(_N_BLOCKS, len(y))
        overall = statistic(np.arange(len(y)))
        without = []
        for left_out in range(int(block.max()) + 1):
            # A metric may be undefined where a class is left out.
            value = _or_nan(statistic, np.flatnonzero(block != left_out))
            if np.isfinite(value):
                without.append(value)
        n = len(without)
        if n < 2:
            return overall, float("inf")
        return overall, float(np.sqrt((n - 1) * np.var(without)))


Objective = SampleObjective | MetricObjective


def default_objective(classes: Array | None) -> SampleObjective:
    """Return log loss (per label for empty classes), or squared error for None."""
    if classes is None:
        return SampleObjective(kind="squared")
    return SampleObjective(kind="log_loss" if len(classes) else "label_log_loss")


def make_objective(
    scoring: Any, y: Array, classes: Array | None, *, is_exact: bool = False
) -> Objective:
    """Return the objective of a scoring; log loss or squared error if it is None.

    `classes` is empty for a multilabel problem, None for regression. Unless `is_exact`, the
    objective may be another one that ranks predictions as the score does. Raises ValueError
    if the scoring is not a function of targets and predictions.
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
        return SampleObjective(kind=kind)
    return MetricObjective(
        metric=metric,
        classes=classes if classes is not None and len(classes) else None,
        is_classification=classes is not None,
    )


def _kind(
    metric: Metric, y: Array, classes: Array | None, *, is_exact: bool
) -> MeanLoss | None:
    """Return a mean over samples that equals a metric or ranks as it does; else None."""
    if metric.options:
        return None
    if classes is not None:
        if len(classes) == 0:
            return None
        kinds: dict[Any, tuple[MeanLoss, int]] = {log_loss: ("log_loss", -1)}
        if not is_exact:
            kinds[accuracy_score] = "zero_one", 1
    else:
        kinds = {mean_squared_error: ("squared", -1), mean_absolute_error: ("absolute", -1)}
        if y.ndim == 1 and not is_exact:
            # R^2 and the root mean squared error rank as the squared error.
            kinds |= {r2_score: ("squared", 1), root_mean_squared_error: ("squared", -1)}
    kind, sign = kinds.get(metric.function, (None, 0))
    return kind if metric.sign == sign else None


def _mean_and_error(values: Floats) -> tuple[float, float]:
    n = len(values)
    error = values.std(ddof=1) / np.sqrt(n) if n > 1 else np.inf
    return float(values.mean()), float(error)


def _or_nan(statistic: Callable[[Array], float], chosen: Array) -> float:
    try:
        return statistic(chosen)
    except ValueError:
        return float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class GreedyOptions:
    """How greedy selection adds candidates: parameters of ``TrialEnsembleClassifier``."""

    max_rounds: int
    n_start: int
    min_gain: float
    n_bags: int


def greedy_weights(
    statistics: Array,
    y: Array,
    objective: Objective,
    options: GreedyOptions,
    rng: np.random.Generator,
    signs: Array | None = None,
) -> Floats:
    """Return the weights, (M,), of an average of candidates with a small loss.

    They are non-negative with sum 1. `statistics`, (M, N, ...), come from the objective's
    ``statistics`` of out-of-fold predictions; `signs`, (N,), are those of its losses.
    """
    n_bags = options.n_bags
    if isinstance(objective, MetricObjective):
        n_bags = min(n_bags, _MOST_BAGS_OF_METRIC)
    if n_bags == 1 or len(statistics) == 1:
        counts = _select(statistics, y, objective, options, signs)
        return np.asarray(counts / counts.sum())
    weights = np.zeros(len(statistics))
    for _ in range(n_bags):
        drawn = rng.integers(len(y), size=min(len(y), _MOST_SAMPLES))
        of_bag = None if signs is None else signs[drawn]
        counts = _select(statistics[:, drawn], y[drawn], objective, options, of_bag)
        weights += counts / counts.sum()
    return weights / n_bags


def _select(
    statistics: Array,
    y: Array,
    objective: Objective,
    options: GreedyOptions,
    signs: Array | None,
) -> Counts:
    """Return the number of times that each candidate is in the ensemble."""
    # Start from the best candidates, up to the number that is best together.
    best = np.argsort(objective.losses(statistics, y, signs), kind="stable")
    sums = np.cumsum(statistics[best[: options.n_start]], axis=0)
    sizes = np.arange(1, len(sums) + 1).reshape(-1, *[1] * (sums.ndim - 1))
    n = int(np.argmin(objective.losses(sums / sizes, y, signs))) + 1
    counts = np.zeros(len(statistics), dtype=np.int64)
    counts[best[:n]] = 1
    total = sums[n - 1]
    best_counts, current = counts.copy(), total / counts.sum()
    n_idle = 0
    for _ in range(options.max_rounds):
        losses = objective.losses((total + statistics) / (counts.sum() + 1), y, signs)
        least = losses.min()
        tied = np.flatnonzero(losses <= least + _TIE * abs(least))
        members = tied[counts[tied] > 0]
        chosen = (members if len(members) else tied)[0]
        counts[chosen] += 1
        total = total + statistics[chosen]
        average = total / counts.sum()
        if options.min_gain == 0 or signs is not None:
            # The error is not needed; for a metric that is not a mean over samples it
            # would take many calls.
            previous, after = objective.losses(np.stack([current, average]), y, signs)
            is_gain = after < previous
        else:
            gain, error = objective.difference(current, average, y)
            is_gain = gain > 0 and gain >= options.min_gain * error
        n_idle += 1
        if is_gain:
            best_counts, current, n_idle = counts.copy(), average, 0
        if n_idle == _PATIENCE:
            break
    return best_counts


def _stacked_weights(
    predictions: Array, y: Array, loss: SampleObjective, strength: float
) -> Floats:
    """Return non-negative weights, (M,), with sum 1 and the least regularised loss.

    `strength` is the shrinkage towards equal weights, in units of their loss.
    """
    columns, target = _columns(predictions, y, loss)
    n = len(predictions)
    equal = np.full(n, 1 / n)
    unit = max(_value(columns, target, equal, loss)[0], _SMALLEST)

    def penalised(weights: Floats) -> tuple[float, Floats]:
        value, slope = _value(columns, target, weights, loss)
        gap = weights - equal
        value = value / unit + strength * float(gap @ gap)
        return value, slope / unit + 2 * strength * gap

    optimum = minimize(
        penalised,
        equal,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * n,
        constraints={
            "type": "eq",
            "fun": lambda weights: weights.sum() - 1,
            "jac": lambda weights: np.ones(n),
        },
        options={"maxiter": 200, "ftol": 1e-10},
    )
    weights = np.where(optimum.x > _NEGLIGIBLE, optimum.x, 0.0)
    return np.asarray(weights / weights.sum())


def tuned_stacked_weights(
    predictions: Array, y: Array, part: Array, loss: SampleObjective, objective: Objective
) -> Floats:
    """Return stacked weights with the best strength on parts held out in turn."""
    if len(predictions) == 1:
        return np.ones(1)
    parts = np.unique(part)
    if len(parts) == 1:
        part = np.arange(len(y)) % 2
        parts = np.arange(2)
    losses = []
    for strength in _STRENGTHS:
        out_of_part = np.empty(predictions.shape[1:])
        for number in parts:
            inside, outside = part != number, part == number
            weights = _stacked_weights(predictions[:, inside], y[inside], loss, strength)
            out_of_part[outside] = np.tensordot(weights, predictions[:, outside], axes=1)
        losses.append(objective.losses(objective.statistics(out_of_part[None], y), y)[0])
    # Of equally good strengths, the largest depends least on the samples.
    best = len(losses) - 1 - int(np.argmin(losses[::-1]))
    return _stacked_weights(predictions, y, loss, _STRENGTHS[best])


def _columns(predictions: Array, y: Array, loss: SampleObjective) -> tuple[Floats, Floats]:
    """Return a column for each candidate, and targets: the loss is one of products."""
    if loss.kind == "label_log_loss":
        predictions = np.where(y > 0.5, predictions, 1 - predictions)
    statistics = loss.statistics(predictions, y)
    columns = statistics.reshape(len(predictions), -1).T
    return np.asarray(columns, dtype=np.float64), np.asarray(y, dtype=np.float64).ravel()


def _value(
    columns: Floats, target: Floats, weights: Floats, loss: SampleObjective
) -> tuple[float, Floats]:
    average = columns @ weights
    if loss.kind == "squared":
        error = average - target
        return float(np.mean(error**2)), 2 * columns.T @ error / len(error)
    average = np.maximum(average, _SMALLEST)
    return float(-np.log(average).mean()), -columns.T @ (1 / average) / len(average)
