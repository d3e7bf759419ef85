# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A column's values in one form for each kind: numbers, days since 1970, or text.

What does not read as the kind that was seen in ``fit`` is refused by name, value and row.
"""

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sk_tune.exceptions import TableError

__all__ = ["MISSING", "are_dates", "read_values"]

Array = npt.NDArray[Any]
Column = pd.Series

MISSING = "(missing)"  # The category of a missing value.
_DATE = re.compile(r"\s*\d{4}[-/]\d{1,2}[-/]\d{1,2}([ T]\d{1,2}:\d{2}.*)?\s*")
_EPOCH = pd.Timestamp(0, tz="UTC")
_DAY = pd.Timedelta(days=1)


def read_values(column: "Column[Any]", kind: str) -> Array:
    """Return a column's values in the form of a kind.

    Parameters
    ----------
    column : Series of shape (n_samples,)
        Of any dtype.
    kind : {"number", "date", "category"}
        What it must hold.

    Returns
    -------
    ndarray of shape (n_samples,)
        Numbers as float64 (durations in seconds), where NaN is a missing or infinite one;
        dates as days since 1970-01-01 UTC, NaN where missing; categories as text, with
        ``MISSING`` where missing.

    Raises
    ------
    TableError
        If a value is of another kind.
    """
    if kind == "number":
        return _numbers(column)
    return _days(column) if kind == "date" else _texts(column)


def are_dates(texts: "Column[Any]") -> bool:
    """Return whether all texts are dates that begin with the year.

    Parameters
    ----------
    texts : Series of str
        At least one of them not missing.

    Returns
    -------
    bool
        Whether all that are not missing look like 2026-11-25 or 2026-11-25 08:30, and are
        dates of the calendar.
    """
    present = texts.dropna()
    # The first text settles nearly all columns.
    if not _DATE.fullmatch(present.iloc[0]) or not present.str.fullmatch(_DATE).all():
        return False
    dates = pd.to_datetime(present, format="mixed", errors="coerce", utc=True)
    return bool(dates.notna().all())


def _numbers(column: "Column[Any]") -> Array:
    if pd.api.types.is_timedelta64_dtype(column.dtype):
        column = column.dt.total_seconds()
    elif isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    try:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        parsed = pd.to_numeric(column.astype(object), errors="coerce")
        raise _wrong_values(column, parsed, "numbers") from error
    return np.where(np.isfinite(values), values, np.nan)


def _days(column: "Column[Any]") -> Array:
    times = pd.to_datetime(column, format="mixed", errors="coerce", utc=True)
    if pd.api.types.is_numeric_dtype(column.dtype) and column.notna().any():
        # Pandas would read numbers as nanoseconds since 1970.
        times = pd.Series(pd.NaT, index=column.index, dtype=times.dtype)
    if (times.isna() & column.notna()).any():
        raise _wrong_values(column, times, "dates")
    return ((times - _EPOCH) / _DAY).to_numpy(dtype=np.float64, na_value=np.nan)


def _texts(column: "Column[Any]") -> Array:
    if column.dtype == object:
        # 1 and True are equal, and either might stand for both.
        texts = [
            MISSING if is_missing else _text(value)
            for value, is_missing in zip(column, column.isna(), strict=True)
        ]
        return np.array(texts, dtype=object)
    # Each category is turned into text once, not each value.
    codes, categories = pd.factorize(column)
    known = np.array([*map(_text, categories), MISSING], dtype=object)
    return known[codes]  # The code of a missing value is -1.


def _text(value: Any) -> str:
    # Whole numbers become floats in a column where some are missing.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _wrong_values(column: "Column[Any]", parsed: Any, required: str) -> TableError:
    wrong = (parsed.isna() & column.notna()).to_numpy()
    first = int(wrong.argmax())
    others = int(wrong.sum()) - 1
    more = f", and {others} more such values" if others else ""
    return TableError(
        f"Column {column.name!r} must hold {required}, as in the table that was fitted. "
        f"Got '{column.iloc[first]}' in row {first + 1}{more}."
    )
