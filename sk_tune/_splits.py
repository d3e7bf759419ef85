# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Kinds of targets, folds among retained samples, and the order of time."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from sk_tune._types import Array
from sk_tune.exceptions import TableError


def are_classes(n_values: int, n_samples: int) -> bool:
    """Return whether targets with `n_values` distinct integers are classes, not amounts.

    >>> are_classes(3, 150), are_classes(8, 30), are_classes(30, 10_000)
    (True, False, False)
    """
    return n_values <= min(10, n_samples // 5)


def take(X: Any, rows: Array) -> Any:
    """Return rows of a frame, numbered from 0, or of an array."""
    return X.iloc[rows].reset_index(drop=True) if hasattr(X, "iloc") else X[rows]


def folds_among(
    retained: Array, folds: Iterable[tuple[Any, Any]], n_rows: int
) -> list[tuple[Array, Array]]:
    """Return folds of all samples as positions among the retained samples.

    The folds keep their order; parts may be empty.

    >>> folds_among(np.array([1, 3, 4]), [([0, 1], [2, 3, 4])], 5)
    [(array([0]), array([1, 2]))]
    """
    place = np.full(n_rows, -1)
    place[retained] = np.arange(len(retained))
    parts = [[place[part] for part in fold] for fold in folds]
    return [(train[train >= 0], test[test >= 0]) for train, test in parts]


def as_column(values: Any, name: str) -> Array:
    """Return one value for each row, (n,), or raise TableError for several columns.

    >>> as_column([[1], [2]], "groups")
    array([1, 2])
    """
    column = np.asarray(values)
    if column.ndim == 2 and column.shape[1] == 1:
        return np.asarray(column[:, 0])
    if column.ndim != 1:
        raise TableError(
            f"{name!r} must have shape (n_samples,). Got {column.shape} instead. Pass one "
            "column, or combine the columns, for example as text."
        )
    return column


def as_times(times: Any) -> Array:
    """Return times that can be sorted: numbers and dates unchanged, dates of text in UTC.

    Text must be dates that begin with the year: sorted as text, 12/01/2023 would be later
    than 01/15/2024. Raises TableError for other text or a missing time.
    """
    values = as_column(times, "times")
    if pd.api.types.infer_dtype(values, skipna=True) == "string":
        dates = pd.to_datetime(
            pd.Series(values), format="ISO8601", errors="coerce", utc=True
        )
        sortable = dates.dt.tz_localize(None).to_numpy()
    else:
        sortable = values
    missing = pd.isna(sortable)
    if missing.any():
        first = int(missing.argmax())
        raise TableError(
            "Times must be a number or date for each row; dates as text must begin with "
            "the year, such as 2024-03-15 or 2024-03-15 08:30. Got "
            f"{str(values[first])!r} in row {first + 1}."
        )
    return sortable


def order_of_times(times: Array) -> tuple[Array, Array]:
    """Return samples in order of time, and the positions where a later time begins."""
    order = np.argsort(times, kind="stable")
    in_order = times[order]
    return order, np.flatnonzero(in_order[1:] != in_order[:-1]) + 1
