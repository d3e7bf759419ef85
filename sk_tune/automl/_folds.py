# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Rows that are set aside, and the folds of the others."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
    TimeSeriesSplit,
    check_cv,
)

__all__ = ["held_out_rows", "make_folds"]

Array = npt.NDArray[Any]

_N_FOLDS = 5
# Rows for each second of the budget from which on a model is trained once instead of once
# for each fold: five trainings of one are worth less than five others then.
_ROWS_PER_SECOND = 400
# Without a budget.
_MOST_ROWS_IN_FOLDS = 50_000
_HELD_OUT_SHARE = 0.2
_MOST_HELD_OUT = 20_000
# Rows from which on some can be spared for a last check, and how many these are.
_ROWS_TO_SPARE = 5_000
_SPARED_SHARE, _MOST_SPARED = 0.1, 5_000


def held_out_rows(
    y: Array,
    *,
    test_size: float | str,
    is_classification: bool,
    groups: Array | None,
    times: Array | None = None,
    seed: int,
) -> Array:
    """Return rows to set aside for a last check.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Targets.
    test_size : float or "auto"
        Share of the rows, 0 for none; "auto" spares a tenth of 5,000 rows or more, but no
        more than 5,000.
    is_classification : bool
        Whether classes are to be in both parts.
    groups : ndarray of shape (n_samples,) or None
        What is not to be divided.
    times : ndarray of shape (n_samples,) or None, default=None
        When each row was; the last ones are set aside then.
    seed : int
        Of the choice.

    Returns
    -------
    ndarray of shape (n_held_out,)
        Positions in rising order; may be empty.
    """
    n = len(y)
    if test_size == "auto":
        n_spared = min(int(_SPARED_SHARE * n), _MOST_SPARED) if n >= _ROWS_TO_SPARE else 0
    else:
        n_spared = int(np.ceil(float(test_size) * n))
    if not n_spared:
        return np.empty(0, dtype=np.intp)
    if times is not None:
        return np.sort(np.argsort(times, kind="stable")[-n_spared:])
    _, held = _one_split(y, n_spared, is_classification, groups, seed)
    return np.sort(held)


def make_folds(
    y: Array,
    *,
    cv: Any,
    is_classification: bool,
    groups: Array | None,
    times: Array | None = None,
    time_budget: float | None,
    seed: int,
) -> list[tuple[Array, Array]]:
    """Return the folds that all models are judged on.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Targets.
    cv : int, splitter, iterable or "auto"
        As in scikit-learn; "auto" is 5 folds, by group if there are groups, or one
        held-out part if rows are many for the budget; with times each fold is later than
        what is trained on.
    is_classification : bool
        Whether classes are to be in all folds.
    groups : ndarray of shape (n_samples,) or None
        What is not to be divided.
    times : ndarray of shape (n_samples,) or None, default=None
        When each row was.
    time_budget : float or None
        Seconds.
    seed : int
        Of the order of rows.

    Returns
    -------
    list of (ndarray, ndarray)
        Training and held-out positions.
    """
    if not isinstance(cv, str):
        splitter = check_cv(cv, y, classifier=is_classification)
        return list(splitter.split(np.zeros(len(y)), y, groups))
    if times is not None:
        order = np.argsort(times, kind="stable")
        splits = TimeSeriesSplit(min(_N_FOLDS, len(y) - 1)).split(order)
        return [(order[train], order[test]) for train, test in splits]
    most = _MOST_ROWS_IN_FOLDS
    if time_budget is not None:
        most = int(_ROWS_PER_SECOND * time_budget)
    if len(y) > most:
        n_held = min(int(_HELD_OUT_SHARE * len(y)), _MOST_HELD_OUT)
        return [_one_split(y, n_held, is_classification, groups, seed)]
    splitter = _splitter(y, is_classification, groups, seed)
    with warnings.catch_warnings():
        # Of a class that is too rare for each fold to have some.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(splitter.split(np.zeros(len(y)), y, groups))


def _splitter(y: Array, is_classification: bool, groups: Array | None, seed: int) -> Any:  # noqa: FBT001
    if groups is not None:
        n_folds = min(_N_FOLDS, len(np.unique(groups)))
        if is_classification:
            return StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        return GroupKFold(n_folds, shuffle=True, random_state=seed)
    n_folds = min(_N_FOLDS, len(y))
    if is_classification:
        most_frequent = int(np.unique(y, return_counts=True)[1].max())
        if most_frequent >= 2:
            n_folds = min(n_folds, most_frequent)
            return StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    return KFold(n_folds, shuffle=True, random_state=seed)


def _one_split(
    y: Array,
    n_held: int,
    is_classification: bool,  # noqa: FBT001
    groups: Array | None,
    seed: int,
) -> tuple[Array, Array]:
    if groups is not None:
        kind: Any = GroupShuffleSplit(1, test_size=n_held / len(y), random_state=seed)
    elif is_classification and _can_stratify(y, n_held):
        kind = StratifiedShuffleSplit(1, test_size=n_held, random_state=seed)
    else:
        kind = ShuffleSplit(1, test_size=n_held, random_state=seed)
    train, held = next(kind.split(np.zeros(len(y)), y, groups))
    return train, held


def _can_stratify(y: Array, n_held: int) -> bool:
    counts = np.unique(y, return_counts=True)[1]
    return bool(counts.min() >= 2 and min(n_held, len(y) - n_held) >= len(counts))
