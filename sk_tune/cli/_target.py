# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The target column: find it, decide what kind of problem it poses, refuse bad ones."""

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sk_tune._text import listed
from sk_tune.exceptions import TableError
from sk_tune.prepare import format_of_column

__all__ = ["MIN_ROWS", "N_FOLDS", "Target", "column_hint", "read_target"]

N_FOLDS = 5
# So many rows leave a handful to each fold once the test rows are set aside.
MIN_ROWS = 20
# Whole numbers of more values than this are taken for amounts, not for classes.
_MAX_NUMBER_CLASSES = 10

# Answers of pandas for numbers kept as Python objects, such as those of Parquet.
_NUMBERS_IN_OBJECTS = {"decimal", "floating", "integer", "mixed-integer-float"}

_N_NAMED = 12  # Columns that an error message lists.


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The column to predict, and why the task is what it is.

    `y` are labels, or numbers as float64; `other_task` is what else these values could be
    meant for, if the task was not named.
    """

    name: str
    task: str
    reason: str
    y: npt.NDArray[Any]
    other_task: str = ""


def read_target(frame: pd.DataFrame, name: str, task: str) -> Target:
    """Return the target of a table, with a value in each row.

    Raises TableError if there is no such column, or it cannot be predicted.
    """
    if name not in frame.columns:
        hint = column_hint(name, list(frame.columns))
        raise TableError(
            f"--target must name a column of the table. Got {name!r} instead.{hint}"
        )
    column = frame[name]
    if column.dtype == object:
        column = _of_numbers(column)
    _check_complete(column)
    labels, column, written = column, *_read_text(column)
    if len(frame) < MIN_ROWS:
        raise TableError(f"The table must have at least {MIN_ROWS} rows. Got {len(frame)}.")
    if column.nunique() < 2:
        raise TableError(
            f"Target column {name!r} must hold at least two different values. Got only "
            f"{str(column.iloc[0])!r}."
        )
    decided, reason, other = _decide(column)
    reason = f"{reason} ({written})" if written else reason
    if task != "auto":
        decided, reason, other = task, "as --task says", ""
    if decided == "regression":
        y = _numbers(column)
    else:
        y = _labels(labels)
        _check_classes(labels, y)
    return Target(name=name, task=decided, reason=reason, y=y, other_task=other)


def column_hint(name: str, columns: list[str]) -> str:
    """Return what else a wrong name of a column could mean, as sentences after a blank."""
    by_lower = {column.lower(): column for column in columns}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    hint = f" Did you mean {by_lower[near[0]]!r}?" if near else ""
    return f"{hint} Columns: {listed([*map(repr, columns)], _N_NAMED)}."


def _of_numbers(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return numbers that are kept as objects as numbers; anything else as it is."""
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind not in _NUMBERS_IN_OBJECTS:
        return column
    return column.astype(np.float64) if kind == "decimal" else pd.to_numeric(column)


def _read_text(column: "pd.Series[Any]") -> tuple["pd.Series[Any]", str]:
    """Return what text such as "€ 9.99" stands for, and how it is written; or itself."""
    if pd.api.types.infer_dtype(column, skipna=True) != "string":
        return column, ""
    text_format = format_of_column(column)
    if text_format is None or text_format.style == "plain":
        return column, ""
    return text_format.read(column), str(text_format)


def _check_complete(column: "pd.Series[Any]") -> None:
    missing = column.isna().to_numpy()
    if not missing.any():
        return
    raise TableError(
        f"Target column {column.name!r} must have a value in each row. Got {missing.sum()} "
        f"missing (NaN) of {len(column)}, the first in row {missing.argmax() + 1}. Remove "
        "those rows. Empty cells count as missing, and so do ?, NA, None and null."
    )


def _decide(column: "pd.Series[Any]") -> tuple[str, str, str]:
    """Return the task, the reason, and the other task if it is possible too."""
    n_values = column.nunique()
    types = pd.api.types
    if types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column):
        raise TableError(
            f"Target column {column.name!r} must hold labels or numbers. Got dates."
        )
    if types.is_bool_dtype(column):
        return "classification", "true or false", ""
    if not types.is_numeric_dtype(column):
        return "classification", f"{n_values} different texts", ""
    if not (column % 1 == 0).all():
        return "regression", "numbers with fractions", ""
    few = n_values <= min(_MAX_NUMBER_CLASSES, len(column) // N_FOLDS)
    reason = f"{n_values} different whole numbers"
    if few:
        return "classification", reason, "regression"
    few = n_values <= 3 * _MAX_NUMBER_CLASSES
    return "regression", reason, "classification" if few else ""


def _numbers(column: "pd.Series[Any]") -> npt.NDArray[Any]:
    try:
        y = column.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        parsed = pd.to_numeric(column.astype(object), errors="coerce").isna().to_numpy()
        first = int(parsed.argmax())
        raise TableError(
            f"Target column {column.name!r} must hold numbers for regression. Got "
            f"{str(column.iloc[first])!r} in row {first + 1}."
        ) from error
    infinite = np.isinf(y)
    if infinite.any():
        raise TableError(
            f"Target column {column.name!r} must hold finite numbers. Got "
            f"{y[infinite][0]} in row {infinite.argmax() + 1}."
        )
    return y


def _labels(column: "pd.Series[Any]") -> npt.NDArray[Any]:
    """Return labels whose type numpy can sort: truth values, numbers or text."""
    types = pd.api.types
    if types.is_bool_dtype(column) and not isinstance(column.dtype, pd.CategoricalDtype):
        return column.to_numpy(dtype=bool)
    if types.is_integer_dtype(column):
        return column.to_numpy(dtype=np.int64)
    if types.is_numeric_dtype(column) and (column % 1 == 0).all():
        return column.to_numpy(dtype=np.float64)
    # Numbers with fractions too, because scikit-learn takes none for labels.
    return np.array([str(label) for label in column], dtype=object)


def _check_classes(column: "pd.Series[Any]", y: npt.NDArray[Any]) -> None:
    labels, counts = np.unique(y, return_counts=True)
    # Classes with fewer rows cannot fill the folds.
    if counts.max() < N_FOLDS or len(labels) > len(y) // 2:
        hint = "; --task regression predicts numbers" if y.dtype.kind in "if" else ""
        raise TableError(
            f"Target column {column.name!r} must hold classes that recur: at most one for "
            f"every two rows, and one of them at least {N_FOLDS} times. Got {len(labels)} "
            f"different values in {len(y)} rows, none of them more than {counts.max()} "
            f"times{hint}."
        )
