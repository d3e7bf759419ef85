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

__all__ = ["DATE", "MISSING", "are_dates", "are_numbers", "is_missing", "read_values"]

Array = npt.NDArray[Any]
Column = pd.Series

MISSING = "(missing)"  # The category of a missing value.
DATE = re.compile(r"\s*\d{4}[-/]\d{1,2}[-/]\d{1,2}([ T]\d{1,2}:\d{2}.*)?\s*")
# In seconds, because nanoseconds end in the year 2262, and "no end" is often in 9999.
_EPOCH = pd.Timestamp("1970-01-01", tz="UTC").as_unit("s")
_SECONDS_PER_DAY = 86_400


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
        Missing values and blank text do not count.

    Returns
    -------
    bool
        Whether all that are not missing look like 2026-11-25 or 2026-11-25 08:30, and are
        dates of the calendar.
    """
    # The first text settles nearly all columns.
    if not DATE.fullmatch(_first_text(texts)):
        return False
    present = texts[~is_missing(texts)]
    if not present.str.fullmatch(DATE).all():
        return False
    dates = pd.to_datetime(present, format="mixed", errors="coerce", utc=True)
    return bool(dates.notna().all())


def are_numbers(texts: "Column[Any]") -> bool:
    """Return whether all texts read as numbers.

    Parameters
    ----------
    texts : Series of str
        Missing values and blank text do not count.

    Returns
    -------
    bool
        False if there is none.
    """
    try:
        float(_first_text(texts))
    except ValueError:
        return False
    present = texts[~is_missing(texts)]
    return bool(pd.to_numeric(present, errors="coerce").notna().all())


def is_missing(column: "Column[Any]") -> Array:
    """Return where a column is missing or blank text.

    Parameters
    ----------
    column : Series of shape (n_samples,)
        Of any dtype.

    Returns
    -------
    ndarray of bool of shape (n_samples,)
        Of text that is a category, blank is a category like any other.
    """
    missing: Array = column.isna().to_numpy()
    if not (pd.api.types.is_object_dtype(column) or pd.api.types.is_string_dtype(column)):
        return missing
    blank = (isinstance(value, str) and not value.strip() for value in column)
    both: Array = missing | np.fromiter(blank, dtype=bool, count=len(column))
    return both


def _first_text(texts: "Column[Any]") -> str:
    return next((text for text in texts if isinstance(text, str) and text.strip()), "")


def _numbers(column: "Column[Any]") -> Array:
    if column.dtype.kind == "m":
        column = column.dt.total_seconds()
    elif isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    try:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        parsed = pd.to_numeric(column.astype(object), errors="coerce")
        _refuse_wrong_values(column, parsed, "numbers")
        values = parsed.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def _days(column: "Column[Any]") -> Array:
    times = pd.to_datetime(column, format="mixed", errors="coerce", utc=True)
    if pd.api.types.is_numeric_dtype(column.dtype) and column.notna().any():
        # Pandas would read numbers as nanoseconds since 1970.
        times = pd.Series(pd.NaT, index=column.index, dtype=times.dtype)
    if times.isna().any():
        _refuse_wrong_values(column, times, "dates")
    days = (times - _EPOCH).dt.total_seconds() / _SECONDS_PER_DAY
    return days.to_numpy(dtype=np.float64, na_value=np.nan)


def _texts(column: "Column[Any]") -> Array:
    if column.dtype == object:
        # 1 and True are equal, and either might stand for both.
        texts = [
            MISSING if is_absent else _text(value)
            for value, is_absent in zip(column, column.isna(), strict=True)
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


def _refuse_wrong_values(column: "Column[Any]", parsed: Any, required: str) -> None:
    wrong = parsed.isna().to_numpy() & ~is_missing(column)
    if not wrong.any():
        return
    first = int(wrong.argmax())
    others = int(wrong.sum()) - 1
    more = f", and {others} more such values" if others else ""
    raise TableError(
        f"Column {column.name!r} must hold {required}, as in the table that was fitted. "
        f"Got '{column.iloc[first]}' in row {first + 1}{more}."
    )
