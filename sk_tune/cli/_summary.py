# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What the command line says: labelled lines and a table of scores."""

import re
import shutil
import textwrap
from collections.abc import Sequence

from sk_tune.automl import Score, format_score, scale_of

__all__ = ["labelled", "score_lines", "verdict_text"]

_LABEL = 12  # Columns of a label.
_MAX_WIDTH = 92


def labelled(label: str, text: str) -> str:
    """Return a text behind a label of up to eleven characters, wrapped to the terminal."""
    return textwrap.fill(
        text,
        width=min(shutil.get_terminal_size().columns, _MAX_WIDTH),
        initial_indent=f"{label:<{_LABEL}}",
        subsequent_indent=" " * _LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )


def score_lines(scores: Sequence[Score], scoring: str) -> list[str]:
    """Return a table of scores: a header and a line for each."""
    scale = scale_of(scores)
    cells = [
        (s.name, *(format_score(x, scale) for x in (s.mean, s.std, s.held_out)))
        for s in scores
    ]
    header = (scoring, "CV mean", "std", "set aside")
    rows = [header, *cells]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    widths[0] = max(widths[0], _LABEL - 2)
    first, second, third, fourth = widths
    return [
        f"{name:<{first}}  {mean:>{second}} ± {std:<{third}}  {test:>{fourth}}"
        for name, mean, std, test in rows
    ]


def verdict_text(verdict: str) -> str:
    """Return a verdict with options of the command line in the place of parameters."""
    return re.sub(r"\buse='(\w+)'", r"--use \1", verdict)
