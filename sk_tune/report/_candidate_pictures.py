# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Pictures with a point for each candidate: history, rungs, and each hyperparameter."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from sk_tune.report._records import CandidateRow, SearchPart
from sk_tune.report._svg import Frame, Scale, element, line_path, picture, scale_of
from sk_tune.report._values import number_text, value_text
from sk_tune.report.displays import Parameter, score_range, short_names

__all__ = ["history_picture", "rung_picture", "slice_pictures"]

# Values of a category that have a place of their own in a picture.
_MOST_NAMES = 10
_SMALL = Frame(width=300, height=210, left=50, bottom=38, right=10, top=10)


def history_picture(report: SearchPart) -> dict[str, Any] | None:
    """Return the scores in the order in which candidates were tried.

    Parameters
    ----------
    report : SearchPart
        Of a search.

    Returns
    -------
    dict or None
        The picture ("svg") and its caption ("caption"); None if nothing has a score.
    """
    rows = report.scored
    if not rows:
        return None
    frame = Frame()
    x = scale_of(
        [0, *(c.row for c in report.candidates)],
        *frame.x_range,
        is_log=False,
        is_count=True,
    )
    y = _score_scale(rows, frame)
    steps = _steps([x(row.row) for row in rows], [y(row.best_so_far) for row in rows])
    svg = picture(
        f"{report.key}history",
        f"Score of each of {len(report.candidates)} rows of results in the order in which "
        "they were made, and the best so far.",
        frame,
        frame.axes(x, y, x_label="row of cv_results_", y_label=report.metric),
        element("path", d=steps, class_="line b"),
        _dots(report, rows, [x(row.row) for row in rows], y),
    )
    text = (
        "Scores in the order in which candidates were tried; greater is better. The line "
        "is the best so far."
    )
    if report.resource is not None:
        text = f"{text[:-1]} among those that were granted as much."
    return {"svg": svg, "caption": f"{text}{_left_out(report, y)}"}


def rung_picture(report: SearchPart) -> dict[str, Any] | None:
    """Return the scores of candidates by what their rungs granted.

    Parameters
    ----------
    report : SearchPart
        Of a search.

    Returns
    -------
    dict or None
        The picture ("svg") and its caption ("caption"); None for a search without rungs.
    """
    rows = [row for row in report.scored if row.n_resources is not None]
    if not rows:
        return None
    frame = Frame()
    granted = sorted({row.n_resources or 0 for row in rows})
    x = scale_of([float(n) for n in granted], *frame.x_range, is_log=len(granted) > 1)
    y = _score_scale(rows, frame)
    lines = []
    for own in _by_configuration(rows):
        is_best = report.best is not None and report.best.row in {row.row for row in own}
        path = line_path(
            [x(row.n_resources or 0) for row in own], [y(r.score) for r in own]
        )
        if len(own) > 1:
            lines.append((is_best, element("path", d=path, class_=_line_class(is_best))))
    lines.sort(key=lambda pair: pair[0])
    resource = (report.resource or "resource").rsplit("__", 1)[-1]
    svg = picture(
        f"{report.key}rungs",
        f"Score of candidates by {resource} granted; lines join the rungs of each.",
        frame,
        frame.axes(
            None,
            y,
            x_label=f"{resource} (log)",
            y_label=report.metric,
            x_names=[(x(n), str(n)) for n in granted],
        ),
        *(line for _, line in lines),
        _dots(report, rows, [x(row.n_resources or 0) for row in rows], y),
    )
    text = (
        f"Score by {resource} granted. A line joins the rungs of one candidate; the one of "
        "the best is bold. Candidates without a line were not promoted."
    )
    return {"svg": svg, "caption": f"{text}{_left_out(report, y)}"}


def slice_pictures(report: SearchPart) -> list[dict[str, Any]]:
    """Return the score against each hyperparameter that varies.

    Parameters
    ----------
    report : SearchPart
        Of a search.

    Returns
    -------
    list of dict
        Each with the picture ("svg") and its caption ("caption").
    """
    rows = report.scored
    figures = []
    for k, parameter in enumerate(report.parameters):
        # Where nothing but its presence varies there is nothing to see.
        own = [row for row in rows if parameter.is_active[row.row]]
        if len(np.unique(parameter.values[[row.row for row in own]])) < 2:
            continue
        draw = _names if parameter.categories else _numbers
        if len(parameter.categories) <= _MOST_NAMES:
            figures.append(draw(report, own, f"{report.key}slice-{k}", parameter))
    return figures


def _numbers(
    report: SearchPart, rows: list[CandidateRow], key: str, parameter: Parameter
) -> dict[str, Any]:
    values = [float(parameter.values[row.row]) for row in rows]
    is_count = all(value.is_integer() for value in values)
    x = scale_of(values, *_SMALL.x_range, is_log=parameter.is_log, is_count=is_count)
    across = [x(value) for value in values]
    return _slice(report, rows, key, parameter, across, x, [])


def _names(
    report: SearchPart, rows: list[CandidateRow], key: str, parameter: Parameter
) -> dict[str, Any]:
    left, right = _SMALL.x_range
    width = (right - left) / len(parameter.categories)
    # What fits beside its neighbours at about six units a character.
    n_letters = max(3, int(width / 6))
    marks = [
        (
            left + width * (k + 0.5),
            text if len(text) <= n_letters else f"{text[: n_letters - 1]}…",
        )
        for k, text in enumerate(parameter.categories)
    ]
    across = [
        left + width * (parameter.values[row.row] + 0.5 + 0.4 * _jitter(row.row))
        for row in rows
    ]
    return _slice(report, rows, key, parameter, across, None, marks)


def _slice(
    report: SearchPart,
    rows: list[CandidateRow],
    key: str,
    parameter: Parameter,
    across: list[float],
    x: Scale | None,
    marks: list[tuple[float, str]],
) -> dict[str, Any]:
    y = _score_scale(report.scored, _SMALL)
    short = parameter.label
    label = f"{short} (log)" if x is not None and x.is_log else short
    svg = picture(
        key,
        f"Score of {len(rows)} candidates against {short}.",
        _SMALL,
        _SMALL.axes(x, y, x_label=label, y_label=report.metric, n_x=4, x_names=marks),
        _dots(report, rows, across, y, only=parameter.name),
    )
    return {"svg": svg, "caption": short}


def _dots(
    report: SearchPart,
    rows: Sequence[CandidateRow],
    across: Sequence[float],
    y: Scale,
    only: str | None = None,
) -> Markup:
    """Return a point for each candidate; hollow if a rung granted it less than others.

    Its text has all parameters, or `only` one: many pictures with all would fill the page.
    """
    most = max((row.n_resources or 0 for row in report.candidates), default=0)
    best = report.best.row if report.best is not None else None
    short = short_names(report.names)
    dots = []
    # By position, for the arrow keys; the best last, on top of the others.
    order = sorted(range(len(rows)), key=lambda k: (rows[k].row == best, across[k]))
    for k in order:
        row = rows[k]
        kind = "best" if row.row == best else "dot"
        if row.n_resources is not None and row.n_resources < most:
            kind += " early"
        dots.append(
            element(
                "circle",
                element("title", _point_text(row, short, only)),
                cx=across[k],
                cy=y(row.score),
                r=5 if row.row == best else 3.5,
                class_=kind,
            )
        )
    return element("g", *dots, class_="points")


def _point_text(row: CandidateRow, short: dict[str, str], only: str | None) -> str:
    params = ", ".join(
        f"{short[name]} {value_text(value)}"
        for name, value in row.params.items()
        if only in {None, name}
    )
    granted = "" if row.n_resources is None else f" (rung {row.rung})"
    return f"row {row.row}{granted}: {number_text(row.score)}; {params}"


def _score_scale(rows: Sequence[CandidateRow], frame: Frame) -> Scale:
    shown = score_range([row.score for row in rows])
    return scale_of([shown.low, shown.high], *frame.y_range, is_log=False)


def _left_out(report: SearchPart, y: Scale) -> str:
    n_failed = len(report.candidates) - len(report.scored)
    n_below = sum(row.score < y.low for row in report.scored)
    text = ""
    if n_failed:
        text += f" {n_failed} without a score of their own are left out."
    if n_below:
        text += f" {n_below} far below are drawn at the lower edge."
    return text


def _by_configuration(rows: Sequence[CandidateRow]) -> list[list[CandidateRow]]:
    groups: dict[int, list[CandidateRow]] = {}
    for row in rows:
        groups.setdefault(row.configuration, []).append(row)
    return list(groups.values())


def _line_class(is_best: bool) -> str:  # noqa: FBT001
    return "line b strong" if is_best else "line thin"


def _steps(x: list[float], y: list[float]) -> str:
    across, down = [x[0]], [y[0]]
    for k in range(1, len(x)):
        across += [x[k], x[k]]
        down += [y[k - 1], y[k]]
    return line_path(across, down)


def _jitter(row: int) -> float:
    """Return a number in [-0.5, 0.5) that spreads neighbours evenly."""
    golden = 0.6180339887
    return (row * golden) % 1 - 0.5
