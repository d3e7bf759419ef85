# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Features that hold the target, or all but."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.feature_selection import f_classif, f_regression
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sk_tune.diagnosis._leak_checks import LEAK_CHECKS, LeakTable
from sk_tune.diagnosis._records import Finding

__all__ = ["check_giveaway", "check_target"]

Array = npt.NDArray[Any]

# Score of a small tree on one column (accuracy, or R^2) from which on that column is
# suspected, and how much better than guessing it must be.
GIVES_AWAY = 0.995
ABOVE_GUESSING = 0.02
# Of a class so rare that this is not left: the part of guessing's errors that must be gone,
# and how many.
MOST_OF_ERRORS = 0.75
FEWEST_ERRORS = 10
LEAVES = 16
# Rows that the trees see, drawn by a fixed seed.
MOST_ROWS = 5000
FEWEST_ROWS = 40
# Columns of numbers that get a tree, those first that go with the target most.
MOST_TREES = 100
# Correlation of a column of numbers with the target that makes it the target.
SAME = 1 - 1e-6


def check_target(table: LeakTable) -> Finding:
    """Look for a column that is the target under another name: an issue if there is one."""
    check = LEAK_CHECKS["target among the features"]
    if table.y.ndim > 1:
        return check.not_applicable("There are several targets.")
    same = [name for name in table.X.columns if _is_target(table, table.X[name])]
    if not same:
        return check.passed("No column is the target.", {"columns": table.X.shape[1]})
    return check.issue(
        "high",
        f"The column {same[0]!r} is the target in other words.",
        {"columns": len(same)},
        f"Drop {', '.join(map(repr, same))}.",
    )


def check_giveaway(table: LeakTable) -> Finding:
    """Look for a column that alone predicts the target almost without error.

    An issue if there is one that is not the target itself.
    """
    check = LEAK_CHECKS["feature that gives the target away"]
    if table.y.ndim > 1 or len(table.y) < FEWEST_ROWS:
        return check.not_applicable("It takes one target and 40 rows.")
    rows = np.arange(len(table.y))
    if len(rows) > MOST_ROWS:
        rows = np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False)
    y = table.y[rows]
    guessed = _guessed(y, table.is_classification)
    names = [n for n in _suspects(table, rows) if not _is_target(table, table.X[n])]
    scores = {
        str(name): _score_alone(table.X[name].iloc[rows], y, table.is_classification)
        for name in names
    }
    if not scores:
        return check.not_applicable("There is no column beside the target.")
    name = max(scores, key=lambda n: scores[n])
    evidence = {"score": scores[name], "guessing": guessed}
    if scores[name] < GIVES_AWAY or not _tells(scores[name], guessed, len(y)):
        return check.passed("No column alone predicts the target.", evidence)
    what = "accuracy" if table.is_classification else "R²"
    return check.issue(
        "high",
        f"The column {name!r} alone predicts the target with {what} {scores[name]:.3f}.",
        evidence,
        f"Ask whether {name!r} is known when the prediction is needed; drop it if not.",
    )


def _tells(score: float, guessed: float, n_rows: int) -> bool:
    """Return whether a score is so much better than guessing that it is suspect."""
    gained = score - guessed
    of_rare = gained >= MOST_OF_ERRORS * (1 - guessed) and gained * n_rows >= FEWEST_ERRORS
    return gained >= ABOVE_GUESSING or of_rare


def _suspects(table: LeakTable, rows: Array) -> list[Any]:
    """Return the columns that get a tree of their own."""
    numbers = table.numbers
    if numbers.shape[1] <= MOST_TREES:
        return list(table.X.columns)
    values = numbers.iloc[rows].to_numpy(dtype=np.float64)
    values = np.where(np.isnan(values), np.nanmean(values, axis=0), values)
    varies = np.ptp(values, axis=0) > 0
    score = f_classif if table.is_classification else f_regression
    strength = np.zeros(values.shape[1])
    strength[varies] = np.nan_to_num(score(values[:, varies], table.y[rows])[0])
    strongest = {numbers.columns[i] for i in np.argsort(-strength)[:MOST_TREES]}
    return [n for n in table.X.columns if n in strongest or n not in numbers.columns]


def _is_target(table: LeakTable, column: "pd.Series[Any]") -> bool:
    if table.is_classification:
        codes, kinds = pd.factorize(column)
        targets, classes = pd.factorize(pd.Series(table.y))
        if len(kinds) != len(classes) or (codes < 0).any():
            return False
        return len(np.unique(np.stack([codes, targets]), axis=1).T) == len(classes)
    if not pd.api.types.is_numeric_dtype(column) or column.isna().any():
        return False
    values = column.to_numpy(dtype=np.float64)
    y = table.y.astype(np.float64)
    if values.std() == 0 or y.std() == 0:
        return False
    return bool(abs(np.corrcoef(values, y)[0, 1]) > SAME)


def _score_alone(column: "pd.Series[Any]", y: Array, is_classification: bool) -> float:  # noqa: FBT001
    """Return the cross-validated score of a small tree on one column."""
    if not pd.api.types.is_numeric_dtype(column):
        codes = pd.factorize(column)[0]
        if len(np.unique(codes)) > len(codes) / 4:
            # Names and identities, which a tree cannot learn from.
            return -np.inf
        column = pd.Series(codes)
    values = column.to_numpy(dtype=np.float64).reshape(-1, 1)
    if is_classification:
        fewest = np.unique(y, return_counts=True)[1].min()
        folds = (
            StratifiedKFold(3) if fewest >= 3 else KFold(3, shuffle=True, random_state=0)
        )
        tree = DecisionTreeClassifier(max_leaf_nodes=LEAVES, random_state=0)
        return _mean_score(tree, values, y, folds)
    tree = DecisionTreeRegressor(max_leaf_nodes=8 * LEAVES, random_state=0)
    return _mean_score(tree, values, y, KFold(3, shuffle=True, random_state=0))


def _mean_score(tree: Any, values: Array, y: Array, folds: Any) -> float:
    """Return the mean score over folds; ``cross_val_score`` takes twice as long here."""
    scores = [
        tree.fit(values[train], y[train]).score(values[test], y[test])
        for train, test in folds.split(values, y)
    ]
    return float(np.mean(scores))


def _guessed(y: Array, is_classification: bool) -> float:  # noqa: FBT001
    if not is_classification:
        return 0.0
    return float(np.unique(y, return_counts=True)[1].max() / len(y))
