# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether the models of a table use its columns of text.

Components of names and titles are often noise, which makes all models worse. A network is
trained briefly in the folds with and without them; one decision is for all models.
"""

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import check_scoring

from sk_tune._automl._growth import clearly_gains
from sk_tune._automl._models import dummy_model, table_network
from sk_tune._automl._problem import Problem
from sk_tune._automl._resources import Clock, few_threads
from sk_tune._automl._runner import ERRORS, Memory
from sk_tune._prepare import with_texts
from sk_tune._splits import take
from sk_tune._text import error_line
from sk_tune._training import TimeIsUpError, TimeLimit, one_thread, time_limit
from sk_tune._types import Array
from sk_tune.exceptions import TableError

# Components of each column of text.
_N_COMPONENTS = 10
# Most training rows of a fold: in total, and for each second of the time budget. Fewer than
# the least show nothing, unless the table has no more.
_MOST_ROWS, _ROWS_PER_SECOND, _FEWEST_ROWS = 4000, 50, 500
# Share of the time budget for the decision, and the folds that suffice for it.
_SHARE, _FEWEST_FOLDS = 0.15, 2
# The mean gain must exceed this number of its standard errors.
_CLEAR = 2.0
# Training of the network.
_BRIEFLY = {"net__members": 2, "net__max_epochs": 8, "net__early_stopping": False}
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
    """Return why models must not use texts; empty if these clearly improve a network."""
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
        end = None if math.isinf(limit) else TimeLimit(until=time.monotonic() + limit)
        try:
            with one_thread(), few_threads(without.n_values), time_limit(end):
                score_without, score_with = (
                    _score(replace(part, folds=[fold])) for part in (without, with_all)
                )
        except TimeIsUpError:
            break
        except ERRORS as reason:
            return f"could not be tried: {error_line(str(reason))}"
        gains.append(score_with - score_without)
    if len(gains) < min(_FEWEST_FOLDS, len(folds)):
        return _TOO_LONG
    helps = clearly_gains(np.array(gains), _CLEAR)
    return "" if helps else "does not clearly help a network"


def _score(problem: Problem) -> float:
    """Return the score of a briefly trained network in the only fold."""
    (rows, test), y = problem.folds[0], problem.y
    model = table_network(problem).estimator.set_params(**_BRIEFLY)
    train = problem.of_rows(problem.X, y, problem.sample_weight, rows)
    try:
        model.fit(train.X, train.y, **train.fit_params(model))
    except TableError:
        # All columns are text.
        model = dummy_model(problem).estimator.fit(train.X, train.y)
    scorer = check_scoring(model, problem.scoring)
    return float(scorer(model, take(problem.X, test), y[test]))
