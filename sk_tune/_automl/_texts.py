# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether the models of a table use its columns of text.

Components of names and titles are often noise, which makes all models worse. Boosting with
defaults is trained in the folds with and without them; one decision is for all models.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import check_scoring

from sk_tune._automl._growth import clearly_gains
from sk_tune._automl._models import boosting_model, dummy_model
from sk_tune._automl._problem import Problem
from sk_tune._automl._resources import Clock, few_threads, fits_within
from sk_tune._automl._runner import ERRORS, Memory
from sk_tune._prepare import with_texts
from sk_tune._splits import take
from sk_tune._text import error_line
from sk_tune._types import Array
from sk_tune.exceptions import TableError

# Components of each column of text.
_N_COMPONENTS = 10
# Most training rows of a fold: in total, and for each second of the time budget. Fewer than
# the least show nothing, unless the table has no more.
_MOST_ROWS, _ROWS_PER_SECOND, _FEWEST_ROWS = 4000, 50, 500
# Share of the time budget for the decision, and the folds that suffice for it.
_SHARE, _FEWEST_FOLDS = 0.15, 2
# Trees of boosting, scikit-learn's default for two classes, and the fewest iterations: with
# more classes, each iteration is a tree for each class.
_TREES, _FEWEST_ITERATIONS = 100, 10
_TOO_LONG = "takes too long to encode for this budget"


def add_texts(
    estimator: Any,
    tables: tuple[Any, pd.DataFrame],
    problem: Problem,
    rows: Array,
    memory: Memory,
    clock: Clock,
) -> tuple[Any, Problem, Memory]:
    """Return X, problem and memory, with columns of text if they help.

    `tables` are X and the columns of text that it lacks; the problem is `rows` of X. The
    kinds of the estimator get the texts, or the reason against them. The memory keeps that,
    because trials of a later fit need the same columns.
    """
    kinds, (X, left_out) = estimator.kinds_, tables
    new_kinds = None if kinds is None else with_texts(kinds, X.assign(**left_out))
    if new_kinds is None or not new_kinds.texts:
        return X, problem, memory
    X_of_texts = X.assign(**left_out[left_out.columns.intersection([*new_kinds.texts])])
    with_all = replace(problem, X=take(X_of_texts, rows), text_components=_N_COMPONENTS)
    reason = memory.against_texts
    if reason is None:
        reason = reason_against_texts(problem, with_all, clock)
    memory = replace(memory, against_texts=reason)
    if not reason:
        estimator.kinds_ = new_kinds
        return X_of_texts, with_all, memory
    dropped = {
        name: f"{why} and {reason}" if name in new_kinds.texts else why
        for name, why in kinds.dropped.items()
    }
    estimator.kinds_ = replace(kinds, dropped=dropped)
    return X, problem, memory


def reason_against_texts(without: Problem, with_all: Problem, clock: Clock) -> str:
    """Return why models must not use texts; empty if these clearly improve boosting."""
    limit, began, most = clock.share(_SHARE), clock.seconds, _MOST_ROWS
    if clock.budget is not None:
        most = min(most, int(_ROWS_PER_SECOND * clock.budget))
    if most < min(_FEWEST_ROWS, without.n_train):
        return _TOO_LONG
    folds = without.sampled(most, holds_all=False).folds
    gains: list[float] = []
    for fold in folds:
        if clock.seconds - began > limit:
            break
        try:
            with few_threads(without.n_values), fits_within(limit, math.inf):
                before, after = (
                    _score(replace(part, folds=[fold])) for part in (without, with_all)
                )
        except ERRORS as error:
            return f"could not be tried: {error_line(str(error))}"
        gains.append(after - before)
    if len(gains) < min(_FEWEST_FOLDS, len(folds)):
        return _TOO_LONG
    return "" if clearly_gains(np.array(gains)) else "does not clearly help boosting"


def _score(problem: Problem) -> float:
    """Return the score of boosting in the only fold."""
    (rows, test), y = problem.folds[0], problem.y
    model = boosting_model(problem).estimator
    n_trees = problem.n_classes if problem.n_classes > 2 else 1
    n_iter = max(_TREES // n_trees, _FEWEST_ITERATIONS)
    model.set_params(boosting__max_iter=n_iter, boosting__early_stopping=False)
    train = problem.of_rows(problem.X, y, problem.sample_weight, rows)
    try:
        model.fit(train.X, train.y, **train.fit_params(model))
    except TableError:
        # All columns are text.
        model = dummy_model(problem).estimator.fit(train.X, train.y)
    scorer = check_scoring(model, problem.scoring)
    return float(scorer(model, take(problem.X, test), y[test]))
