# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The leak guard: whether scores of a cross-validation can be believed, by its data.

References
----------
.. [1] S. Kapoor, A. Narayanan. Leakage and the reproducibility crisis in
   machine-learning-based science. Patterns 4(9), 2023.  Its kinds L1.2 (scaling), L1.4
   (duplicates), L2 (features) and L3.1, L3.2 (times, groups) are looked for.
"""

import re
import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import check_cv
from sklearn.utils import check_consistent_length

from sk_tune._splits import as_times
from sk_tune.diagnosis._findings import RULES, Finding, share
from sk_tune.diagnosis._leak_columns import (
    check_giveaway,
    check_outliers,
    check_scaling,
    check_target,
)
from sk_tune.diagnosis._leak_copies import (
    LeakTable,
    as_frame,
    check_duplicates,
    check_near_duplicates,
    holds_classes,
)

__all__ = ["find_leaks"]

# Least share of the test rows whose group or past is in training.
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
    rule = RULES["groups across folds"]
    name = None if groups is not None else _group_column(table.X)
    if groups is None and name is None:
        return rule.not_applicable(
            "No groups were given, and no column looks as if it named some."
        )
    values = np.asarray(pd.factorize(table.X[name] if name else pd.Series(groups))[0])
    shared = [np.isin(values[test], values[train]) for train, test in table.folds]
    part = float(np.mean(np.concatenate(shared)))
    evidence = {"share": part, "groups": float(len(np.unique(values)))}
    if part < LEAST_SHARE:
        return rule.passed("No group is on both sides of a split.", evidence)
    remedy = "Split by group: cv=GroupKFold() or StratifiedGroupKFold(), and groups=…"
    if name is None:
        return rule.issue(
            "high",
            f"{share(part)} of the test rows have rows of their group among the training "
            "rows.",
            evidence,
            remedy,
        )
    return rule.tip(
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
    rule = RULES["future in the training rows"]
    name = None if times is not None else _time_column(table.X)
    if times is None and name is None:
        return rule.not_applicable("No times were given, and no column has dates.")
    when = pd.Series(times).infer_objects() if name is None else table.X[name]
    rank = when.rank(method="dense").to_numpy()
    late = [rank[test] < np.nanmax(rank[train]) for train, test in table.folds]
    part = float(np.mean(np.concatenate(late)))
    evidence = {"share": part}
    if part < LEAST_SHARE:
        return rule.passed(
            "Training rows are before the rows they are tested on.", evidence
        )
    remedy = "Sort the rows by time and split with cv=TimeSeriesSplit()."
    said = f"{share(part)} of the test rows are older than some training row"
    if name is None:
        return rule.issue("high", f"{said}.", evidence, remedy)
    return rule.tip(
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


def find_leaks(
    X: Any, y: Any, *, cv: Any = None, groups: Any = None, times: Any = None
) -> tuple[Finding, ...]:
    """Look for ways in which test rows got into training, and for outliers.

    Parameters
    ----------
    X : array-like or frame of shape (n_samples, n_features) or (n_samples, ...)
        Features as they go into cross-validation.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    cv : int, splitter or iterable, default=None
        Folds, as in scikit-learn; 5 if None.
    groups : array-like of shape (n_samples,) or None, default=None
        What belongs together, such as the patient of each row.
    times : array-like of shape (n_samples,) or None, default=None
        When each row was: numbers or dates; text is read as dates that begin with the year.

    Returns
    -------
    tuple of Finding
        One for each check, with codes from "SKT201": duplicates and near duplicates across
        folds, groups on both sides, training rows of the future, the target among
        the features, a feature that gives it away, scaling over all rows.  Last are
        outliers in features and in the targets of a regression, which are no leak but as
        easily unseen.

    Raises
    ------
    ValueError
        If X, y, groups and times are not of one length, or a time is missing or text that
        is no date.

    Notes
    -----
    The kinds of leakage are those of Kapoor and Narayanan (2023) that data can show.  What
    passes is not proven to be without leaks.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune.diagnosis import find_leaks
    >>> X, y = load_iris(return_X_y=True)
    >>> [f.name for f in find_leaks(X, y) if f.outcome == "issue"]
    []
    >>> leaking = np.column_stack([X, 10 * y])
    >>> [f.message for f in find_leaks(leaking, y) if f.outcome == "issue"]
    ["The column 'column 4' is the target in other words."]
    """
    check_consistent_length(X, y, groups, times)
    is_classification = holds_classes(np.asarray(y))
    splitter = check_cv(5 if cv is None else cv, y, classifier=is_classification)
    with warnings.catch_warnings():
        # The check looks for splitters that have no use for groups; their warning is no
        # news.
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        folds = list(splitter.split(np.zeros(len(y)), y, groups))
    table = LeakTable(
        X=as_frame(X), y=np.asarray(y), is_classification=is_classification, folds=folds
    )
    return (
        check_duplicates(table),
        check_near_duplicates(table),
        check_groups(table, groups),
        check_times(table, None if times is None else as_times(times)),
        check_target(table),
        check_giveaway(table),
        check_scaling(table),
        check_outliers(table),
    )
