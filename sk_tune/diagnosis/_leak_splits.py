# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Groups and times that a split should have kept apart."""

import re
from typing import Any

import numpy as np
import pandas as pd

from sk_tune.diagnosis._check import share
from sk_tune.diagnosis._leak_checks import LEAK_CHECKS, LeakTable
from sk_tune.diagnosis._records import Finding

__all__ = ["check_groups", "check_times"]

# Of the test rows whose group or past is in training.
LEAST_SHARE = 0.01
# Names of columns that say who a row is of: the word alone, or with "id" behind it.
_WHO = "patient|subject|customer|client|user|person|member|household|session|group|family"
_IDENTITY = re.compile(rf"(?:{_WHO})s?(?:[ _.-]?(?:id|no|nr|key|code))?|id", re.IGNORECASE)
# Rows that an identity has on average, at least, and different ones, for it to be one.
FEWEST_REPEATS = 2.0
FEWEST_GROUPS = 10


def check_groups(table: LeakTable, groups: Any = None) -> Finding:
    """Look for groups with samples on both sides of a split.

    An issue for groups that were given; without them, a tip for a column that looks like
    some.
    """
    check = LEAK_CHECKS["groups across folds"]
    name = None if groups is not None else _group_column(table.X)
    if groups is None and name is None:
        return check.not_applicable(
            "No groups were given, and no column looks as if it named some."
        )
    values = np.asarray(pd.factorize(table.X[name] if name else pd.Series(groups))[0])
    shared = [np.isin(values[test], values[train]) for train, test in table.folds]
    part = float(np.mean(np.concatenate(shared)))
    evidence = {"share": part, "groups": float(len(np.unique(values)))}
    if part < LEAST_SHARE:
        return check.passed("No group is on both sides of a split.", evidence)
    remedy = "Split by group: cv=GroupKFold() or StratifiedGroupKFold(), and groups=…"
    if name is None:
        return check.issue(
            "high",
            f"{share(part)} of the test rows have rows of their group among the training "
            "rows.",
            evidence,
            remedy,
        )
    return check.tip(
        "medium",
        f"The column {name!r} looks as if it named groups, and {share(part)} of the test "
        "rows have rows of their group among the training rows.",
        evidence,
        f"If new data have new values of it: {remedy}",
    )


def check_times(table: LeakTable, times: Any = None) -> Finding:
    """Look for training samples that are later than the samples they are tested on.

    An issue for times that were given; without them, a tip for a column of dates.
    """
    check = LEAK_CHECKS["future in the training rows"]
    name = None if times is not None else _time_column(table.X)
    if times is None and name is None:
        return check.not_applicable("No times were given, and no column has dates.")
    when = pd.Series(times).infer_objects() if name is None else table.X[name]
    rank = when.rank(method="dense").to_numpy()
    late = [rank[test] < np.nanmax(rank[train]) for train, test in table.folds]
    part = float(np.mean(np.concatenate(late)))
    evidence = {"share": part}
    if part < LEAST_SHARE:
        return check.passed(
            "Training rows are before the rows they are tested on.", evidence
        )
    remedy = "Sort the rows by time and split with cv=TimeSeriesSplit()."
    said = f"{share(part)} of the test rows are older than some training row"
    if name is None:
        return check.issue("high", f"{said}.", evidence, remedy)
    return check.tip(
        "medium",
        f"{said}, by the column {name!r}.",
        evidence,
        f"If the network is to predict the future: {remedy}",
    )


def _group_column(X: pd.DataFrame) -> str | None:
    """Return a column whose name and values look like an identity."""
    for name in X.columns:
        is_named = _IDENTITY.fullmatch(str(name)) is not None
        n_values = X[name].nunique()
        repeats = len(X) / max(1, n_values)
        if is_named and n_values >= FEWEST_GROUPS and repeats >= FEWEST_REPEATS:
            return str(name)
    return None


def _time_column(X: pd.DataFrame) -> Any:
    for name in X.columns:
        if pd.api.types.is_datetime64_any_dtype(X[name]):
            return name
    return None
