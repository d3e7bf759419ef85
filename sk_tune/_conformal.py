# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Intervals and sets of labels that contain a new target with a requested probability.

They follow from predictions of samples that the predicting model was not trained on [1]_.
A sample's score says how far its target is from the prediction: the absolute residual,
divided by the mean residual of similar predictions [2]_, or one minus the probability of
the true class [3]_.  A new interval or set contains every target whose score is at most the
quantile of these scores.  If no target is below 0, no bound is, either.  The first negative
target among n + 1 exchangeable targets is the new one with a probability of at most
1 / (n + 1), so the coverage is hardly lower.

MAPIE cannot replace this module: it trains its own folds instead of accepting finished
predictions, and its normalised residuals exclude cross-conformal intervals.

Notation: N held-out samples, n new samples, F models, C targets, K classes, B bins.

References
----------
.. [1] R. F. Barber, E. J. Candès, A. Ramdas, R. J. Tibshirani. Predictive inference with
   the jackknife+. Annals of Statistics 49, 2021.
.. [2] J. Lei, M. G'Sell, A. Rinaldo, R. J. Tibshirani, L. Wasserman. Distribution-free
   predictive inference for regression. JASA 113, 2018. Section 5.2: locally weighted.
.. [3] M. Sadinle, J. Lei, L. Wasserman. Least ambiguous set-valued classifiers with bounded
   error levels. JASA 114, 2019.
.. [4] Y. Romano, M. Sesia, E. J. Candès. Classification with valid and adaptive coverage.
   NeurIPS 2020.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sk_tune._text import is_number
from sk_tune._types import Array, Bools, Floats

# Samples of a bin and most bins for the difficulty, and the share of the mean residual that
# is added to it.  Chosen on the development tables of benchmarks/intervals.py.
_BIN_SIZE, _MOST_BINS, _SHARE_OF_MEAN = 40, 20, 0.5
# Parts for the difficulty where there is one fold only.
_N_PARTS = 5
# Halvings of the range of a quantile: 2**-60 is below the precision of float64.
_N_HALVINGS = 60


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Scores of held-out samples, from which intervals or sets of labels follow."""

    scores: tuple[tuple[Floats, ...], ...]  # ascending, for each target and model
    knots: Floats | None = None  # (C, 2, B), predictions and difficulty
    least: Floats | None = None  # (C,), lower limits of bounds; None without limits

    @property
    def n_models(self) -> int:
        """Number of models: of the folds, or 1."""
        return len(self.scores[0])

    def interval(self, predictions: Array, coverage: float) -> Array:
        """Return bounds, (n, 2) or (n, 2, C), for predictions of F models, (F, n, ...)."""
        centers = np.asarray(predictions, dtype=np.float64)
        bounds = np.empty((centers.shape[1], 2, len(self.scores)))
        columns = np.moveaxis(centers.reshape(*centers.shape[:2], -1), 2, 0)
        for c, (column, scores) in enumerate(zip(columns, self.scores, strict=True)):
            scale = _difficulty(self.knots[c], column.mean(axis=0))  # type: ignore[index]
            bounds[:, 0, c] = -_upper(-column, scale, scores, coverage)
            bounds[:, 1, c] = _upper(column, scale, scores, coverage)
        if self.least is not None:
            bounds = np.maximum(bounds, self.least)
        return bounds[:, :, 0] if centers.ndim == 2 else bounds

    def sets(self, probabilities: Array, coverage: float) -> Bools:
        """Return the classes in each set, (n, K), for probabilities, (F, n, K)."""
        shares = np.asarray(probabilities, dtype=np.float64)
        flat = shares.reshape(len(shares), -1)
        # A class is in the set if its score, 1 minus its probability, is at most the bound.
        upper = _upper(flat, np.ones(flat.shape[1]), self.scores[0], coverage)
        members: Bools = upper.reshape(shares.shape[1:]) >= 1 - 1e-12
        mean = shares.mean(axis=0)
        members[np.arange(len(mean)), mean.argmax(axis=1)] = True
        return members


def _upper(
    centers: Floats, scale: Floats, scores: tuple[Floats, ...], coverage: float
) -> Floats:
    """Return the quantile of all centers plus scaled scores, (n,): CV+ [1]_ [4]_."""
    n_scores = sum(map(len, scores))
    n_below = math.ceil(coverage * (n_scores + 1) - 1e-9)
    if n_below > n_scores:
        return np.full(len(scale), np.inf)
    if len(scores) == 1:
        alone: Floats = centers[0] + scale * scores[0][n_below - 1]
        return alone
    pairs = [pair for pair in zip(centers, scores, strict=True) if len(pair[1])]
    low: Floats = np.min([center + scale * s[0] for center, s in pairs], axis=0)
    high: Floats = np.max([center + scale * s[-1] for center, s in pairs], axis=0)
    for _ in range(_N_HALVINGS):
        middle = (low + high) / 2
        count = np.zeros(len(scale), dtype=np.intp)
        for center, s in pairs:
            count += np.searchsorted(s, (middle - center) / scale, side="right")
        low = np.where(count >= n_below, low, middle)
        high = np.where(count >= n_below, middle, high)
    return high


def calibrate(
    y: Array,
    predictions: Array,
    part: Array,
    *,
    is_classification: bool,
    by_fold: bool = False,
) -> Calibration | None:
    """Return the calibration of a model by its predictions of held-out samples.

    `y`, (N,) or (N, C), are targets, or positions of classes in the columns of
    `predictions`, which are (N,), (N, C), or probabilities (N, K); NaN where missing.
    `part`, (N,), is the fold that held out a sample. With `by_fold` the model of each fold
    predicts new samples. None without predictions, or if several are of one target, such as
    quantiles.
    """
    y, columns = np.asarray(y), np.asarray(predictions).reshape(len(y), -1)
    rows = np.flatnonzero(np.isfinite(columns).all(axis=1))
    if not len(rows):
        return None
    y, part, knots, least = y[rows], part[rows], None, None
    if is_classification:
        scores = 1 - columns[rows, y].astype(np.float64)[np.newaxis]
    else:
        targets = y.astype(np.float64).reshape(len(y), -1)
        centers = columns[rows].astype(np.float64)
        if targets.shape != centers.shape:
            return None
        scores, knots = _normalised(centers.T, np.abs(targets - centers).T, part)
        least = np.where((targets >= 0).all(axis=0), 0.0, -np.inf)
    folds = range(int(part.max()) + 1) if by_fold else None
    return Calibration(
        scores=tuple(
            (np.sort(column),)
            if folds is None
            else tuple(np.sort(column[part == fold]) for fold in folds)
            for column in scores
        ),
        knots=knots,
        least=least,
    )


def _normalised(centers: Floats, residuals: Floats, part: Array) -> tuple[Floats, Floats]:
    """Return residuals by their difficulty in other folds, (C, N), and its knots."""
    crossed = _some_parts(part)
    scores = np.empty_like(residuals)
    for inside in (crossed == one for one in np.unique(crossed)):
        # A single sample has only its own difficulty.
        outside = inside if inside.all() else ~inside
        for c, (center, residual) in enumerate(zip(centers, residuals, strict=True)):
            knots = _knots(center[outside], residual[outside])
            scores[c, inside] = residual[inside] / _difficulty(knots, center[inside])
    every = [_knots(*pair) for pair in zip(centers, residuals, strict=True)]
    return scores, np.array(every)


def _some_parts(part: Array) -> Array:
    """Return the parts of the samples; of a single part several."""
    has_several = len(np.unique(part)) > 1
    return part if has_several else np.arange(len(part)) % min(_N_PARTS, len(part))


def _knots(centers: Floats, residuals: Floats) -> Floats:
    """Return predictions and the mean residual of similar samples, smoothed, (2, B)."""
    n_bins = int(np.clip(len(centers) // _BIN_SIZE, 1, _MOST_BINS))
    bins = np.array_split(np.argsort(centers, kind="stable"), n_bins)
    means = np.pad([residuals[rows].mean() for rows in bins], 1, mode="edge")
    smooth = np.convolve(means, [0.25, 0.5, 0.25], mode="valid")
    # Perfect predictions have no residuals; smaller scales would overflow as divisors.
    least = np.finfo(np.float64).tiny ** 0.5 + _SHARE_OF_MEAN * residuals.mean()
    return np.stack([[np.median(centers[rows]) for rows in bins], smooth + least])


def _difficulty(knots: Floats, predictions: Floats) -> Floats:
    return np.asarray(np.interp(predictions, *knots))


class Coverage(NamedTuple):
    """Share of held-out samples that intervals or sets cover, and the typical size."""

    share: float
    size: float  # median width, or mean number of labels


def measured_coverage(
    y: Array, predictions: Array, part: Array, coverage: float, *, is_classification: bool
) -> Coverage:
    """Return the coverage of each part by a calibration on the remaining parts."""
    has_all = np.isfinite(predictions).reshape(len(y), -1).all(axis=1)
    y, predictions, part = y[has_all], predictions[has_all], part[has_all]
    crossed = _some_parts(part)
    covered, sizes = [], []
    for inside in (crossed == one for one in np.unique(crossed)):
        outside = (y[~inside], predictions[~inside], part[~inside])
        calibration: Any = calibrate(*outside, is_classification=is_classification)
        center, target = predictions[np.newaxis, inside], y[inside]
        if is_classification:
            sets = calibration.sets(center, coverage)
            covered.append(sets[np.arange(len(target)), target])
            sizes.append(sets.sum(axis=1))
        else:
            low, high = np.moveaxis(calibration.interval(center, coverage), 1, 0)
            covered.append((low <= target) & (target <= high))
            sizes.append(high - low)
    typical = np.mean if is_classification else np.median
    return Coverage(
        float(np.mean(np.concatenate(covered))), float(typical(np.concatenate(sizes)))
    )


class PredictsIntervals:
    """A regressor with prediction intervals."""

    def predict_interval(self, X: Any, coverage: float = 0.9) -> Array:
        """Return intervals that contain new targets with a given probability.

        The width comes from the residuals of out-of-fold predictions [1]_.  Intervals are
        wider where similar predictions had larger residuals [2]_.  If no target of ``fit``
        is below 0, bounds below 0 are replaced by 0.

        Parameters
        ----------
        coverage : float, default=0.9
            Share of new targets that the intervals should contain, between 0 and 1.

        Returns
        -------
        ndarray of shape (n_samples, 2) or (n_samples, 2, n_outputs)
            Lower and upper bounds in the units of y, separately for each target.  They are
            infinite with fewer than coverage / (1 - coverage) residuals: 9 for 0.9.

        Raises
        ------
        ValueError
            If `coverage` is not between 0 and 1, or out-of-fold predictions were not kept.

        Notes
        -----
        The share is an average over new samples that are exchangeable with the samples of
        ``fit``; it may be lower for a part of them.  Intervals of a search with
        ``keep_models`` are CV+ intervals around the models of the folds.  For a single
        candidate and equal widths, they contain at least 1 - 2 (1 - coverage) of the
        targets under any distribution, less a term that vanishes with the number of
        samples, and usually `coverage` (Theorem 4 of [1]_).  Other intervals are centred
        at ``predict`` and have no such guarantee; choosing a candidate and varying the
        widths also lose it.  If folds respect groups or times, residuals are from unseen
        groups or later times.  With few groups the share varies between them; if errors
        grow with time it is too low.

        References
        ----------
        .. [1] R. F. Barber, E. J. Candès, A. Ramdas, R. J. Tibshirani. Predictive inference
           with the jackknife+. Annals of Statistics 49, 2021.
        .. [2] J. Lei, M. G'Sell, A. Rinaldo, R. J. Tibshirani, L. Wasserman.
           Distribution-free predictive inference for regression. JASA 113, 2018.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from sk_tune import GridSearchCV, MLPRegressor
        >>> X, y = load_diabetes(return_X_y=True)
        >>> net = MLPRegressor(max_epochs=10, random_state=0)
        >>> search = GridSearchCV(net, {"learning_rate": [0.003, 0.01]}).fit(X, y)
        >>> search.predict_interval(X[:5], coverage=0.8).shape
        (5, 2)
        """
        _check_coverage(coverage)
        predictions = self._predictions_of_models(X)
        return _calibration_of(self).interval(predictions, coverage)

    def _predictions_of_models(self: Any, X: Any) -> Array:
        """Return predictions of the calibrated models, (F, n, ...); by default, F = 1."""
        return np.asarray(self.predict(X))[np.newaxis]


class PredictsSets:
    """A classifier with prediction sets."""

    def predict_set(self, X: Any, coverage: float = 0.9) -> Array:
        """Return sets of labels that contain new labels with a given probability.

        A set contains the classes with a probability above a threshold, which is a quantile
        of the out-of-fold probabilities of the true classes [1]_.

        Parameters
        ----------
        coverage : float, default=0.9
            Share of new labels that the sets should contain, between 0 and 1.

        Returns
        -------
        ndarray of bool of shape (n_samples, n_classes)
            Whether a set contains a class, in the order of ``classes_``.  The most probable
            class is in each set.  Sets are complete with fewer than
            coverage / (1 - coverage) out-of-fold predictions: 9 for 0.9.

        Raises
        ------
        ValueError
            If `coverage` is not between 0 and 1, or out-of-fold probabilities were not
            kept.

        Notes
        -----
        The share is an average over new samples that are exchangeable with the samples of
        ``fit``; it may be lower for a class.  Sets of a search with ``keep_models`` are
        CV+ sets of the models of the folds.  For a single candidate they contain at least
        1 - 2 (1 - coverage) of the labels under any distribution, less a term that vanishes
        with the number of samples, and usually `coverage` [2]_.  Other sets have no such
        guarantee, and choosing a candidate loses it.  If folds respect groups or times,
        the probabilities are for unseen groups or later times.

        References
        ----------
        .. [1] M. Sadinle, J. Lei, L. Wasserman. Least ambiguous set-valued classifiers with
           bounded error levels. JASA 114, 2019.
        .. [2] Y. Romano, M. Sesia, E. J. Candès. Classification with valid and adaptive
           coverage. NeurIPS 2020.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sk_tune import GridSearchCV, MLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> net = MLPClassifier(width=16, max_epochs=20, random_state=0)
        >>> search = GridSearchCV(net, {"learning_rate": [0.003, 0.01]}).fit(X, y)
        >>> search.predict_set(X[:5], coverage=0.95).shape
        (5, 3)
        """
        _check_coverage(coverage)
        probabilities = self._predictions_of_models(X)
        return _calibration_of(self).sets(probabilities, coverage)

    def _predictions_of_models(self: Any, X: Any) -> Array:
        """Return probabilities of the calibrated models, (F, n, K); by default, F = 1."""
        return np.asarray(self.predict_proba(X))[np.newaxis]


def _check_coverage(coverage: object) -> None:
    if not is_number(coverage) or not 0 < coverage < 1:
        raise ValueError(
            f"'coverage' must be a number between 0 and 1. Got {coverage!r} instead."
        )


def _calibration_of(predictor: Any) -> Calibration:
    calibration: Calibration | None = predictor._calibration
    if calibration is None:
        raise ValueError(
            "Intervals and sets need out-of-fold predictions: a number for each target, "
            "or the probabilities of one label per sample. This "
            f"{type(predictor).__name__} has none. Fit the search with "
            "keep_predictions='all' or 'best'."
        )
    return calibration
