# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tables of any library as tables of pandas."""

from typing import Any

import narwhals as nw
import pandas as pd


def check_in_memory(X: Any) -> None:
    """Raise TypeError for a table that is yet to be computed."""
    if nw.dependencies.is_polars_lazyframe(X):
        raise TypeError(
            "Tables must be in memory. Got a LazyFrame of polars: pass X.collect()."
        )


def as_pandas(values: Any) -> pd.DataFrame | None:
    """Return a table or column of any library as a pandas DataFrame, else None.

    >>> import polars as pl
    >>> as_pandas(pl.DataFrame({"a": [1, 2]}))["a"].tolist()
    [1, 2]
    >>> as_pandas([1, 2]) is None
    True
    """
    if isinstance(values, pd.DataFrame):
        return values
    check_in_memory(values)
    frame = nw.from_native(values, pass_through=True, allow_series=True)
    if isinstance(frame, nw.Series):
        frame = frame.to_frame()
    if not isinstance(frame, nw.DataFrame):
        return None
    native = frame.to_native()
    if isinstance(native, pd.DataFrame):
        return native
    if frame.implementation.is_pyarrow():
        # pyarrow dictionaries cannot hold missing values; an index becomes a column.
        table: pd.DataFrame = native.to_pandas(ignore_metadata=True, date_as_object=False)
        return table
    # Column by column, because polars needs pyarrow to convert a whole table.
    arrays = {name: native[name].to_numpy() for name in frame.columns}
    # Arrays and structs have one value for each field.
    return pd.DataFrame({
        name: array if array.ndim == 1 else pd.Series(native[name].to_list(), dtype=object)
        for name, array in arrays.items()
    })
