# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The leak guard within a time."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from sk_tune._splits import folds_among
from sk_tune.automl._problem import Problem
from sk_tune.diagnosis import Finding, find_leaks
from sk_tune.exceptions import warn_user

__all__ = ["guarded", "serious_leaks", "warn_of_leaks"]

# Values of X that are looked at, for each second of the budget and at least this many rows.
_VALUES_PER_SECOND = 20_000
_FEWEST_ROWS = 500
# Columns that are looked at for each second, because some checks take a time for each.
_COLUMNS_PER_SECOND, _FEWEST_COLUMNS = 20, 100
# Findings, of duplicates, that need all columns.
_OF_WHOLE_ROWS = ("SKT201", "SKT202")


def guarded(
    problem: Problem, groups: Any, time_budget: float | None, times: Any = None
) -> tuple[Finding, ...]:
    """Return a finding of each check of the leak guard.

    Of data that are large for the budget only some samples and columns are looked at.
    """
    X, y = _readable(problem.X), problem.y
    folds: Any = problem.folds
    rng = np.random.default_rng(problem.seed)
    n_columns = max(1, int(np.prod(X.shape[1:])))
    most_rows, most_columns = len(y), n_columns
    if time_budget is not None:
        most_rows = max(_FEWEST_ROWS, int(_VALUES_PER_SECOND * time_budget / n_columns))
        most_columns = max(_FEWEST_COLUMNS, int(_COLUMNS_PER_SECOND * time_budget))
    if len(y) > most_rows:
        rows = np.sort(rng.choice(len(y), most_rows, replace=False))
        folds = folds_among(rows, folds, len(y))
        # Of small folds there may be nothing left.
        folds = [fold for fold in folds if all(map(len, fold))] or None
        X = X.iloc[rows].reset_index(drop=True) if hasattr(X, "iloc") else X[rows]
        y = y[rows]
        groups, times = (None if v is None else v[rows] for v in (groups, times))
    structure = {"cv": folds, "groups": groups, "times": times}
    if n_columns > most_columns:
        columns = np.sort(rng.choice(n_columns, most_columns, replace=False))
        flat = X if hasattr(X, "iloc") else X.reshape(len(X), -1)
        some = flat.iloc[:, columns] if hasattr(X, "iloc") else flat[:, columns]
        findings = find_leaks(some, y, **structure)
        if not any(f.code in _OF_WHOLE_ROWS and f.outcome == "issue" for f in findings):
            return findings
    return find_leaks(X, y, **structure)


def serious_leaks(findings: Iterable[Finding]) -> list[Finding]:
    """Return the leak guard's issues of more than low severity.

    They make scores too good.
    """
    return [
        f
        for f in findings
        if f.is_of_leaks and f.outcome == "issue" and f.severity != "low"
    ]


def warn_of_leaks(findings: Iterable[Finding]) -> None:
    """Warn of leaks that make scores too good, if there are any."""
    serious = serious_leaks(findings)
    if serious:
        listed = " ".join(f"{f.message} {f.remedy}".strip() for f in serious)
        warn_user(f"The leak guard found what makes scores too good. {listed}")


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
