# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Tasks that run without a word."""

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["unheard"]


@contextmanager
def unheard() -> Iterator[None]:
    """Drop what this thread prints and warns of; other threads' output is printed.

    Whoever enters it in several threads has them wait for each other: what it replaces
    belongs to the process.
    """
    heard = sys.stdout
    sys.stdout = _OtherThreads(heard)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.stdout = heard


class _OtherThreads:
    """A stream that takes nothing from the thread that made it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._thread = threading.get_ident()

    def write(self, text: str) -> int:
        """Write what comes from another thread."""
        if threading.get_ident() != self._thread and self._stream is not None:
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write what comes from another thread."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
