# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What the command line says: labelled lines, a table of scores and a verdict."""

import math
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from sk_tune.cli._baselines import Score

__all__ = ["format_params", "format_score", "labelled", "score_lines", "verdict"]

_LABEL = 12  # Columns of a label.
_MAX_WIDTH = 92


def labelled(label: str, text: str) -> str:
    """Return a line with a label, wrapped to the terminal.

    Parameters
    ----------
    label : str
        Up to eleven characters.
    text : str
        What it says.

    Returns
    -------
    str
        One or more lines.
    """
    return textwrap.fill(
        text,
        width=min(shutil.get_terminal_size().columns, _MAX_WIDTH),
        initial_indent=f"{label:<{_LABEL}}",
        subsequent_indent=" " * _LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )


def format_score(score: float, scale: float = 1.0) -> str:
    """Return a score in few digits.

    Parameters
    ----------
    score : float
        Any score.
    scale : float, default=1.0
        Size of the scores that it stands beside.

    Returns
    -------
    str
        Three decimals beside scores of usual size, else three significant digits.
    """
    if math.isnan(score):
        return "n/a"
    return f"{score:.3f}" if 0.05 <= scale < 1000 else f"{score:.3g}"


def format_params(params: Mapping[str, Any]) -> str:
    """Return a configuration on one line.

    Parameters
    ----------
    params : mapping
        Parameters of the step "net".

    Returns
    -------
    str
        ``n_layers=2, width=128, ...``.
    """
    return ", ".join(
        f"{name.removeprefix('net__')}={_value(value)}" for name, value in params.items()
    )


def score_lines(scores: Sequence[Score], scoring: str) -> list[str]:
    """Return a table of scores.

    Parameters
    ----------
    scores : sequence of Score
        A row each.
    scoring : str
        What the scores are.

    Returns
    -------
    list of str
        A header and a line for each score.
    """
    scale = _scale(scores)
    cells = [
        (s.name, *(format_score(x, scale) for x in (s.mean, s.std, s.test))) for s in scores
    ]
    header = (scoring, "CV mean", "std", "test")
    rows = [header, *cells]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    widths[0] = max(widths[0], _LABEL - 2)
    first, second, third, fourth = widths
    return [
        f"{name:<{first}}  {mean:>{second}} ± {std:<{third}}  {test:>{fourth}}"
        for name, mean, std, test in rows
    ]


def verdict(dummy: Score, linear: Score, network: Score) -> str:
    """Return in plain words whether the network is worth having.

    Parameters
    ----------
    dummy, linear, network : Score
        Scores by the same scorer on the same folds.

    Returns
    -------
    str
        One to three sentences.
    """
    if not network.mean - dummy.mean > network.std:
        return (
            "The network does not clearly beat the dummy, which looks at no column: "
            "nothing in these columns that helps to predict the target was found."
        )
    gap = network.mean - linear.mean
    if math.isnan(gap):
        return "The network beats the dummy. The linear baseline has no score to compare."
    scale = _scale((dummy, linear, network))
    amount = format_score(abs(gap), scale)
    spread = f"the spread over the folds, {format_score(network.std, scale)}"
    if gap <= 0:
        lower = f"{amount} lower" if float(amount) else "no higher"
        return (
            f"The network does not beat the linear baseline: its CV score is {lower}. "
            "Prefer the linear model, which is simpler."
        )
    if gap <= network.std:
        return (
            f"The network does not clearly beat the linear baseline: it is ahead by "
            f"{amount}, which is within {spread}. The linear model is simpler."
        )
    text = f"The network beats the linear baseline by {amount}, more than {spread}."
    if network.test <= linear.test:
        text += " But on the test rows it does not, so take that with caution."
    return text


def _scale(scores: Sequence[Score]) -> float:
    return max((abs(s.mean) for s in scores if not math.isnan(s.mean)), default=1.0)


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
