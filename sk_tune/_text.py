# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Text for people: names, tables, numbers, times, links and a live status line."""

import math
import re
import shutil
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from html import escape
from numbers import Real
from typing import Any, TypeGuard

_SITE = "https://sk-tune.readthedocs.io/en/stable/"
_GAP = "  "
_EXPONENT_FROM = 1e6
_MOST_DECIMALS = 6


# The documentation page on fleets' supported networks.
CARRIED = "how-to/faster-skorch#supported-networks"


def page(name: str) -> str:
    """Return the address of a documentation page, for example "how-to/leaks"."""
    name, _, part = name.partition("#")
    return f"{_SITE}{name}.html" + (f"#{part}" if part else "")


def counted(n: int, noun: str) -> str:
    """Return a count with its noun, such as "1 candidate" or "2 candidates"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def listed(texts: Sequence[str], most: int) -> str:
    """Return texts separated by commas; texts beyond `most` are counted."""
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more} more" if more > 0 else "")


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """Return the most likely intended name, in a list; empty if there is none.

    `name` may be initials, a part, an extension or a misspelling of a valid name.

    >>> names = ["accuracy", "neg_mean_squared_error", "roc_auc", "roc_auc_ovr"]
    >>> [nearest(name, names) for name in ("mse", "AUC", "acuracy", "zzz")]
    [['neg_mean_squared_error'], ['roc_auc'], ['accuracy'], []]
    """
    lowered = name.lower()
    by_lower = {valid_name.lower(): valid_name for valid_name in sorted(names, key=len)}
    initials = {low: "".join(word[:1] for word in low.split("_")) for low in by_lower}
    is_short = len(lowered) < 3
    matches = [
        low for low in by_lower if len(lowered) > 1 and initials[low].endswith(lowered)
    ]
    matches += get_close_matches(lowered, by_lower, n=1, cutoff=0.9)
    matches += [low for low in by_lower if lowered.startswith(f"{low}_")]
    matches += [low for low in by_lower if not is_short and low.startswith(lowered)]
    matches += [low for low in by_lower if not is_short and lowered in low]
    matches += get_close_matches(lowered, by_lower, n=1, cutoff=0.7)
    matches += [low for low in by_lower if len(low) > 1 and low in lowered]
    return [by_lower[low] for low in dict.fromkeys(matches)][:1]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a question that suggests the intended name, after a space; or ""."""
    matches = nearest(name, names)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def error_line(traceback: str) -> str:
    """Return the error's line of a traceback, without notes below it."""
    lines = traceback.strip().splitlines() or [""]
    return next((line for line in reversed(lines) if not line.startswith("See http")), "")


def error_text(error: BaseException | None) -> str:
    """Return type and first line of an error, without addresses and full stop."""
    first_line = str(error).strip().partition("\n")[0].removesuffix(".")
    first_line = re.sub(r" at 0x[0-9a-fA-F]+", "", first_line)
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a value is a number, and not a bool."""
    return isinstance(value, Real) and not isinstance(value, bool)


def text_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table with a header; numbers are aligned right, text left.

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


def html_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table as HTML, for a notebook.

    >>> html_table(["why"], [["a < b"]]).removeprefix("<table><thead><tr><th>why</th></tr>")
    '</thead><tbody><tr><td>a &lt; b</td></tr></tbody></table>'
    """

    def line(cells: Sequence[object], tag: str) -> str:
        inner = "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells)
        return f"<tr>{inner}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(header, 'th')}</thead><tbody>{body}</tbody></table>"


def number_texts(values: Sequence[float], digits: int = 4) -> list[str]:
    """Return numbers for a column, with the same number of decimals.

    The median number has `digits` significant digits, or fewer if no number needs them. NaN
    is "n/a". Numbers that would become 0 or very long have an exponent.

    >>> number_texts([0.6679, 0.7, 0.12341])
    ['0.6679', '0.7000', '0.1234']
    >>> number_texts([-12345.6, -20000.0, float("nan"), -3e-9])
    ['-12346', '-20000', 'n/a', '-3e-09']
    """
    sizes = [abs(v) for v in values if v and math.isfinite(v)]
    decimals = _decimals(statistics.median_high(sizes) if sizes else 1.0, digits)
    finite_values = [v for v in values if math.isfinite(v)]
    # Fewer decimals if no number loses digits.
    fewer = [
        d
        for d in range(decimals)
        if all(round(v, d) == round(v, decimals) for v in finite_values)
    ]
    return [_of_column(v, min([*fewer, decimals]), digits) for v in values]


def interval_text(score: float, low: float, high: float, *others: float) -> list[str]:
    """Return a score, the ends of its interval and other scores with common decimals.

    The width of the interval has two significant digits, the score at least three if it is
    not much smaller than the width, else the score or the upper end at least two.

    >>> interval_text(0.80040, 0.76692, 0.83247)
    ['0.800', '0.767', '0.832']
    >>> interval_text(-2513.2, -2801.0, -2207.9, -2400.4)
    ['-2513', '-2801', '-2208', '-2400']
    >>> interval_text(0.545, -105.0, 0.674)
    ['0.55', '-105.00', '0.67']
    """
    width = high - low
    numbers = (score, low, high, *others)
    if math.isnan(score) or not 0 <= width < math.inf:
        return number_texts(numbers)
    decimals = max(
        _decimals(width, 2) if width else 0,
        _decimals(max(abs(score), width), 3),
        _decimals(max(abs(score), abs(high)), 2) if score or high else 0,
    )
    if decimals > _MOST_DECIMALS or max(abs(low), abs(high)) >= _EXPONENT_FROM:
        return number_texts(numbers)
    return [_rounded(number, decimals) for number in numbers]


def _decimals(size: float, digits: int) -> int:
    """Return the number of decimals that gives `size` this many significant digits."""
    return max(0, digits - 1 - math.floor(math.log10(size))) if size else digits - 1


def _of_column(value: float, decimals: int, digits: int) -> str:
    if not value and decimals > _MOST_DECIMALS:
        return "0"
    size = abs(value)
    fits = 0.5 * 10.0**-decimals < size < _EXPONENT_FROM and decimals <= _MOST_DECIMALS
    if value and not math.isnan(value) and not fits:
        return f"{value:.{digits}g}"
    return _rounded(value, decimals)


def _rounded(value: float, decimals: int) -> str:
    # Adding 0.0 removes the sign of -0.0.
    return "n/a" if math.isnan(value) else f"{round(value, decimals) + 0.0:.{decimals}f}"


def seconds_text(seconds: float) -> str:
    """Return a time in units that suit its length.

    >>> [seconds_text(s) for s in (0.012, 3.21, 75, 3700)]
    ['0.01 s', '3.2 s', '1 min 15 s', '1 h 02 min']
    """
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, seconds_left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds_left:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def bytes_text(n_bytes: float) -> str:
    """Return an amount of memory in a suitable power of 1024.

    >>> [bytes_text(n) for n in (512, 2048, 3.5 * 2**20, 5 * 2**30)]
    ['512 B', '2.0 KiB', '3.5 MiB', '5.0 GiB']
    """
    if n_bytes < 1024:
        return f"{n_bytes:.0f} B"
    power = min(int(math.log(n_bytes, 1024)), 4)
    return f"{n_bytes / 1024**power:.1f} {'KMGT'[power - 1]}iB"


# Seconds between two updates on a screen, and between two lines of a file.
_SECONDS_WATCHED = 0.2
_SECONDS_LOGGED = 10.0


class LiveLine:
    """Shows the newest text, in place of the last text on a screen.

    A terminal has one line that is overwritten, a notebook one output that is updated; a
    file or pipe gets a line every ten seconds and the last line, without escape codes.
    """

    def __init__(self) -> None:
        self._shown_at = time.monotonic()
        self._is_open = False
        self._text = ""
        # Updates the output of a notebook's cell.
        self._handle: Any = None

    def show(self, text: str) -> None:
        """Show a text of one line, unless the last text is too recent."""
        self._text = text
        is_watched = _display() is not None or _is_terminal()
        wait = _SECONDS_WATCHED if is_watched else _SECONDS_LOGGED
        now = time.monotonic()
        if now - self._shown_at < wait and (self._is_open or not is_watched):
            return
        self._shown_at = now
        self._write(text, "")

    def end(self, text: str = "") -> None:
        """Show `text` or the last text, if any, and end the line."""
        if text or self._text:
            self._write(text or self._text, "\n")
        self._is_open, self._text, self._handle = False, "", None

    def clear(self) -> None:
        """Empty the line on a terminal, so that other output starts at its beginning."""
        if self._is_open and _display() is None and _is_terminal():
            self._write("", "")

    def _write(self, text: str, end: str) -> None:
        display = _display()
        self._is_open = True
        if display is not None:
            data = {"text/plain": text}
            if self._handle is None:
                self._handle = display(data, raw=True, display_id=True)
            elif text:
                self._handle.update(data, raw=True)
        elif _is_terminal():
            width = shutil.get_terminal_size().columns - 1
            sys.stdout.write(f"\r\x1b[K{text[:width]}{end}")
            sys.stdout.flush()
        elif text:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()


def _is_terminal() -> bool:
    isatty = getattr(sys.stdout, "isatty", None)
    return bool(isatty and isatty())


def _display() -> Any:
    """Return the display function of the running notebook, if any."""
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return None if getattr(shell, "kernel", None) is None else ipython.display.display
