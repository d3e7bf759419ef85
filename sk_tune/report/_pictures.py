# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The pictures of a page: candidates, importance, scores, and curves by epochs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from sk_tune._text import number_texts
from sk_tune.report._drawing import score_range
from sk_tune.report._epoch_curves import FoldSummary, fold_summary
from sk_tune.report._gathering import CandidateRow, ScoreLine, SearchPart
from sk_tune.report._importance import Importance
from sk_tune.report._search_trials import Parameter, number_text, short_names, value_text
from sk_tune.report._svg import (
    AxisScale,
    Frame,
    element,
    line_path,
    picture,
    point,
    scale_of,
)

# A category with more values than this gets no picture.
_MOST_NAMES = 10
_SMALL = Frame(width=300, height=210, left=50, bottom=38, right=10, top=10)


def history_picture(report: SearchPart) -> dict[str, Any] | None:
    """Return scores in the order in which candidates were tried; None without any."""
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
    """Return the scores of candidates by what their rungs granted; None without rungs."""
    rows = [row for row in report.scored if row.n_resources is not None]
    if not rows:
        return None
    frame = Frame()
    resources = sorted({row.n_resources or 0 for row in rows})
    x = scale_of([float(n) for n in resources], *frame.x_range, is_log=len(resources) > 1)
    y = _score_scale(rows, frame)
    by_configuration: dict[int, list[CandidateRow]] = {}
    for row in rows:
        by_configuration.setdefault(row.configuration, []).append(row)
    lines, best_lines = [], []
    for rungs in by_configuration.values():
        if len(rungs) < 2:
            continue
        granted = [x(row.n_resources or 0) for row in rungs]
        path = line_path(granted, [y(row.score) for row in rungs])
        if report.best is not None and report.best.row in {row.row for row in rungs}:
            best_lines.append(element("path", d=path, class_="line b strong"))
        else:
            lines.append(element("path", d=path, class_="line thin"))
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
            x_names=[(x(n), str(n)) for n in resources],
        ),
        *lines,
        *best_lines,
        _dots(report, rows, [x(row.n_resources or 0) for row in rows], y),
    )
    text = (
        f"Score by {resource} granted. A line joins the rungs of one candidate; the one of "
        "the best is bold. Candidates without a line were not promoted."
    )
    return {"svg": svg, "caption": f"{text}{_left_out(report, y)}"}


def slice_pictures(report: SearchPart) -> list[dict[str, Any]]:
    """Return the score against each hyperparameter that varies."""
    rows = report.scored
    figures = []
    for k, parameter in enumerate(report.parameters):
        # Where nothing but its presence varies there is nothing to see.
        active = [row for row in rows if parameter.is_active[row.row]]
        if len(np.unique(parameter.values[[row.row for row in active]])) < 2:
            continue
        if len(parameter.categories) <= _MOST_NAMES:
            figures.append(_slice(report, active, f"{report.key}slice-{k}", parameter))
    return figures


def _slice(
    report: SearchPart, rows: list[CandidateRow], key: str, parameter: Parameter
) -> dict[str, Any]:
    y, label = _score_scale(report.scored, _SMALL), parameter.label
    values = [float(parameter.values[row.row]) for row in rows]
    x, marks = None, []
    if parameter.categories:
        left, right = _SMALL.x_range
        width = (right - left) / len(parameter.categories)
        # A name fits beside its neighbours at about six units a character.
        n_letters = max(3, int(width / 6))
        for k, text in enumerate(parameter.categories):
            short = text if len(text) <= n_letters else f"{text[: n_letters - 1]}…"
            marks.append((left + width * (k + 0.5), short))
        across = [
            left + width * (value + 0.5 + 0.4 * _jitter(row.row))
            for value, row in zip(values, rows, strict=True)
        ]
    else:
        is_count = all(value.is_integer() for value in values)
        x = scale_of(values, *_SMALL.x_range, is_log=parameter.is_log, is_count=is_count)
        across = [x(value) for value in values]
        label += " (log)" if x.is_log else ""
    svg = picture(
        key,
        f"Score of {len(rows)} candidates against {parameter.label}.",
        _SMALL,
        _SMALL.axes(x, y, x_label=label, y_label=report.metric, n_x=4, x_names=marks),
        _dots(report, rows, across, y, only=parameter.name),
    )
    return {"svg": svg, "caption": parameter.label}


def _dots(
    report: SearchPart,
    rows: Sequence[CandidateRow],
    across: Sequence[float],
    y: AxisScale,
    only: str | None = None,
) -> Markup:
    """Return a point for each candidate; hollow if a rung granted it less than others.

    Its text has all parameters, or `only` one: many pictures with all would fill the page.
    """
    most = max((row.n_resources or 0 for row in report.candidates), default=0)
    best = report.best.row if report.best is not None else None
    short = short_names(report.names)
    dots = []
    # The arrow keys walk by position; the best comes last, on top of the others.
    order = sorted(range(len(rows)), key=lambda k: (rows[k].row == best, across[k]))
    for k in order:
        row = rows[k]
        kind = "best" if row.row == best else "dot"
        if row.n_resources is not None and row.n_resources < most:
            kind += " early"
        r = 5 if row.row == best else 3.5
        text = _point_text(row, short, only)
        dots.append(point(text, across[k], y(row.score), r, kind))
    return element("g", *dots, class_="points")


def _point_text(row: CandidateRow, short: dict[str, str], only: str | None) -> str:
    params = ", ".join(
        f"{short[name]} {value_text(value)}"
        for name, value in row.params.items()
        if only in {None, name}
    )
    granted = "" if row.n_resources is None else f" (rung {row.rung})"
    return f"row {row.row}{granted}: {number_text(row.score)}; {params}"


def _score_scale(rows: Sequence[CandidateRow], frame: Frame) -> AxisScale:
    shown = score_range([row.score for row in rows])
    return scale_of([shown.low, shown.high], *frame.y_range, is_log=False)


def _left_out(report: SearchPart, y: AxisScale) -> str:
    n_failed = len(report.candidates) - len(report.scored)
    n_below = sum(row.score < y.low for row in report.scored)
    text = ""
    if n_failed:
        text += f" {n_failed} without a score of their own are left out."
    if n_below:
        text += f" {n_below} far below are drawn at the lower edge."
    return text


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


_MOST_BARS = 10
_BAR_HEIGHT = 24  # Height of a bar with its gap.
_BAR_LABEL = 130  # Width of the names.
_LONGEST_NAME = 20


def importance_picture(report: SearchPart) -> dict[str, Any] | None:
    """Return shares of the score's variance; None if the candidates tell only chance."""
    found = report.importance
    if found is None or not found.is_conclusive:
        return None
    order = found.order[:_MOST_BARS]
    frame = Frame(height=46 + _BAR_HEIGHT * len(order), left=_BAR_LABEL, top=6, right=16)
    x = scale_of([0.0, 1.0, *found.high[order]], *frame.x_range, is_log=False)
    bars, points = [], []
    for k, index in enumerate(order):
        y = frame.top + _BAR_HEIGHT * k
        bars += _bars(found, index, x, y)
        points.append(_point(found, index, x, y))
    noise = x(found.noise)
    bottom = frame.y_range[0]
    svg = picture(
        f"{report.key}importance",
        f"{found.message}.",
        frame,
        frame.lower_axis(x, label="part of the variance of scores"),
        *bars,
        element("line", x1=noise, x2=noise, y1=6, y2=bottom, class_="chosen"),
        element("g", *points, class_="points"),
    )
    caption = (
        f"{found.message}. Dark: what a parameter explains alone; light: together with "
        "others, up to the point; dotted: what random numbers seem to explain."
    )
    return {"svg": svg, "caption": caption}


def _bars(found: Importance, index: int, x: AxisScale, y: float) -> list[Markup]:
    name = found.labels[index]
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 1]}…"
    start = x(0.0)
    total, main = x(found.total[index]) - start, x(found.main[index]) - start
    return [
        element(
            "text", name, x=_BAR_LABEL - 10, y=y + _BAR_HEIGHT / 2 + 4, text_anchor="end"
        ),
        element(
            "rect", x=start, y=y + 4, width=total, height=_BAR_HEIGHT - 8, class_="total"
        ),
        element(
            "rect", x=start, y=y + 8, width=main, height=_BAR_HEIGHT - 16, class_="main"
        ),
    ]


def _point(found: Importance, index: int, x: AxisScale, y: float) -> Markup:
    text = (
        f"{found.labels[index]}: {found.total[index]:.0%} of the variance, "
        f"{found.main[index]:.0%} alone; {found.low[index]:.0%} to "
        f"{found.high[index]:.0%} in 8 of 10 trees"
    )
    return point(text, x(found.total[index]), y + _BAR_HEIGHT / 2, 4, "dot")


_LINE_HEIGHT = 30  # Height of a line.
_LINE_LABEL = 112  # Width of the names.
_BASELINES = {"dummy", "linear"}


def score_texts(lines: Sequence[ScoreLine]) -> list[list[str]]:
    """Return the numbers of each line as text, with equally many decimals."""
    texts = number_texts([n for line in lines for n in (*line[1:4], line.set_aside)])
    return [texts[i : i + 4] for i in range(0, len(texts), 4)]


def score_picture(lines: Sequence[ScoreLine], metric: str) -> dict[str, Any] | None:
    """Return scores, the one to expect last, as points ("svg") and as text, or None."""
    if not lines:
        return None
    frame = Frame(height=44 + _LINE_HEIGHT * len(lines), left=_LINE_LABEL, top=6, right=16)
    x = scale_of([v for line in lines for v in line[1:4]], *frame.x_range, is_log=False)
    parts = [frame.lower_axis(x, label=f"{metric}, greater is better")]
    for k, line in enumerate(lines):
        y = frame.top + _LINE_HEIGHT * (k + 0.5)
        kind = "a" if line.name in _BASELINES else "b"
        ends = {"x1": x(line.low), "x2": x(line.high), "y1": y, "y2": y}
        parts.append(
            element("text", line.name, x=_LINE_LABEL - 10, y=y + 4, text_anchor="end")
        )
        if line.low == line.low:
            parts.append(element("line", **ends, class_=f"line {kind}"))
        r = 6 if k == len(lines) - 1 else 4
        parts.append(element("circle", cx=x(line.score), cy=y, r=r, class_=f"mark {kind}"))
    texts = score_texts(lines)
    title = "; ".join(
        f"{line[0]} {text[0]}" for line, text in zip(lines, texts, strict=True)
    )
    svg = picture("scores", f"Scores: {title}.", frame, *parts, is_active=False)
    return {"svg": svg, "texts": texts}


Floats = npt.NDArray[np.float64]

# Epochs of a curve that are drawn; more cannot be told apart in the picture.
_MOST_EPOCHS = 150
_LABELS = {
    "train_loss": "training rows",
    "valid_loss": "held-out rows",
    "valid_score": "held-out rows",
}


def curve_pictures(report: SearchPart) -> list[dict[str, Any]]:
    """Return the best candidate's losses by epochs, and its score on held-out samples."""
    if report.best is None or report.best_epoch is None or report.curves is None:
        return []
    row, chosen = report.best.row, report.best_epoch
    names = ("train_loss", "valid_loss", "valid_score")
    bands = {
        name: fold_summary(getattr(report.curves, name), n_most=_MOST_EPOCHS)
        for name in names
    }
    figures = [
        {
            "svg": _curves(
                f"{report.key}loss-curves", bands, names[:2], chosen, "loss", row
            ),
            "caption": (
                f"Loss of the best candidate (row {row}) by epochs; less is better. Lines "
                "are means over the folds, bands run from the lowest to the highest fold."
            ),
        }
    ]
    if not bands["valid_score"].is_empty:
        figures.append({
            "svg": _curves(
                f"{report.key}score-curve", bands, names[2:], chosen, "score", row
            ),
            "caption": (
                f"Score of the best candidate (row {row}) on the held-out rows by epochs "
                "(accuracy, or R² of a regression); greater is better."
            ),
        })
    return figures


def _curves(
    name: str,
    bands: dict[str, FoldSummary],
    shown: tuple[str, ...],
    chosen: int,
    label: str,
    row: int,
) -> Markup:
    frame = Frame(top=26)
    drawn = {key: bands[key] for key in shown if not bands[key].is_empty}
    ends = np.concatenate([[*b.mean, *b.low, *b.high] for b in drawn.values()])
    epochs = np.concatenate([band.epochs for band in drawn.values()])
    x = scale_of([1, *epochs], *frame.x_range, is_log=False, is_count=True)
    y = scale_of(ends, *frame.y_range, is_log=None if label == "loss" else False)
    at = x(chosen)
    parts = [
        frame.axes(x, y, x_label="epoch", y_label=label),
        element("line", x1=at, x2=at, y1=frame.y_range[0], y2=frame.top, class_="chosen"),
    ]
    for key, band in drawn.items():
        kind = "a" if key == "train_loss" else "b"
        parts.append(element("path", d=_area(band, x, y), class_=f"band {kind}"))
        # A scale has a place for every number: those that are none stay out of the line.
        mean = [y(v) if np.isfinite(v) else v for v in band.mean]
        line = line_path([x(e) for e in band.epochs], mean)
        parts.append(element("path", d=line, class_=f"line {kind}"))
    parts += [_legend(drawn, frame), _points(drawn, x, y, label)]
    ending = " and ".join(_LABELS[key] for key in drawn)
    title = (
        f"{label.capitalize()} of the best candidate (row {row}) on {ending} over "
        f"{epochs.max():.0f} epochs; epoch {chosen} counts."
    )
    return picture(name, title, frame, *parts)


def _area(band: FoldSummary, x: AxisScale, y: AxisScale) -> str:
    known = np.isfinite(band.low)
    across = [x(e) for e in band.epochs[known]]
    upper = [y(v) for v in band.high[known]]
    lower = [y(v) for v in band.low[known]]
    return f"{line_path(across + across[::-1], upper + lower[::-1])}Z" if across else ""


def _legend(bands: dict[str, FoldSummary], frame: Frame) -> Markup:
    parts = []
    x, y = frame.left + 4.0, 14.0
    for key in bands:
        kind = "a" if key == "train_loss" else "b"
        parts.append(element("line", x1=x, x2=x + 18, y1=y, y2=y, class_=f"line {kind}"))
        parts.append(element("text", _LABELS[key], x=x + 23, y=y + 4))
        x += 120
    parts.append(element("line", x1=x, x2=x + 18, y1=y, y2=y, class_="chosen"))
    parts.append(element("text", "epoch that counts", x=x + 23, y=y + 4))
    return element("g", *parts, aria_hidden="true")


def _points(
    bands: dict[str, FoldSummary], x: AxisScale, y: AxisScale, label: str
) -> Markup:
    """Return a point for each epoch, at the mean of the last curve, with all values."""
    last = list(bands.values())[-1]
    points = []
    for k, epoch in enumerate(last.epochs):
        if np.isnan(last.mean[k]):
            continue
        texts = [
            f"{_LABELS[key]} {number_text(band.mean[k])}{_range_text(band, k)}"
            for key, band in bands.items()
            if k < len(band.mean) and not np.isnan(band.mean[k])
        ]
        text = f"epoch {epoch:.0f}, {label}: {'; '.join(texts)}"
        points.append(point(text, x(epoch), y(last.mean[k]), 3, "hit"))
    return element("g", *points, class_="points")


def _range_text(band: FoldSummary, k: int) -> str:
    if np.isnan(band.low[k]):
        return ""
    return f" ({number_text(band.low[k])} to {number_text(band.high[k])})"
