# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How far a fit is, as lines of text."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from sk_tune._text import LiveLine
from sk_tune.automl._runner import AutoProgress

__all__ = ["ProgressLine", "line_of", "progress_text"]


def progress_text(progress: AutoProgress) -> str:
    """Return one line that says where a fit stands.

    Parameters
    ----------
    progress : AutoProgress
        Of the fit.

    Returns
    -------
    str
        Without an end of line.
    """
    parts = [progress.stage, f"{progress.n_trials} trials"]
    if progress.best_model:
        parts.append(f"best {progress.best_score:.4g} ({progress.best_model})")
    if math.isfinite(progress.seconds_left):
        parts.append(f"{progress.seconds_left:.0f} s left")
    return ", ".join(parts)


class ProgressLine:
    """Shows where a fit stands in one line of a terminal, a notebook or a file."""

    def __init__(self) -> None:
        self._line = LiveLine()
        self._text = ""

    def __call__(self, progress: AutoProgress) -> None:
        """Take note of how far a fit is."""
        self._text = progress_text(progress)
        self._line.show(self._text)

    def end(self) -> None:
        """Show the last state, and leave it."""
        self._line.end(self._text)


@contextmanager
def line_of(listener: object) -> Iterator[None]:
    """Leave the line that shows how far a fit is where it ends, if that is the listener."""
    try:
        yield
    finally:
        if isinstance(listener, ProgressLine):
            listener.end()
