# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Curves of searches and networks, and statistics of curves that checks share.

Notation: F folds, T epochs.  The training loss of an epoch is a running mean over its
steps, with dropout and label smoothing; the held-out loss is taken at the end of the epoch,
without them.  Here the running mean is corrected.  Dropout is not: it raises the training
loss, so gaps are underestimated, never overestimated.
"""

import math
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.ndimage import median_filter
from scipy.stats import t as student
from sklearn.exceptions import NotFittedError

from sk_tune._diagnosis._constant_loss import constant_loss
from sk_tune._diagnosis._findings import Curves
from sk_tune._epochs import epochs_of, stops_early
from sk_tune._nesting import innermost, nested, transforms_target
from sk_tune._schedule import LR_SCHEDULES, learning_rate_factor
from sk_tune._search_record import fold_layout, granted_resource, search_record
from sk_tune._types import Floats

_CURVES = ("train_loss", "valid_loss", "valid_score")


def is_search(source: Any) -> bool:
    """Return whether `source` is a search of sk_tune, with learning curves."""
    return hasattr(type(source), "learning_curves_")


def best_candidate(search: Any) -> int:
    """Return the row of a search's best candidate, the first of rank 1 without a refit."""
    if hasattr(search, "best_index_"):
        return int(search.best_index_)
    if not hasattr(search, "cv_results_"):
        raise NotFittedError(f"This {type(search).__name__} is not fitted yet.")
    ranks = next(v for k, v in search.cv_results_.items() if k.startswith("rank_test_"))
    return int(np.argmin(ranks))


def curves_of(search: Any, candidate: int) -> Curves:
    """Return the learning curves by epochs of a search's candidate.

    Parameters
    ----------
    search : search of sk_tune
        Fitted.
    candidate : int
        Row of ``cv_results_``.

    Returns
    -------
    Curves
        Curves over all epochs of the configuration, from all of its rungs.

    Raises
    ------
    ValueError
        If the row does not exist, or has no curve.
    """
    candidate = checked_row(search, candidate)
    rows = same_network(search, candidate)
    table = search.learning_curves_
    of_row = np.asarray(table["result_row"])
    order = np.flatnonzero(np.isin(of_row, rows))
    if not len(order):
        raise ValueError(
            f"Result row {candidate} has no learning curve. Its candidate failed, is not "
            "a network, or is a network inside another estimator, such as "
            "BaggingRegressor."
        )
    # Later rungs continue earlier rungs; if they repeat epochs, the later values count.
    order = order[np.argsort(of_row[order], kind="stable")]
    folds = np.asarray(table["fold"])[order]
    epochs = np.asarray(table["epoch"])[order]
    n_folds = 1 + int(folds.max())
    curves = {}
    for name in _CURVES:
        curve = np.full((n_folds, int(epochs.max())), np.nan)
        curve[folds, epochs - 1] = np.asarray(table[name], dtype=np.float64)[order]
        curves[name] = curve
    network, params_of_network = configured(search, candidate)
    record = search_record(search)
    y = None if record is None else record.y
    n_samples = None if y is None else len(y)
    if n_samples is not None and record is not None and record.resource == "n_samples":
        n_samples = max(int(search.cv_results_["n_resources"][row]) for row in rows)
    # The network may get other targets.
    y_of_network = None if transforms_target(search.estimator) else y
    layout = fold_layout(search, candidate)
    return Curves(
        **curves,
        params=params_of_network,
        baseline_loss=constant_loss(network, params_of_network, y_of_network),
        n_samples=n_samples,
        n_repeats=layout.n_repeats,
        n_held_out=None if n_samples is None else n_samples * layout.test_share,
        is_weighted=params_of_network.get("class_weight") is not None
        or (record is not None and record.is_weighted),
    )


def checked_row(search: Any, row: int) -> int:
    """Return a row of ``cv_results_``, counted from 0; ValueError if it does not exist."""
    if not hasattr(search, "cv_results_"):
        raise NotFittedError(f"This {type(search).__name__} is not fitted yet.")
    n_rows = len(search.cv_results_["params"])
    if not -n_rows <= row < n_rows:
        raise ValueError(
            f"'result_row' must be a row of cv_results_, which has {n_rows}. "
            f"Got {row!r} instead."
        )
    return int(row) % n_rows


def same_network(search: Any, candidate: int) -> list[int]:
    """Return a candidate's rows: of all rungs with epochs, of the last one with samples."""
    params = search.cv_results_["params"]
    resource = granted_resource(search)
    if resource is None:
        return [candidate]
    fixed = _without(params[candidate], resource)
    rows = [row for row, p in enumerate(params) if _without(p, resource) == fixed]
    if resource == "n_samples":
        # A rung with more samples trains a new network with curves of its own. An
        # interrupted rung has no curves.
        granted = np.asarray(search.cv_results_["n_resources"])
        with_curves = set(search.learning_curves_["result_row"]) & set(rows) or {candidate}
        most = max(granted[row] for row in with_curves)
        rows = [row for row in rows if row in with_curves and granted[row] == most]
    return rows


def curves_of_estimator(estimator: Any) -> Curves:
    """Return the curves of a fitted network or pipeline; NaN without held-out losses."""
    network = innermost(estimator)
    history = getattr(network, "history_", None)
    if history is None:
        # An unfitted skorch net has a ``history_`` that raises.
        if not hasattr(type(network), "history_") and not hasattr(network, "max_epochs"):
            name, remedy = type(estimator).__name__, ""
            if hasattr(estimator, "best_estimator_"):
                remedy = " Use a search of sk_tune, or diagnose its best_estimator_."
            raise TypeError(
                "The source of diagnose must be a search of sk_tune, a fitted network or "
                "pipeline, Curves, or a learning curve by samples. "
                f"Got {name} instead.{remedy}"
            )
        raise NotFittedError(f"This {type(network).__name__} is not fitted yet.")
    curves: dict[str, Any] = {
        name: np.array([[float(epoch.get(name, math.nan)) for epoch in history]])
        for name in _CURVES
    }
    n_samples = getattr(network, "n_samples_fit_", 0)
    params = _resolved(network, network.get_params(deep=False), n_samples)
    return Curves(
        **curves, params=params, baseline_loss=constant_loss(network, params, None)
    )


def _without(params: Mapping[str, Any], resource: str) -> dict[str, str]:
    return {name: repr(value) for name, value in params.items() if name != resource}


def is_trained(search: Any, candidate: int) -> bool:
    """Return whether a candidate, or an earlier rung of it, has a learning curve."""
    with_curves = set(np.asarray(search.learning_curves_["result_row"]).tolist())
    return not with_curves.isdisjoint(same_network(search, candidate))


def configured(search: Any, candidate: int) -> tuple[Any, dict[str, Any]]:
    """Return a candidate's network, and its parameters without prefixes."""
    params = search.cv_results_["params"][candidate]
    network, prefix = nested(search.estimator)[-1]
    step = prefix.removesuffix("__")
    if step in params:
        network = params[step]
    params_of_network = dict(network.get_params(deep=False))
    params_of_network |= {
        name.removeprefix(prefix): value
        for name, value in params.items()
        if name.startswith(prefix) and name != step
    }
    n_samples = getattr(search, "_n_rows", 0)
    n_train = n_samples - n_samples // search.n_splits_
    return network, _resolved(network, params_of_network, n_train)


def _resolved(network: Any, params: Mapping[str, Any], n_samples: int) -> dict[str, Any]:
    """Return `params` of a network, with the epochs and early stopping of "auto"."""
    if "auto" not in (params.get("max_epochs"), params.get("early_stopping")):
        return dict(params)
    network = copy(network)
    vars(network).update(params)
    return {
        **params,
        "max_epochs": epochs_of(network, n_samples),
        "early_stopping": stops_early(network, n_samples),
    }


_WIDTHS = ("width", "n_channels", "hidden_size", "module__width", "module__hidden_size")
_DEPTHS = ("n_layers", "module__n_layers")


def size(params: Mapping[str, Any]) -> float | None:
    """Return the approximate number of weights between hidden layers; None if unknown."""
    layers = params.get("hidden_layer_sizes")
    if layers is not None:
        return float(np.square(np.atleast_1d(np.asarray(layers, dtype=float))).sum())
    widths = [params[n] for n in _WIDTHS if isinstance(params.get(n), int | np.integer)]
    if not widths:
        return None
    depths = [params[n] for n in _DEPTHS if isinstance(params.get(n), int | np.integer)]
    return float(widths[0] ** 2 * (depths[0] if depths else 1))


def larger_in_search(search: Any, candidate: int) -> Curves | None:
    """Return the curves of the larger network with the least held-out loss, if any."""
    curves = curves_of(search, candidate)
    own_size = size(curves.params)
    if own_size is None:
        return None
    least, best = math.inf, None
    for row in sorted(set(np.asarray(search.learning_curves_["result_row"]).tolist())):
        if (size(configured(search, row)[1]) or 0) <= own_size:
            continue
        other = curves_of(search, row)
        end = float(_filled(other.valid_loss)[:, -1].mean())
        was_long = other.n_epochs >= curves.n_epochs or other.params.get("early_stopping")
        if was_long and end < least:
            least, best = end, other
    return best


# Points in each epoch at which the factor of the learning rate is read.
_POINTS = 20
# Schedules that end with a rate close to 0.
_ANNEALED = frozenset(s for s in LR_SCHEDULES if learning_rate_factor(s, 1.0) < 0.1)


def rate_spent(n_epochs: int, schedule: Any = None, laid_out_for: Any = None) -> Floats:
    """Return the sum of the factors of the learning rate up to each epoch's end, (T,).

    `laid_out_for` is the length of the schedule in epochs; `n_epochs` if it is not a
    number.

    >>> rate_spent(4, "step").tolist(), rate_spent(1, "cosine", 2).round(3).tolist()
    ([1.0, 2.0, 2.1, 2.11], [0.818])
    """
    if not isinstance(schedule, str) or schedule not in _ANNEALED:
        return np.arange(1.0, n_epochs + 1)
    total = laid_out_for if isinstance(laid_out_for, int) and laid_out_for > 0 else n_epochs
    places = (np.arange(n_epochs * _POINTS) + 0.5) / (_POINTS * total)
    factors = np.array([learning_rate_factor(schedule, p) for p in places])
    by_epoch = factors.reshape(n_epochs, _POINTS).mean(axis=1)
    return np.asarray(by_epoch.cumsum().round(12))


# Three or four folds estimate their spread poorly, so a usual spread is added with the
# weight of this many folds.
USUAL_FOLDS = 4
# Losses below this share of other losses count as 0.
NOTHING = 1e-9


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over folds with its standard error."""

    mean: float
    error: float
    n: int  # folds
    degrees: float = 0  # of freedom of the error; 0 for a guess that counts as exact

    def at_least(self, confidence: float = 0.95) -> float:
        """Return the lower bound of the mean at a one-sided confidence."""
        quantile = float(student.ppf(confidence, self.degrees or np.inf))
        return self.mean - quantile * self.error


def estimate(
    values: Floats,
    level: float = 0.0,
    *,
    usual: float | None = None,
    n_repeats: float = 1.0,
) -> Estimate:
    """Return the mean of the finite values of the folds, (F,), with its standard error.

    For a single fold, the error is guessed from `level`, a loss. `usual` is the typical
    standard deviation of such values. Repeated folds add little information, so F values
    count as ``F / n_repeats``.
    """
    # Sorted, so that the order of folds does not change the rounding.
    values = np.sort(values[np.isfinite(values)])
    n = len(values)
    if n == 0:
        return Estimate(math.nan, math.nan, 0)
    if n == 1 and usual is None:
        # Typical spread over folds of a data set, as a share of the level.
        return Estimate(float(values[0]), 0.1 * abs(level), 1)
    mean = float(values.mean())
    n_independent = max(n / n_repeats, 1.0)
    # Repeated folds add information on the spread, but less than independent folds.
    squares = float(((values - mean) ** 2).sum())
    degrees = max(n_independent - 1, 0.5) if n > 1 else 0.0
    squares *= degrees / max(n - 1, 1)
    if usual is not None:
        squares, degrees = squares + USUAL_FOLDS * usual**2, degrees + USUAL_FOLDS
    return Estimate(mean, math.sqrt(squares / degrees / n_independent), n, degrees)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summary:
    """Curves of F folds and T epochs, with the last value in place of missing values."""

    train: Floats  # (F, T), losses at the end of each epoch, estimated
    valid: Floats  # (F, T)
    raw_train: Floats  # (F, T), as measured during each epoch
    score: Floats  # (F, T), held out; NaN if unknown
    spent: Floats  # (T,), cumulative learning rate in epochs at the peak rate
    reference: float  # loss of the best constant prediction, else the first loss
    train_reference: float  # on the scale of the training loss
    has_baseline: bool
    params: Mapping[str, Any]
    n_samples: int | None  # in all folds
    n_held_out: float | None  # samples of a fold
    is_finite: bool  # no infinite loss, and no NaN before a fold's end
    keeps_best: bool = False  # the best epoch's weights are used
    n_repeats: float = 1.0  # folds that hold out each sample
    is_weighted: bool = False  # the training loss, and not the held-out loss

    @property
    def reference_name(self) -> str:
        """Name of `reference`."""
        return "loss of a constant prediction" if self.has_baseline else "first loss"

    @property
    def train_reference_name(self) -> str:
        """Name of `train_reference`."""
        return "first loss" if self.is_weighted else self.reference_name

    @property
    def n_epochs(self) -> int:
        return int(self.train.shape[1])

    @property
    def is_annealed(self) -> bool:
        return str(self.params.get("lr_schedule")) in _ANNEALED

    @property
    def has_valid(self) -> bool:
        return len(self.valid) > 0 and bool(np.isfinite(self.valid).all())

    @property
    def carries_over(self) -> bool:
        """Whether patterns learnt from the training samples generalise."""
        if self.is_weighted:
            return bool(self.valid_end.mean() < self.reference)
        train, valid = float(self.train_end.mean()), float(self.valid_end.mean())
        gap = valid - train
        return gap < max(self.reference - valid, 0.03 * self.reference)

    @property
    def best_epoch(self) -> int:
        """Epoch with the least mean held-out loss, smoothed; from 0."""
        return int(np.argmin(smooth(_mean(self.valid))))

    @property
    def is_least_late(self) -> bool:
        """Whether the held-out loss has its minimum in the last fifth of the epochs."""
        return self.best_epoch + 1 >= 0.8 * self.n_epochs

    @property
    def valid_level(self) -> float:
        """Mean held-out loss at the end."""
        return float(np.sort(self.valid_end).mean())

    @property
    def train_end(self) -> Floats:
        """Mean training loss of each fold over the last tenth of the epochs."""
        return np.asarray(self._last(self.train).mean(axis=1))

    @property
    def valid_end(self) -> Floats:
        """Mean held-out loss of each fold over the last tenth of the epochs."""
        return np.asarray(self._last(self.valid).mean(axis=1))

    def _last(self, curves: Floats) -> Floats:
        return curves[:, -max(1, round(0.1 * self.n_epochs)) :]

    @property
    def valid_best(self) -> Floats:
        """Held-out loss of each fold at the best epoch of all folds together."""
        return smooth(self.valid)[:, self.best_epoch]

    def estimate(
        self, values: Floats, level: float = 0.0, *, usual: float | None = None
    ) -> Estimate:
        """Return the mean over folds, (F,), with an error corrected for repetitions."""
        return estimate(values, level, usual=usual, n_repeats=self.n_repeats)

    def mean(self, name: str) -> Floats:
        """Return the mean curve over folds, (T,), of "train", "valid" or "raw_train"."""
        return _mean(getattr(self, name))

    def at_share(self, curves: Floats, share: float) -> Floats:
        """Return curves, (F, T), at a share of the cumulative learning rate, (F,)."""
        where = share * self.spent[-1]
        # Interpolation over the logarithm of the cumulative rate is exact for a power law.
        spent = np.log(self.spent)
        return np.array([np.interp(math.log(where), spent, curve) for curve in curves])


def summarise(curves: Curves, *, keeps_best: bool = False) -> Summary | None:
    """Return statistics of curves for the checks; None if no fold has a training loss."""
    train = np.asarray(curves.train_loss, dtype=np.float64)
    valid = np.asarray(curves.valid_loss, dtype=np.float64)
    score = np.asarray(curves.valid_score, dtype=np.float64)
    finite = np.isfinite(train)
    folds = finite.any(axis=1)
    if not folds.any():
        return None
    n_epochs = 1 + int(np.flatnonzero(finite.any(axis=0))[-1])
    train, valid = train[folds, :n_epochs], valid[folds, :n_epochs]
    filled = _filled(train)
    valid_filled = _filled(valid)
    at_ends = filled
    if n_epochs > 1:
        # Each point is a mean over an epoch.
        middle = (filled[:, :-1] + filled[:, 1:]) / 2
        last = filled[:, -1:] + (filled[:, -1:] - filled[:, -2:-1]) / 2
        # Extrapolated by half an epoch, but by at most half of the loss.
        last = np.maximum(last, filled[:, -1:] / 2)
        at_ends = np.concatenate([middle, last], axis=1)
    params = curves.params
    baseline = curves.baseline_loss
    has_baseline = baseline is not None and math.isfinite(baseline) and baseline > 0
    first = np.concatenate([filled[:, 0], valid_filled[:, 0]])
    first = first[np.isfinite(first)]
    reference = float(baseline or 0.0) if has_baseline else float(first.max(initial=0.0))
    train_reference = float(filled[:, 0].max()) if curves.is_weighted else reference
    n_held_out = curves.n_held_out
    if n_held_out is None and curves.n_samples is not None:
        n_held_out = curves.n_samples * curves.n_repeats / curves.n_folds
    return Summary(
        train=at_ends,
        valid=valid_filled,
        raw_train=filled,
        score=_filled(score[folds, :n_epochs]),
        spent=rate_spent(n_epochs, params.get("lr_schedule"), params.get("max_epochs")),
        # Losses without a known constant may be 0 or negative.
        reference=reference if reference > 0 else 1.0,
        train_reference=train_reference if train_reference > 0 else 1.0,
        has_baseline=has_baseline,
        params=params,
        n_samples=curves.n_samples,
        n_held_out=n_held_out,
        is_finite=not (_breaks_off(train) or _breaks_off(valid)),
        keeps_best=keeps_best,
        n_repeats=curves.n_repeats,
        is_weighted=curves.is_weighted,
    )


def log_ratio(losses: Floats, references: Floats) -> Floats:
    """Return the logarithm of the ratio of losses, (F,), 0 if both are close to 0."""
    floor = NOTHING * max(float(losses.max()), float(references.max()), NOTHING)
    ratio: Floats = np.log(np.maximum(losses, floor) / np.maximum(references, floor))
    return ratio


def log_losses(losses: Floats) -> Floats:
    """Return logarithms of losses, with a floor for losses close to 0."""
    return np.asarray(np.log(np.maximum(losses, 1e-12 * max(losses.max(), 1e-12))))


def target_variances(summary: Summary) -> Floats | None:
    """Return each fold's target variance relative to the median fold; None if unknown."""
    unexplained = 1 - summary.score
    if summary.n_epochs < 2 or not (unexplained > 0).all():
        return None
    losses = log_losses(summary.valid)
    variances = losses - np.log(unexplained)
    # A score of 1 minus a constant multiple of the loss is R2, which is 1 minus the loss
    # divided by the variance of the fold's targets.  Constant losses cannot show that.
    if (variances.std(axis=1) >= 0.05 * losses.std(axis=1)).any():
        return None
    levels = np.median(variances, axis=1)
    # Dividing by the median keeps losses on their scale.
    return np.asarray(np.exp(levels - np.median(levels)))


def least_by_chance(summary: Summary) -> float:
    """Return how deep a minimum of the loss's logarithm can be by chance."""
    # Second differences of fewer epochs contain the trend.
    if summary.n_epochs < 10:
        return 0.0
    logs = np.log(np.maximum(summary.mean("valid"), NOTHING * summary.reference))
    # The least of T normal values is about sqrt(2 log T) deviations below their mean.  The
    # deviation is estimated from second differences, which hardly contain the trend.
    # The variance of a second difference of independent values is six times theirs, and
    # 0.6745 of a standard deviation is the median of absolute normal values.
    deviation = float(np.median(np.abs(np.diff(logs, n=2)))) / (0.6745 * math.sqrt(6))
    return deviation * math.sqrt(2 * math.log(summary.n_epochs))


def smooth(curves: Floats) -> Floats:
    """Return running medians over three epochs of curves, (..., T), without NaN."""
    size = (*[1] * (curves.ndim - 1), 3)
    smoothed: Floats = median_filter(curves, size, mode="nearest")
    return smoothed


def _mean(curves: Floats) -> Floats:
    mean: Floats = np.sort(curves, axis=0).mean(axis=0)
    return mean


def _filled(curves: Floats) -> Floats:
    """Return curves with missing values replaced by the last finite value."""
    finite = pd.DataFrame(np.where(np.isfinite(curves), curves, np.nan))
    return np.array(finite.ffill(axis=1), dtype=np.float64, order="C")


def _breaks_off(curves: Floats) -> bool:
    """Return whether a loss is infinite, or NaN before a later loss."""
    if np.isinf(curves).any():
        return True
    is_nan = np.isnan(curves)
    return bool((is_nan[:, :-1] & ~is_nan[:, 1:]).any())
