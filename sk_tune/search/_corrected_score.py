# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The score of the best candidate, corrected for having been chosen as the best.

Notation, as in Tsamardinos et al. [1]_: B resamples of N samples, C candidates.

References
----------
.. [1] I. Tsamardinos, E. Greasidou, G. Borboudakis. Bootstrapping the out-of-sample
   predictions for efficient and accurate cross-validation. Machine Learning
   107:1895-1922, 2018.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import is_classifier
from sklearn.utils import check_random_state

from sk_tune._compat import weights_of_scorer
from sk_tune._metric import Metric, scorer_metric
from sk_tune._search_record import deciding_scorer, rows_of_most
from sk_tune._text import interval_text
from sk_tune.search._metric_sums import AucSums, MetricSums, in_blocks, metric_sums
from sk_tune.search._outcomes import FoldOutcome, out_of_fold_predictions

__all__ = [
    "CorrectedScore",
    "FoldScores",
    "corrected_score",
    "corrected_score_of",
    "deciding_weights",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

# Bytes of the weights of those resamples that are looked at together.
_CHUNK_BYTES = 32 * 2**20
# A metric that is no function of sums is called, about a millisecond each time; so many
# resamples are looked at whatever the time.
_MOST_CALLS, _LEAST_RESAMPLES = 5_000, 50


class FoldScores:
    """The score of each of C candidates on each of F folds of N samples, or NaN.

    `predictions`, (C, N) or (C, N, K), are what the metric takes, or probabilities of
    `classes`, which are None for numbers.  `folds`, (F, N), are true for the samples that a
    fold held out.
    """

    def __init__(
        self,
        metric: Metric,
        predictions: npt.NDArray[np.float64],
        y: npt.NDArray[np.generic],
        *,
        classes: npt.NDArray[np.generic] | None,
        folds: npt.NDArray[np.bool_],
    ) -> None:
        self._metric, self._y, self._folds = metric, y, folds
        self._responses = predictions
        if classes is not None:
            self._responses = metric.response(predictions, classes)
        self._sums = metric_sums(metric, y, self._responses, classes)
        self._calls = _CalledMetric(metric, y, self._responses)

    @property
    def needs_calls(self) -> bool:
        """Whether the metric is called for each score, which takes long."""
        return self._sums is None

    def on_all(self) -> Floats:
        """Return the scores (F, C) on all samples."""
        scores: Floats = self._on(np.ones((1, len(self._y))))[0]
        return scores

    def on_resamples(
        self, n: int, rng: np.random.Generator, seconds: float | None = None
    ) -> Floats:
        """Return means (B, C) over folds on the samples that bootstraps miss, 37 % of them.

        `n` resamples are drawn, fewer for a metric that has to be called; when `seconds`
        are over, that is called for no more than 50.
        """
        end = None if seconds is None else time.monotonic() + seconds
        n_rows, chunk = len(self._y), max(1, _CHUNK_BYTES // (8 * len(self._y)))
        if self._sums is None:
            n_calls = len(self._responses) * len(self._folds)
            n, chunk = min(n, max(_LEAST_RESAMPLES, _MOST_CALLS // n_calls)), 1
        means: list[Floats] = []
        for counts in _draws(rng, n, n_rows, chunk):
            is_late = self._sums is None and end is not None and time.monotonic() > end
            if len(means) * chunk >= _LEAST_RESAMPLES and is_late:
                break
            with warnings.catch_warnings():
                # A resample may leave every fold without a score.
                warnings.simplefilter("ignore", RuntimeWarning)
                means.append(np.nanmean(self._on(counts == 0), axis=1))
        return np.concatenate(means)

    def _on(self, weights: npt.NDArray[Any]) -> Floats:
        """Return scores of shape (B, F, C) on the samples of weight 1, not 0, of (B, N)."""
        scores = self._calls if self._sums is None else self._sums
        with warnings.catch_warnings():
            # A metric may warn of samples that lack a class.
            warnings.simplefilter("ignore")
            return np.stack(
                [scores.of_all(weights * fold.astype(float)) for fold in self._folds],
                axis=1,
            )


class _CalledMetric:
    """Scores of C candidates on resamples of N samples, by a call for each of them.

    `responses` are what the metric takes, of shape (C, N) or (C, N, K).
    """

    def __init__(
        self, metric: Metric, y: Array, responses: Array, weight: Array | None = None
    ) -> None:
        self._metric = metric
        self._y = y
        self._responses = responses
        self._w = weight

    def of_all(self, counts: Floats) -> Floats:
        """Return the scores (B, C), given how often each sample was drawn (B, N)."""
        candidates = range(len(self._responses))
        return np.array([[self.of_one(c, drawn) for c in candidates] for drawn in counts])

    def of_one(self, candidate: int, counts: npt.NDArray[Any]) -> float:
        """Return the score of a candidate on one resample; NaN where it is not defined."""
        samples = np.repeat(np.arange(len(self._y)), counts.astype(np.intp))
        weights = {} if self._w is None else {"sample_weight": self._w[samples]}
        response = self._responses[candidate][samples]
        try:
            return self._metric(self._y[samples], response, **weights)
        except ValueError:
            return float("nan")


# Above as many samples, blocks of samples drawn at random are resampled.
_MOST_BLOCKS = 10_000
# Resamples of a metric that is called, unless the time is up.
_LEAST_BOOTSTRAPS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedScore:
    """What the best candidate is expected to score on new data; greater is better.

    Parameters
    ----------
    score : float
        Corrected for the choice of the best; NaN if no candidate can be chosen.
    low, high : float
        Ends of the interval.
    confidence : float
        Share of such intervals that hold the true score, at least.
    n_bootstraps : int
        Resamples that were looked at.
    naive_score : float
        Of the best candidate on all samples, pooled over folds: not corrected.
    """

    score: float
    low: float
    high: float
    confidence: float
    n_bootstraps: int
    naive_score: float

    def __str__(self) -> str:
        score, low, high = interval_text(self.score, self.low, self.high)
        return f"{score} [{low}, {high}]"


def corrected_score(
    predictions: Any,
    y: Any,
    metric: Metric | Callable[[Array, Array], float],
    *,
    n_bootstraps: int = 1000,
    confidence: float = 0.95,
    classes: Any = None,
    sample_weight: Any = None,
    time_budget: float | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> CorrectedScore:
    """Return the best candidate's score by bootstrap bias-corrected cross-validation.

    Samples are resampled; the candidate that is best on the samples drawn is scored on the
    samples that were not.  The mean over resamples is free of the optimism of a maximum.

    Parameters
    ----------
    predictions : array-like of shape (C, N) or (C, N, K)
        Out-of-fold predictions of each candidate: what the metric takes, or class
        probabilities if `classes` are given.  Samples that no candidate predicts are left
        out; a candidate that misses one of the others is never chosen.  NaN and None are
        missing.
    y : array-like of shape (N,) or (N, n_outputs)
        True values.
    metric : Metric or callable
        Of true values and predictions; greater is better.
    n_bootstraps : int, default=1000
        Resamples; B.
    confidence : float, default=0.95
        Of the interval.
    classes : array-like of shape (K,) or None, default=None
        If given, predictions are the probabilities of these classes, or of each label of a
        multilabel `y`.
    sample_weight : array-like of shape (N,) or None, default=None
        Weights of the samples in every score; all equal if None.
    time_budget : float or None, default=None
        Seconds after which a metric that has to be called for each resample is called for
        50 of them at least, and for no more.
    random_state : int, RandomState or None, default=None
        Where resamples come from.

    Returns
    -------
    CorrectedScore
        All NaN if every candidate fails.

    Notes
    -----
    Algorithm BBC-CV of [1]_; the interval is its percentile interval of the scores on
    samples not drawn, which are 37 % of the samples, so it is wider than it needs to be.

    Accuracy, balanced accuracy, log loss, squared, root mean squared and absolute error and
    R^2 take matrix products of O(B N C), in chunks of bounded memory; ROC AUC of two
    classes takes as many operations, but slower ones.  Of more than 10,000 samples, 10,000
    blocks of samples that are put together at random are resampled instead, which leaves
    the variance of sums as it is and takes O(N C); the ROC AUC is that of DeLong's linear
    terms then.  Any other metric is called O(B C) times, with B lowered to
    ``max(100, 5_000 // C)`` at most; resamples for which it is not defined, say because
    they lack a class, are left out.

    The score is of predictions pooled over folds.  A search's ``best_score_`` is the mean
    over folds, which differs for metrics that are no means over samples.
    """
    metric = metric if isinstance(metric, Metric) else Metric(function=metric)
    responses, y, classes, rows = _complete(predictions, y, metric, classes)
    weight = None if sample_weight is None else np.asarray(sample_weight)[rows]
    scores_of: _Scores = _ScoresByCalls(metric, y, responses, weight)
    sums = metric_sums(metric, y, responses, classes)
    if sums is not None:
        scores_of = _ScoresBySums(sums, len(y), weight)
    else:
        fewer = max(_LEAST_BOOTSTRAPS, _MOST_CALLS // max(1, len(responses)))
        n_bootstraps = min(n_bootstraps, fewer)

    naive = scores_of.naive() if responses.size else np.empty(0)
    if not np.isfinite(naive).any():
        nan = float("nan")
        return CorrectedScore(
            score=nan,
            low=nan,
            high=nan,
            confidence=confidence,
            n_bootstraps=0,
            naive_score=nan,
        )
    seed = check_random_state(random_state).randint(2**31 - 1)
    rng = np.random.default_rng(seed)
    seconds = math.inf if time_budget is None else time_budget
    outside = scores_of.outside(rng, n_bootstraps, np.isfinite(naive), seconds)
    outside = outside[np.isfinite(outside)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(outside, [tail, 1 - tail]) if len(outside) else [np.nan] * 2
    return CorrectedScore(
        score=float(outside.mean()) if len(outside) else float("nan"),
        low=float(low),
        high=float(high),
        confidence=confidence,
        n_bootstraps=len(outside),
        naive_score=float(naive[np.isfinite(naive)].max()),
    )


def corrected_score_of(
    search: Any,
    outcomes: Sequence[Sequence[FoldOutcome]],
    classes: Array | None,
    sample_weight: Array | None = None,
) -> CorrectedScore | None:
    """Return the corrected score of a fitted search's best candidate.

    None for a metric that is no function of targets and predictions, for one of decision
    functions, for one of probabilities if a candidate has labels only (ROC AUC of labels is
    another one), and if there are no scores.
    """
    scorer, name = deciding_scorer(search)
    metric = _metric_of(search, outcomes, scorer, name)
    record = search.search_record_
    if metric is None or record.y is None:
        return None
    # One network's predictions of each sample, where the folds were repeated: the mean of
    # several networks would have another score.
    last = [outcomes[row] for row in record.last_rows]
    predictions = out_of_fold_predictions(last, record.n_rows, classes, averaged=False)
    if classes is None and is_classifier(search) and record.y.ndim == 2:
        # Predictions are the probabilities of each label, then.
        classes = np.arange(record.y.shape[1])
    return corrected_score(
        predictions,
        record.y,
        metric,
        classes=classes,
        sample_weight=sample_weight,
        random_state=0,
    )


def deciding_weights(search: Any, given: Mapping[str, Any]) -> Array | None:
    """Return the sample weights of the scores that decide; None if they are not weighted.

    `given` is what scikit-learn routes to the search's scorers.
    """
    weight = given.get("sample_weight")
    if isinstance(search.scorer_, dict):
        weight = weights_of_scorer(deciding_scorer(search)[0], given)
    return None if weight is None else np.asarray(weight)


def _metric_of(
    search: Any, outcomes: Sequence[Sequence[FoldOutcome]], scorer: Any, name: str
) -> Metric | None:
    """Return the metric of the scorer that decides, if it can be computed once more."""
    metric = scorer_metric(scorer, search.estimator)
    if metric is None or not metric.takes_probabilities:
        return None
    if not np.isfinite(search.cv_results_[f"mean_test_{name}"]).any():
        return None
    held = [
        outcome.held for folds in outcomes for outcome in folds if outcome.held is not None
    ]
    has_enough = metric.takes_labels or not any(
        predictions.is_of_predict for predictions in held
    )
    return metric if has_enough else None


def _complete(
    predictions: Any, y: Any, metric: Metric, classes: Any
) -> tuple[Array, Array, Array | None, npt.NDArray[np.bool_]]:
    """Return responses of the complete candidates, true values, classes, and which samples.

    The samples are those of all candidates that have most: others went out before.
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
        return predictions, y, None, rows
    classes = None if y.ndim == 2 else np.asarray(classes)
    return metric.response(predictions, classes), y, classes, rows


class _ScoresBySums:
    """Scores of all candidates, many resamples at a time."""

    def __init__(
        self, sums: MetricSums | AucSums, n_rows: int, weight: Array | None
    ) -> None:
        self._w = np.ones(n_rows) if weight is None else weight.astype(np.float64)
        self._sums = sums
        if n_rows > _MOST_BLOCKS:
            block = np.random.default_rng(0).permutation(n_rows) % _MOST_BLOCKS
            self._sums = in_blocks(sums, self._w, block, _MOST_BLOCKS)
            self._w = np.ones(_MOST_BLOCKS)

    def naive(self) -> Floats:
        scores: Floats = self._sums.of_all(self._w[np.newaxis])[0]
        return scores

    def outside(
        self,
        rng: np.random.Generator,
        n_bootstraps: int,
        usable: npt.NDArray[np.bool_],
        _: float,
    ) -> Floats:
        # An infinite value times a sample's weight of 0 would be no number.
        sums = self._sums.of(usable)
        chunk = max(1, _CHUNK_BYTES // (8 * len(self._w)))
        scores = []
        for counts in _draws(rng, n_bootstraps, len(self._w), chunk):
            inside = sums.of_all(counts * self._w)
            best = np.where(np.isnan(inside), -np.inf, inside).argmax(axis=1)
            scores.append(sums.of_one((counts == 0) * self._w, best))
        return np.concatenate(scores)


class _ScoresByCalls(_CalledMetric):
    """Scores of all candidates, one resample and candidate at a time."""

    def naive(self) -> Floats:
        scores: Floats = self.of_all(np.ones((1, len(self._y))))[0]
        return scores

    def outside(
        self,
        rng: np.random.Generator,
        n_bootstraps: int,
        usable: npt.NDArray[np.bool_],
        seconds: float,
    ) -> Floats:
        candidates = np.flatnonzero(usable)
        scores: list[float] = []
        end = time.monotonic() + seconds
        # A metric may warn of every resample that lacks a class.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for (counts,) in _draws(rng, n_bootstraps, len(self._y), 1):
                if len(scores) >= _LEAST_RESAMPLES and time.monotonic() > end:
                    break
                best = self._best(candidates, counts)
                if best is not None:
                    scores.append(self.of_one(best, counts == 0))
        return np.array(scores)

    def _best(self, candidates: npt.NDArray[np.intp], counts: Floats) -> int | None:
        """Return the candidate that is best on the samples drawn; one is, unseen."""
        if len(candidates) == 1:
            return int(candidates[0])
        inside = np.array([self.of_one(int(c), counts) for c in candidates])
        return None if np.isnan(inside).all() else int(candidates[np.nanargmax(inside)])


_Scores = _ScoresBySums | _ScoresByCalls


def _draws(
    rng: np.random.Generator, n_bootstraps: int, n_rows: int, chunk: int
) -> Iterator[Floats]:
    """Yield how often each sample is drawn, for up to `chunk` resamples at a time."""
    for first in range(0, n_bootstraps, chunk):
        n = min(chunk, n_bootstraps - first)
        drawn = rng.integers(n_rows, size=(n, n_rows))
        drawn += n_rows * np.arange(n)[:, np.newaxis]
        counts = np.bincount(drawn.ravel(), minlength=n * n_rows)
        yield counts.reshape(n, n_rows).astype(np.float64)
