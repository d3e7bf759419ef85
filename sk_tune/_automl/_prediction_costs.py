# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Measured times to predict, and the models that are best for their time."""

import math
import pickle
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from sk_tune._automl._blend import Trial
from sk_tune._automl._limited_boosting import model_and_refit_ratio
from sk_tune._automl._problem import Problem
from sk_tune._automl._resources import few_threads
from sk_tune._ensemble import Combination, Member
from sk_tune._nesting import last_step
from sk_tune._splits import take

# Time to predict, as a multiple of boosting's, and scikit-learn's default of iterations.
_MOST_OF_BOOSTING, _ITERATIONS = 3.0, 100
# Rows to which times refer.  They are extrapolated from calls on one row and on
# `_MEASURED_ROWS`, or on as many as have `_MOST_VALUES`, because each call also takes a
# fixed time, mainly for the columns.
_ROWS, _MEASURED_ROWS, _MOST_VALUES = 10_000, 1000, 1_000_000
# The fastest of as many calls counts, because other processes interrupt some. The model
# that sets the limit is called more often.
_N_CALLS, _N_CALLS_FOR_LIMIT = 2, 10


class PredictionCosts:
    """Milliseconds in which trials together predict 10,000 rows, measured when needed.

    `ms` and `megabytes` (the size of the pickle) are those of one model of a trial. Times
    of boosting are for the iterations of its refit. A refit predicts alone, without it the
    models of the folds. Trials with the same transformers prepare rows once.

    `most` is the `limit`. Without `limit`, it is three times the cost of one model of the
    first trial of scikit-learn's boosting, which has default parameters, else of another
    package's, and infinite without boosting. The trial counts as if it had at least 100
    iterations, because early stopping may leave few trees.
    """

    def __init__(
        self, trials: Sequence[Trial], problem: Problem, limit: float | None = None
    ) -> None:
        self._problem, self._folds_of_refit = problem, problem.folds_of_refit
        rows = np.concatenate([test for _, test in problem.folds])
        most = _MOST_VALUES // np.size(take(problem.X, rows[:1]))
        # A small table is repeated.
        rows = np.resize(rows, int(np.clip(most, 2, _MEASURED_ROWS)))
        self._X, self._n_rows = take(problem.X, rows), len(rows)
        self._classes = trials[0].library.classes
        self.ms: dict[str, float] = {}
        self.megabytes: dict[str, float] = {}
        # Milliseconds after the preparation.
        self._ms_of_last: dict[str, float] = {}
        self._n_models: dict[str, int] = {}
        # Transformers of each trial, as ids of objects that the trials keep alive; their
        # time and their output.
        self._steps: dict[str, tuple[int, ...]] = {}
        self._prepared: dict[tuple[int, ...], tuple[float, Any]] = {(): (0.0, self._X)}
        self._of_label: dict[str, str] = {}
        boosting = [t for t in trials if t.family == "boosting"]
        # Boosting of other packages may be several times faster.
        boosting = [t for t in boosting if t.label == "boosting"] or boosting
        if limit is None:
            ms = self._of_boosting(boosting[0]) if boosting else math.inf
            limit = _MOST_OF_BOOSTING * ms
        self.most = limit

    def __call__(self, *trials: Trial) -> float:
        """Return the milliseconds of trials together; without models, of similar trials."""
        names = [*filter(None, map(self._measured, trials))]
        n_prepared = {self._steps[name]: self._n_models[name] for name in names}
        of_steps = sum(n * self._prepared[key][0] for key, n in n_prepared.items())
        return of_steps + sum(self._n_models[n] * self._ms_of_last[n] for n in names)

    def _of_boosting(self, trial: Trial) -> float:
        """Return the milliseconds of one boosting model with at least 100 iterations."""
        if not trial.models:
            return self(trial)
        self._measured(trial, _N_CALLS_FOR_LIMIT)
        model, ratio = self._model(trial)
        last: Any = last_step(model)
        if not hasattr(last, "n_iter_"):
            return self.ms[trial.name]
        n_iter: int = last.n_iter_
        of_refit = self._ms_of_last[trial.name]
        # The first stage takes nearly all of the time that does not depend on iterations.
        X = self._prepared[self._steps[trial.name]][1]
        of_first = self._timed(
            lambda X: next(last.staged_predict(X)), X, _N_CALLS_FOR_LIMIT
        )
        of_each = max(of_refit / ratio - of_first, 0.0) / max(n_iter - 1, 1)
        n_counted = max(ratio * n_iter, _ITERATIONS)
        return self.ms[trial.name] - of_refit + of_first + (n_counted - 1) * of_each

    def _measured(self, trial: Trial, n_calls: int = _N_CALLS) -> str | None:
        """Return the name of the trial with its cost, measured if necessary."""
        if not trial.models:
            return self._of_label.get(trial.label)
        if trial.name not in self.ms:
            model, ratio = self._model(trial)
            is_pipeline = isinstance(model, Pipeline)
            *steps, last = [s for _, s in model.steps] if is_pipeline else [model]
            key = tuple(map(id, steps))
            if key not in self._prepared:
                prepare = model[:-1].transform
                of_steps = self._timed(prepare, self._X, n_calls)
                self._prepared[key] = of_steps, prepare(self._X)
            of_steps, X = self._prepared[key]
            combination = Combination([Member(last, 1.0)], self._classes)
            of_last = ratio * self._timed(combination, X, n_calls)
            self.ms[trial.name] = of_steps + of_last
            self._ms_of_last[trial.name], self._steps[trial.name] = of_last, key
            self._n_models[trial.name] = self._n_predicting(trial)
            self._of_label[trial.label] = trial.name
            self.megabytes[trial.name] = len(pickle.dumps(model)) / 1e6
        return trial.name

    def _model(self, trial: Trial) -> tuple[Any, float]:
        """Return the model to measure, and a refit's trees as a multiple of its own."""
        if not self._is_refitted(trial):
            return trial.models[-1], 1.0
        return model_and_refit_ratio(trial.models[self._folds_of_refit])

    def _is_refitted(self, trial: Trial) -> bool:
        """Return whether one model, trained on all rows, is to replace the fold models."""
        return self._problem.kind == "table" and trial.n_rows >= self._problem.n_train

    def _n_predicting(self, trial: Trial) -> int:
        # In time order, only the last fold's model predicts.
        return 1 if self._is_refitted(trial) else len(trial.models[self._folds_of_refit])

    def _timed(self, call: Callable[[Any], Any], X: Any, n_calls: int) -> float:
        """Return the milliseconds of a call on 10,000 rows."""
        row = take(X, np.arange(1))
        with few_threads(np.size(self._X)):
            # The first call takes longer, because it stacks the networks.
            call(row)
            of_one, of_all = (_seconds(call, rows, n_calls) for rows in (row, X))
        of_each = max(of_all - of_one, 0.0) / (self._n_rows - 1)
        return 1000 * (of_one + (_ROWS - 1) * of_each)


def _seconds(call: Callable[[Any], Any], X: Any, n_calls: int) -> float:
    """Return the seconds of the fastest of several calls."""
    seconds = []
    for _ in range(n_calls):
        start = time.perf_counter()
        call(X)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def limited_costs(
    trials: Sequence[Trial], problem: Problem, most_ms: float | None, budget: float | None
) -> PredictionCosts | None:
    """Return the costs that limit an ensemble to `most_ms` for 10,000 rows.

    Without `most_ms` boosting limits the ensembles of tables, unless the fit has no time
    budget: measured times would make fits differ.  None without limit.
    """
    if most_ms is not None:
        return PredictionCosts(trials, problem, limit=most_ms)
    is_limited = budget is not None and problem.kind == "table"
    return PredictionCosts(trials, problem) if is_limited else None
