# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Scores by folds, on all of their samples or on resamples of them."""

import time
import warnings

import numpy as np
import numpy.typing as npt

from sk_tune._metric import Metric
from sk_tune.search._metric_sums import metric_sums

__all__ = ["FoldScores"]

Floats = npt.NDArray[np.float64]

# Bytes of the weights of those resamples that are looked at together.
_CHUNK_BYTES = 32 * 2**20
# A metric that is no function of sums is called, about a millisecond each time.
_MOST_CALLS, _LEAST_RESAMPLES = 5_000, 50


class FoldScores:
    """The score of each of C candidates on each of F folds of N samples, or NaN.

    Parameters
    ----------
    metric : Metric
        Greater is better.
    predictions : ndarray of shape (C, N) or (C, N, K)
        What the metric takes, or probabilities of `classes`.
    y : ndarray of shape (N,)
        True values.
    classes : ndarray of shape (K,) or None
        Labels; None for numbers.
    folds : ndarray of shape (F, N)
        True for the samples that a fold held out.
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

    @property
    def needs_calls(self) -> bool:
        """Whether the metric is called for each score, which takes long."""
        return self._sums is None

    def on_all(self) -> Floats:
        """Return the scores on all samples.

        Returns
        -------
        ndarray of shape (F, C)
            Of each fold and candidate.
        """
        scores: Floats = self._on(np.ones((1, len(self._y))))[0]
        return scores

    def on_resamples(
        self, n: int, rng: np.random.Generator, seconds: float | None = None
    ) -> Floats:
        """Return means over folds on the samples that bootstraps miss, 37 % of them.

        Parameters
        ----------
        n : int
            Resamples; fewer for a metric that has to be called, but 50 at least.
        rng : Generator
            What draws them.
        seconds : float or None, default=None
            After which such a metric is called for no more than these; any if None.

        Returns
        -------
        ndarray of shape (B, C)
            Of each resample and candidate.
        """
        end = None if seconds is None else time.monotonic() + seconds
        n_rows, chunk = len(self._y), max(1, _CHUNK_BYTES // (8 * len(self._y)))
        if self._sums is None:
            n_calls = len(self._responses) * len(self._folds)
            n, chunk = min(n, max(_LEAST_RESAMPLES, _MOST_CALLS // n_calls)), 1
        means = []
        for first in range(0, n, chunk):
            is_late = self._sums is None and end is not None and time.monotonic() > end
            if first >= _LEAST_RESAMPLES and is_late:
                break
            drawn = rng.integers(n_rows, size=(min(chunk, n - first), n_rows))
            is_missed = np.ones(drawn.shape)
            np.put_along_axis(is_missed, drawn, 0.0, axis=1)
            with warnings.catch_warnings():
                # Of a resample of which no fold has a score.
                warnings.simplefilter("ignore", RuntimeWarning)
                means.append(np.nanmean(self._on(is_missed), axis=1))
        return np.concatenate(means)

    def _on(self, weights: Floats) -> Floats:
        """Return scores of shape (B, F, C) on the samples of weight 1, not 0, of (B, N)."""
        if self._sums is not None:
            return np.stack(
                [self._sums.of_all(weights * own) for own in self._folds], axis=1
            )
        scores = np.full((len(weights), len(self._folds), len(self._responses)), np.nan)
        with warnings.catch_warnings():
            # A metric may warn of samples that lack a class.
            warnings.simplefilter("ignore")
            for place in np.ndindex(scores.shape):
                rows = np.flatnonzero(weights[place[0]] * self._folds[place[1]])
                try:
                    scores[place] = self._metric(
                        self._y[rows], self._responses[place[2]][rows]
                    )
                except ValueError:
                    # Not defined for these samples.
                    continue
        return scores
