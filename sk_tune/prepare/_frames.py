# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tables of any library as tables of pandas, without a further package in between."""

from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from sk_tune.exceptions import TableError

__all__ = ["as_pandas", "check_table"]


def as_pandas(values: Any) -> pd.DataFrame | None:
    """Return a table as a DataFrame of pandas.

    Parameters
    ----------
    values : object
        A table or one of its columns, of any library, or something else.

    Returns
    -------
    DataFrame or None
        None for what is neither.

    Examples
    --------
    >>> import polars as pl
    >>> as_pandas(pl.DataFrame({"a": [1, 2]}))["a"].tolist()
    [1, 2]
    >>> as_pandas([1, 2]) is None
    True
    """
    if isinstance(values, pd.DataFrame):
        return values
    own = nw.from_native(values, pass_through=True, allow_series=True)
    if isinstance(own, nw.Series):
        own = own.to_frame()
    if not isinstance(own, nw.DataFrame):
        return None
    native = own.to_native()
    if isinstance(native, pd.DataFrame):
        return native
    if own.implementation.is_pyarrow():
        # Its arrays know no missing value of a dictionary; an index is a column.
        made: pd.DataFrame = native.to_pandas(ignore_metadata=True, date_as_object=False)
        return made
    # By column, because polars needs pyarrow to make a whole table of pandas.
    return pd.DataFrame({name: _values(native[name]) for name in own.columns})


def _values(column: Any) -> Any:
    """Return a column of another library as an array; texts as objects, of any length."""
    return column.to_numpy() if hasattr(column, "to_numpy") else np.asarray(column)


def check_table(table: pd.DataFrame, caller: str, least: int = 1) -> None:
    """Raise if a table is too small, or two of its columns have one name.

    Parameters
    ----------
    table : DataFrame of shape (n_samples, n_features)
        Of pandas.
    caller : str
        Who needs it, for the message.
    least : int, default=1
        Rows that it must have.

    Raises
    ------
    ValueError
        If it has fewer rows, or no column.
    TableError
        If two columns have one name.
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
