# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Formats of numbers and dates in columns of text, and a column's values in one form.

The whole column decides: 03/04/2024 alone may be in March or in April, and 1,234 may be a
thousand or a little more than one; next to 25/04/2024 and 1,234.50 they are unambiguous.
"""

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from sk_tune._types import Array
from sk_tune._warnings import warn_user
from sk_tune.exceptions import DataWarning, TableError

# Common words for a missing number or date, in any case.
# SAS and Stata write a dot, pandas NaT and <NA>, Excel #N/A.
MISSING_WORDS = frozenset({
    "?",
    "-",
    ".",
    "na",
    "n/a",
    "nan",
    "nat",
    "<na>",
    "#n/a",
    "null",
    "none",
    "unknown",
})
_NO_VALUE = MISSING_WORDS | {""}

_TIME = r"(?:,?[ T]\d{1,2}:\d{2}.*)?"
_MONTH = (
    r"(?i:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sep(?:t(?:ember)?)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
# Dates in which the position of the day is clear.
_PLAIN_DATE = re.compile(
    rf"\s*(?:\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}{_TIME}"
    # Months; numbers such as 1401-12 may name a part.
    r"|(?:1[89]|20)\d{2}-(?:0[1-9]|1[0-2])"
    rf"|\d{{1,2}}([- ]?){_MONTH}\1\d{{2}}(?:\d{{2}})?{_TIME}"
    rf"|{_MONTH} \d{{1,2}},? \d{{4}}{_TIME}"
    rf"|{_MONTH} \d{{4}})\s*"
)
_SHORT_YEAR = re.compile(rf"^(\s*\d{{1,2}}([- ]?){_MONTH}\2)(\d{{2}})(?!\d)")
# In 24-03-15 the year may come first.
_YEAR_LAST = rf"^\s*(\d{{1,2}})([./-])(\d{{1,2}})\2(\d{{4}}|(?<![-])\d{{2}})({_TIME})\s*$"
# 14:35, 14:35:20, 2:35 PM; hours above 23 are of durations.
_CLOCK = r"^\s*(\d{1,3}):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?\s*(?:([AaPp])\.?[Mm]\.?)?\s*$"

_CURRENCY = "$\xa2\xa3\xa4\xa5\u0e3f\u20a0-\u20c1"
_CODES = "AUD|BRL|CAD|CHF|CNY|CZK|DKK|EUR|GBP|HUF|INR|JPY|NOK|NZD|PLN|SEK|USD"
# Sign, unit, sign, digits with separators, unit.
_NUMBER = (
    rf"^\s*([-+\u2212]?)\s*((?:[A-Z]{{0,2}}[{_CURRENCY}]|{_CODES})?)\s*([-+\u2212]?)\s*"
    rf"(\d(?:[\d.,'\u2019\s]*\d)?)\s*((?:[^\W\d_]|[%\u2030\xb0{_CURRENCY}])\D{{0,9}})?\s*$"
)
# Units that have a plural.
_COUNTED = (
    r"(?i:yard|mile|km|lit(?:re|er)|gallon|acre|lb|pound|kg|ounce|ton(?:ne)?|sec|second"
    r"|min(?:ute)?|hr|hour|day|wk|week|mo(?:nth)?|yr|year)"
)
_PLURAL = re.compile(rf"^({_COUNTED})s?\.?$")
# Units of length and volume, mass, time, and others; money.  Other text after a number,
# as in 10A or 3rd, may name a category.
_MEASURE = re.compile(
    r"[dghlLmst%\u2030]|\xb0[CF]|(?i:[nmcdk\xb5\u03bc]m[\xb2\xb3]?|m[\xb2\xb3]|in|inch(?:es)?"
    r"|ft|foot|feet|yd|mi|[mcd]l|cc|gal|ha|sqm|sqft|[mk\xb5\u03bc]g|mcg|oz|ms|[kmgt]b|[kmg]?hz"
    r"|[km]wh?|b?hp|ps|kj|k?cal|[hk]?pa|bar|psi|km/?h|kph|mph|m/s|mpg|kmpl|km/kg|percent"
    r"|(?:yard|mile|lit(?:re|er)|gallon|acre|lb|pound|ounce|ton(?:ne)?|sec|second"
    r"|min(?:ute)?|hr|hour|day|wk|week|mo(?:nth)?|yr|year)s?)"
    rf"|[A-Z]{{0,2}}[{_CURRENCY}]|{_CODES}"
)
# "k" next to numbers without it is a thousand, and not a unit.
_MULTIPLES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9}
# Digits in groups of three, and a fraction; all groups have the same separator.
_DIGITS = r"(?:\d+|[1-9]\d{{0,2}}([{0}'\u2019\s])\d{{3}}(?:\1\d{{3}})*)(?:{1}\d+)?"
_USUAL_STYLE = "decimal point"
_STYLES = {
    _USUAL_STYLE: re.compile(_DIGITS.format(",", r"\.")),
    "decimal comma": re.compile(_DIGITS.format(r"\.", ",")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFormat:
    """Format of the numbers or dates in a column of text.

    >>> from sk_tune._prepare import column_kinds
    >>> X = pd.DataFrame({"paid": ["1.234,50 €", "9,99 €"] * 9})
    >>> str(column_kinds(X).formats["paid"])
    'numbers with a decimal comma, in €'
    """

    kind: str  # "number" or "date"
    # "plain", "decimal point", "decimal comma", "clock", "day first", "month first"
    style: str
    unit: str = ""  # dropped from each number, so that 5 % is 5
    has_multiples: bool = False  # 2.3k is 2300
    is_guess: bool = False  # another reading is possible
    is_strict: bool = True  # a cell in another format is an error

    def __str__(self) -> str:
        """Return the format in words."""
        if self.style == "clock":
            return "times such as 14:35"
        words = f"{self.kind}s"
        if self.style != "plain":
            is_number = self.kind == "number"
            words += f" with a {self.style}" if is_number else f" with the {self.style}"
        words += f", in {self.unit}" if self.unit else ""
        return f"{words}, with k for thousands" if self.has_multiples else words

    @property
    def is_usual(self) -> bool:
        """Whether it is 1234.5 or 2024-03-15, which needs no mention."""
        return self.style == "plain"

    @property
    def is_plain_number(self) -> bool:
        """Whether the text is a number as Python writes it, which may be a code."""
        return self.kind == "number" and self.is_usual

    def read(self, cells: "pd.Series[Any]") -> "pd.Series[Any]":
        """Return numbers, or dates in UTC; missing where a cell has another format."""
        # Each distinct text is converted once, not each cell.
        codes, values = pd.factorize(cells)
        read = self._read(pd.Series(values, dtype=object))
        # The code of a missing cell is -1.
        read = read.reindex(codes).set_axis(cells.index)
        read.name = cells.name
        return read

    def _read(self, cells: "pd.Series[Any]") -> "pd.Series[Any]":
        if self.style == "plain":
            return (_plain_numbers if self.kind == "number" else _plain_dates)(cells)
        if self.kind == "date":
            dates = _year_last(_parts(cells, _YEAR_LAST), self.style, cells.index)
            return dates.fillna(_plain_dates(cells))
        if self.style == "clock":
            return _seconds(cells)
        parts = _number_parts(cells)
        # Other cells are no text, or numbers such as 1e5.
        plain_numbers = _plain_numbers(cells.where(parts[3].isna()))
        parts, multiples = _without_multiples(parts, has_multiples=self.has_multiples)
        return (_numbers(parts, self.style, self.unit) * multiples).fillna(plain_numbers)


_PLAIN_DATES = TextFormat(kind="date", style="plain")


def best_format(cells: "pd.Series[Any]", counts: Array) -> tuple[TextFormat, Array] | None:
    """Return the format of most cells, and a mask of the cells that it does not fit."""
    formats = [
        (TextFormat(kind="number", style="plain"), _plain_numbers(cells)),
        (_PLAIN_DATES, _plain_dates(cells)),
    ]
    if any(isinstance(cell, str) and any(map(str.isdigit, cell)) for cell in cells):
        numbers = [*_number_formats(cells, counts)]
        # 1.234 can be a thousand; elsewhere it is a fraction.
        first = [it for it in numbers if it[0].is_guess and it[0].style != _USUAL_STYLE]
        formats = [*first, *formats, *numbers, *_date_formats(cells)]
    has_colon = (isinstance(cell, str) and ":" in cell for cell in cells)
    if any(has_colon) or any(isinstance(cell, dt.time) for cell in cells):
        formats.append((TextFormat(kind="number", style="clock"), _seconds(cells)))
    unread = [read.isna().to_numpy() for _, read in formats]
    n_unread = [int(counts[unread_by].sum()) for unread_by in unread]
    best = int(np.argmin(n_unread))
    if unread[best].all():
        return None
    return formats[best][0], unread[best]


def different_cells(column: "pd.Series[Any]") -> tuple["pd.Series[Any]", Array]:
    """Return the distinct non-missing cells of a column, and their counts."""
    codes, values = pd.factorize(column)
    cells = pd.Series(values, dtype=object)
    counts = np.bincount(codes[codes >= 0], minlength=len(cells))
    is_there = ~is_missing(cells)
    return cells[is_there], counts[is_there]


def may_be_text(column: Any) -> bool:
    """Return whether a column, or its dtype, is text, objects, or categories of text.

    Arrow's times of day count as objects.
    """
    types = pd.api.types
    is_time = getattr(getattr(column, "dtype", column), "type", None) is dt.time
    return bool(is_time or types.is_object_dtype(column) or types.is_string_dtype(column))


def is_missing(column: "pd.Series[Any]") -> Array:
    """Return a mask of missing cells, including blank text and ``MISSING_WORDS``."""
    missing: Array = np.array(column.isna())
    if not may_be_text(column):
        return missing
    absent = [
        isinstance(value, str) and value.strip().lower() in _NO_VALUE for value in column
    ]
    missing |= np.array(absent, dtype=bool)
    return missing


def _number_formats(cells: "pd.Series[Any]", counts: Array) -> Any:
    """Yield formats of numbers with separators or one unit, with the converted cells."""
    parts = _number_parts(cells)
    has_multiples = _have_multiples(parts)
    parts, multiples = _without_multiples(parts, has_multiples=has_multiples)
    digits, units = parts[3], _units(parts)
    names = {unit for unit in units[digits.notna()] if unit}
    # Dollars mixed with euros are not one quantity; nor are 10A and 10B.
    if digits.isna().all() or len(names) > 1:
        return
    unit = next(iter(names), "")
    reads = {style: _numbers(parts, style, unit) for style in _STYLES}
    n_unread = {style: counts[read.isna()].sum() for style, read in reads.items()}
    style = min(n_unread, key=n_unread.__getitem__)
    has_marks = digits.str.contains("[.,]").any()
    is_guess = bool(has_marks and len(set(n_unread.values())) == 1)
    if is_guess and _are_thousands(digits.dropna()):
        style = "decimal comma"
    text_format = TextFormat(
        kind="number",
        style=style,
        unit=unit,
        has_multiples=has_multiples,
        is_guess=is_guess,
    )
    read = reads[style] * multiples
    yield text_format, read.fillna(_plain_numbers(cells.where(digits.isna())))


def units_of(cells: "pd.Series[Any]", counts: Array) -> dict[str, int]:
    """Return the number of cells with each unit after a number, "" for none."""
    parts = _number_parts(cells)
    units = _units(parts).where(parts[3].notna())
    n_cells = pd.Series(counts, index=cells.index).groupby(units).sum()
    return {str(unit): int(n) for unit, n in n_cells.items()}


def is_measure(unit: str) -> bool:
    """Return whether the text after a number is a common unit, and no part of a code.

    >>> [is_measure(unit) for unit in ("m", "Kg", "lbs.", "US$", "A", "rd", "")]
    [True, True, True, True, False, False, False]
    """
    return _MEASURE.fullmatch(unit.rstrip(".")) is not None


def _have_multiples(parts: pd.DataFrame) -> bool:
    """Return whether k is a thousand: some numbers have it, others none, or M."""
    suffixes = set(parts[4].fillna("")[parts[3].notna()].str.strip())
    is_multiple = len(suffixes) > 1 and suffixes <= {"", *_MULTIPLES}
    # 12B next to 12 is rather a house number.
    return is_multiple and not suffixes <= {"", "B"}


def _without_multiples(
    parts: pd.DataFrame, *, has_multiples: bool
) -> tuple[pd.DataFrame, "pd.Series[Any]"]:
    """Return the parts without suffixes such as k, and the factors for which they stand."""
    if not has_multiples:
        return parts, pd.Series(1.0, index=parts.index)
    factors = parts[4].str.strip().map(_MULTIPLES)
    parts = parts.copy()
    parts[4] = parts[4].mask(factors.notna())
    return parts, factors.fillna(1.0)


def _are_thousands(digits: "pd.Series[Any]") -> bool:
    """Return whether a point separates thousands, as in 345 next to 1.234 and 12.345."""
    has_point = digits.str.contains(".", regex=False)
    is_group = digits.str.fullmatch(r"[1-9]\d{0,2}\.\d{3}")
    return bool(is_group[has_point].all() and has_point.any() and not has_point.all())


def _date_formats(cells: "pd.Series[Any]") -> Any:
    """Yield the order of day and month that fits more dates, with the converted cells."""
    parts = _parts(cells, _YEAR_LAST)
    if parts[0].isna().all():
        return
    # If both orders fit all cells, the point is European and the slash American.
    usual = "month first" if (parts[1] == "/").any() else "day first"
    other = "day first" if usual == "month first" else "month first"
    reads = {style: _year_last(parts, style, cells.index) for style in (usual, other)}
    n_read = {style: int(read.notna().sum()) for style, read in reads.items()}
    style = max(n_read, key=n_read.__getitem__)
    differ = (parts[0] != parts[2]) & reads[style].notna()
    is_guess = n_read[usual] == n_read[other] and bool(differ.any())
    is_guess = is_guess and not (parts[1].dropna() == ".").all()
    text_format = TextFormat(kind="date", style=style, is_guess=is_guess)
    yield text_format, reads[style].fillna(_plain_dates(cells))


def _parts(cells: "pd.Series[Any]", pattern: str) -> pd.DataFrame:
    """Return the groups of a pattern in texts; missing where a cell is not text."""
    texts = [cell if isinstance(cell, str) else "" for cell in cells]
    return pd.Series(texts, index=cells.index, dtype=object).str.extract(pattern)


def _number_parts(cells: "pd.Series[Any]") -> pd.DataFrame:
    if any(isinstance(cell, str) and "(" in cell for cell in cells):
        # Accountants write (12.50) for -12.50.
        cells = cells.replace(r"^\s*\(([^()]+)\)\s*$", r"-\1", regex=True)
    return _parts(cells, _NUMBER)


def _seconds(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return seconds since midnight, or of a duration."""
    texts = cells.map(lambda cell: str(cell) if isinstance(cell, dt.time) else cell)
    parts = _parts(texts, _CLOCK)
    hours, minutes, seconds = (pd.to_numeric(parts[k]) for k in range(3))
    half = parts[3].str.lower()
    is_hour = half.isna() | hours.between(1, 12)
    hours = hours.where(half.isna(), hours % 12 + 12 * (half == "p"))
    total = 3600.0 * hours + 60.0 * minutes + seconds.fillna(0.0)
    return total.where(is_hour)


def _plain_numbers(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    read: pd.Series[Any] = pd.to_numeric(cells.astype(object), errors="coerce")
    return read.astype(np.float64)


def _plain_dates(cells: "pd.Series[Any]") -> "pd.Series[Any]":
    # pandas would also convert numbers to dates.
    is_date = [
        _PLAIN_DATE.fullmatch(cell) is not None
        if isinstance(cell, str)
        else isinstance(cell, dt.date | np.datetime64)
        for cell in cells
    ]
    dates = cells.astype(object).where(np.array(is_date, dtype=bool))
    if any(is_date):
        dates = dates.map(_with_full_year)
    return pd.to_datetime(dates, format="mixed", errors="coerce", utc=True)


def _year_last(parts: pd.DataFrame, style: str, index: pd.Index) -> "pd.Series[Any]":
    day, month = (parts[0], parts[2]) if style == "day first" else (parts[2], parts[0])
    year = parts[3].str.replace(r"^\d{2}$", lambda m: _full_year(m[0]), regex=True)
    # pandas is slow to refuse a month above 12.
    month = month.str.zfill(2).where(pd.to_numeric(month) <= 12)
    iso = year + "-" + month + "-" + day.str.zfill(2) + parts[4].fillna("")
    return pd.to_datetime(iso, format="mixed", errors="coerce", utc=True).set_axis(index)


def _with_full_year(date: Any) -> Any:
    # pandas would read 15-Mar-70 as a date in 2070.
    if not isinstance(date, str):
        return date
    return _SHORT_YEAR.sub(lambda m: m[1] + _full_year(m[3]), date)


def _full_year(year: str) -> str:
    """Return a year of two digits with four, from 1969 to 2068, as in POSIX."""
    return f"{'20' if year < '69' else '19'}{year}"


def _units(parts: pd.DataFrame) -> "pd.Series[Any]":
    units = (parts[1].fillna("") + parts[4].fillna("")).str.strip()
    # 1 year and 2 years have the same unit.
    return units.map({unit: _PLURAL.sub(r"\1", unit) for unit in units.unique()})


def _numbers(parts: pd.DataFrame, style: str, unit: str) -> "pd.Series[Any]":
    group, decimal = (",", ".") if style == "decimal point" else (".", ",")
    digits = parts[3].where(parts[3].str.fullmatch(_STYLES[style]).fillna(False))
    digits = digits.where(_units(parts).isin(["", unit]))
    digits = digits.str.replace(rf"[{group}'\u2019\s]", "", regex=True)
    numbers = pd.to_numeric(digits.str.replace(decimal, "."), errors="coerce")
    signs = parts[0].fillna("") + parts[2].fillna("")
    return numbers.where(signs.isin(["", "+"]), -numbers).where(signs.str.len() < 2)


MISSING = "(missing)"  # The category of a missing value.
# Seconds, because nanoseconds end in the year 2262, and open ends are often in 9999.
_EPOCH = pd.Timestamp("1970-01-01", tz="UTC").as_unit("s")
# Division by it also works for pyarrow's times, unlike ``total_seconds``.
_SECOND: Any = pd.Timedelta(seconds=1)
_SECONDS_PER_DAY = 86_400


# The kind of a column, and its cells of another kind in words, by the column's name.
Unread = dict[str, tuple[str, str]]


# Kinds of columns that are read as a Categorical.
OF_LEVELS = ("category", "text")


def read_values(
    column: "pd.Series[Any]",
    kind: str,
    text_format: TextFormat | None = None,
    *,
    unread: Unread,
) -> Any:
    """Return a column's values in the form of "number", "date", "category" or "text".

    Numbers are float64, durations in seconds; dates are days since 1970-01-01 UTC; NaN
    where missing. The other two are a Categorical of text, with ``MISSING`` where missing.
    Raises TableError if a value is of another kind, unless the format is not strict; then
    adds it to `unread`.
    """
    if kind not in OF_LEVELS:
        # A single row of a table with a text has durations and periods as objects.
        column = column.infer_objects()
    check = partial(
        check_read,
        is_strict=text_format is None or text_format.is_strict,
        unread=unread,
    )
    if may_be_text(column) and text_format is not None and not text_format.is_usual:
        read = text_format.read(column)
        check(column, read, str(text_format))
        column = read
    if kind in OF_LEVELS:
        return _texts(column)
    read_kind = _read_numbers if kind == "number" else _days
    return read_kind(column, check)


def _read_numbers(column: "pd.Series[Any]", check: Callable[..., None]) -> Array:
    if column.dtype.kind == "m":
        column = column / _SECOND
    elif column.dtype.kind == "M":
        # numpy would take dates as nanoseconds since 1970.
        column = column.astype(object)
    elif isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    try:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        parsed = pd.to_numeric(column.astype(object), errors="coerce")
        check(column, parsed, "numbers")
        values = parsed.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def _days(column: "pd.Series[Any]", check: Callable[..., None]) -> Array:
    if isinstance(column.dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        times = pd.to_datetime(column, utc=True)
    else:
        # pandas would also convert numbers, words such as "now", and 03/04/2024 next to
        # 25/04/2024 with the month first.
        times = _PLAIN_DATES.read(column)
    if times.isna().any():
        check(column, times, "dates such as 2024-03-15")
    days = (times - _EPOCH) / _SECOND / _SECONDS_PER_DAY
    return np.asarray(days.to_numpy(dtype=np.float64, na_value=np.nan))


def _texts(column: "pd.Series[Any]") -> pd.Categorical:
    if column.dtype == object:
        # 1 and True are equal; either could represent both.
        texts = [
            MISSING if is_absent else _text(value)
            for value, is_absent in zip(column, column.isna(), strict=True)
        ]
        codes = np.arange(len(texts))
    else:
        # Each category is converted once, not each value.
        codes, categories = pd.factorize(column)
        texts = [*map(_text, categories)]
        # The code of a missing value is -1.
        texts += [MISSING] * bool((codes < 0).any())
    places, levels = pd.factorize(np.array(texts, dtype=object))
    return pd.Categorical.from_codes(places[codes], pd.Index(levels, dtype=object))


def _text(value: Any) -> str:
    # Whole numbers become floats in a column with missing values.
    if isinstance(value, float | np.floating) and value.is_integer():
        return str(int(value))
    return str(value)


def check_read(
    column: "pd.Series[Any]", parsed: Any, required: str, *, is_strict: bool, unread: Unread
) -> None:
    """Raise for cells that became missing by conversion, or add them to `unread`."""
    wrong = parsed.isna().to_numpy() & ~is_missing(column)
    if not wrong.any():
        return
    first = int(wrong.argmax())
    n_others = int(wrong.sum()) - 1
    more = f" and {n_others} more such cells" if n_others else ""
    where = f"'{column.iloc[first]}' in row {first + 1}{more}"
    if is_strict:
        raise TableError(
            f"Column {column.name!r} must hold {required}, as in fit. Got {where}."
        )
    unread[str(column.name)] = (required, where)


def warn_of_unread(unread: Unread) -> None:
    """Warn once about all columns with cells of another kind."""
    if not unread:
        return
    columns = [f"{name!r} ({where})" for name, (_, where) in unread.items()]
    message = f"{len(columns)} columns hold cells in another format: {', '.join(columns)}."
    if len(columns) == 1:
        ((name, (required, where)),) = unread.items()
        message = f"Column {name!r} holds {required}, except for {where}."
    warn_user(
        f"{message} Cells in another format are treated as missing.",
        DataWarning,
        about="cells in another format",
    )
