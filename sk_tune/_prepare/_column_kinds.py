# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tables of any library, the kind of each column, and the columns that cannot help.

A column's kind follows from its dtype and its training values alone.  Rows that lack a
certain cell may suggest another kind than rows that have it: where some rows are prepared
by a preparer fitted on others, ``decide_columns`` settles the kind by all rows.
"""

import hashlib
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from sk_tune._cell_formats import (
    MISSING,
    MISSING_WORDS,
    OF_LEVELS,
    TextFormat,
    Unread,
    best_format,
    check_read,
    different_cells,
    is_measure,
    is_missing,
    may_be_text,
    read_values,
    units_of,
    warn_of_unread,
)
from sk_tune._plain_numbers import PlainNumbers, extremes
from sk_tune._prepare._column_warnings import (
    Words,
    warn_of_guesses,
    warn_of_number_dates,
    warn_of_words,
)
from sk_tune._prepare._text_components import is_text
from sk_tune._text import counted, listed
from sk_tune._types import Array, Bools, Floats
from sk_tune._warnings import warn_user
from sk_tune.exceptions import DataWarning, TableError


def check_table(table: pd.DataFrame, caller: str, least: int = 1) -> None:
    """Raise if a table is too small for `caller`, or two of its columns have one name."""
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


def header_rows(table: pd.DataFrame) -> Bools:
    """Return a mask of the rows that repeat the names of the columns."""
    is_header = np.full(len(table), table.shape[1] > 1)
    for name in table.columns:
        column = table[name]
        if not (is_header.any() and may_be_text(column)):
            return np.zeros(len(table), dtype=bool)
        is_header &= [isinstance(cell, str) and cell == name for cell in column]
    return is_header


def without_header_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Blank the rows that repeat the column names, and warn once."""
    is_header = header_rows(table)
    if not is_header.any():
        return table
    first, n = int(is_header.argmax()), int(is_header.sum())
    more = f" and {n - 1} more" if n > 1 else ""
    warn_user(
        f"Row {first + 1}{more} of the table repeats the column names and counts as "
        "missing. Remove such rows from X and y.",
        DataWarning,
    )
    return table.mask(np.broadcast_to(is_header[:, np.newaxis], table.shape))


def with_dropped(
    table: pd.DataFrame, estimator: Any, dropped: Collection[str]
) -> pd.DataFrame:
    """Return a table with the unused columns of ``fit`` that it lacks, filled with NaN."""
    names = list(getattr(estimator, "feature_names_in_", ()))
    absent = {name for name in dropped if name not in table.columns}
    is_rest = list(table.columns) == [name for name in names if name not in absent]
    return table.reindex(columns=names) if absent and is_rest else table


# A category gets a column of its own from this share of the rows, within these bounds on
# the number of rows: fewer are unreliable, more are not needed.
_MIN_SHARE, _MIN_ROWS, _MAX_ROWS = 0.01, 3, 20

# The target can encode rare categories if this share of the rows is not alone in its own.
_MIN_RECURRING = 0.2

# Fewer whole numbers may all be different by chance.
_LEAST_IDS = 20
# Numbered rows stay this dense if every second row is in another part of the table.
_ID_SPREAD = 2
_ID_NAME = re.compile(r"(?:^|[^a-zA-Z])(?i:id|uuid|guid)$|(?<=[a-z])I[dD]$", re.ASCII)

# Distinct years are times, not row numbers.
_TIME_NAME = re.compile(r"year|month|week|day|date|time", re.IGNORECASE)

_N_NAMED = 5  # Columns that an error message lists.
# Text that may be meant as a number or a date.
_LIKE_NUMBER = re.compile(r"\W*\d")
_N_WORDS, _N_UNITS = 3, 5  # Cells and units that a warning lists.
# Most different words for missing values in a column of numbers.
_MOST_WORDS = 5
_LONGEST_CELL = 30  # Characters of a cell that a reason shows.

# Results of pandas.api.types.infer_dtype for values stored as Python objects.
_OBJECT_NUMBERS = {"boolean", "integer", "floating", "mixed-integer-float", "decimal"}
_OBJECT_DATES = {"date", "datetime", "datetime64"}
_OBJECT_MIXED = {"mixed", "mixed-integer"}
# The same for such values mixed with words for missing values.
_BESIDE_WORDS = {
    "number": TextFormat(kind="number", style="plain", is_strict=False),
    "date": TextFormat(kind="date", style="plain", is_strict=False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnKinds:
    """The kind of each column."""

    numbers: tuple[str, ...]  # also truth values and durations
    dates: tuple[str, ...]
    categories: tuple[str, ...]
    texts: tuple[str, ...] = ()  # of several words; by default categories or dropped
    dropped: dict[str, str]  # reasons, by column
    formats: Mapping[str, TextFormat] = field(default_factory=dict)  # of text

    @property
    def used(self) -> tuple[str, ...]:
        """Columns that are not dropped."""
        return (*self.numbers, *self.dates, *self.categories, *self.texts)

    @property
    def rare_texts(self) -> list[str]:
        """Dropped columns of text that differs in almost every row."""
        return [name for name, why in self.dropped.items() if why.startswith(_RARE_TEXT)]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Iterate over the used columns, as pairs of name and kind."""
        yield from ((name, "number") for name in self.numbers)
        yield from ((name, "date") for name in self.dates)
        yield from ((name, "category") for name in self.categories)
        yield from ((name, "text") for name in self.texts)


def column_kinds(X: pd.DataFrame, *, keeps_text: bool = False) -> ColumnKinds:
    """Return the kind of each column of the training rows.

    >>> X = pd.DataFrame({"age": [20, None, 40] * 9, "town": ["Bern", "Ulm", "Ulm"] * 9})
    >>> kinds = column_kinds(X.assign(country="CH"))
    >>> kinds.numbers, kinds.categories, kinds.dropped
    (('age',), ('town',), {'country': 'constant'})
    """
    kinds = kinds_and_values(X, keeps_text=keeps_text, keeps_values=False)[0]
    check_used(kinds, len(X))
    return kinds


def with_texts(kinds: ColumnKinds, X: pd.DataFrame) -> ColumnKinds:
    """Return kinds in which columns of text are texts instead of categories or dropped.

    Does not repeat the warnings about the columns.
    """
    X = X[[*kinds.categories, *kinds.rare_texts]]
    with warnings.catch_warnings(action="ignore"):
        texts = kinds_and_values(X, keeps_text=True, keeps_values=False)[0].texts
    return replace(
        kinds,
        categories=tuple(name for name in kinds.categories if name not in texts),
        texts=texts,
        dropped={name: why for name, why in kinds.dropped.items() if name not in texts},
    )


def check_used(kinds: ColumnKinds, n_samples: int) -> None:
    """Raise TableError, with the reasons, if a table has no usable column."""
    if kinds.used:
        return
    reasons = [f"{name!r}: {why}" for name, why in kinds.dropped.items()]
    more = len(reasons) - _N_NAMED
    named = "; ".join(reasons[:_N_NAMED] + [f"{more} more"] * (more > 0))
    raise TableError(
        "The table must have at least one usable column besides the target. Got "
        f"{named or 'none'}, with {counted(n_samples, 'sample')}."
    )


def kinds_and_values(
    X: pd.DataFrame,
    *,
    min_frequency: int | None = None,
    drop_ids: bool = True,
    missing_counts: bool = True,
    keeps_rare: bool = False,
    keeps_text: bool = False,
    keeps_values: bool = True,
) -> tuple[ColumnKinds, pd.DataFrame]:
    """Return the kind of each column, and the values of the used columns.

    `min_frequency` is the least frequency of the most frequent category; `drop_ids` drops
    whole numbers that only identify rows; without `missing_counts` a number or date with
    one value and missing cells is constant; `keeps_rare` keeps text without a frequent
    category if a fifth of the rows share their text with other rows; `keeps_text` tells
    texts from categories. Without `keeps_values` the frame has no columns. Warns about
    ambiguous columns.
    """
    kinds: dict[str, list[str]] = {"number": [], "date": [], "category": [], "text": []}
    values: dict[str, Array] = {}
    dropped: dict[str, str] = {}
    formats: dict[str, TextFormat] = {}
    first_by_hash: dict[bytes, str] = {}
    words: dict[str, Words] = {}
    unread = Unread()
    least = max(2, min_frequency or least_frequency(len(X)))
    plain = PlainNumbers.of(X)
    options = {
        "missing_counts": missing_counts,
        "keeps_rare": keeps_rare,
        "keeps_text": keeps_text,
    }
    columns = _columns_with_reasons(X, plain, least, unread=unread, **options)
    for name, kind, text_format, read, reason in columns:
        if not reason and drop_ids and kind == "number":
            reason = _reason_of_id(X, name, read)
        if not reason:
            # Categories that differ only in their names get the same codes; -0.0 is 0.0.
            codes = pd.factorize(read)[0] if kind in OF_LEVELS else read + 0.0
            key = hashlib.blake2b(codes.tobytes()).digest() + kind.encode()
            first = first_by_hash.setdefault(key, name)
            reason = "" if first == name else f"carries the same information as {first!r}"
        is_read = kind in OF_LEVELS and (not reason or reason.startswith(_RARE_TEXT))
        if is_read and (cause := _words_of(X[name], least)) is not None:
            words[name] = cause
        if reason:
            dropped[name] = reason
            continue
        kinds[kind].append(name)
        if keeps_values:
            values[name] = read
        if text_format is not None and not (text_format.is_usual and text_format.is_strict):
            formats[name] = text_format
    warn_of_guesses(X, formats)
    warn_of_words(words)
    warn_of_number_dates(plain)
    warn_of_unread(unread)
    return ColumnKinds(
        numbers=tuple(kinds["number"]),
        dates=tuple(kinds["date"]),
        categories=tuple(kinds["category"]),
        texts=tuple(kinds["text"]),
        dropped=dropped,
        formats=formats,
    ), plain.frame_with(values, X.index)


def _columns_with_reasons(
    X: pd.DataFrame,
    plain: PlainNumbers,
    least: int,
    *,
    missing_counts: bool,
    keeps_rare: bool,
    keeps_text: bool,
    unread: Unread,
) -> Iterator[tuple[str, str, TextFormat | None, Array, str]]:
    """Yield the name, kind, format and values of each column, and a reason to drop it."""
    reasons = _reasons_of_numbers(plain.values, missing_counts=missing_counts)
    columns = zip(plain.names, plain.values.T, reasons, strict=True)
    of_plain = {name: (values, reason) for name, values, reason in columns}
    for name in X.columns.tolist():
        if name in of_plain:
            yield name, "number", None, *of_plain[name]
            continue
        kind, text_format = kind_of_column(X[name], least)
        if not kind:
            yield name, "", None, np.empty(0), _reason_without_kind(X[name])
            continue
        read = read_values(X[name], kind, text_format, unread=unread)
        if kind == "category":
            reason = _reason_of_category(read, least, X[name].dtype, keeps_rare=keeps_rare)
            may_stay = not reason or reason.startswith(_RARE_TEXT)
            if keeps_text and may_stay and is_text(read, least):
                kind, reason = "text", ""
        else:
            (reason,) = _reasons_of_numbers(read[:, None], missing_counts=missing_counts)
        yield name, kind, text_format, read, reason


def least_frequency(n_rows: int) -> int:
    """Return how often a category must recur: once in a hundred, 3 to 20 times."""
    return int(np.clip(round(_MIN_SHARE * n_rows), _MIN_ROWS, _MAX_ROWS))


def kind_of_column(column: "pd.Series[Any]", least: int) -> tuple[str, TextFormat | None]:
    """Return the kind of a column, "" if it has none, and the format of its text."""
    # Durations and periods of a table with a text may be objects.
    column = column.infer_objects()
    if _reason_without_kind(column):
        return "", None
    types = pd.api.types
    is_period = isinstance(column.dtype, pd.PeriodDtype)
    if is_period or types.is_datetime64_any_dtype(column.dtype):
        return "date", None
    # Durations have dtype kind "m", in Arrow, too.
    if types.is_numeric_dtype(column.dtype) or column.dtype.kind == "m":
        return "number", None
    inferred = types.infer_dtype(column, skipna=True)
    is_mixed = inferred in _OBJECT_MIXED
    if is_mixed:
        inferred = types.infer_dtype(column[~is_missing(column)])
    if inferred in _OBJECT_NUMBERS:
        return "number", _BESIDE_WORDS["number"] if is_mixed else None
    if inferred in _OBJECT_DATES:
        return "date", _BESIDE_WORDS["date"] if is_mixed else None
    has_format = inferred in {"string", "time", *_OBJECT_MIXED}
    text_format = format_of_column(column, least) if has_format else None
    return ("category", None) if text_format is None else (text_format.kind, text_format)


def format_of_column(
    column: "pd.Series[Any]", least: int | None = None
) -> TextFormat | None:
    """Return the number or date format of a column of text if all of it fits; else None.

    Plain numbers of which most recur at least `least` times may be codes, which have no
    format, unless only a word for missing values made the column text.
    """
    cells, counts = different_cells(column)
    # The first text decides for nearly all columns.
    if best_format(cells[:1], counts[:1]) is None:
        return None
    text_format = best_format(cells, counts)
    if text_format is None or text_format[1].any():
        return None
    values = column.unique() if may_be_text(column) else ()
    words = {value.strip().lower() for value in values if isinstance(value, str)}
    is_strict = words.isdisjoint(MISSING_WORDS)
    is_plain = text_format[0].is_plain_number
    if is_strict and is_plain and least and _are_most(counts, counts >= least):
        return None
    return replace(text_format[0], is_strict=is_strict)


def _words_of(column: "pd.Series[Any]", least: int) -> Words | None:
    """Return the words in a category that consists mostly of numbers or dates, if any."""
    if isinstance(column.dtype, pd.CategoricalDtype) or not may_be_text(column):
        return None
    cells, counts = different_cells(column)
    like_numbers = np.array([bool(_LIKE_NUMBER.match(str(cell))) for cell in cells], bool)
    if not _are_most(counts, like_numbers):
        return None
    if (units := _units_of(cells, counts)) is not None:
        return units
    best = best_format(cells, counts)
    if best is None:
        return None
    text_format, unread = best
    words = cells[unread]
    # Ticket numbers, a few with letters, are not measurements.
    if not (_are_most(counts, ~unread) and 1 <= len(words) <= _MOST_WORDS):
        return None
    if kind_of_column(column.mask(column.isin(words)), least)[0] != text_format.kind:
        return None
    return Words(
        kind=f"{text_format.kind}s",
        words=listed([f"'{_shortened(str(word))}'" for word in words], _N_WORDS),
        n_read=int(counts[~unread].sum()),
        n=int(counts.sum()),
    )


def _units_of(cells: "pd.Series[Any]", counts: Array) -> Words | None:
    """Return the units of a column if most cells are numbers and the units differ."""
    n_cells = units_of(cells, counts)
    measures = {unit: n for unit, n in n_cells.items() if is_measure(unit)}
    n, n_read = int(counts.sum()), sum(measures.values()) + n_cells.get("", 0)
    if len(measures) < 2 or 2 * n_read <= n:
        return None
    ordered = sorted(measures, key=lambda unit: -measures[unit])
    words = listed([f"'{unit}' ({measures[unit]})" for unit in ordered], _N_UNITS)
    return Words(kind="numbers", words=words, n_read=n_read, n=n, are_units=True)


def _are_most(counts: Array, chosen: Array) -> bool:
    return bool(2 * counts[chosen].sum() > counts.sum())


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…"


_RARE_TEXT = "text that differs in almost every row"
_OTHER_KIND = "neither numbers, text nor dates"


def _reason_without_kind(column: "pd.Series[Any]") -> str:
    if not column.notna().any():
        return "no values"
    if column.dtype.kind == "c":
        return _OTHER_KIND
    if column.dtype == object and not column.map(pd.api.types.is_hashable).all():
        return _OTHER_KIND
    # Lists and structs of Arrow cannot be compared.
    arrow_type = getattr(column.dtype, "pyarrow_dtype", None)
    return _OTHER_KIND if getattr(arrow_type, "num_fields", 0) else ""


def _reason_of_category(values: Any, least: int, dtype: Any, *, keeps_rare: bool) -> str:
    counts = np.bincount(pd.factorize(values)[0])
    if len(counts) == 1:
        return "constant"
    recurring = counts[counts > 1].sum() if keeps_rare else 0
    if counts.max() >= least or recurring >= _MIN_RECURRING * len(values):
        return ""
    n_alike = sum(_LIKE_NUMBER.match(text) is not None for text in values)
    if n_alike <= len(values) / 2:
        return _RARE_TEXT
    if isinstance(dtype, pd.CategoricalDtype):
        return f"{_RARE_TEXT}, in dtype category, which is not read as numbers or dates"
    read = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce")
    unread = values[read.isna().to_numpy() & (values != MISSING)]
    if not len(unread):
        return _RARE_TEXT
    example = _shortened(unread[0])
    return f"{_RARE_TEXT} and cannot be read as numbers or dates, such as '{example}'"


def _reasons_of_numbers(values: Floats, *, missing_counts: bool) -> list[str]:
    """Return the reasons why columns, (n_samples, n_columns), cannot be used, or ""."""
    is_missing_cell = np.isnan(values)
    low, high = extremes(values)
    varies = (low < high) | (missing_counts & is_missing_cell.any(axis=0))
    is_empty = is_missing_cell.all(axis=0)
    reasons: list[str] = np.select(
        [is_empty, ~varies], ["no values", "constant"], ""
    ).tolist()
    return reasons


def _reason_of_id(X: pd.DataFrame, name: str, values: Floats) -> str:
    n, word = len(values), str(name)
    # As Python's floats, which do not warn of an overflow.
    spread = float(values.max()) - float(values.min())
    # In a smaller range they cannot all be different.
    if n < _LEAST_IDS or spread < n - 1:
        return ""
    counts_rows = spread < _ID_SPREAD * n and not _TIME_NAME.search(word)
    is_id = counts_rows or _ID_NAME.search(word) is not None
    if not is_id or len(np.unique(values)) < n:
        return ""
    column = pd.to_numeric(X[name], errors="coerce") if may_be_text(X[name]) else X[name]
    is_whole = pd.api.types.infer_dtype(column, skipna=True) == "integer"
    return "a whole number that counts or names the rows" if is_whole else ""


# Largest share of cells of another kind than the column.
_MOST_UNREAD = 0.1


def decide_columns(
    X: pd.DataFrame,
) -> tuple[pd.DataFrame, dict[str, TextFormat | None], ColumnKinds]:
    """Return a table with its text converted, the formats used, and the kinds.

    All samples decide here; ``read_text`` converts later samples with the formats. At most
    a tenth of the cells of a column of text may be of another kind and become missing; if
    there are more, the column is a category and its format None. Warns about ambiguous
    columns.
    """
    least = max(2, least_frequency(len(X)))
    formats: dict[str, TextFormat | None] = {}
    words: dict[str, Words] = {}
    for name, dtype in zip(X.columns, X.dtypes, strict=True):
        if isinstance(dtype, pd.CategoricalDtype) or not may_be_text(dtype):
            continue
        column = X[name]
        kind, text_format = kind_of_column(column, least)
        if kind == "category":
            other = _with_other_cells(column, least)
            formats |= other
            if None in other.values() and (cause := _words_of(column, least)) is not None:
                words[name] = cause
        elif text_format and (text_format.style != "plain" or not text_format.is_strict):
            # Rows without a word for missing numbers could be mistaken for codes.
            formats[name] = text_format
    warn_of_guesses(X, formats)
    warn_of_words(words)
    read = read_text(X, formats)
    kinds = kinds_and_values(read, keeps_values=False)[0]
    unusual = {
        name: its_format
        for name, its_format in formats.items()
        if name in kinds.used and its_format is not None and not its_format.is_usual
    }
    # Later samples may have any text in the dropped columns.
    formats = {
        name: its_format
        for name, its_format in formats.items()
        if its_format is None or name not in kinds.dropped
    }
    return read, formats, replace(kinds, formats=unusual)


def _with_other_cells(column: "pd.Series[Any]", least: int) -> dict[str, TextFormat | None]:
    """Return the format of a column with a few unreadable cells, or an empty dict."""
    cells, counts = different_cells(column)
    other_format = best_format(cells, counts)
    if other_format is None and len(units_of(cells, counts)) > 1:
        # Some rows may have only one of the units.
        return {str(column.name): None}
    if other_format is None or not other_format[1].any():
        return {}
    text_format, unread = other_format
    kind = kind_of_column(column.mask(column.isin(cells[unread])), least)[0]
    is_so = kind == text_format.kind and counts[unread].sum() <= _MOST_UNREAD * counts.sum()
    return {str(column.name): replace(text_format, is_strict=False) if is_so else None}


def read_text(X: pd.DataFrame, formats: Mapping[str, TextFormat | None]) -> pd.DataFrame:
    """Return a table with text converted to numbers and dates."""
    X, unread = X.copy(deep=False), Unread()
    for name, text_format in formats.items():
        column = X[name]
        if isinstance(column.dtype, pd.CategoricalDtype) or not may_be_text(column):
            continue
        if text_format is None:
            X[name] = column.astype("category")
            continue
        X[name] = read = text_format.read(column)
        strict = text_format.is_strict
        check_read(column, read, str(text_format), is_strict=strict, unread=unread)
    warn_of_unread(unread)
    return X
