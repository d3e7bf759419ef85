# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Columns of text that hold numbers or dates, but for a few cells, settled by all rows.

Rows that lack such a cell tell another kind of its column than rows that have it.  Where
some rows are to be prepared by what others told, the kind is to be settled by all of them
first.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from sk_tune.exceptions import warn_user
from sk_tune.prepare._columns import (
    ColumnKinds,
    kind_of_column,
    least_frequency,
    read_columns,
    warn_of_guess,
)
from sk_tune.prepare._formats import (
    TextFormat,
    different_cells,
    format_of,
    is_missing,
)
from sk_tune.prepare._values import refuse_unread

__all__ = ["kinds_of_text", "read_text_columns", "text_formats"]

Column = pd.Series

# Of the cells that are there, those that may be of another kind than the others.
_MOST_UNREAD = 0.1


def text_formats(X: pd.DataFrame) -> dict[str, TextFormat | None]:
    """Return the columns of text to be read as numbers or dates, each with its format.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_features)
        Rows to train on, without the target; column names are unique strings.

    Returns
    -------
    dict of str to TextFormat or None
        Columns that are numbers or dates, if a tenth of the cells at most is left out; None
        for one in which more cells are of another kind, which is a category.  Plain text of
        numbers alone is not among them.

    Warns
    -----
    SkTuneWarning
        Of each column that could be read in two ways.

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_tune.prepare import text_formats
    >>> ages = [str(age) for age in range(20, 60)]
    >>> found = text_formats(pd.DataFrame({"age": [*ages, "unknown"], "b": ["Bern"] * 41}))
    >>> {name: str(text_format) for name, text_format in found.items()}
    {'age': 'numbers'}
    """
    least = max(2, least_frequency(len(X)))
    formats: dict[str, TextFormat | None] = {}
    for name in X.columns:
        column = X[name]
        if not _is_text(column):
            continue
        kind, own = kind_of_column(column, least)
        if own is not None and own.style != "plain":
            formats[name] = own
        elif kind == "category":
            formats |= _with_other_cells(column, least)
        text_format = formats.get(name)
        if text_format is not None:
            warn_of_guess(column, text_format)
    return formats


def _with_other_cells(column: "Column[Any]", least: int) -> dict[str, TextFormat | None]:
    """Return the format of a column, of which some cells are read by none; or nothing."""
    cells, counts = different_cells(column)
    found = format_of(cells, counts)
    if found is None or not found[1].any():
        return {}
    own, unread = found
    kind = kind_of_column(column.mask(column.isin(cells[unread])), least)[0]
    is_so = kind == own.kind and counts[unread].sum() <= _MOST_UNREAD * counts.sum()
    return {str(column.name): replace(own, is_strict=False) if is_so else None}


def read_text_columns(
    X: pd.DataFrame, formats: Mapping[str, TextFormat | None]
) -> pd.DataFrame:
    """Return a table with numbers and dates in place of the text that stands for them.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_features)
        With the columns that ``text_formats`` was given.
    formats : mapping of str to TextFormat or None
        What it returned.

    Returns
    -------
    DataFrame of shape (n_samples, n_features)
        Cells that are written in another way are missing.  A column that is a category has
        that type, whatever its values read as.

    Raises
    ------
    TableError
        If there are such cells in a column that had none when its format was found.

    Warns
    -----
    SkTuneWarning
        Of each column with cells that became missing.
    """
    X = X.copy(deep=False)
    for name, own in formats.items():
        column = X[name]
        if not _is_text(column):
            continue
        if own is None:
            X[name] = column.astype("category")
            continue
        X[name] = read = own.read(column)
        if own.is_strict:
            refuse_unread(column, read, str(own))
            continue
        unread = read.isna().to_numpy() & ~is_missing(column)
        if unread.any():
            first, n = int(unread.argmax()), int(unread.sum())
            more = f" and {n - 1} more such cells" if n > 1 else ""
            warn_user(
                f"Column {name!r} holds {own}, but for '{column.iloc[first]}' in row "
                f"{first + 1}{more}: what is no such {own.kind} counts as missing."
            )
    return X


def kinds_of_text(X: pd.DataFrame, formats: Mapping[str, TextFormat | None]) -> ColumnKinds:
    """Return what the columns of a table are once its text is read; maybe none is used.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_features)
        As ``read_text_columns`` returned it.
    formats : mapping of str to TextFormat or None
        By which it was read.

    Returns
    -------
    ColumnKinds
        Each column in one of its fields.
    """
    kinds = read_columns(X)[0]
    unusual = {n: own for n, own in formats.items() if own is not None and not own.is_usual}
    return replace(kinds, formats={n: own for n, own in unusual.items() if n in kinds.used})


def _is_text(column: "Column[Any]") -> bool:
    types = pd.api.types
    if isinstance(column.dtype, pd.CategoricalDtype):
        return False
    return types.is_object_dtype(column.dtype) or types.is_string_dtype(column.dtype)
