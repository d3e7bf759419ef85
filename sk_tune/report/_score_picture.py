# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The scores that the answer rests on, side by side on one axis."""

from collections.abc import Sequence
from typing import Any

from sk_tune._text import number_texts
from sk_tune.report._records import Report
from sk_tune.report._svg import Frame, element, picture, scale_of

__all__ = ["score_lines", "score_picture", "score_texts"]

_ROW = 30  # Height of a line.
_LABEL = 112  # Width of the names.


def score_lines(report: Report) -> list[tuple[str, float, float, float, str]]:
    """Return the scores of the answer.

    Parameters
    ----------
    report : Report
        Of a search.

    Returns
    -------
    list of (str, float, float, float, str)
        Name, score, the lower and upper end of its uncertainty, and what that is.
    """
    lines = [
        (b.name, b.mean, b.mean - b.std, b.mean + b.std, "± standard deviation over folds")
        for b in report.baselines
        if b.mean == b.mean
    ]
    best = report.best
    if best is not None:
        low, high = best.score - best.std, best.score + best.std
        what = "± standard deviation over folds"
        if report.n_configurations > 1:
            what += "; too good, as the best of many"
        lines.append(("best, as found", best.score, low, high, what))
    if report.corrected is not None:
        own = report.corrected
        lines.append((
            "best, corrected",
            own.score,
            own.low,
            own.high,
            f"{own.confidence:.0%} interval",
        ))
    return lines


def score_texts(lines: Sequence[tuple[str, float, float, float, str]]) -> list[list[str]]:
    """Return the numbers of the lines as text, all with equally many decimals.

    Parameters
    ----------
    lines : sequence of tuple
        As from ``score_lines``.

    Returns
    -------
    list of list of str
        Score and ends of each line.
    """
    texts = number_texts([number for line in lines for number in line[1:4]])
    return [texts[i : i + 3] for i in range(0, len(texts), 3)]


def score_picture(report: Report) -> dict[str, Any] | None:
    """Return the scores of the answer as points with their uncertainty.

    Parameters
    ----------
    report : Report
        Of a search.

    Returns
    -------
    dict or None
        The picture ("svg"), its lines ("lines") and their numbers as text ("texts"); None
        without a score.
    """
    lines = score_lines(report)
    if not lines:
        return None
    frame = Frame(height=44 + _ROW * len(lines), left=_LABEL, top=6, right=16)
    x = scale_of([v for line in lines for v in line[1:4]], *frame.x_range, is_log=False)
    parts = [frame.lower_axis(x, label=f"{report.metric}, greater is better")]
    for k, (name, score, low, high, _) in enumerate(lines):
        y = frame.top + _ROW * (k + 0.5)
        kind = "b" if name.startswith("best") else "a"
        is_honest = name == "best, corrected"
        parts += [
            element("text", name, x=_LABEL - 10, y=y + 4, text_anchor="end"),
            element("line", x1=x(low), x2=x(high), y1=y, y2=y, class_=f"line {kind}"),
            element(
                "circle", cx=x(score), cy=y, r=6 if is_honest else 4, class_=f"mark {kind}"
            ),
        ]
    texts = score_texts(lines)
    title = "; ".join(f"{line[0]} {own[0]}" for line, own in zip(lines, texts, strict=True))
    return {
        "svg": picture("scores", f"Scores: {title}.", frame, *parts, is_active=False),
        "lines": lines,
        "texts": texts,
    }
