# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Columns that are the target, or alone predict it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.feature_selection import f_classif, f_regression
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sk_tune._diagnosis._findings import RULES, Finding
from sk_tune._diagnosis._leak_copies import LeakTable
from sk_tune._plain_numbers import PlainNumbers, unique_counts
from sk_tune._types import Array, Floats

# Least mean number of rows per identity, and least number of identities.
_FEWEST_REPEATS = 2.0
_FEWEST_GROUPS = 10


def check_target(table: LeakTable) -> Finding:
    """Check for columns that are the target in another encoding: an issue if found."""
    rule = RULES["target among the features"]
    if table.y.ndim > 1:
        return rule.not_applicable("This check needs a single target.")
    same = [
        name for name in _with_values_like_target(table) if _is_target(table, table.X[name])
    ]
    if not same:
        return rule.passed("No column equals the target.", {"columns": table.X.shape[1]})
    names = ", ".join(repr(str(name)) for name in same)
    start = f"The column {names} is" if len(same) == 1 else f"The columns {names} are each"
    return rule.issue(
        "high",
        f"{start} the target in another encoding.",
        {"columns": len(same)},
        f"Drop {names}.",
    )


def check_giveaway(table: LeakTable) -> Finding:
    """Check for a column that alone predicts the target almost without error."""
    rule = RULES["feature that gives the target away"]
    if table.y.ndim > 1 or len(table.y) < 40:
        return rule.not_applicable("This check needs one target and 40 rows.")
    if len(np.unique(table.y)) == 1:
        return rule.not_applicable("All targets are equal.")
    rows = np.arange(len(table.y))
    if len(rows) > 5000:
        rows = np.random.default_rng(0).choice(rows, 5000, replace=False)
    y = table.y[rows]
    guessed = float(pd.Series(y).value_counts(normalize=True).iloc[0])
    guessed = guessed if table.is_classification else 0.0
    names = [n for n in _suspects(table, rows) if not _is_target(table, table.X[n])]
    scores = dict(zip(names, _scores(table, names, rows), strict=True))
    if not scores:
        return rule.not_applicable("No column is left to check.")
    measure = "accuracy" if table.is_classification else "R²"
    sentences = {
        name: f"The column {str(name)!r} alone predicts the target with {measure} "
        f"{scores[name]:.3f}."
        for name in sorted(scores, key=lambda n: -scores[n])
        if _is_almost_perfect(scores[name], guessed, len(y))
    }
    imperfect = [name for name in names if name not in sentences]
    for name in () if table.is_classification else imperfect:
        if _is_binned_target(table.X[name].iloc[rows], y):
            sentences[name] = (
                f"The column {str(name)!r} divides the target into "
                f"{table.X[name].nunique()} ranges, as if computed from it."
            )
    best = next(iter(sentences), max(scores, key=lambda n: scores[n]))
    evidence = {"score": scores[best], "guessing": guessed}
    if not sentences:
        return rule.passed("No column alone predicts the target.", evidence)
    columns = ", ".join(repr(str(name)) for name in sentences)
    remedy = (
        f"Check whether {columns} is available when predictions are made; drop it if not."
    )
    if len(sentences) > 1:
        remedy = (
            f"Check which of {columns} are available when predictions are made; drop the "
            "others."
        )
    if any(repeats(table.X[name]) for name in sentences):
        remedy += (
            f" If {'the' if len(sentences) == 1 else 'a'} column identifies units, such as "
            "patients, remove it from X and pass its values as groups."
        )
    return rule.issue("high", " ".join(sentences.values()), evidence, remedy)


def _is_almost_perfect(score: float, guessed: float, n_rows: int) -> bool:
    """Return whether a column predicts almost without error, and better than a guess."""
    gained = score - guessed
    # With a rare class, most errors of guessing must be gone, and at least 10.
    is_most = gained >= 0.75 * (1 - guessed) and gained * n_rows >= 10
    return score >= 0.995 and (gained >= 0.02 or is_most)


def _scores(table: LeakTable, names: list[Any], rows: Array) -> list[float]:
    """Return the score of each column alone, by a tree or by its equal values."""
    # Equal rows have equal values of every column: they are copies, not a giveaway.
    distinct = rows[~table.X.iloc[rows].duplicated().to_numpy()]
    place = np.full(len(table.y), -1)
    place[distinct] = np.arange(len(distinct))
    folds = [
        [p[p >= 0] for p in (place[train], place[test])] for train, test in table.folds
    ]
    is_classification = table.is_classification
    y = table.y[rows]
    thirds = _thirds(y, is_classification)
    return [
        max(
            _score_alone(table.X[name].iloc[rows], y, thirds, is_classification),
            _score_by_value(
                table.X[name].iloc[distinct], table.y[distinct], folds, is_classification
            ),
        )
        for name in names
    ]


def _suspects(table: LeakTable, rows: Array) -> list[Any]:
    """Return columns for a tree; of numbers, the 100 most associated with the target."""
    numbers = table.numbers
    if numbers.shape[1] <= 100:
        return list(table.X.columns)
    values = numbers.iloc[rows].to_numpy(dtype=np.float64)
    values = np.where(np.isnan(values), np.nanmean(values, axis=0), values)
    varies = np.ptp(values, axis=0) > 0
    score = f_classif if table.is_classification else f_regression
    strength = np.zeros(values.shape[1])
    strength[varies] = np.nan_to_num(score(values[:, varies], table.y[rows])[0])
    strongest = {numbers.columns[i] for i in np.argsort(-strength)[:100]}
    return [n for n in table.X.columns if n in strongest or n not in numbers.columns]


def _with_values_like_target(table: LeakTable) -> list[Any]:
    """Return all columns, except numeric ones with more or fewer values than classes."""
    if not table.is_classification:
        return list(table.X.columns)
    plain = PlainNumbers.of(table.X)
    n_classes = len(pd.factorize(pd.Series(table.y))[1])
    differ = unique_counts(plain.values) != n_classes
    excluded = {name for name, differs in zip(plain.names, differ, strict=True) if differs}
    return [name for name in table.X.columns.tolist() if name not in excluded]


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
    return bool(abs(np.corrcoef(values, y)[0, 1]) > 1 - 1e-6)


# Most values of a column of bins, the largest gap between bins as a share of their widths,
# and the largest share of rows on limits that belong to two bins.
_MOST_BINS, _LARGEST_GAP, _MOST_ON_LIMITS = 20, 0.25, 0.01


def _is_binned_target(column: "pd.Series[Any]", y: Array) -> bool:
    """Return whether each value has its own range of a numeric target, next to others.

    Gaps between the ranges would speak for a strong effect of the column.
    """
    codes, kinds = pd.factorize(column)
    if not 2 <= len(kinds) <= _MOST_BINS:
        return False
    targets, codes = y[codes >= 0].astype(np.float64), codes[codes >= 0]
    if len(codes) - np.bincount(codes).max() < _FEWEST_SEPARATED:
        return False
    ranges = pd.Series(targets).groupby(codes).agg(["min", "max"]).sort_values("min")
    low, high = ranges.to_numpy().T
    widths, gaps = high - low, low[1:] - high[:-1]
    most = _LARGEST_GAP * np.minimum(widths[1:], widths[:-1])
    # A rounded limit may be in both ranges.
    on_limits = np.isin(targets, high[:-1][gaps == 0]).mean()
    is_next = (gaps >= 0) & (gaps <= most) & (most > 0)
    return bool(is_next.all() and on_limits <= _MOST_ON_LIMITS)


# Least number of samples that judge whether equal values have equal targets.
_FEWEST_SCORED = 20
# Samples outside of the most frequent class that no column separates by chance.
_FEWEST_SEPARATED = 10


def _thirds(y: Array, is_classification: bool) -> list[tuple[Array, Array]]:  # noqa: FBT001
    """Return three folds."""
    folds = KFold(3, shuffle=True, random_state=0)
    if is_classification and np.unique(y, return_counts=True)[1].min() >= 3:
        # Rows in order would hide identities, which are often numbered by class.
        folds = StratifiedKFold(3, shuffle=True, random_state=0)
    return list(folds.split(np.zeros(len(y)), y))


def _score_alone(
    column: "pd.Series[Any]",
    y: Array,
    folds: Sequence[tuple[Array, Array]],
    is_classification: bool,  # noqa: FBT001
) -> float:
    """Return the cross-validated score of a small tree on one column."""
    if not pd.api.types.is_numeric_dtype(column):
        codes = pd.factorize(column)[0]
        if len(np.unique(codes)) > len(codes) / 4:
            # Names and identities, which a tree cannot learn from.
            return -np.inf
        column = pd.Series(codes)
    values = column.to_numpy(dtype=np.float64).reshape(-1, 1)
    tree: Any = DecisionTreeRegressor(max_leaf_nodes=128, random_state=0)
    if is_classification:
        tree = DecisionTreeClassifier(max_leaf_nodes=16, random_state=0)
    # scikit-learn's cross_val_score and accuracy_score take longer than the tree.
    measure: Any = _accuracy if is_classification else r2_score
    scores = [
        measure(y[test], tree.fit(values[train], y[train]).predict(values[test]))
        for train, test in folds
    ]
    score = float(np.mean(scores))
    if is_classification and score > 0.95 and _separates(values, y):
        return 1.0
    return score


def _accuracy(y: Array, predicted: Array) -> float:
    return float(np.mean(y == predicted))


def _score_by_value(
    column: "pd.Series[Any]",
    y: Array,
    folds: Sequence[Sequence[Array]],
    is_classification: bool,  # noqa: FBT001
) -> float:
    """Return the score of the mean target, or most frequent class, of equal values.

    Over the test rows whose value is among the training rows of their fold.
    """
    if not repeats(column):
        return -np.inf
    codes = pd.factorize(column, use_na_sentinel=False)[0]
    if is_classification:
        labels, classes = np.unique(y, return_inverse=True)
        targets = np.eye(len(labels))[classes]
    else:
        targets = np.asarray(y, dtype=np.float64)[:, None]
    predicted = np.full(targets.shape, np.nan)
    for train, test in folds:
        sums = np.zeros((codes.max() + 1, targets.shape[1]))
        np.add.at(sums, codes[train], targets[train])
        counts = np.bincount(codes[train], minlength=len(sums))[:, None]
        with np.errstate(invalid="ignore"):
            predicted[test] = (sums / counts)[codes[test]]
    is_seen = ~np.isnan(predicted[:, 0])
    if np.count_nonzero(is_seen) < _FEWEST_SCORED:
        return -np.inf
    predicted, targets = predicted[is_seen], targets[is_seen]
    if is_classification:
        return float((predicted.argmax(axis=1) == targets.argmax(axis=1)).mean())
    return float(r2_score(targets, predicted))


def _separates(values: Floats, y: Array) -> bool:
    """Return whether a column determines the classes, each by one interval of values.

    A cross-validated tree errs near the ends of intervals, too often in small tables.
    """
    counts = np.unique(y, return_counts=True)[1]
    if len(y) - counts.max() < _FEWEST_SEPARATED:
        return False
    tree = DecisionTreeClassifier(max_leaf_nodes=len(counts), random_state=0)
    return bool(tree.fit(values, y).score(values, y) == 1)


def repeats(column: "pd.Series[Any]") -> bool:
    """Return whether a column may number groups of rows."""
    n_values = column.nunique()
    return _FEWEST_GROUPS <= n_values <= len(column) / _FEWEST_REPEATS
