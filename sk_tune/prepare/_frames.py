# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tables of any library as tables of pandas, without a further package in between."""

from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pandas as pd

from sk_tune.exceptions import TableError, warn_user

__all__ = ["as_pandas", "check_table", "header_rows", "without_header_rows"]


def as_pandas(values: Any) -> pd.DataFrame | None:
    """Return a table or column of any library as a DataFrame of pandas, else None.

    >>> import polars as pl
    >>> as_pandas(pl.DataFrame({"a": [1, 2]}))["a"].tolist()
    [1, 2]
    >>> as_pandas([1, 2]) is None
    True
    """
    if isinstance(values, pd.DataFrame):
        return values
    frame = nw.from_native(values, pass_through=True, allow_series=True)
    if isinstance(frame, nw.Series):
        frame = frame.to_frame()
    if not isinstance(frame, nw.DataFrame):
        return None
    native = frame.to_native()
    if isinstance(native, pd.DataFrame):
        return native
    if frame.implementation.is_pyarrow():
        # Arrays of pyarrow know no missing value of a dictionary; an index is a column.
        made: pd.DataFrame = native.to_pandas(ignore_metadata=True, date_as_object=False)
        return made
    # Columns are converted one by one: polars needs pyarrow to make a whole table of
    # pandas.
    return pd.DataFrame({name: _values(native[name]) for name in frame.columns})


def _values(column: Any) -> Any:
    """Return a column of another library as an array; texts as objects, of any length."""
    return column.to_numpy() if hasattr(column, "to_numpy") else np.asarray(column)


def check_table(table: pd.DataFrame, caller: str, least: int = 1) -> None:
    """Raise if a table is too small for `caller`, or two of its columns have one name.

    ValueError for fewer than `least` samples or no column, TableError for repeated names.
    """
    for n, required, word in zip(
        table.shape, (least, 1), ("sample", "feature"), strict=True
    ):
        if n < required:
            raise ValueError(
                f"Found array with {n} {word}(s) (shape={table.shape}) while a minimum of "
                f"{required} is required by {caller}."
            )
    if not table.columns.is_unique:
        repeated = sorted({str(name) for name in table.columns[table.columns.duplicated()]})
        raise TableError(f"The table must have unique column names. Got {repeated} twice.")


def header_rows(table: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return a mask of the rows whose cells are the names of their columns.

    Such a row makes text of all columns; in a table of one column there is none.
    """
    found = np.full(len(table), table.shape[1] > 1)
    for name in table.columns:
        if not found.any():
            break
        column = table[name]
        is_text = pd.api.types.is_object_dtype(column) or pd.api.types.is_string_dtype(
            column
        )
        found &= (column == name).to_numpy(bool, na_value=False) if is_text else False
    return found


def without_header_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table in which rows that repeat the column names are missing; warn once."""
    found = header_rows(table)
    if not found.any():
        return table
    first, n = int(found.argmax()), int(found.sum())
    more = f" and {n - 1} more" if n > 1 else ""
    warn_user(
        f"Row {first + 1}{more} of the table repeats the column names and counts as "
        "missing. Remove such rows from X and y."
    )
    return table.mask(np.broadcast_to(found[:, np.newaxis], table.shape))
