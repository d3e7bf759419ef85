# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How far a fit is: one line of a terminal, rewritten; nothing in a file or pipe."""

import sys
from typing import Self

from sk_tune.automl import AutoProgress, progress_text

__all__ = ["Progress"]


class Progress:
    """Shows where a fit stands.

    Parameters
    ----------
    quiet : bool
        Whether nothing is shown.
    every_step : bool
        Whether to print a line for each step instead, also to files.
    """

    def __init__(self, *, quiet: bool, every_step: bool) -> None:
        self.every_step = every_step and not quiet
        self.live = sys.stdout.isatty() and not every_step and not quiet
        self._last = ""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Clear the line."""
        if self.live:
            print("\r\x1b[K", end="", flush=True)

    def __call__(self, progress: AutoProgress) -> None:
        """Show the progress of the fit."""
        if self.live:
            print(f"\r\x1b[K{progress_text(progress)}", end="", flush=True)
        elif self.every_step and progress.stage != self._last:
            self._last = progress.stage
            print(progress_text(progress), flush=True)
