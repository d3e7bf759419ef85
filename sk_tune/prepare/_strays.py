# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Cells that are not of their column's kind, as one "unknown" among numbers.

Rows that lack such a cell tell another kind of its column than rows that have it.  Where
some rows are to be prepared by what others told, the kind is to be settled by all of them
first.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sk_tune.exceptions import warn_user
from sk_tune.prepare._columns import kind_of_column, least_frequency
from sk_tune.prepare._values import DATE, is_missing

__all__ = ["mixed_columns", "without_strays"]

Bools = npt.NDArray[np.bool_]
Column = pd.Series

# Of the cells that are not missing.
_MOST_STRAYS = 0.1
_WORDS = {"number": "numbers", "date": "dates"}


def mixed_columns(X: pd.DataFrame) -> dict[str, str]:
    """Return the columns in which some cells read as numbers or dates and others do not.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_features)
        Rows to train on, without the target; column names are unique strings.

    Returns
    -------
    dict of str to {"number", "date", "category"}
        What each of these columns is: numbers or dates if a tenth of the cells at most does
        not read so and the others are, by ``column_kinds``; else a category.

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_tune.prepare import mixed_columns
    >>> ages = [str(age) for age in range(20, 60)]
    >>> mixed_columns(pd.DataFrame({"age": [*ages, "unknown"], "town": ["Bern"] * 41}))
    {'age': 'number'}
    """
    least = max(2, least_frequency(len(X)))
    mixed: dict[str, str] = {}
    for name in X.columns:
        column = X[name]
        if not _may_be_mixed(column) or kind_of_column(column, least)[0] != "category":
            continue
        codes, values = pd.factorize(column)
        cells = pd.Series(values, dtype=object)
        counts = np.bincount(codes[codes >= 0], minlength=len(values))
        strays = {kind: _strays(cells, kind) for kind in _WORDS}
        n_strays = {kind: counts[own].sum() for kind, own in strays.items()}
        kind = min(n_strays, key=lambda own: n_strays[own])
        n_present = counts[~is_missing(cells)].sum()
        if 0 < n_strays[kind] < n_present:
            # The code of a missing value is -1.
            rest = column.mask(np.append(strays[kind], False)[codes])
            is_so = kind_of_column(rest, least)[0] == kind
            is_so = is_so and n_strays[kind] <= _MOST_STRAYS * n_present
            mixed[name] = kind if is_so else "category"
    return mixed


def without_strays(X: pd.DataFrame, kinds: Mapping[str, str]) -> pd.DataFrame:
    """Return a table in which cells of another kind than their column's are missing.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_features)
        With the columns that ``mixed_columns`` was given.
    kinds : mapping of str to {"number", "date", "category"}
        What it returned.

    Returns
    -------
    DataFrame of shape (n_samples, n_features)
        A column that is a category has that type, whatever its values read as.

    Warns
    -----
    SkTuneWarning
        Of each column with cells that became missing.
    """
    X = X.copy(deep=False)
    for name, kind in kinds.items():
        column = X[name]
        if not _may_be_mixed(column):
            continue
        if kind == "category":
            X[name] = column.astype("category")
            continue
        strays = _strays(column, kind)
        if strays.any():
            X[name] = column.mask(strays)
            first, n = int(strays.argmax()), int(strays.sum())
            more = f" and {n - 1} more such cells" if n > 1 else ""
            warn_user(
                f"Column {name!r} holds {_WORDS[kind]}, but for '{column.iloc[first]}' in "
                f"row {first + 1}{more}: what is no {kind} counts as missing."
            )
    return X


def _may_be_mixed(column: "Column[Any]") -> bool:
    types = pd.api.types
    if isinstance(column.dtype, pd.CategoricalDtype):
        return False
    return types.is_object_dtype(column.dtype) or types.is_string_dtype(column.dtype)


def _strays(cells: "Column[Any]", kind: str) -> Bools:
    """Return which cells are there and do not read as a kind."""
    strays: Bools = ~is_missing(cells)
    present = cells[strays].astype(object)
    if kind == "number":
        read: Any = pd.to_numeric(present, errors="coerce")
    else:
        # Pandas would take numbers for dates, too.
        dates = present.where(np.array([*map(_looks_like_date, present)], dtype=bool))
        read = pd.to_datetime(dates, format="mixed", errors="coerce", utc=True)
    strays[strays] = read.isna().to_numpy()
    return strays


def _looks_like_date(cell: object) -> bool:
    if isinstance(cell, str):
        return DATE.fullmatch(cell) is not None
    return isinstance(cell, dt.date | np.datetime64)
