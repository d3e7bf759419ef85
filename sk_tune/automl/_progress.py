# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""How far a fit is, as lines of text."""

import math
import sys

from sk_tune.automl._runner import AutoProgress

__all__ = ["print_progress", "progress_text"]


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


def print_progress(progress: AutoProgress) -> None:
    """Rewrite a line of standard output.

    Parameters
    ----------
    progress : AutoProgress
        Of the fit.
    """
    sys.stdout.write(f"\r\x1b[K{progress_text(progress)}")
    sys.stdout.flush()
