# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A table's columns as scaled numbers, with scikit-learn's transformers.

What a column is (number, date, category) is read off its type and values once; medians,
means and categories are learnt in ``fit``, so that each fold learns them from its own
training rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from sk_tune.exceptions import TableError

__all__ = ["ColumnKinds", "column_kinds", "column_preparer"]

# Columns that one category column becomes at most, so that a network's first layer stays
# small whatever the table holds.
_MAX_CATEGORIES = 32
# A category is encoded if it has this share of the rows, within these numbers of rows:
# fewer say nothing reliable, more are not needed.
_MIN_SHARE, _MIN_ROWS, _MAX_ROWS = 0.01, 3, 20
_MISSING = "(missing)"
_DATE_PARTS = ("days", "day_of_year", "weekday", "hour", "missing")

# What pandas.api.types.infer_dtype says of values kept as Python objects.
_OBJECT_NUMBERS = {"boolean", "integer", "floating", "mixed-integer-float", "decimal"}
_OBJECT_DATES = {"date", "datetime", "datetime64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnKinds:
    """What each column of a table is.

    Parameters
    ----------
    numbers : tuple of str
        Columns of numbers, truth values or durations.
    dates : tuple of str
        Columns of dates or times.
    categories : tuple of str
        Columns of text or categories.
    dropped : dict of str to str
        Columns that cannot help, each with the reason.
    """

    numbers: tuple[str, ...]
    dates: tuple[str, ...]
    categories: tuple[str, ...]
    dropped: dict[str, str]

    @property
    def used(self) -> tuple[str, ...]:
        """Columns that are not dropped."""
        return (*self.numbers, *self.dates, *self.categories)


def column_kinds(X: pd.DataFrame) -> ColumnKinds:
    """Return what each column of a table is.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_features)
        Rows to train on, without the target.

    Returns
    -------
    ColumnKinds
        Each column in one of its fields.
    """
    kinds: dict[str, list[str]] = {"number": [], "date": [], "category": []}
    dropped: dict[str, str] = {}
    for name in X.columns:
        kind, reason = _kind(X[name])
        if reason:
            dropped[name] = reason
        else:
            kinds[kind].append(name)
    return ColumnKinds(
        numbers=tuple(kinds["number"]),
        dates=tuple(kinds["date"]),
        categories=tuple(kinds["category"]),
        dropped=dropped,
    )


def column_preparer(X: pd.DataFrame) -> ColumnTransformer:
    """Return an unfitted transformer that turns a table into scaled numbers.

    Numbers get the median for missing values, a column that says where they were missing,
    and mean 0 and variance 1.  Dates become days, day of the year, weekday and hour, each
    scaled like a number.  Categories become one column each; rare ones share one,
    as do those that only appear later, and a missing value is a category.  Infinite
    numbers count as missing.  Columns that are constant, without any value, or text of
    which no value recurs are dropped.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_features)
        Rows to train on, without the target.  Only what the columns are is learnt here.

    Returns
    -------
    ColumnTransformer
        For frames with these columns; further columns are ignored.  Its ``transform``
        raises TableError where a column no longer holds what it held here.

    Raises
    ------
    TableError
        If no column is left.

    Examples
    --------
    >>> import pandas as pd
    >>> from sk_tune.prepare import column_preparer
    >>> X = pd.DataFrame({"age": [20, None, 40] * 9, "town": ["Bern", "Ulm", "Ulm"] * 9})
    >>> column_preparer(X).fit_transform(X).shape
    (27, 4)
    """
    kinds = column_kinds(X)
    if not kinds.used:
        listed = "; ".join(f"{name!r}: {why}" for name, why in kinds.dropped.items())
        raise TableError(
            "The table must have at least one column to learn from beside the target. Got "
            f"{listed or 'none'}."
        )
    parts = [
        ("numbers", _number_steps(), list(kinds.numbers)),
        ("dates", _date_steps(), list(kinds.dates)),
        ("categories", _category_steps(len(X)), list(kinds.categories)),
    ]
    return ColumnTransformer([part for part in parts if part[2]], sparse_threshold=0)


def _kind(column: "pd.Series[Any]") -> tuple[str, str]:
    """Return the kind of a column and, if it must be dropped, why."""
    if not column.notna().any():
        return "", "no values"
    if column.dtype == object and not column.map(pd.api.types.is_hashable).all():
        return "", "neither numbers, text nor dates"
    counts = column.value_counts(dropna=False)
    if len(counts) == 1:
        return "", "constant"
    kind = _kind_of_values(column)
    no_value_recurs = counts.iloc[0] < _min_frequency(len(column))
    if kind == "category" and no_value_recurs and column.notna().all():
        return "", "text that hardly recurs"
    return kind, ""


def _kind_of_values(column: "pd.Series[Any]") -> str:
    types = pd.api.types
    if types.is_datetime64_any_dtype(column.dtype):
        return "date"
    if types.is_numeric_dtype(column.dtype) or types.is_timedelta64_dtype(column.dtype):
        return "number"
    inferred = types.infer_dtype(column, skipna=True)
    if inferred in _OBJECT_NUMBERS:
        return "number"
    return "date" if inferred in _OBJECT_DATES else "category"


def _min_frequency(n_rows: int) -> int:
    return int(np.clip(round(_MIN_SHARE * n_rows), _MIN_ROWS, _MAX_ROWS))


def _number_steps() -> Pipeline:
    return make_pipeline(
        FunctionTransformer(_to_numbers, feature_names_out="one-to-one"),
        # A column may have no value in the training rows of one fold.
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
    )


def _date_steps() -> Pipeline:
    return make_pipeline(
        FunctionTransformer(_to_date_parts, feature_names_out=_date_part_names),
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
    )


def _category_steps(n_rows: int) -> Pipeline:
    return make_pipeline(
        FunctionTransformer(_to_texts, feature_names_out="one-to-one"),
        SimpleImputer(strategy="constant", fill_value=_MISSING, keep_empty_features=True),
        OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            min_frequency=_min_frequency(n_rows),
            max_categories=_MAX_CATEGORIES,
            sparse_output=False,
        ),
    )


def _to_numbers(X: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({name: _numbers(X[name]) for name in X.columns}, index=X.index)


def _numbers(column: "pd.Series[Any]") -> Any:
    if pd.api.types.is_timedelta64_dtype(column.dtype):
        return column.dt.total_seconds()
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    try:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        parsed = pd.to_numeric(column.astype(object), errors="coerce")
        raise _wrong_values(column, parsed, "numbers") from error
    return np.where(np.isinf(values), np.nan, values)


def _to_date_parts(X: pd.DataFrame) -> pd.DataFrame:
    parts: dict[str, Any] = {}
    for name in X.columns:
        times = _times(X[name])
        since_1970 = times - pd.Timestamp(0, tz="UTC")
        values = (
            since_1970 / pd.Timedelta(days=1),
            times.dt.day_of_year,
            times.dt.day_of_week,
            times.dt.hour,
            times.isna(),
        )
        parts |= zip(_part_names(name), values, strict=True)
    return pd.DataFrame(parts, index=X.index, dtype=np.float64)


def _times(column: "pd.Series[Any]") -> Any:
    times = pd.to_datetime(column, format="mixed", errors="coerce", utc=True)
    if pd.api.types.is_numeric_dtype(column.dtype) and column.notna().any():
        # Pandas would read numbers as nanoseconds since 1970.
        times = pd.Series(pd.NaT, index=column.index, dtype=times.dtype)
    if (times.isna() & column.notna()).any():
        raise _wrong_values(column, times, "dates")
    return times


def _date_part_names(transformer: Any, names: Any) -> list[str]:
    return [part for name in names for part in _part_names(name)]


def _part_names(name: str) -> list[str]:
    return [f"{name}_{part}" for part in _DATE_PARTS]


def _to_texts(X: pd.DataFrame) -> pd.DataFrame:
    texts = {
        name: X[name].astype(object).where(X[name].notna(), np.nan).map(str, "ignore")
        for name in X.columns
    }
    return pd.DataFrame(texts, index=X.index, dtype=object)


def _wrong_values(column: "pd.Series[Any]", parsed: Any, required: str) -> TableError:
    wrong = (parsed.isna() & column.notna()).to_numpy()
    first = int(wrong.argmax())
    others = int(wrong.sum()) - 1
    more = f", and {others} more such values" if others else ""
    return TableError(
        f"Column {column.name!r} must hold {required}, as in the table that was fitted. "
        f"Got '{column.iloc[first]}' in row {first + 1}{more}."
    )
