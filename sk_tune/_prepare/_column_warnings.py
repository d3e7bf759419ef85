# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Warnings about columns of text that may be read in another way."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sk_tune._cell_formats import TextFormat, different_cells
from sk_tune._plain_numbers import PlainNumbers, extremes
from sk_tune._types import Floats
from sk_tune._warnings import warn_user
from sk_tune.exceptions import DataWarning


def warn_of_guesses(X: pd.DataFrame, formats: Mapping[str, TextFormat | None]) -> None:
    """Warn once for each format about columns that could be read in another way, too."""
    guesses: dict[TextFormat, list[str]] = {}
    for name, text_format in formats.items():
        if text_format is not None and text_format.is_guess:
            guesses.setdefault(replace(text_format, is_strict=True), []).append(name)
    for text_format, names in guesses.items():
        read = [_example(X[name], text_format) for name in names]
        call = "pd.to_datetime({}, dayfirst=" + f"{text_format.style == 'month first'})"
        if len(names) == 1:
            text = (
                f"Column {names[0]!r} is read as {text_format}, but is ambiguous: "
                f"{read[0]}."
            )
            remedy = f" If that is wrong, pass {call.format(f'X[{names[0]!r}]')} instead."
        else:
            columns = [f"{n!r} ({cell})" for n, cell in zip(names, read, strict=True)]
            text = (
                f"{len(names)} columns are read as {text_format}, but are ambiguous: "
                f"{', '.join(columns)}."
            )
            remedy = (
                f" If that is wrong, pass {call.format('X[name]')} instead of the column."
            )
        remedy = remedy if text_format.kind == "date" else ""
        warn_user(f"{text}{remedy}", DataWarning, about=f"columns read as {text_format}")


def _example(column: "pd.Series[Any]", text_format: TextFormat) -> str:
    """Return a cell and how it is read."""
    cells, _ = different_cells(column)
    read = text_format.read(cells)
    first = read.first_valid_index()
    spec = "%Y-%m-%d" if text_format.kind == "date" else ".10g"
    return f"'{cells[first]}' as {read[first]:{spec}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The few words, or units, that keep a column of numbers or dates from being read."""

    kind: str  # "numbers" or "dates"
    words: str  # as text
    n_read: int
    n: int
    are_units: bool = False


def warn_of_words(columns: Mapping[str, Words]) -> None:
    """Warn once about all categories that consist mostly of numbers or dates."""
    _warn_of_units({n: entry.words for n, entry in columns.items() if entry.are_units})
    columns = {name: entry for name, entry in columns.items() if not entry.are_units}
    if not columns:
        return
    names = [f"{name!r} ({entry.words})" for name, entry in columns.items()]
    message = (
        f"{len(names)} columns are not read as numbers or dates, because of a few words "
        f"in each: {', '.join(names)}. To read the columns, replace these words with NaN."
    )
    if len(names) == 1:
        ((name, entry),) = columns.items()
        message = (
            f"Column {name!r} is not read as {entry.kind}: {entry.n_read} of {entry.n} "
            f"values are, but not {entry.words}. To read the column, replace these words "
            "with NaN."
        )
    warn_user(message, DataWarning, about="words among numbers and dates")


def _warn_of_units(units: Mapping[str, str]) -> None:
    """Warn once about all columns of numbers with different units."""
    if not units:
        return
    names = [f"{name!r} ({words})" for name, words in units.items()]
    message = (
        f"{len(names)} columns are not read as numbers, because the values of each have "
        f"different units: {', '.join(names)}. To read the columns, convert the values of "
        "each to one unit."
    )
    if len(names) == 1:
        ((name, words),) = units.items()
        message = (
            f"Column {name!r} is not read as numbers, because its values have different "
            f"units: {words}. To read the column, convert its values to one unit."
        )
    warn_user(message, DataWarning, about="units of numbers")


_FIRST_DATE, _LAST_DATE = 1900_01_01, 2100_12_31


def warn_of_number_dates(numbers: PlainNumbers) -> None:
    """Warn once about all numbers of eight digits that look like dates, as 20240131."""
    low, high = extremes(numbers.values)
    in_range = (low >= _FIRST_DATE) & (low < high) & (high <= _LAST_DATE)
    columns = {numbers.names[k]: numbers.values[:, k] for k in np.flatnonzero(in_range)}
    dates = {name: cells for name, cells in columns.items() if _are_dates(cells)}
    if not dates:
        return
    examples = [f"{name!r} ({np.nanmin(cells):.0f})" for name, cells in dates.items()]
    name = next(iter(dates))
    is_one = len(dates) == 1
    text = "Column {} looks like dates" if is_one else "Columns {} look like dates"
    warn_user(
        f"{text.format(', '.join(examples))} but {'is' if is_one else 'are'} read as "
        f"numbers. To read dates, pass pd.to_datetime(X[{name!r}], format='%Y%m%d') "
        "instead of the column.",
        DataWarning,
        about="dates written as numbers",
    )


def _are_dates(cells: Floats) -> bool:
    cells = cells[~np.isnan(cells)]
    months, days = cells // 100 % 100, cells % 100
    is_date = (months >= 1) & (months <= 12) & (days >= 1) & (days <= 31)
    return bool(is_date.all() and (cells % 1 == 0).all())
