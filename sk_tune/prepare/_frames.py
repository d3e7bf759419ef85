# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tables of any library as tables of pandas, without a further package in between."""

from typing import Any

import narwhals as nw
import pandas as pd

__all__ = ["as_pandas"]


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
    # By column, because polars needs pyarrow to make a whole table of pandas.
    return pd.DataFrame({name: own[name].to_numpy() for name in own.columns})
