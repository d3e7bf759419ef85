# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The scores that the answer rests on, side by side on one axis."""

from collections.abc import Sequence
from typing import Any

from sk_tune._text import number_texts
from sk_tune.report._records import Report, ScoreLine
from sk_tune.report._svg import Frame, element, picture, scale_of

__all__ = ["score_lines", "score_picture", "score_texts"]

_ROW = 30  # Height of a line.
_LABEL = 112  # Width of the names.
_BASELINES = {"dummy", "linear"}


def score_lines(report: Report) -> list[ScoreLine]:
    """Return the scores that the answer rests on; the last is the one to expect."""
    what = "± standard deviation over folds"
    lines = [
        ScoreLine(b.name, b.mean, b.mean - b.std, b.mean + b.std, what)
        for b in report.baselines
        if b.mean == b.mean
    ]
    best = report.best
    if best is not None:
        low, high = best.score - best.std, best.score + best.std
        if report.n_configurations > 1:
            what += "; too good, as the best of many"
        lines.append(ScoreLine("best, as found", best.score, low, high, what))
    if report.corrected is not None:
        own = report.corrected
        what = f"{own.confidence:.0%} interval"
        lines.append(ScoreLine("best, corrected", own.score, own.low, own.high, what))
    return lines


def score_texts(lines: Sequence[ScoreLine]) -> list[list[str]]:
    """Return the numbers of each line as text, with equally many decimals."""
    texts = number_texts([n for line in lines for n in (*line[1:4], line.set_aside)])
    return [texts[i : i + 4] for i in range(0, len(texts), 4)]


def score_picture(lines: Sequence[ScoreLine], metric: str) -> dict[str, Any] | None:
    """Return scores as points with their uncertainty ("svg") and as text, or None.

    The last one is the one to expect, and larger.
    """
    if not lines:
        return None
    frame = Frame(height=44 + _ROW * len(lines), left=_LABEL, top=6, right=16)
    x = scale_of([v for line in lines for v in line[1:4]], *frame.x_range, is_log=False)
    parts = [frame.lower_axis(x, label=f"{metric}, greater is better")]
    for k, line in enumerate(lines):
        y = frame.top + _ROW * (k + 0.5)
        kind = "a" if line.name in _BASELINES else "b"
        ends = {"x1": x(line.low), "x2": x(line.high), "y1": y, "y2": y}
        parts.append(element("text", line.name, x=_LABEL - 10, y=y + 4, text_anchor="end"))
        if line.low == line.low:
            parts.append(element("line", **ends, class_=f"line {kind}"))
        r = 6 if k == len(lines) - 1 else 4
        parts.append(element("circle", cx=x(line.score), cy=y, r=r, class_=f"mark {kind}"))
    texts = score_texts(lines)
    title = "; ".join(f"{line[0]} {own[0]}" for line, own in zip(lines, texts, strict=True))
    svg = picture("scores", f"Scores: {title}.", frame, *parts, is_active=False)
    return {"svg": svg, "texts": texts}
