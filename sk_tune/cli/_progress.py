# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How far a search is: one line of a terminal, rewritten; nothing in a file or pipe."""

import math
import sys
import time
from typing import Self

from sk_tune.engine import Progress as EngineProgress

__all__ = ["Progress"]


class Progress:
    """Where a search stands.

    Parameters
    ----------
    deadline : float
        When the search should be done, by ``time.monotonic``, in seconds.
    n_folds : int
        Fits of each candidate.
    every_batch : bool
        Whether to print a line for each batch instead, also to files.
    """

    def __init__(self, deadline: float, *, n_folds: int, every_batch: bool) -> None:
        self.deadline = deadline
        self.n_folds = n_folds
        self.every_batch = every_batch
        self.live = sys.stdout.isatty() and not every_batch
        self._best = math.nan
        # Candidates of earlier calls of the engine, and of the current one.
        self._n_before = self._n_current = 0

    def __enter__(self) -> Self:
        """Show that the search has begun."""
        self._show("Searching ...")
        return self

    def __exit__(self, *exception: object) -> None:
        """Clear the line."""
        if self.live:
            print("\r\x1b[K", end="", flush=True)

    def __call__(self, progress: EngineProgress) -> None:
        """Show how far a batch is.

        Parameters
        ----------
        progress : sk_tune.engine.Progress
            Of the engine's current call.
        """
        n_done = progress.n_fits_done // self.n_folds
        if n_done < self._n_current:
            self._n_before += self._n_current
        self._n_current = n_done
        if not self.every_batch:
            self._show(f"Searching: {self._text(self._n_before + n_done)}")

    def update(self, n_candidates: int, best_score: float) -> None:
        """Show where it stands after a batch.

        Parameters
        ----------
        n_candidates : int
            Candidates tried so far.
        best_score : float
            The highest score so far; NaN without any.
        """
        self._best, self._n_before, self._n_current = best_score, n_candidates, 0
        text = self._text(n_candidates)
        if self.every_batch:
            print(text, flush=True)
        else:
            self._show(f"Searching: {text}")

    def _text(self, n_candidates: int) -> str:
        best = "" if math.isnan(self._best) else f"best {self._best:.4g}, "
        left = max(0, math.ceil(self.deadline - time.monotonic()))
        return f"{n_candidates} tried, {best}{left} s left"

    def _show(self, text: str) -> None:
        if self.live:
            print(f"\r\x1b[K{text}", end="", flush=True)
