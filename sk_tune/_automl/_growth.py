# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""More epochs for networks that do not choose their best epoch on held-out rows."""

import math

import numpy as np

from sk_tune._automl._blend import Trial
from sk_tune._automl._problem import Problem
from sk_tune._automl._runner import ModelKind, Runner
from sk_tune._search import GridSearchCV
from sk_tune._types import Floats

# Limits of the epochs, as a multiple of the default, and of the expected time of a trial
# with more epochs, as a part of the time for networks in the round.
_MOST_GROWTH, _PART_OF_ROUND = 8, 1 / 3


def grow(kind: ModelKind, runner: Runner, problem: Problem, seconds: float) -> float:
    """Double the epochs of candidates while that improves the defaults; return the time."""
    model, began = kind.model, runner.clock.seconds
    is_full = kind.n_rows == problem.n_train and kind.units >= model.most_resources
    while is_full and not kind.has_grown:
        previous = _trial_of(kind, runner, kind.units)
        seconds_left = seconds - (runner.clock.seconds - began)
        if previous is None or 2 * previous.seconds > _PART_OF_ROUND * seconds_left:
            break
        units = 2 * kind.units
        runner.begin(f"{model.name}, {units} epochs")
        runner.run(
            GridSearchCV,
            kind.estimator,
            {model.resource: [units]},
            model,
            problem,
            time_budget=seconds_left if math.isfinite(seconds_left) else None,
        )
        doubled = _trial_of(kind, runner, units)
        kind.has_grown = doubled is None or not clearly_gains(
            doubled.fold_scores - previous.fold_scores
        )
        if not kind.has_grown:
            kind.units = units
            kind.estimator.set_params(**{model.resource: units})
            kind.has_grown = units >= _MOST_GROWTH * model.most_resources
    return runner.clock.seconds - began


def _trial_of(kind: ModelKind, runner: Runner, units: int) -> Trial | None:
    """Return the trial of the defaults with `units` epochs, if there is one."""
    key = kind.model.name, {kind.model.resource: units}
    return next((t for t in runner.memory.trials if (t.label, t.params) == key), None)


def clearly_gains(gains: Floats, n_errors: float = 1.0) -> bool:
    """Return whether the mean gain over the folds exceeds `n_errors` standard errors."""
    return bool(gains.mean() > n_errors * np.std(gains) / math.sqrt(len(gains)))
