# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Text for people: tables, seconds and bytes in as few characters as say enough."""

from collections.abc import Sequence
from numbers import Real

__all__ = ["bytes_text", "seconds_text", "text_table"]

_GAP = "  "


def text_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table with a header, numbers to the right and text to the left.

    Parameters
    ----------
    header : sequence of str
        Names of the columns.
    rows : sequence of sequences
        Cells, as many in each row as there are columns.

    Returns
    -------
    str
        Lines without trailing blanks or a last line break.

    Examples
    --------
    >>> print(text_table(["rung", "why"], [[0, "first"], [10, "later"]]))
    rung  why
       0  first
      10  later
    """
    lines = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[j]) for line in lines) for j in range(len(header))]
    is_number = [all(isinstance(row[j], Real) for row in rows) for j in range(len(header))]
    return "\n".join(
        _GAP.join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, is_number, strict=True)
        ).rstrip()
        for line in lines
    )


def seconds_text(seconds: float) -> str:
    """Return a time as a person would say it.

    Parameters
    ----------
    seconds : float
        At least 0.

    Returns
    -------
    str
        With two digits at least, and no more than are of use.

    Examples
    --------
    >>> [seconds_text(s) for s in (0.012, 3.21, 75, 3700)]
    ['0.01 s', '3.2 s', '1 min 15 s', '1 h 02 min']
    """
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def bytes_text(n_bytes: float) -> str:
    """Return an amount of memory in the unit that suits it.

    Parameters
    ----------
    n_bytes : float
        At least 0.

    Returns
    -------
    str
        In powers of 1024.

    Examples
    --------
    >>> [bytes_text(n) for n in (512, 2048, 3.5 * 2**20, 5 * 2**30)]
    ['512 B', '2.0 KiB', '3.5 MiB', '5.0 GiB']
    """
    if n_bytes < 1024:
        return f"{n_bytes:.0f} B"
    units = ("KiB", "MiB", "GiB", "TiB")
    power = 1
    while n_bytes >= 1024 ** (power + 1) and power < len(units):
        power += 1
    return f"{n_bytes / 1024**power:.1f} {units[power - 1]}"
