# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Test rows set aside before anything else, and the folds of the others."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from sk_tune.cli._target import N_FOLDS, Target
from sk_tune.exceptions import OptionError

__all__ = ["Split", "build_folds", "split_rows"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Rows to train on and rows for the test only.

    Parameters
    ----------
    X_train, X_test : DataFrame
        All columns but the target.
    y_train, y_test : ndarray
        The target.
    stratified : bool
        Both have the classes in the same shares.
    """

    X_train: pd.DataFrame
    X_test: pd.DataFrame
    y_train: Array
    y_test: Array
    stratified: bool


def split_rows(X: pd.DataFrame, target: Target, test_size: float, seed: int) -> Split:
    """Set test rows aside, stratified where the classes allow it.

    Parameters
    ----------
    X : DataFrame of shape (n_rows, n_columns)
        All columns but the target.
    target : Target
        The target of all rows.
    test_size : float
        Share of the rows to set aside; between 0 and 1.
    seed : int
        Seed of the choice.

    Returns
    -------
    Split
        The rows in two parts.

    Raises
    ------
    OptionError
        If the rows that are left are too few for the folds.
    """
    n_test = math.ceil(test_size * len(X))
    n_train = len(X) - n_test
    stratified = target.task == "classification" and _can_stratify(
        target.y, n_train, n_test
    )
    if n_train < 2 * N_FOLDS:
        raise OptionError(_too_few(test_size, n_train))
    train, test = train_test_split(
        np.arange(len(X)),
        test_size=n_test,
        random_state=seed,
        stratify=target.y if stratified else None,
    )
    y_train = target.y[train]
    if target.task == "classification":
        counts = np.unique(y_train, return_counts=True)[1]
        if len(counts) < 2 or counts.max() < N_FOLDS:
            raise OptionError(_too_few(test_size, n_train))
    return Split(
        X_train=X.iloc[train].reset_index(drop=True),
        X_test=X.iloc[test].reset_index(drop=True),
        y_train=y_train,
        y_test=target.y[test],
        stratified=stratified,
    )


def build_folds(task: str, seed: int) -> Any:
    """Return the folds for the baselines and the search.

    Parameters
    ----------
    task : {"classification", "regression"}
        Classes are stratified.
    seed : int
        Seed of the order of rows.

    Returns
    -------
    splitter
        The same folds whenever it is used.
    """
    kind = StratifiedKFold if task == "classification" else KFold
    return kind(N_FOLDS, shuffle=True, random_state=seed)


def _can_stratify(y: Array, n_train: int, n_test: int) -> bool:
    counts = np.unique(y, return_counts=True)[1]
    return bool(counts.min() >= 2 and min(n_train, n_test) >= len(counts))


def _too_few(test_size: float, n_train: int) -> str:
    return (
        f"--test-size must leave at least {2 * N_FOLDS} rows to train on, of two classes "
        f"or more and {N_FOLDS} of one class. Got {test_size:g}, which leaves {n_train} "
        "rows."
    )
