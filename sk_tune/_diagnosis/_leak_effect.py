# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Whether copies across folds change the held-out score.

A small forest is trained on each fold without the training samples that are copies of test
samples, and on as many random training samples.  The difference of its errors on the test
samples is the effect of the copies.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon
from sklearn.ensemble import ExtraTreesRegressor

from sk_tune._diagnosis._findings import Finding, share
from sk_tune._types import Floats, Ints

# Samples and trees of the forest.
_MOST_ROWS, _N_TREES = 5000, 20
# Least relative rise of the error, and largest p-value: a few errors dominate the mean, so
# ranks are tested.
_LEAST_RISE, _SIGNIFICANCE = 0.01, 0.01
# Least share of the training samples that are not copies.
_LEAST_LEFT = 0.2


def only_if_copies_matter(finding: Finding, table: Any, groups: Ints) -> Finding:
    """Return an issue about copies with their effect, or a tip if they have none."""
    effect = _effect_of_copies(table, groups)
    if effect is None:
        return finding
    rise, p_value = effect
    evidence = {**finding.evidence, "error_rise": rise, "p_value": p_value}
    if rise >= _LEAST_RISE and p_value < _SIGNIFICANCE:
        text = f"Without them in training, a forest's error rises by {share(rise)}."
        message = f"{finding.message} {text}"
        return replace(finding, message=message, evidence=evidence)
    remedy = f"{finding.remedy[0].lower()}{finding.remedy[1:]}"
    return replace(
        finding,
        outcome="tip",
        severity="low",
        message=f"{finding.message} They do not change a forest's error measurably.",
        evidence=evidence,
        remedy=f"To rule out an effect on your model: {remedy}",
    )


def _effect_of_copies(table: Any, groups: Ints) -> tuple[float, float] | None:
    """Return the relative rise of the error without copies and its p-value, if possible."""
    if (table.y == table.y[0]).all():
        return None
    rng = np.random.default_rng(0)
    order = rng.permutation(groups.max() + 1)
    n_first = np.cumsum(np.bincount(groups, minlength=len(order))[order])
    is_used = np.isin(groups, order[n_first <= max(_MOST_ROWS, n_first[0])])
    X, rises, errors, of_group = _numbers(table.X), [], [], []
    for train, test in ((a[is_used[a]], b[is_used[b]]) for a, b in table.folds):
        distinct = train[~np.isin(groups[train], groups[test])]
        if len(distinct) < _LEAST_LEFT * len(train) or not len(test):
            return None
        sample = rng.choice(train, len(distinct), replace=False)
        with_copies, without = (
            _errors(table, X, rows, test) for rows in (np.sort(sample), distinct)
        )
        # Other differences are noise.
        is_copy = np.isin(groups[test], groups[train])
        rises.append((without - with_copies) * is_copy)
        errors.append(without)
        of_group.append(groups[test])
    # Copies have the same error, so groups are the independent units.
    sums = np.bincount(np.concatenate(of_group), weights=np.concatenate(rises))
    level = float(np.concatenate(errors).sum())
    if not sums.any() or level == 0:
        return 0.0, 1.0
    test = wilcoxon(sums[sums != 0], alternative="greater")
    return float(sums.sum()) / level, float(test.pvalue)


def _numbers(X: pd.DataFrame) -> Floats:
    """Return a table as numbers, with medians for missing values and codes for classes."""
    numbers = X.apply(
        lambda c: c if pd.api.types.is_numeric_dtype(c.dtype) else pd.factorize(c)[0]
    ).astype(np.float64)
    return np.asarray(numbers.fillna(numbers.median()).fillna(0.0))


def _errors(table: Any, X: Floats, train: Ints, test: Ints) -> Floats:
    """Return the squared errors of test samples; of probabilities for classes (Brier)."""
    y, is_of_classes = table.y, table.is_classification and table.y.ndim == 1
    if is_of_classes:
        classes, codes = np.unique(y, return_inverse=True)
        y = np.eye(len(classes))[codes]
    forest = ExtraTreesRegressor(n_estimators=_N_TREES, random_state=0)
    predictions = forest.fit(X[train], y[train]).predict(X[test])
    errors: Floats = np.square(predictions - y[test]).reshape(len(test), -1).mean(axis=1)
    return errors
