# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Rows of a table as folds among those that are kept, and in the order of time."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sk_tune.exceptions import TableError

__all__ = ["as_times", "folds_among"]

Array = npt.NDArray[Any]


def folds_among(
    kept: Array, folds: Iterable[tuple[Any, Any]], n_rows: int
) -> list[tuple[Array, Array]]:
    """Return folds as positions among the rows that were kept.

    Parameters
    ----------
    kept : ndarray of shape (n_kept,)
        Positions of these rows among all.
    folds : iterable of (array-like, array-like)
        Positions among all rows, to train on and to hold out.
    n_rows : int
        Of all.

    Returns
    -------
    list of (ndarray, ndarray)
        In the order of `folds`; parts may be empty.

    Examples
    --------
    >>> folds_among(np.array([1, 3, 4]), [([0, 1], [2, 3, 4])], 5)
    [(array([0]), array([1, 2]))]
    """
    place = np.full(n_rows, -1)
    place[kept] = np.arange(len(kept))
    parts = [[place[part] for part in fold] for fold in folds]
    return [(train[train >= 0], held[held >= 0]) for train, held in parts]


def as_times(times: Any) -> npt.NDArray[Any]:
    """Return times that can be sorted.

    Parameters
    ----------
    times : array-like of shape (n_samples,)
        Numbers or dates; text is read as dates that begin with the year.

    Returns
    -------
    ndarray of shape (n_samples,)
        Numbers and dates as they are; those of text in UTC.

    Raises
    ------
    TableError
        If one is missing or such text is no date, because sorted as text 12/01/2023 is
        later than 01/15/2024.
    """
    values = np.asarray(times)
    if pd.api.types.infer_dtype(values, skipna=True) == "string":
        dates = pd.to_datetime(
            pd.Series(values), format="ISO8601", errors="coerce", utc=True
        )
        own = dates.dt.tz_localize(None).to_numpy()
    else:
        own = values
    missing = pd.isna(own)
    if missing.any():
        first = int(missing.argmax())
        raise TableError(
            "Times must be numbers or dates, one for each row; dates of text must begin "
            "with the year, such as 2024-03-15 or 2024-03-15 08:30. Got "
            f"{str(values[first])!r} in row {first + 1}."
        )
    return own
