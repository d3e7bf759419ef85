# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A table that a page shows and sorts: columns, and cells with what they are sorted by."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sk_tune._text import number_texts

__all__ = ["Cell", "Column", "Table", "number_cells"]

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    name : str
        Heading.
    is_number : bool
        Whether it is sorted and aligned as numbers.
    hint : str, default=""
        What it holds, if the heading is short for it.
    """

    name: str
    is_number: bool
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a table.

    Parameters
    ----------
    text : str
        What is shown.
    key : str or None, default=None
        The number it stands for, in full; None if it is no number.
    details : str, default=""
        More, shown on demand.
    is_long : bool, default=False
        Whether its text is broken into lines.
    """

    text: str
    key: str | None = None
    details: str = ""
    is_long: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells, the first the best.

    Parameters
    ----------
    columns : list of Column
        From left to right.
    rows : list of (str, list of Cell)
        From above; each with what it is: "best", "failed" or nothing special.
    """

    columns: list[Column]
    rows: list[tuple[str, list[Cell]]]


def number_cells(
    rows: Sequence[Row], value_of: Callable[[Row], float], digits: int = 4
) -> Callable[[Any], Cell]:
    """Return what makes the cells of a column of numbers, with equally many decimals.

    Parameters
    ----------
    rows : sequence
        All that the table shows.
    value_of : callable
        Returns the number of one of them; NaN is "n/a".
    digits : int, default=4
        Significant ones.

    Returns
    -------
    callable
        Returns the cell of one of the rows.
    """
    values = [value_of(row) for row in rows]
    texts = dict(zip(values, number_texts(values, digits), strict=True))
    # NaN is no key that can be found again.
    return lambda row: (
        Cell(text=texts[value], key=repr(float(value)))
        if not math.isnan(value := value_of(row))
        else Cell(text="n/a")
    )
