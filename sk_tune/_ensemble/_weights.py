# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Weights of an average: the objective, and greedy selection.

Notation: M candidates, N samples, K classes or outputs.  Classes are numbered from 0.

References
----------
.. [1] R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes. Ensemble selection from
   libraries of models. ICML 2004.  With replacement: section 2.1; sorted start: 2.2.
   Their bags (2.3) are of candidates; a search trains few, and most bags would lack the
   best, so these bags are of samples.
"""

from dataclasses import asdict, dataclass, replace
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    root_mean_squared_error,
)

from sk_tune._compat import Interval, validate_parameter_constraints
from sk_tune._declaration import COUNT
from sk_tune._scores import Metric, metric_scores, scorer_metric
from sk_tune._types import Array, Floats, Integers

MeanLoss = Literal["log_loss", "label_log_loss", "zero_one", "squared", "absolute"]

_SMALLEST = 1e-12
# Number of blocks of samples left out in turn, for the jackknife error of metrics that are
# not a mean over samples.
_N_BLOCKS = 20
# If the losses of two candidates differ by less than this share, prefer a current member.
_TIE = 1e-12
# Selection ends after this number of consecutive additions without gain.
_PATIENCE = 10
# Most samples in a bag: more would hardly make weights steadier, and cost more.
_MOST_SAMPLES = 5000
# A metric that is not a mean over samples is called for each candidate in each round, about
# a millisecond each.
_MOST_BAGS_OF_METRIC = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleObjective:
    """A loss that is a mean over samples; less is better.

    `kind` is "log_loss", "label_log_loss" (the mean of log loss over the labels of a
    multilabel problem), "zero_one", "squared" or "absolute".  `unit`, (N,), numbers the
    groups of dependent samples, for standard errors; None if samples are independent.
    """

    kind: MeanLoss
    unit: Array | None = None

    def statistics(self, predictions: Array, y: Array) -> Array:
        """Return sufficient statistics, (M, N, ...), linear in the predictions."""
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
        """Return the losses, (M,); samples with a sign of -1 are subtracted."""
        each = self.each(statistics, y)
        return np.asarray((each if signs is None else each * signs).mean(axis=-1))

    def difference(self, first: Array, second: Array, y: Array) -> tuple[float, float]:
        """Return the paired difference of two losses, first minus second, and its error."""
        return _mean_and_error(self.each(first, y) - self.each(second, y), self.unit)

    def estimate(self, statistics: Array, y: Array) -> tuple[float, float]:
        """Return the loss of one candidate's statistics, and its standard error."""
        return _mean_and_error(self.each(statistics, y), self.unit)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MetricObjective:
    """The negative of any metric; less is better.

    `classes` are labels or None; `unit` is as in ``SampleObjective``.
    """

    metric: Metric
    classes: Array | None
    is_classification: bool
    unit: Array | None = None

    def statistics(self, predictions: Array, y: Array) -> Array:
        """Return the predictions unchanged; see ``SampleObjective.statistics``."""
        return predictions

    def losses(self, statistics: Array, y: Array, signs: Array | None = None) -> Floats:
        """Return losses as ``SampleObjective.losses`` does; all equal where undefined."""
        if signs is None:
            losses = self._losses(statistics, y, np.ones((1, len(y))))[0]
        else:
            parts = [(sign, signs == sign) for sign in np.unique(signs)]
            losses = np.asarray(
                sum(
                    sign * chosen.mean() * self.losses(statistics[:, chosen], y[chosen])
                    for sign, chosen in parts
                )
            )
        is_defined = np.isfinite(losses)
        worst = losses[is_defined].max(initial=0.0)
        return np.asarray(np.where(is_defined, losses, worst))

    def difference(self, first: Array, second: Array, y: Array) -> tuple[float, float]:
        """Return a paired difference and its jackknife error over blocks of samples."""
        return self._jackknifed(np.stack([first, second]), y)

    def estimate(self, statistics: Array, y: Array) -> tuple[float, float]:
        """Return a loss and its jackknife error over blocks of samples."""
        return self._jackknifed(statistics[np.newaxis], y)

    def _losses(self, statistics: Array, y: Array, weights: Floats) -> Floats:
        """Return the losses (B, M) on the samples with weight 1 in weights, (B, N)."""
        classes, responses, y_true = self.classes, statistics, y
        if self.is_classification:
            responses = self.metric.response(statistics, classes)
        if classes is not None:
            y_true = classes[y]
        scores = metric_scores(self.metric, y_true, responses, classes).of_all(weights)
        present = np.unique(y)
        if classes is None or np.isfinite(scores).any() or len(present) == len(classes):
            return -scores
        # Some metrics need every class, and these samples have only some.
        probabilities = statistics[..., present] + _SMALLEST
        probabilities /= probabilities.sum(axis=-1, keepdims=True)
        some = replace(self, classes=classes[present])
        return some._losses(probabilities, np.searchsorted(present, y), weights)

    def _jackknifed(self, statistics: Array, y: Array) -> tuple[float, float]:
        """Return the loss of one candidate, or the difference of two, and its error."""
        unit = np.arange(len(y)) if self.unit is None else self.unit
        block = unit % min(_N_BLOCKS, unit.max() + 1)
        weights = block != np.arange(-1, block.max() + 1)[:, np.newaxis]
        losses = self._losses(statistics, y, weights.astype(np.float64))
        overall, *without = losses[:, 0] - losses[:, 1:].sum(axis=1)
        # A metric may be undefined where a class is left out.
        defined = np.array(without)[np.isfinite(without)]
        n = len(defined)
        error = np.sqrt((n - 1) * np.var(defined)) if n > 1 else np.inf
        return float(overall), float(error)


Objective = SampleObjective | MetricObjective


# A mean over samples that equals a metric or ranks like it, and the metric's sign, for
# classes and for numbers.
_MEANS: dict[bool, dict[Any, tuple[MeanLoss, int]]] = {
    True: {log_loss: ("log_loss", -1), accuracy_score: ("zero_one", 1)},
    False: {
        mean_squared_error: ("squared", -1),
        mean_absolute_error: ("absolute", -1),
        r2_score: ("squared", 1),
        root_mean_squared_error: ("squared", -1),
    },
}
_RANK_ONLY = {accuracy_score, r2_score, root_mean_squared_error}


def make_objective(
    scoring: Any,
    y: Array,
    classes: Array | None,
    *,
    unit: Array | None = None,
    is_exact: bool = False,
) -> Objective:
    """Return the objective of a scoring; log loss or squared error if it is None.

    `classes` is empty for a multilabel problem, None for regression; `unit` is as in
    ``SampleObjective``. Unless `is_exact`, the
    objective may differ from the score if it ranks predictions equally. Raises ValueError
    if the scoring is not a function of targets and predictions.
    """
    has_classes = classes is not None
    has_labels = classes is not None and len(classes) == 0
    if scoring is None:
        by_class: MeanLoss = "label_log_loss" if has_labels else "log_loss"
        return SampleObjective(kind=by_class if has_classes else "squared", unit=unit)
    metric = scorer_metric(scoring)
    if metric is None:
        raise ValueError(
            "The 'scoring' parameter must be None, the name of a scorer or a scorer made "
            f"by make_scorer. Got {scoring!r} instead."
        )
    kind, sign = _MEANS[has_classes].get(metric.function, (None, 0))
    # Scores of several targets are means of scores, which rank differently.
    is_other = metric.function in _RANK_ONLY and (is_exact or y.ndim == 2)
    if kind is None or metric.options or metric.sign != sign or is_other or has_labels:
        shown = None if has_labels else classes
        return MetricObjective(
            metric=metric, classes=shown, is_classification=has_classes, unit=unit
        )
    return SampleObjective(kind=kind, unit=unit)


def _mean_and_error(values: Floats, unit: Array | None) -> tuple[float, float]:
    """Return the mean and its standard error; values of a unit may be dependent."""
    mean, sums = values.mean(), values - values.mean()
    if unit is not None:
        sums = np.bincount(unit, sums)
    n = len(sums)
    error = np.sqrt(n / (n - 1) * np.square(sums).sum()) / len(values) if n > 1 else np.inf
    return float(mean), float(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class GreedyOptions:
    """Greedy selection of members, as `method` of the ensembles of a search's candidates.

    Parameters
    ----------
    max_rounds : int, default=50
        Maximum number of additions; 0 keeps the initial average.
    n_start : int, default=5
        Selection starts from the average of the k best candidates, with the best k up to
        `n_start`.
    min_gain : float, default=0.0
        Minimum gain of an addition, in standard errors of the paired difference of losses.
        1 gives fewer members with nearly the same loss.
    n_bags : int, default=20
        Number of bootstrap samples.  Weights are chosen on each of them and averaged; 1
        chooses once on all samples.  At most 5 for metrics that are not a mean over
        samples, such as the area under the ROC curve.

    Raises
    ------
    ValueError
        If a parameter is invalid.

    See Also
    --------
    TrialEnsembleClassifier : Takes these options.
    TrialEnsembleRegressor : Takes these options.

    References
    ----------
    R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes. Ensemble selection from libraries of
    models. ICML 2004.

    Examples
    --------
    >>> from sk_tune import GreedyOptions, GridSearchCV, MLPClassifier
    >>> from sk_tune import TrialEnsembleClassifier
    >>> search = GridSearchCV(MLPClassifier(), {"width": [8, 16]})
    >>> ensemble = TrialEnsembleClassifier(search, method=GreedyOptions(n_bags=1))
    """

    max_rounds: int = 50
    n_start: int = 5
    min_gain: float = 0.0
    n_bags: int = 20

    def __post_init__(self) -> None:
        not_negative = {"left": 0, "right": None, "closed": "left"}
        constraints = {
            "max_rounds": [Interval(Integral, **not_negative)],
            "n_start": [COUNT],
            "min_gain": [Interval(Real, **not_negative)],
            "n_bags": [COUNT],
        }
        validate_parameter_constraints(constraints, asdict(self), "GreedyOptions")


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
    ``statistics`` of out-of-fold predictions; `signs`, (N,), are arguments of its losses.
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
) -> Integers:
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
