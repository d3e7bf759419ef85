# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How far a search is: one line of a terminal, rewritten; nothing in a file or pipe."""

import math
import sys
import time
from typing import Self

__all__ = ["Progress"]


class Progress:
    """Where a search stands.

    Parameters
    ----------
    deadline : float
        When the search should be done, by ``time.monotonic``, in seconds.
    every_batch : bool
        Whether to print a line for each batch instead, also to files.
    """

    def __init__(self, deadline: float, *, every_batch: bool) -> None:
        self.deadline = deadline
        self.every_batch = every_batch
        self.live = sys.stdout.isatty() and not every_batch

    def __enter__(self) -> Self:
        """Show that the search has begun."""
        self._show("Searching ...")
        return self

    def __exit__(self, *exception: object) -> None:
        """Clear the line."""
        if self.live:
            print("\r\x1b[K", end="", flush=True)

    def update(self, n_candidates: int, best_score: float) -> None:
        """Show how far it is.

        Parameters
        ----------
        n_candidates : int
            Candidates tried so far.
        best_score : float
            The highest score so far; NaN without any.
        """
        left = max(0, math.ceil(self.deadline - time.monotonic()))
        text = f"{n_candidates} tried, best {best_score:.4g}, {left} s left"
        if self.every_batch:
            print(text, flush=True)
        else:
            self._show(f"Searching: {text}")

    def _show(self, text: str) -> None:
        if self.live:
            print(f"\r\x1b[K{text}", end="", flush=True)
