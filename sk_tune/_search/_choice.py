# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The choice among scored candidates, its expected score, and when to stop trying more."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import is_classifier

from sk_tune._compat import BaseSearchCV
from sk_tune._scores import ScoreEstimate, cheapest_near_best, expected_score, scorer_metric
from sk_tune._search._outcomes import (
    FoldOutcome,
    best_first,
    guiding_scores,
    out_of_fold_predictions,
    scores_by_curve,
)
from sk_tune._search_record import NOT_TRAINED, deciding_scorer, guiding_name
from sk_tune._text import counted
from sk_tune._warnings import warn_user
from sk_tune.exceptions import SkTuneWarning

# Time limit in seconds for metrics that must be called for each resample.
_MOST_SECONDS_FOR_SCORE = 30.0

# The value of `refit` that chooses the cheapest candidate near the best.
ONE_STANDARD_ERROR = "one_standard_error"

Results = Mapping[str, Any]
Outcomes = Sequence[Sequence[FoldOutcome]]


def top_rows(results: Results, metric: str, level: str | None) -> list[int]:
    """Return the scored rows of the highest `level`, best first; all rows if None."""
    levels = None if level is None else np.asarray(results[level])
    rows = best_first(guiding_scores(results, metric), levels)
    return [row for row in rows if levels is None or levels[row] == levels[rows[0]]]


def fold_scores(results: Results, refit: Any, row: int) -> npt.NDArray[np.float64]:
    """Return a row's scores on the folds, (F,), by the metric that decides."""
    ending = guiding_name(results, refit).removeprefix("mean")
    names = (f"split{fold}{ending}" for fold in range(len(results)))
    return np.array([results[name][row] for name in names if name in results], dtype=float)


def rows_without_folds(
    results: Results, refit: Any, best: int, rows: Sequence[int]
) -> tuple[int, ...]:
    """Return for each fold the row with the best mean score on all other folds.

    `rows` are the eligible rows, best first. All folds get `best` if another rule chose it,
    or if there is only one fold.
    """
    n_folds = len(fold_scores(results, refit, best))
    if rows[:1] != [best] or n_folds < 2:
        return (best,) * n_folds
    scores = np.stack([fold_scores(results, refit, row) for row in rows], axis=1)
    sums = scores.sum(axis=0) - scores
    return tuple(rows[int(k)] for k in sums.argmax(axis=1))


def standard_error(folds: npt.NDArray[np.float64]) -> float:
    """Return the standard error of a mean over folds; 0 for a single fold."""
    n_folds = len(folds)
    return float(np.std(folds, ddof=1) / np.sqrt(n_folds)) if n_folds > 1 else 0.0


def best_of_most(refit: Any, metric: str, results: Results) -> int:
    """Return the best of the scored result rows with the most resources.

    scikit-learn calls this instead of its own rule, which considers the last rung only,
    even if it has no score because the search ended early. A callable `refit` chooses
    itself.
    """
    if callable(refit):
        return int(BaseSearchCV._select_best_index(refit, metric, results))
    level = "n_resources" if "bracket" in results else "iter"
    rows = top_rows(results, metric, level)
    return rows[0] if rows else int(np.argmax(results[level]))


def warn_of_unscored_rung(results: Results, level: str | None, best: int | None) -> None:
    """Warn if no candidate of the last rung, or not even the best, has a score."""
    reasons = results.get("failure_reason")
    if level is None or best is None or reasons is None:
        return
    levels, resources = np.asarray(results[level]), np.asarray(results["n_resources"])
    of_last = reasons[levels == levels.max()]
    # The time budget and interruptions have messages of their own.
    if NOT_TRAINED & {*of_last, reasons[best]}:
        return
    outcome, reason = "The best candidate has no score", reasons[best]
    if not reason:
        if levels[best] == levels.max():
            return
        outcome = (
            "No candidate of the last rung has a score, so the best candidate has only "
            f"{resources[best]} of {resources.max()} resources"
        )
        reason = of_last[0]
    warn_user(f"{outcome}. Correct the cause and fit again. {reason}", SkTuneWarning)


def near_best(
    level: str | None, outcomes: Outcomes, _: Any, metric: str, results: Results
) -> int:
    """Return the cheapest result row within one standard error of the best."""
    rows = top_rows(results, metric, level)
    if not rows:
        return 0 if level is None else int(np.argmax(results[level]))
    scores, costs = guiding_scores(results, metric), cost_ranks(results, rows, outcomes)
    tolerance = standard_error(fold_scores(results, metric, rows[0]))
    return rows[int(cheapest_near_best(scores[np.newaxis, rows], tolerance, costs)[0])]


def n_weights(rows: Sequence[int], outcomes: Outcomes) -> npt.NDArray[np.float64]:
    """Return the number of weights of result rows' networks; NaN without a network."""
    largest = [max((o.n_weights for o in outcomes[row]), default=0) for row in rows]
    return np.array([n or np.nan for n in largest])


def cost_ranks(
    results: Results, rows: Sequence[int], outcomes: Outcomes
) -> npt.NDArray[np.intp]:
    """Return ranks by weights, then epochs; by time of a fit unless all are networks."""
    costs = np.asarray(results["mean_fit_time"])[rows, np.newaxis]
    weights = n_weights(rows, outcomes)
    if not np.isnan(weights).any():
        epochs = [max(o.best_epoch or o.n_granted for o in outcomes[row]) for row in rows]
        costs = np.column_stack([weights, epochs])
    ranks: npt.NDArray[np.intp] = np.unique(costs, axis=0, return_inverse=True)[1].ravel()
    return ranks


def is_beaten(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return which rows of (n, m) values another row beats: higher once, lower nowhere.

    >>> is_beaten(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 1.0]])).tolist()
    [False, False, True]
    """
    return np.array(
        [((values >= v).all(axis=1) & (values > v).any(axis=1)).any() for v in values],
        dtype=bool,
    )


def pareto_front(results: Results, rows: Sequence[int], outcomes: Outcomes) -> pd.DataFrame:
    """Return the rows that no other row beats in all mean scores and the cost."""
    names = [name for name in results if name.startswith("mean_test_")]
    weights = n_weights(rows, outcomes)
    cost = {"n_weights": weights}
    if np.isnan(weights).any():
        cost = {"mean_score_time": np.asarray(results["mean_score_time"])[rows]}
    columns = {name: np.asarray(results[name])[rows] for name in names} | cost
    table = pd.DataFrame(columns, index=pd.Index(rows, name="result_row")).dropna()
    values = table.to_numpy() * ([1.0] * len(names) + [-1.0])
    table.insert(0, "params", [results["params"][row] for row in table.index])
    table = table[~is_beaten(values)]
    return table.astype({"n_weights": int}) if "n_weights" in table else table


def epoch_optimism(folds: Sequence[FoldOutcome]) -> float:
    """Return the optimism of a mean score whose epoch was chosen on the same folds.

    It is the loss in mean score if the epoch for each fold is chosen on the other folds; 0
    if no epoch was chosen.
    """
    curves = [outcome.valid_score for outcome in folds if outcome.best_epoch is not None]
    if len(curves) < max(2, len(folds)) or len({len(curve) for curve in curves}) > 1:
        return 0.0
    scores = np.stack(curves)
    best_elsewhere = (scores.sum(axis=0) - scores).argmax(axis=1, keepdims=True)
    crossed = np.take_along_axis(scores, best_elsewhere, axis=1)
    return float(scores.mean(axis=0).max() - crossed.mean())


def n_folds_of_dropped(outcomes: Outcomes) -> int:
    """Return on how many folds, counted from the first, candidates were dropped.

    The other candidates were promoted by their scores on these folds, so these scores are
    optimistic. 0 if no candidate has all folds.
    """
    n_used = [sum(outcome.is_planned for outcome in folds) for folds in outcomes]
    most = max(n_used, default=0)
    if most < max(map(len, outcomes), default=0):
        return 0
    return max((n for n in n_used if n < most), default=0)


def _is_dropped(folds: Sequence[FoldOutcome]) -> bool:
    """Return whether predictions of a candidate were not kept."""
    return any(o.held is not None and o.held.values is None for o in folds)


def expected_score_of(
    search: Any, rows: Sequence[int] = (), earlier: Outcomes = (), **options: Any
) -> ScoreEstimate | None:
    """Return the expected score of a fitted search's choice among result rows.

    Without `rows`, the choice is among all candidates with predictions, on the folds on
    which none was dropped. `earlier` are candidates of an earlier search on the same folds.
    None if there are no scores, or for a metric that is not a function of targets and
    predictions, that needs decision functions, or that needs probabilities while a
    candidate has labels only (ROC AUC of labels is a different metric).
    """
    scorer, name = deciding_scorer(search)
    metric = scorer_metric(scorer, search.estimator)
    record, results, outcomes = search._search_record, search.cv_results_, search._outcomes
    if metric is None or not metric.takes_probabilities or record.y is None:
        return None
    is_whole_search, n_unfair = not rows, 0
    if is_whole_search:
        n_unfair = n_folds_of_dropped([outcomes[row] for row in record.last_rows])
    rows = rows or [row for row in record.last_rows if not _is_dropped(outcomes[row])]
    scores = guiding_scores(results, name)[list(rows)]
    if not np.isfinite(scores).any():
        return None
    held_out = [outcome.held for row in rows for outcome in outcomes[row]]
    if not metric.takes_labels and any(h is not None and h.is_of_predict for h in held_out):
        return None
    top = top_rows(results, name, search._level)
    if search.refit == ONE_STANDARD_ERROR and top:
        ranks = dict(zip(top, cost_ranks(results, top, outcomes), strict=True))
        options["costs"] = [ranks.get(row, len(top)) for row in rows]
        options["tolerance"] = standard_error(fold_scores(results, name, top[0]))
    # With repeated folds, use one prediction of each sample: the mean of several networks
    # would have another score.
    classes = search._labels()
    predictions = out_of_fold_predictions(
        [folds[n_unfair:] for folds in (*(outcomes[row] for row in rows), *earlier)],
        record.n_rows,
        classes,
        averaged=False,
    )
    if classes is None and is_classifier(search) and record.y.ndim == 2:
        # Predictions are then the probabilities of each label.
        classes = np.arange(record.y.shape[1])
    estimate = expected_score(
        predictions,
        record.y,
        metric,
        classes=classes,
        sample_weight=vars(search).get("_scored_by"),
        time_budget=_MOST_SECONDS_FOR_SCORE,
        random_state=0,
        **options,
    )
    if not (is_whole_search and scores_by_curve(search)):
        return estimate
    optimism = epoch_optimism(outcomes[vars(search).get("best_index_", top[0])])
    corrected = {n: getattr(estimate, n) - optimism for n in ("score", "low", "high")}
    return replace(estimate, **corrected)


class StopRule:
    """Follows the scores of a search; `reason` says why it ends, "" while it continues."""

    def __init__(self, search: Any) -> None:
        self._metric, self._level = search.refit, search._level
        self._target = search.target_score
        self._n_most = getattr(search, "n_iter_no_change", None)
        self.is_active = self._target is not None or self._n_most is not None
        self.reason = ""
        # The latest candidate that was better by more than the noise, and the number of
        # candidates that were tried after it.
        self._best: int | None = None
        self._n_since = 0

    def note(self, results: Mapping[str, Any], first: int) -> None:
        """Take note of the result rows from `first` on."""
        if not self.is_active or self.reason:
            return
        scores = guiding_scores(results, self._metric)
        for row in range(first, len(scores)):
            self._n_since += self._level is None or results["iter"][row] == 0
            if self._is_better(results, row):
                self._best, self._n_since = row, 0
        best = next(iter(top_rows(results, self._metric, self._level)), None)
        if best is not None and np.isnan(fold_scores(results, self._metric, best)).any():
            # Its rung does not use all folds.
            best = None
        if best is not None and self._target is not None and scores[best] >= self._target:
            self.reason = (
                f"the score {scores[best]:.4g} reached target_score={self._target:g}"
            )
        elif self._level is None:
            self.note_plateau()

    def note_plateau(self) -> None:
        """End the search if enough candidates improved nothing."""
        if self._n_most is not None and self._n_since >= self._n_most:
            tried = counted(self._n_since, "candidate")
            self.reason = (
                f"the last {tried} improved the score by no more than its noise "
                f"(n_iter_no_change={self._n_most})"
            )

    def _is_better(self, results: Mapping[str, Any], row: int) -> bool:
        """Return whether a row beats the best so far by more than a standard error.

        The standard error is that of the mean difference over folds, 0 for a single fold.
        More resources always count as better.
        """
        folds = fold_scores(results, self._metric, row)
        if math.isnan(folds.mean()):
            return False
        if self._best is None:
            return True
        if self._level is not None:
            level, best_level = (results[self._level][r] for r in (row, self._best))
            if level != best_level:
                return bool(level > best_level)
        difference = folds - fold_scores(results, self._metric, self._best)
        return bool(difference.mean() > standard_error(difference))
