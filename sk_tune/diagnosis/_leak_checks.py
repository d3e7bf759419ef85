# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The codes of the leak guard, and the table that its checks look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.utils.multiclass import type_of_target

from sk_tune.diagnosis._check import Check

__all__ = ["LEAK_CHECKS", "LeakTable", "as_leak_table", "holds_classes", "plain_numbers"]

Array = npt.NDArray[Any]

LEAK_CHECKS = {
    name: Check(f"SKT{201 + i}", name)
    for i, name in enumerate((
        "duplicates across folds",
        "near duplicates across folds",
        "groups across folds",
        "future in the training rows",
        "target among the features",
        "feature that gives the target away",
        "scaled over all rows",
        "outliers",
    ))
}

# Whole numbers of more values than this are classes only if they are stored as such, and
# each has so many rows on average.
MOST_CLASSES = 20
ROWS_OF_A_CLASS = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LeakTable:
    """Samples, targets and folds (positions of training and test samples).

    Features of more than two dimensions are flattened.
    """

    X: pd.DataFrame
    y: Array
    is_classification: bool
    folds: Sequence[tuple[Array, Array]]

    @property
    def numbers(self) -> pd.DataFrame:
        """Columns of numbers."""
        return self.X.select_dtypes(include=["number", "bool"])


def as_leak_table(
    X: Any,
    y: Any,
    *,
    is_classification: bool,
    folds: Sequence[tuple[Array, Array]],
) -> LeakTable:
    """Return data of any kind as a table with named columns and ``plain_numbers``."""
    if hasattr(X, "to_pandas"):
        X = X.to_pandas()
    if not isinstance(X, pd.DataFrame):
        array = np.asarray(X)
        X = pd.DataFrame(array.reshape(len(array), -1))
        X.columns = [f"column {i}" for i in range(X.shape[1])]
        X = X.infer_objects()
    return LeakTable(
        X=plain_numbers(X.reset_index(drop=True)),
        y=np.asarray(y),
        is_classification=is_classification,
        folds=folds,
    )


def plain_numbers(X: pd.DataFrame) -> pd.DataFrame:
    """Return a table in which durations are seconds and infinite numbers are missing.

    ``TablePreparer`` reads them in the same way.
    """
    X = X.copy(deep=False)
    for name, column in X.items():
        if pd.api.types.is_timedelta64_dtype(column.dtype):
            X[name] = column.dt.total_seconds()
        elif pd.api.types.is_float_dtype(column.dtype):
            is_infinite = np.isinf(column.to_numpy(dtype=np.float64, na_value=np.nan))
            if is_infinite.any():
                X[name] = column.mask(is_infinite)
    return X


def holds_classes(y: Array) -> bool:
    """Return whether targets are classes: few different ones, or no numbers."""
    if type_of_target(y).startswith("continuous"):
        return False
    if y.dtype.kind not in "fiu":
        return True
    n_values = len(np.unique(y))
    many = n_values > MOST_CLASSES
    return not (many and (y.dtype.kind == "f" or n_values > len(y) / ROWS_OF_A_CLASS))
