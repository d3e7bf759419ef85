# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Features for which the target decides: crosses of numbers, and means of categories."""

from itertools import combinations
from typing import Any

import numpy as np
from sklearn.model_selection import KFold
from sklearn.preprocessing import LabelBinarizer, TargetEncoder
from sklearn.utils.multiclass import type_of_target

from sk_tune._types import Floats

_N_FOLDS = 5
_TINY = np.finfo(np.float64).tiny
_MOST_CLASSES = 20  # More different whole numbers are a continuous target.


def _target_type(y: Any) -> str:
    if y.dtype.kind in "iuf" and len(np.unique(y)) > _MOST_CLASSES:
        return "continuous"
    kind: str = type_of_target(y)
    return kind


def target_means(y: Any) -> TargetEncoder:
    """Return an unfitted encoder of categories by the mean of the target."""
    folds = KFold(min(_N_FOLDS, len(y)), shuffle=True, random_state=0)
    return TargetEncoder(target_type=_target_type(y), cv=folds)


def order_by_correlation(X: Floats, y: Any) -> list[int]:
    """Return the columns of X by their correlation with the target (or any class)."""
    is_number = _target_type(y) == "continuous"
    targets = y[:, np.newaxis] if is_number else LabelBinarizer().fit_transform(y)
    # Not StandardScaler: its output depends on scikit-learn's configuration.
    X, targets = (part - part.mean(axis=0) for part in (X, targets))
    norms = np.linalg.norm(X, axis=0)[:, np.newaxis] * np.linalg.norm(targets, axis=0)
    correlations = np.abs(X.T @ targets) / np.maximum(norms, _TINY)
    order: list[int] = np.argsort(-correlations.max(axis=1), kind="stable").tolist()
    return order


def pair_crosses(X: Any) -> Floats:
    """Return products and ratios of all pairs of columns; NaN where they are not finite.

    X is (n_samples, n_columns), the result (n_samples, n_columns * (n_columns - 1)).

    >>> pair_crosses([[6.0, 3.0], [1.0, 0.0]]).tolist()
    [[18.0, 2.0], [0.0, nan]]
    """
    X = np.asarray(X, dtype=np.float64)
    first, second = (X[:, place] for place in np.triu_indices(X.shape[1], 1))
    with np.errstate(all="ignore"):
        crosses = np.concatenate([first * second, first / second], axis=1)
    return np.where(np.isfinite(crosses), crosses, np.nan)


def cross_names(_: Any, names: Any) -> list[str]:
    """Return the names of the columns that ``pair_crosses`` returns."""
    pairs = [*combinations(names, 2)]
    return [
        f"{first}_{word}_{second}" for word in ("times", "by") for first, second in pairs
    ]
