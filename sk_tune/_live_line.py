# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""One line that says how far something is, wherever standard output leads."""

import shutil
import sys
import time
from typing import Any

__all__ = ["LiveLine"]

# Between two updates of what people watch, and between two lines of a file.
_SECONDS_WATCHED = 0.2
_SECONDS_LOGGED = 10.0


class LiveLine:
    """Shows the newest of many texts: over the last one where people watch.

    A terminal has one line that is written over, a notebook one output that is updated; a
    file or pipe gets a line every ten seconds and the last one, without escape codes.
    """

    def __init__(self) -> None:
        self._shown_at = time.monotonic()
        self._is_open = False
        # What updates the output of a notebook's cell.
        self._handle: Any = None

    def show(self, text: str) -> None:
        """Show a text of one line, unless another was shown a moment ago."""
        is_watched = _display() is not None or _is_terminal()
        wait = _SECONDS_WATCHED if is_watched else _SECONDS_LOGGED
        now = time.monotonic()
        if now - self._shown_at < wait and (self._is_open or not is_watched):
            return
        self._shown_at = now
        self._write(text, "")

    def end(self, text: str = "") -> None:
        """Show the last text, if there is one, and leave it."""
        if text or self._is_open:
            self._write(text, "\n")
        self._is_open, self._handle = False, None

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
    """Return what shows something in the cell of a notebook that runs, if one does."""
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return None if getattr(shell, "kernel", None) is None else ipython.display.display
