# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""One line that says how far a search is, written anew as it goes on."""

import sys
import time

import numpy as np

from sk_tune._text import seconds_text
from sk_tune.engine import Progress

__all__ = ["ProgressLine", "progress_text"]

# Between two updates; a fleet may end epochs more often than a terminal can show.
_SECONDS_BETWEEN = 0.2


def progress_text(progress: Progress, *, n_folds: int, n_before: int, best: float) -> str:
    """Return how far a search is, in one line.

    Parameters
    ----------
    progress : Progress
        Of the engine's current call.
    n_folds : int
        Fits of each candidate.
    n_before : int
        Candidates that were evaluated in earlier calls.
    best : float
        Best mean score of these; NaN if there is none.

    Returns
    -------
    str
        Without a line break.
    """
    n_candidates = progress.n_fits // n_folds
    n_done = progress.n_fits_done // n_folds
    parts = [
        f"candidates {n_before + n_done}/{n_before + n_candidates}",
        f"epochs {progress.n_epochs_done}/{progress.n_epochs}",
    ]
    if not np.isnan(best):
        parts.append(f"best score {best:.4g}")
    elif not np.isnan(progress.best_score):
        parts.append(f"best fold {progress.best_score:.4g}")
    if not np.isnan(progress.seconds_left):
        parts.append(f"{seconds_text(progress.seconds_left)} left")
    return ", ".join(parts)


class ProgressLine:
    """Writes how far a search is over what it wrote before.

    Parameters
    ----------
    n_folds : int
        Fits of each candidate.
    """

    def __init__(self, n_folds: int) -> None:
        self._n_folds = n_folds
        self._last = 0.0
        self._width = 0
        self.n_before = 0
        self.best = float("nan")

    def __call__(self, progress: Progress) -> None:
        """Show the state of a call of the engine.

        Parameters
        ----------
        progress : Progress
            Of the call.
        """
        now = time.monotonic()
        is_last = progress.n_fits_done == progress.n_fits
        if now - self._last < _SECONDS_BETWEEN and not is_last:
            return
        self._last = now
        text = progress_text(
            progress, n_folds=self._n_folds, n_before=self.n_before, best=self.best
        )
        sys.stdout.write("\r" + text.ljust(self._width))
        self._width = len(text)
        if is_last:
            sys.stdout.write("\n")
            self._width = 0
        sys.stdout.flush()
