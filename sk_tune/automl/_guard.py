# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The leak guard within a time."""

from typing import Any

import numpy as np
import pandas as pd

from sk_tune.automl._problem import Problem
from sk_tune.diagnosis import Finding, find_leaks

__all__ = ["guarded"]

# Values of X that are looked at, for each second of the budget and at least this many rows.
_VALUES_PER_SECOND = 20_000
_FEWEST_ROWS = 500


def guarded(
    problem: Problem, groups: Any, time_budget: float | None, times: Any = None
) -> tuple[Finding, ...]:
    """Return what the leak guard finds.

    Parameters
    ----------
    problem : Problem
        Rows and folds.
    groups : ndarray of shape (n_samples,) or None
        What belongs together.
    time_budget : float or None
        Seconds of the whole fit; of large data some rows are looked at only.
    times : ndarray of shape (n_samples,) or None, default=None
        When each row was.

    Returns
    -------
    tuple of Finding
        Of each check one.
    """
    X, y, folds = _readable(problem.X), problem.y, problem.folds
    n_rows = len(y)
    n_columns = max(1, int(np.prod(X.shape[1:])))
    most = n_rows
    if time_budget is not None:
        most = max(_FEWEST_ROWS, int(_VALUES_PER_SECOND * time_budget / n_columns))
    if n_rows <= most:
        return find_leaks(X, y, cv=folds, groups=groups, times=times)
    rng = np.random.default_rng(problem.seed)
    rows = np.sort(rng.choice(n_rows, most, replace=False))
    place = np.full(n_rows, -1)
    place[rows] = np.arange(most)
    own = [tuple(place[part][place[part] >= 0] for part in fold) for fold in folds]
    X = X.iloc[rows].reset_index(drop=True) if hasattr(X, "iloc") else X[rows]
    return find_leaks(
        X,
        y[rows],
        cv=own,
        groups=None if groups is None else groups[rows],
        times=None if times is None else times[rows],
    )


def _readable(X: Any) -> Any:
    """Return a table without columns of what can be neither compared nor hashed."""
    if not isinstance(X, pd.DataFrame):
        return X
    unreadable = [
        name
        for name in X.columns
        if X[name].dtype == object and not X[name].map(pd.api.types.is_hashable).all()
    ]
    return X.drop(columns=unreadable)
