# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A column's values in one form for each kind: numbers, days since 1970, or text.

What does not read as the kind that was seen in ``fit`` is refused by name, value and row.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sk_tune.exceptions import TableError
from sk_tune.prepare._formats import TextFormat, is_missing

__all__ = ["MISSING", "read_values", "refuse_unread"]

Array = npt.NDArray[Any]
Column = pd.Series

MISSING = "(missing)"  # The category of a missing value.
# In seconds, because nanoseconds end in the year 2262, and "no end" is often in 9999.
_EPOCH = pd.Timestamp("1970-01-01", tz="UTC").as_unit("s")
_SECONDS_PER_DAY = 86_400


def read_values(
    column: "Column[Any]", kind: str, text_format: TextFormat | None = None
) -> Array:
    """Return a column's values in the form of a kind.

    Parameters
    ----------
    column : Series of shape (n_samples,)
        Of any dtype.
    kind : {"number", "date", "category"}
        What it must hold.
    text_format : TextFormat or None, default=None
        How its text writes that; None for what pandas reads by itself.

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
    is_text = pd.api.types.is_object_dtype(column) or pd.api.types.is_string_dtype(column)
    if is_text and text_format is not None and not text_format.is_usual:
        read = text_format.read(column)
        refuse_unread(column, read, str(text_format))
        column = read
    if kind == "number":
        return _numbers(column)
    return _days(column) if kind == "date" else _texts(column)


def _numbers(column: "Column[Any]") -> Array:
    if column.dtype.kind == "m":
        column = column.dt.total_seconds()
    elif isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    try:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        parsed = pd.to_numeric(column.astype(object), errors="coerce")
        refuse_unread(column, parsed, "numbers")
        values = parsed.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def _days(column: "Column[Any]") -> Array:
    times = pd.to_datetime(column, format="mixed", errors="coerce", utc=True)
    if pd.api.types.is_numeric_dtype(column.dtype) and column.notna().any():
        # Pandas would read numbers as nanoseconds since 1970.
        times = pd.Series(pd.NaT, index=column.index, dtype=times.dtype)
    if times.isna().any():
        refuse_unread(column, times, "dates")
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


def refuse_unread(column: "Column[Any]", parsed: Any, required: str) -> None:
    """Raise ``TableError`` if a cell that is there became missing when it was read."""
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
