# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Which hyperparameters the score depends on, as bars."""

from typing import Any

from markupsafe import Markup

from sk_tune.report._records import SearchPart
from sk_tune.report._svg import Frame, Scale, element, picture, scale_of
from sk_tune.report.displays import Importance

__all__ = ["importance_picture"]

_MOST_BARS = 10
_ROW = 24  # Height of a bar with its gap.
_LABEL = 130  # Width of the names.
_LONGEST_NAME = 20


def importance_picture(report: SearchPart) -> dict[str, Any] | None:
    """Return what part of the score's variance each parameter explains.

    Parameters
    ----------
    report : SearchPart
        Of a search.

    Returns
    -------
    dict or None
        The picture ("svg") and its caption ("caption"); None where the candidates do not
        tell more than chance would.
    """
    own = report.importance
    if own is None or not own.is_conclusive:
        return None
    order = own.order[:_MOST_BARS]
    frame = Frame(height=46 + _ROW * len(order), left=_LABEL, top=6, right=16)
    x = scale_of([0.0, 1.0, *own.high[order]], *frame.x_range, is_log=False)
    bars, points = [], []
    for k, index in enumerate(order):
        y = frame.top + _ROW * k
        bars += _bars(own, index, x, y)
        points.append(_point(own, index, x, y))
    noise = x(own.noise)
    bottom = frame.y_range[0]
    svg = picture(
        f"{report.key}importance",
        f"{own.message}.",
        frame,
        frame.lower_axis(x, label="part of the variance of scores"),
        *bars,
        element("line", x1=noise, x2=noise, y1=6, y2=bottom, class_="chosen"),
        element("g", *points, class_="points"),
    )
    caption = (
        f"{own.message}. Dark: what a parameter explains alone; light: together with "
        "others, up to the point; dotted: what random numbers seem to explain."
    )
    return {"svg": svg, "caption": caption}


def _bars(own: Importance, index: int, x: Scale, y: float) -> list[Markup]:
    name = own.labels[index]
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 1]}…"
    start = x(0.0)
    total, main = x(own.total[index]) - start, x(own.main[index]) - start
    return [
        element("text", name, x=_LABEL - 10, y=y + _ROW / 2 + 4, text_anchor="end"),
        element("rect", x=start, y=y + 4, width=total, height=_ROW - 8, class_="total"),
        element("rect", x=start, y=y + 8, width=main, height=_ROW - 16, class_="main"),
    ]


def _point(own: Importance, index: int, x: Scale, y: float) -> Markup:
    text = (
        f"{own.labels[index]}: {own.total[index]:.0%} of the variance, "
        f"{own.main[index]:.0%} alone; {own.low[index]:.0%} to {own.high[index]:.0%} in "
        "8 of 10 trees"
    )
    return element(
        "circle",
        element("title", text),
        cx=x(own.total[index]),
        cy=y + _ROW / 2,
        r=4,
        class_="dot",
    )
