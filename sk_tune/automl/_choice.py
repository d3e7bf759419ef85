# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Which trials are averaged, and what the average is worth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sk_tune._metric import Metric
from sk_tune.automl._problem import Problem
from sk_tune.automl._trials import Trial, best_of, library_of
from sk_tune.ensemble import GreedyOptions, Selector
from sk_tune.search import CorrectedScore, corrected_score

__all__ = ["Chosen", "choose", "without_worse_than"]

Array = npt.NDArray[Any]

# Of each family, so that one that is a little weaker but different has its chance.
_MOST_OF_FAMILY = 8
_GREEDY = GreedyOptions(max_rounds=30, n_start=5, min_gain=0.0, n_bags=10)
# Of more rows fewer bags are drawn: what they are to steady is steady then.
_ROWS_IN_BAGS = 20_000
_N_BOOTSTRAPS = 300
# Lighter members cost as much to predict as others.
_LEAST_WEIGHT = 0.02


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chosen:
    """Members, and what to expect of them.

    Parameters
    ----------
    trials : sequence of Trial
        Those that were to be chosen from.
    weights : ndarray of shape (n_trials,)
        With sum 1.
    temperature : float
        Of the averaged probabilities.
    score, std : float
        Mean and standard deviation over the folds, of predictions for each row by members
        and weights that were chosen on other rows, out of the best trials of each family,
        which all rows choose; greater is better.  The deviation is NaN of a single fold.
    corrected : CorrectedScore or None
        The same over all rows, with an interval, if it was asked for.
    held_out : tuple of ndarray
        Targets of the rows, and these predictions.
    """

    trials: Sequence[Trial]
    weights: Array
    temperature: float
    score: float
    std: float
    corrected: CorrectedScore | None
    held_out: tuple[Array, Array]


def choose(
    trials: Sequence[Trial],
    problem: Problem,
    metric: Metric,
    *,
    calibrate: bool,
    corrects: bool = True,
    seconds: float | None = None,
) -> Chosen:
    """Choose members by greedy selection over out-of-fold predictions.

    Parameters
    ----------
    trials : sequence of Trial
        At least one.
    problem : Problem
        On whose folds they were fitted.
    metric : Metric
        What scores are taken by.  Members are chosen by log loss in classification.
    calibrate : bool
        Whether probabilities get a temperature.
    corrects : bool, default=True
        Whether an interval is asked for.
    seconds : float or None, default=None
        That it may take, where a metric has to be called often; any if None.

    Returns
    -------
    Chosen
        With the honest score.
    """
    families = dict.fromkeys(trial.family for trial in trials)
    own = [
        trial
        for family in families
        for trial in best_of([t for t in trials if t.family == family], _MOST_OF_FAMILY)
    ]
    library = library_of(own)
    is_classification = library.classes is not None
    selection = Selector(
        library,
        method="greedy",
        scoring=None if is_classification else problem.scoring,
        greedy=replace(_GREEDY, n_bags=_n_bags(len(library.y))),
        n_best=None,
        calibrate=calibrate and is_classification,
        random_state=problem.seed,
    ).select()
    weights = selection.choice.weights
    weights = np.where(weights < min(_LEAST_WEIGHT, weights.max()), 0.0, weights)
    score, std = _fold_scores(selection.predictions, library, problem, metric)
    y = library.y if library.classes is None else library.classes[library.y]
    return Chosen(
        trials=own,
        weights=weights / weights.sum(),
        temperature=selection.choice.temperature,
        score=score,
        std=std,
        corrected=corrected_score(
            selection.predictions[None],
            y,
            metric,
            n_bootstraps=_N_BOOTSTRAPS,
            classes=library.classes,
            time_budget=seconds,
            random_state=0,
        )
        if corrects
        else None,
        held_out=(y, selection.predictions),
    )


def without_worse_than(dummy: Trial | None, trials: Sequence[Trial]) -> list[Trial]:
    """Leave out trials that know less than one that does not look at the columns.

    In an average they do harm where they are far off, as a linear model on rows that are
    unlike those that it was fitted on.

    Parameters
    ----------
    dummy : Trial or None
        What guesses.
    trials : sequence of Trial
        Others, on the same folds.

    Returns
    -------
    list of Trial
        Those with a smaller log loss than the dummy, or a better score in a regression; all
        if there are none.
    """
    if dummy is None:
        return list(trials)
    knows = _log_likelihood if dummy.library.classes is not None else _score
    return [trial for trial in trials if knows(trial) > knows(dummy)] or list(trials)


def _score(trial: Trial) -> float:
    return trial.score


def _log_likelihood(trial: Trial) -> float:
    own = trial.library
    right = own.predictions[0][np.arange(len(own.y)), own.y]
    return float(np.log(np.clip(right, np.finfo(np.float32).tiny, None)).mean())


def _n_bags(n_rows: int) -> int:
    return int(np.clip(_ROWS_IN_BAGS // n_rows, 1, _GREEDY.n_bags))


def _fold_scores(
    predictions: Array, library: Any, problem: Problem, metric: Metric
) -> tuple[float, float]:
    rows = np.unique(np.concatenate([held for _, held in problem.folds]))
    y, responses = library.y, predictions
    if library.classes is not None:
        y, responses = library.classes[y], metric.response(predictions, library.classes)
    scores = []
    for _, held in problem.folds:
        own = np.isin(rows, held)
        try:
            scores.append(metric(y[own], responses[own]))
        except ValueError:
            # Not defined for a fold that lacks a class.
            scores.append(np.nan)
    # One held-out part tells nothing of a spread.
    return float(np.mean(scores)), float(np.std(scores)) if len(scores) > 1 else np.nan
