# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The expected score of the best candidate, without selection bias.

Notation, as in Tsamardinos et al. (2018): B resamples of N samples, C candidates.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import mean_squared_error, r2_score
from sklearn.utils import check_random_state

from sk_tune._scores._metric import Metric
from sk_tune._scores._metric_sums import Sums, in_blocks, metric_sums
from sk_tune._search_record import rows_of_most
from sk_tune._text import interval_text
from sk_tune._types import Array, Bools, Floats

# Bytes of the weights of the resamples processed together.
_CHUNK_BYTES = 32 * 2**20
# With more samples than this, random blocks of samples are resampled.
_MOST_BLOCKS = 10_000
# A metric that is not a function of sums takes 2 to 10 milliseconds per call.
_MOST_CALLS, _LEAST_RESAMPLES = 1_000, 50
# Samples of a fold below which R^2 is relative to the variance of all samples.
_FEWEST_FOR_R2 = 30
_SQUARED_ERROR = Metric(function=mean_squared_error, sign=-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreEstimate:
    """Expected score on new data, with an interval; greater is better.

    Searches, ensembles and AutoML have one as ``expected_score_``.

    Parameters
    ----------
    score : float
        Score without selection bias; NaN if it is undefined.
    low, high : float
        Ends of the interval; NaN if it was not computed.
    confidence : float
        Nominal probability that the interval contains the score on new data.
    method : {"bootstrap", "cross-fitting"}
        "bootstrap" for searches: the candidate that is best on a bootstrap sample is scored
        on the samples that were not drawn, see `expected_score`.  "cross-fitting" for
        ensembles and AutoML: each fold is predicted with members and weights that were
        chosen on the other folds.
    naive_score : float, default=nan
        Score on the samples on which the choice was made, which is optimistic.
    n_bootstraps : int, default=0
        Number of resamples behind the interval; 0 for an interval from a standard error.

    See Also
    --------
    expected_score : The estimate for candidates with out-of-fold predictions.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from sk_tune import GridSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> grid = {"max_depth": [1, 2, 3, 4]}
    >>> search = GridSearchCV(DecisionTreeClassifier(random_state=0), grid).fit(X, y)
    >>> expected = search.expected_score_
    >>> expected.low < expected.score < expected.high
    True
    >>> expected.score < expected.naive_score
    True
    """

    score: float
    low: float
    high: float
    confidence: float
    method: str
    naive_score: float = math.nan
    n_bootstraps: int = 0

    def __str__(self) -> str:
        score, low, high = interval_text(self.score, self.low, self.high)
        return f"{score} [{low}, {high}]"

    def _repr_html_(self) -> str:
        *_, naive = interval_text(self.score, self.low, self.high, self.naive_score)
        naive = f"; {naive} without the correction for selection bias"
        return (
            f"<p>Expected on new data: <b>{self}</b> ({100 * self.confidence:.0f} % "
            f"interval by {self.method}{'' if math.isnan(self.naive_score) else naive})</p>"
        )


class FoldScores:
    """The score of each of C candidates on each of F folds of N samples, or NaN.

    R^2 of small folds is relative to the variance of all samples, because that of a few may
    be tiny by chance.  `is_relative` says whether it is.

    `predictions` are (C, N) or (C, N, K); `folds`, (F, N), marks the held-out samples.
    Samples of one of the `groups`, (N,), are drawn together.
    """

    def __init__(
        self,
        metric: Metric,
        predictions: Floats,
        y: npt.NDArray[np.generic],
        *,
        classes: npt.NDArray[np.generic] | None,
        folds: Bools,
        groups: Array | None = None,
    ) -> None:
        self._folds, self._groups = folds, groups
        self.is_relative = (
            metric.function is r2_score
            and not metric.options
            and folds.sum(axis=1).min() < _FEWEST_FOR_R2
            and bool(np.all(np.ptp(y, axis=0) > 0))
        )
        if self.is_relative:
            scale, metric = y.std(axis=0), _SQUARED_ERROR
            y, predictions = y / scale, predictions / scale
        if classes is not None:
            predictions = metric.response(predictions, classes)
        self._scores = metric_scores(metric, y, predictions, classes)
        # Whether the metric is called for each score, which is slow.
        self.needs_calls = isinstance(self._scores, _CalledMetric)
        self._n_calls = len(predictions) * len(folds) * self.needs_calls

    def on_all(self) -> Floats:
        """Return the scores (F, C) on all samples."""
        scores: Floats = self._on(np.ones((1, self._folds.shape[1])))[0]
        return scores

    def on_resamples(
        self, n: int, rng: np.random.Generator, seconds: float | None = None
    ) -> Floats:
        """Return means (B, C) over folds on the samples missed by `n` bootstraps."""
        n_rows = self._folds.shape[1]
        draws = _draws(rng, n, n_rows, self._n_calls, seconds, self._groups)
        # A resample may leave all folds without a score.
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
            return np.concatenate([
                np.nanmean(self._on(counts == 0), axis=1) for counts in draws
            ])

    def _on(self, weights: Array) -> Floats:
        """Return scores (B, F, C) on the samples with weight 1 in weights (B, N)."""
        # A metric may warn about samples that lack a class.
        with warnings.catch_warnings(action="ignore"):
            by_fold = [self._scores.of_all(weights * fold) for fold in self._folds * 1.0]
            return float(self.is_relative) + np.stack(by_fold, axis=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _CalledMetric:
    """Scores of C candidates on resamples of N samples, with one call per score."""

    metric: Metric
    y: Array
    responses: Array  # arguments of the metric, (C, N) or (C, N, K)
    weight: Array | None  # (N,), of samples

    def of(self, candidates: Any) -> "_CalledMetric":
        return replace(self, responses=self.responses[candidates])

    def of_all(self, counts: Floats) -> Floats:
        """Return the scores (B, C) for the number of draws of each sample, (B, N)."""
        scores = np.full((len(counts), len(self.responses)), np.nan)
        for row, drawn in zip(scores, counts, strict=True):
            samples = np.repeat(np.arange(len(self.y)), drawn.astype(np.intp))
            weights = {} if self.weight is None else {"sample_weight": self.weight[samples]}
            for candidate, response in enumerate(self.responses):
                # The metric may be undefined for these samples.
                with suppress(ValueError):
                    score = self.metric(self.y[samples], response[samples], **weights)
                    row[candidate] = score
        return scores


_Scores = Sums | _CalledMetric


def metric_scores(
    metric: Metric,
    y: Array,
    responses: Array,
    classes: Array | None,
    weight: Array | None = None,
) -> _Scores:
    """Return an object that scores all candidates under many weightings."""
    return metric_sums(metric, y, responses, classes) or _CalledMetric(
        metric=metric, y=y, responses=responses, weight=weight
    )


def expected_score(
    predictions: Any,
    y: Any,
    metric: Metric | Callable[[Array, Array], float],
    *,
    n_bootstraps: int = 1000,
    confidence: float = 0.95,
    classes: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    tolerance: float = 0.0,
    costs: Any = None,
    time_budget: float | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> ScoreEstimate:
    """Return the best candidate's score by bootstrap bias-corrected cross-validation.

    On each bootstrap resample, the best candidate is chosen on the drawn samples and scored
    on the samples that were not drawn.  The mean of these scores is free of the optimism of
    a maximum.

    Parameters
    ----------
    predictions : array-like of shape (C, N) or (C, N, K)
        Out-of-fold predictions of each candidate, in the form that the metric takes, or
        class probabilities if `classes` are passed.  NaN and None are missing predictions.
        Samples that no candidate predicts are ignored; a candidate with other missing
        predictions is never chosen.
    y : array-like of shape (N,) or (N, n_outputs)
        True values.
    metric : Metric or callable
        Function of true values and predictions; greater is better.
    n_bootstraps : int, default=1000
        Number of resamples; B.
    confidence : float, default=0.95
        Confidence of the interval.
    classes : array-like of shape (K,) or None, default=None
        If given, predictions are the probabilities of these classes, or of each label of a
        multilabel `y`.
    sample_weight : array-like of shape (N,) or None, default=None
        Weights of the samples in every score; all equal if None.
    groups : array-like of shape (N,) or None, default=None
        Group of each sample.  Resamples draw whole groups, so that the interval is for
        samples of new groups; None draws samples.
    tolerance : float, default=0.0
        Chooses the cheapest candidate whose score is at most this much below the best
        score.
    costs : array-like of shape (C,) or None, default=None
        Costs of the candidates; all equal if None.
    time_budget : float or None, default=None
        Seconds after which no further resamples are drawn, once there are 50.
    random_state : int, RandomState or None, default=None
        Seed of the resamples.

    Returns
    -------
    ScoreEstimate
        All NaN if every candidate fails.

    Notes
    -----
    Algorithm BBC-CV of [1]_.  The interval is a percentile interval of the scores on the
    samples not drawn, 37 % of all samples, so it is wider than necessary.

    Accuracy, balanced accuracy, precision, recall, F and Jaccard scores, log loss, squared,
    root mean squared and absolute error and R^2 take matrix products of O(B N C), in chunks
    of bounded memory.  ROC AUC, also one-against-rest, takes the same number of slower
    operations.  With more than 10,000 samples, 10,000 random blocks of samples are
    resampled instead, which preserves the variance of sums and takes O(N C); the ROC AUC
    then uses DeLong's linear terms.  Any other metric is called O(B C) times, with B
    limited to ``max(50, 1_000 // C)``.  Resamples for which it is undefined, for example
    because they lack a class, are ignored.

    Predictions are pooled over folds.  A search's ``best_score_`` is the
    mean over folds, which differs for metrics that are not means over samples.

    References
    ----------
    .. [1] I. Tsamardinos, E. Greasidou, G. Borboudakis. Bootstrapping the out-of-sample
       predictions for efficient and accurate cross-validation. Machine Learning
       107:1895-1922, 2018.
    """
    metric = metric if isinstance(metric, Metric) else Metric(function=metric)
    responses, y, classes, rows, complete = _complete(predictions, y, metric, classes)
    costs = np.zeros(len(complete)) if costs is None else np.asarray(costs)
    weight = None if sample_weight is None else np.asarray(sample_weight)[rows]
    groups = None if groups is None else np.asarray(groups)[rows]
    scores = metric_scores(metric, y, responses, classes, weight)
    n_calls, w = 0, np.ones(len(y))
    if isinstance(scores, _CalledMetric):
        n_calls = len(responses)
    elif weight is not None:
        w = weight.astype(np.float64)
    if not isinstance(scores, _CalledMetric) and len(y) > _MOST_BLOCKS:
        unit, n_units = _units(len(y), groups)
        n_blocks, groups = min(n_units, _MOST_BLOCKS), None
        block = (np.random.default_rng(0).permutation(n_units) % n_blocks)[unit]
        scores, w = in_blocks(scores, w, block, n_blocks), np.ones(n_blocks)

    rng = np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))
    outside = np.empty(0)
    # A metric may warn about every resample that lacks a class.
    with warnings.catch_warnings(action="ignore"):
        naive = scores.of_all(w[np.newaxis])[0] if responses.size else np.empty(0)
        usable = np.isfinite(naive)
        if usable.any():
            # An infinite value times a weight of 0 would be NaN.
            scores, costs = scores.of(usable), costs[complete][usable]
            draws = _draws(rng, n_bootstraps, len(w), n_calls, time_budget, groups)
            outside = np.concatenate([
                _outside(scores, counts, w, tolerance, costs) for counts in draws
            ])
    outside = outside[np.isfinite(outside)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(outside, [tail, 1 - tail]) if len(outside) else [np.nan] * 2
    return ScoreEstimate(
        score=float(outside.mean()) if len(outside) else float("nan"),
        low=float(low),
        high=float(high),
        confidence=confidence,
        method="bootstrap",
        n_bootstraps=len(outside),
        naive_score=float(naive[usable].max()) if usable.any() else float("nan"),
    )


def cheapest_near_best(scores: Floats, tolerance: float, costs: Array) -> Array:
    """Return the cheapest candidates, (B,), within `tolerance` of the best, or -1."""
    has_score = ~np.isnan(scores).all(axis=1)
    scores = np.where(np.isnan(scores), -np.inf, scores)
    is_near = scores >= scores.max(axis=1, keepdims=True) - tolerance
    price = np.where(is_near, costs, np.inf)
    is_cheapest = is_near & (price == price.min(axis=1, keepdims=True))
    chosen = np.where(is_cheapest, scores, -np.inf).argmax(axis=1)
    return np.where(has_score, chosen, -1)


def _outside(
    scores: _Scores, counts: Floats, w: Floats, tolerance: float, costs: Array
) -> Floats:
    """Return the out-of-bag score of the candidate chosen on the samples drawn, (B,)."""
    missed = (counts == 0) * w
    if len(costs) == 1:
        return scores.of_all(missed)[:, 0]
    best = cheapest_near_best(scores.of_all(counts * w), tolerance, costs)
    scores_outside = np.full(len(counts), np.nan)
    for candidate in np.unique(best[best >= 0]):
        is_best = best == candidate
        scores_outside[is_best] = scores.of([candidate]).of_all(missed[is_best])[:, 0]
    return scores_outside


def _units(n_rows: int, groups: Array | None) -> tuple[Array, int]:
    """Return the unit that is drawn with each sample, and the number of units."""
    if groups is None:
        return np.arange(n_rows), n_rows
    codes, names = pd.factorize(groups)
    return codes, len(names)


def _draws(
    rng: np.random.Generator,
    n: int,
    n_rows: int,
    n_calls: int,
    seconds: float | None,
    groups: Array | None = None,
) -> Iterator[Floats]:
    """Yield the draws of each sample, for some of `n` resamples at a time."""
    unit, n_units = _units(n_rows, groups)
    # A slow metric gets at most 1,000 calls, but at least 50 resamples.
    chunk = max(1, _CHUNK_BYTES // (8 * n_rows))
    if n_calls:
        n, chunk = min(n, max(_LEAST_RESAMPLES, _MOST_CALLS // n_calls)), 1
    if seconds is not None:
        chunk = min(chunk, _LEAST_RESAMPLES)
    end = math.inf if seconds is None else time.monotonic() + seconds
    for first in range(0, n, chunk):
        if first >= _LEAST_RESAMPLES and time.monotonic() > end:
            return
        n_drawn = min(chunk, n - first)
        drawn = rng.integers(n_units, size=(n_drawn, n_units))
        drawn += n_units * np.arange(n_drawn)[:, np.newaxis]
        counts = np.bincount(drawn.ravel(), minlength=n_drawn * n_units)
        draws = counts.reshape(n_drawn, n_units).astype(np.float64)
        yield draws if groups is None else draws[:, unit]


def _complete(
    predictions: Any, y: Any, metric: Metric, classes: Any
) -> tuple[Array, Array, Array | None, Bools, Bools]:
    """Return responses of complete candidates, true values, classes, and two masks.

    The masks mark the samples and the complete candidates. The samples come from the
    candidates with the most predictions; others ended earlier.
    """
    predictions, y = np.asarray(predictions), np.asarray(y)
    is_float = predictions.dtype.kind == "f"
    present = ~(np.isnan(predictions) if is_float else pd.isna(predictions))
    present = present.reshape(*predictions.shape[:2], -1).all(axis=2)
    rows = rows_of_most(present)
    if not rows.any():
        rows = present.any(axis=0)
    candidates = present[:, rows].all(axis=1)
    if not (rows.all() and candidates.all()):
        predictions, y = predictions[np.ix_(candidates, rows)], y[rows]
    if classes is None or not rows.any():
        return predictions, y, None, rows, candidates
    classes = None if y.ndim == 2 else np.asarray(classes)
    return metric.response(predictions, classes), y, classes, rows, candidates
