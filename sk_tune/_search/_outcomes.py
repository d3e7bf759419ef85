# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Outcomes of the tasks of a search (a candidate on a fold), and their sums."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import is_classifier

from sk_tune._engine import Progress
from sk_tune._input_scale import InputScale
from sk_tune._nesting import transforms_target
from sk_tune._scores import Ledger, as_columns, with_all_classes
from sk_tune._search_record import NOT_TRAINED, UNSCORED, guiding_name
from sk_tune._types import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """Predictions of a candidate for the held-out samples of a fold.

    `rows` are positions of these samples. `values`, (n_test,) or (n_test, n_outputs), are
    probabilities (1 and 0 if a classifier has labels only) or a regressor's predictions;
    None if they are not kept. `classes` are the classes of the columns. `is_of_predict`
    says that values come from ``predict``, so those of a classifier show no uncertainty.
    """

    rows: Array
    values: Array | None
    classes: Array | None
    is_of_predict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoldOutcome:
    """The result of a candidate on a fold.

    Curves have a value for each epoch and are empty without a network. The fit trained
    `n_epochs` epochs; an earlier rung trained `n_resumed`; `n_loaded` came from the store;
    `n_again` were repeated to reach `best_epoch`. `n_granted` is the total granted up to
    this rung, `n_granted_before` up to the previous one. `seconds` is the training time in
    one thread; `engine` is "fleet", "alone", or "" for the estimator's own fit.
    `alone_reason` explains why no fleet trained it. `reason` explains a missing score.
    `unscored` explains why its predictions have no score, although training succeeded.
    `remark` says what a training with a score lacks, and why. `inputs` is the scale of the
    network's features, for the first fold only. `n_weights` is the size of the network's
    ``state_dict``, 0 without a network. `is_planned` is False on folds that its rung does
    not use.
    """

    train_loss: Array = field(default_factory=lambda: np.empty(0))
    valid_loss: Array = field(default_factory=lambda: np.empty(0))
    valid_score: Array = field(default_factory=lambda: np.empty(0))
    held: HeldOut | None = None
    n_epochs: int = 0
    n_resumed: int = 0
    n_loaded: int = 0
    n_again: int = 0
    best_epoch: int | None = None
    n_granted: int = 0
    n_granted_before: int = 0
    seconds: float = 0.0
    engine: str = ""
    alone_reason: str = ""
    reason: str = ""
    unscored: str = ""
    remark: str = ""
    inputs: InputScale | None = None
    n_weights: int = 0
    is_planned: bool = True

    @property
    def n_reached(self) -> int:
        """Epochs granted, or trained if that is more, because other folds were cut."""
        trained = self.n_resumed + self.n_epochs + self.n_loaded
        return max(self.n_granted, trained) if self.n_granted else 0

    @property
    def was_stopped(self) -> bool:
        """Whether Ctrl-C or the time budget ended it, which is not a failure."""
        return self.reason in NOT_TRAINED


def hold(estimator: Any, X: Any, rows: Array) -> HeldOut:
    """Return a fitted estimator's predictions at positions `rows`."""
    classes = getattr(estimator, "classes_", None) if is_classifier(estimator) else None
    has_columns = isinstance(classes, np.ndarray) and classes.ndim == 1
    has_probabilities = hasattr(estimator, "predict_proba")
    if has_probabilities:
        values = as_columns(estimator.predict_proba(X), classes)
    elif has_columns:
        values = (np.asarray(estimator.predict(X))[:, None] == classes).astype(float)
    else:
        values = np.asarray(estimator.predict(X), dtype=float)
    return HeldOut(
        rows=positions(rows),
        values=values,
        classes=classes if has_columns else None,
        is_of_predict=not has_probabilities,
    )


def without_values(outcome: FoldOutcome) -> FoldOutcome:
    if outcome.held is None or outcome.held.values is None:
        return outcome
    return replace(outcome, held=replace(outcome.held, values=None))


def positions(rows: Any) -> Array:
    """Return positions of samples, which a user's splitter may give as a mask."""
    rows = np.asarray(rows)
    return np.flatnonzero(rows) if rows.dtype == bool else rows


def out_of_fold_predictions(
    outcomes: Sequence[Sequence[FoldOutcome]],
    n_rows: int,
    classes: Array | None,
    *,
    averaged: bool = True,
) -> Array:
    """Return the out-of-fold predictions of each candidate.

    The shape is (n_candidates, n_rows) or (n_candidates, n_rows, n_outputs), NaN for
    samples that no fold held out, in the dtype of the predictions. `classes` are all
    classes, for probabilities; a class that a fold lacks has probability 0. If several
    folds held a sample out, the result is their mean if `averaged`, else the first.
    """
    aligned = [[_aligned(outcome.held, classes) for outcome in folds] for folds in outcomes]
    every = [values for of_folds in aligned for values in of_folds if values is not None]
    shape = every[0].shape[1:] if every else ()
    kind = np.result_type(*{values.dtype for values in every}) if every else float
    predictions = np.full((len(outcomes), n_rows, *shape), np.nan, dtype=kind)
    for means, folds, fold_values in zip(predictions, outcomes, aligned, strict=True):
        n_before = np.zeros(n_rows, dtype=np.int32)
        for held_out, values in zip(
            (outcome.held for outcome in folds), fold_values, strict=True
        ):
            if held_out is None or values is None or values.shape[1:] != shape:
                continue
            is_new = n_before[held_out.rows] == 0
            means[held_out.rows[is_new]] = values[is_new]
            if averaged and not is_new.all():
                rows = held_out.rows[~is_new]
                n = n_before[rows].reshape(-1, *([1] * (values.ndim - 1)))
                means[rows] += (values[~is_new] - means[rows]) / (n + 1)
            n_before[held_out.rows] += 1
    return predictions


def _aligned(held: HeldOut | None, classes: Array | None) -> Array | None:
    """Return probabilities with a column for every class."""
    if held is None or held.values is None:
        return None
    if held.classes is None or classes is None:
        return held.values
    return with_all_classes(held.values, held.classes, classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """Settings for the evaluation of candidates, derived from a search's parameters.

    `n_models_kept` and `n_predictions_kept` count the best candidates; None means all. The
    predictions of `n_at_once` candidates fit in memory; None means all. If epochs are the
    resource, `resource` is the name of their parameter, and `max_resources` the epochs that
    the learning-rate schedule spans.
    """

    search: Any
    n_models_kept: int | None = 0
    n_predictions_kept: int | None = None
    n_at_once: int | None = None
    resource: str | None = None
    max_resources: int = 0
    progress: Callable[[Progress], object] | None = None


def fit_name(candidate: int, fold: int) -> str:
    """Return the name of a fit in the engine's messages, without a colon."""
    return f"candidate {candidate}, fold {fold}"


_CURVES = ("train_loss", "valid_loss", "valid_score")


def best_epoch(curves: Any) -> int | None:
    """Return the epoch, counted from 1, with the best mean over folds.

    `curves`, (F, T), are scores after each epoch, NaN if missing; the earliest of equal
    epochs counts. None if there is no epoch with scores on all folds: means over different
    folds are not comparable.
    """
    mean = np.asarray(curves, dtype=np.float64).mean(axis=0)
    return None if np.isnan(mean).all() else 1 + int(np.nanargmax(mean))


def learning_curves(
    outcomes: Sequence[Sequence[FoldOutcome]],
    results: Mapping[str, Any],
    candidates: Sequence[int] | Array,
) -> pd.DataFrame:
    """Return the curves of all networks, one row per epoch, without failed fits.

    `candidates` are the numbers of candidates by result row. The columns are result_row,
    candidate, fold, epoch (from 1), train_loss, valid_loss and valid_score, NaN where a
    curve is shorter than others of its fit; with rungs also iter and n_resources of
    ``cv_results_``.
    """
    fits = [
        (row, fold, outcome)
        for row, folds in enumerate(outcomes)
        for fold, outcome in enumerate(folds)
        if len(outcome.train_loss)
    ]
    lengths = [max(len(getattr(o, name)) for name in _CURVES) for _, _, o in fits]
    places = np.array([fit[:2] for fit in fits], dtype=np.int64).reshape(-1, 2)
    result_row, fold = np.repeat(places, lengths, axis=0).T
    epochs = [np.empty(0, dtype=np.int64), *(np.arange(1, n + 1) for n in lengths)]
    table = {
        "result_row": result_row,
        "candidate": np.asarray(candidates, dtype=np.int64)[result_row],
        "fold": fold,
        "epoch": np.concatenate(epochs),
    }
    for name in _CURVES:
        table[name] = np.full(sum(lengths), np.nan)
        for (_, _, outcome), n, end in zip(fits, lengths, np.cumsum(lengths), strict=True):
            curve = getattr(outcome, name)
            table[name][end - n : end - n + len(curve)] = curve
    for name in ("iter", "n_resources"):
        if name in results:
            table[name] = np.asarray(results[name], dtype=np.int64)[result_row]
    return pd.DataFrame(table)


def guiding_scores(results: Mapping[str, Any], refit: Any) -> npt.NDArray[np.float64]:
    """Return the mean scores by the deciding metric; greater is better."""
    name = guiding_name(results, refit)
    return np.asarray(results[name]) if name else np.empty(0)


def best_first(scores: Any, levels: Any = None) -> list[int]:
    """Return scored rows by level, then score; of equal scores the earlier first."""
    scores = np.asarray(scores)
    levels = np.zeros(len(scores)) if levels is None else np.asarray(levels)
    order = np.lexsort((-scores, -levels))
    return [int(row) for row in order if not np.isnan(scores[row])]


def scores_by_curve(search: Any) -> bool:
    """Return whether the score curves of networks use the metric of the search."""
    scoring = search.scoring
    has_metric = isinstance(scoring, str | None) and scoring in {None, "accuracy", "r2"}
    return has_metric and not transforms_target(search.estimator)


def with_reasons(
    results: Mapping[str, Any], outcomes: Sequence[Sequence[FoldOutcome]], refit: Any
) -> dict[str, Any]:
    """Return a copy of results with a column "failure_reason", if any candidate failed."""
    reasons = []
    for folds, score in zip(outcomes, guiding_scores(results, refit), strict=True):
        reason = next((o.reason for o in folds if o.reason), "")
        if not reason and np.isnan(score):
            cause = next((o.unscored for o in folds if o.unscored), "")
            reason = f"{UNSCORED}: {cause}" if cause else f"{UNSCORED}; a warning said why."
        reasons.append(reason)
    if not any(reasons):
        return dict(results)
    return {**results, "failure_reason": np.array(reasons, dtype=object)}


def last_rows(
    candidates: Sequence[int] | Array, reasons: Sequence[str] | None
) -> tuple[int, ...]:
    """Return, in ascending order, each candidate's result row with the most resources.

    A row without results after an interruption counts only if the candidate has no other.
    """
    last: dict[int, int] = {}
    for row, candidate in enumerate(candidates):
        is_empty = reasons is not None and reasons[row] in NOT_TRAINED
        if not is_empty or candidate not in last:
            last[candidate] = row
    return tuple(sorted(last.values()))


def n_whole_rows(results: Mapping[str, Any]) -> int:
    """Return the number of candidates with all columns of ``cv_results_``.

    Ctrl-C may interrupt scikit-learn while it extends its lists by a round's results.
    """
    return min(map(len, results.values()), default=0)


def count_texts(
    outcomes: Sequence[Sequence[FoldOutcome]], name: Literal["alone_reason", "remark"]
) -> Counter[str]:
    """Count the texts in an attribute of outcomes."""
    texts = (getattr(outcome, name) for folds in outcomes for outcome in folds)
    return Counter(text for text in texts if text)


def search_ledger(
    outcomes: Sequence[Sequence[FoldOutcome]],
    *,
    n_folds: int,
    max_epochs: int | None,
    starts: Sequence[bool],
    seconds: Mapping[str, float],
    n_epochs_left_out: int = 0,
) -> Ledger:
    """Return costs and savings of a search, for networks and other estimators.

    `max_epochs` are the epochs of a full training if epochs are the resource; None if each
    candidate has its own number. `starts` says for each row whether its candidate starts
    there or continues from a lower rung. `seconds` are by part: preparing, training,
    scoring, sampling, refit, total. `n_epochs_left_out` counts epochs of candidates that
    had no time for the next rung.
    """
    # Networks by the epochs granted before their rung and up to its end.
    rungs: dict[tuple[int, int], list[FoldOutcome]] = {}
    n_candidates = n_fits = full = 0
    for folds, is_new in zip(outcomes, starts, strict=True):
        # Fits that never started do not count.
        ran = [o for o in folds if o.is_planned and not o.was_stopped]
        networks = [outcome for outcome in folds if outcome.n_granted]
        n_candidates += bool(ran and is_new)
        n_fits += len(networks or ran)
        if networks and not any(outcome.n_granted_before for outcome in networks):
            full += n_folds * (max_epochs or networks[0].n_granted)
        if networks and max_epochs is None:
            n_missing = sum(outcome.reason in NOT_TRAINED for outcome in folds)
            n_epochs_left_out += n_missing * networks[0].n_granted
        for outcome in networks:
            key = (outcome.n_granted_before, outcome.n_reached)
            rungs.setdefault(key, []).append(outcome)
    granted = advanced = cut = 0
    for (n_before, n_after), fits in rungs.items():
        # Fits that are not resumed train all epochs from scratch.
        is_warm = n_before == 0 or any(outcome.n_resumed for outcome in fits)
        granted += len(fits) * (n_after - n_before if is_warm else n_after)
        advanced += len(fits) * (n_after - n_before)
        cut += sum(n_after - n_before - o.n_epochs for o in fits if o.reason)
    every = [outcome for folds in outcomes for outcome in folds]
    trained, loaded = sum(o.n_epochs for o in every), sum(o.n_loaded for o in every)
    return Ledger(
        n_candidates=n_candidates,
        n_fits=n_fits,
        epochs_trained=trained,
        epochs_loaded=loaded,
        epochs_full=full,
        epochs_saved_by_pruning=full - advanced - n_epochs_left_out,
        epochs_left_out=n_epochs_left_out,
        epochs_saved_by_early_stopping=granted - trained - loaded - cut,
        epochs_cut_by_failure=cut,
        epochs_saved_by_warm_start=sum(o.n_resumed for o in every),
        n_failed=sum(bool(o.reason) and not o.was_stopped for o in every),
        n_in_fleets=sum(o.engine == "fleet" for o in every),
        epochs_trained_again=sum(o.n_again for o in every),
        alone_reasons=dict(count_texts(outcomes, "alone_reason")),
        remarks=dict(count_texts(outcomes, "remark")),
        seconds=dict(seconds),
    )
