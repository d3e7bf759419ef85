# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The pictures of a page: candidates, importance, scores, and curves by epochs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from markupsafe import Markup

from sk_tune._report._column_effects import ColumnEffects, Dependence
from sk_tune._report._curve_displays import FoldSummary, fold_summary
from sk_tune._report._drawing import fitted, needs_log, score_range, shortened
from sk_tune._report._gathering import CandidateRow, ScoreLine, SearchPart
from sk_tune._report._quality import Quality
from sk_tune._report._search_trials import number_text, short_names, value_text
from sk_tune._report._svg import (
    AxisScale,
    Frame,
    element,
    line,
    line_path,
    picture,
    point,
    scale_of,
    text_at,
)
from sk_tune._text import number_texts

# Turns by this part of a circle spread neighbours evenly.
_GOLDEN = 0.6180339887498949
# A category with more values than this gets no picture.
_MOST_NAMES = 10
_SMALL = Frame(width=300, height=210, left=62, bottom=38, right=10, top=10)


def history_picture(report: SearchPart) -> dict[str, Any] | None:
    """Return scores in the order in which candidates were tried; None without any."""
    rows = report.scored
    if not rows:
        return None
    frame = Frame()
    numbers = [0, *(candidate.result_row for candidate in report.candidates)]
    x = scale_of(numbers, frame.x_range, is_count=True)
    y = _score_scale(rows, frame)
    across = [x(row.result_row) for row in rows]
    best = [y(row.best_so_far) for row in rows]
    steps = line_path(np.repeat(across, 2)[1:], np.repeat(best, 2)[:-1])
    svg = picture(
        f"{report.key}history",
        f"Scores of {len(report.candidates)} result rows in order, and the best score so "
        "far.",
        frame,
        frame.axes(x, y, x_label="row of cv_results_", y_label=report.metric),
        element("path", d=steps, class_="line b"),
        _dots(report, rows, across, y),
    )
    among = "" if report.resource is None else " among candidates with the same resources"
    text = (
        "Scores in the order of the candidates; greater is better. The line is the best "
        f"score so far{among}.{_left_out(report, y)}"
    )
    return {"svg": svg, "caption": text}


def rung_picture(report: SearchPart) -> dict[str, Any] | None:
    """Return the scores of candidates by resources; None without rungs."""
    rows = [row for row in report.scored if row.n_resources is not None]
    if not rows:
        return None
    frame = Frame()
    resources = sorted({row.n_resources or 0 for row in rows})
    x = scale_of([float(n) for n in resources], frame.x_range, is_log=len(resources) > 1)
    y = _score_scale(rows, frame)
    by_candidate: dict[int, list[CandidateRow]] = {}
    for row in rows:
        by_candidate.setdefault(row.candidate, []).append(row)
    lines = []
    # The best candidate is drawn last, on top.
    for rungs in sorted(by_candidate.values(), key=lambda rungs: report.best in rungs):
        places = [x(row.n_resources or 0) for row in rungs]
        path = line_path(places, [y(row.score) for row in rungs])
        kind = "line b strong" if report.best in rungs else "line thin"
        if len(rungs) > 1:
            lines.append(element("path", d=path, class_=kind))
    resource = (report.resource or "resource").rsplit("__", 1)[-1]
    svg = picture(
        f"{report.key}rungs",
        f"Score of candidates by {resource}; a line joins the rungs of each candidate.",
        frame,
        frame.axes(
            None,
            y,
            x_label=f"{resource} (log)",
            y_label=report.metric,
            x_names=[(x(n), str(n)) for n in resources],
        ),
        *lines,
        _dots(report, rows, [x(row.n_resources or 0) for row in rows], y),
    )
    text = (
        f"Score by {resource}. A line joins the rungs of one candidate, bold for the best. "
        f"Candidates without a line were not promoted.{_left_out(report, y)}"
    )
    return {"svg": svg, "caption": text}


def slice_pictures(report: SearchPart) -> list[dict[str, Any]]:
    """Return the score against each hyperparameter that varies."""
    y, (left, right) = _score_scale(report.scored, _SMALL), _SMALL.x_range
    figures = []
    for k, parameter in enumerate(report.parameters):
        rows = [row for row in report.scored if parameter.is_active[row.result_row]]
        values = [float(parameter.values[row.result_row]) for row in rows]
        # A constant parameter of some candidates has no picture.
        if len(set(values)) < 2 or len(parameter.categories) > _MOST_NAMES:
            continue
        x: AxisScale | None = None
        marks: list[tuple[float, str]] = []
        label = parameter.label
        if parameter.categories:
            width = (right - left) / len(parameter.categories)
            marks = [
                (left + width * (place + 0.5), fitted(text, width))
                for place, text in enumerate(parameter.categories)
            ]
            # Neighbours are spread evenly by turns of the golden section.
            across = [
                left + width * (value + 0.3 + 0.4 * (row.result_row * _GOLDEN % 1))
                for value, row in zip(values, rows, strict=True)
            ]
        else:
            is_count = all(value.is_integer() for value in values)
            x = scale_of(values, _SMALL.x_range, is_log=parameter.is_log, is_count=is_count)
            across = [x(value) for value in values]
            label += " (log)" if x.is_log else ""
            # Ticks at the values, if their texts fit next to each other.
            ticks = {x(value): parameter.text(value) for value in sorted(set(values))}
            if min(np.diff(list(ticks))) > 6 * max(map(len, ticks.values())):
                marks, x = list(ticks.items()), None
        svg = picture(
            f"{report.key}slice-{k}",
            f"Score of {len(rows)} candidates against {parameter.label}.",
            _SMALL,
            _SMALL.axes(x, y, x_label=label, y_label=report.metric, n_x=4, x_names=marks),
            _dots(report, rows, across, y, only=parameter.name),
        )
        figures.append({"svg": svg, "caption": parameter.label})
    return figures


def _dots(
    report: SearchPart,
    rows: Sequence[CandidateRow],
    across: Sequence[float],
    y: AxisScale,
    only: str | None = None,
) -> Markup:
    """Return a point for each candidate, hollow for fewer resources than the most."""
    most = max((row.n_resources or 0 for row in report.candidates), default=0)
    best = report.best.result_row if report.best is not None else None
    short = short_names(report.names)
    dots = []
    # The arrow keys follow this order; the best candidate is last, on top.
    order = sorted(range(len(rows)), key=lambda k: (rows[k].result_row == best, across[k]))
    for k in order:
        row = rows[k]
        kind = "best" if row.result_row == best else "dot"
        if row.n_resources is not None and row.n_resources < most:
            kind += " early"
        r = 5 if row.result_row == best else 3.5
        params = ", ".join(
            f"{short[name]} {value_text(value)}"
            for name, value in row.params.items()
            if only in {None, name}
        )
        granted = "" if row.n_resources is None else f" (rung {row.rung})"
        text = f"row {row.result_row}{granted}: {number_text(row.score)}; {params}"
        dots.append(point(text, across[k], y(row.score), r, kind))
    return element("g", *dots, class_="points")


def _score_scale(rows: Sequence[CandidateRow], frame: Frame) -> AxisScale:
    return scale_of(score_range([row.score for row in rows]), frame.y_range)


def _left_out(report: SearchPart, y: AxisScale) -> str:
    n_failed = len(report.candidates) - len(report.scored)
    n_below = sum(row.score < y.low for row in report.scored)
    text = ""
    if n_failed:
        text += f" {n_failed} without a score are left out."
    if n_below:
        text += f" {n_below} with far lower scores are drawn at the lower edge."
    return text


_MOST_BARS = 10
_BAR_HEIGHT = 24  # Height of a row with its gap.
_BAR_LABEL = 146  # Width of the names.
_LONGEST_NAME = 20
_BAR_FRAME = Frame(left=_BAR_LABEL, top=6, right=16)


def _row_picture(
    name: str,
    title: str,
    labels: Sequence[str],
    x: AxisScale,
    x_label: str,
    draw: Callable[[int, float], tuple[list[Markup], Markup]],
    **options: Any,
) -> Markup:
    """Return a picture with a row, drawn by `draw`, for each label."""
    frame = replace(_BAR_FRAME, height=46 + _BAR_HEIGHT * len(labels))
    rows, points = [], []
    for k, label in enumerate(labels):
        y = frame.top + _BAR_HEIGHT * (k + 0.5)
        parts, dot = draw(k, y)
        text = shortened(label, _LONGEST_NAME)
        rows += [text_at(text, _BAR_LABEL - 10, y + 4, "end"), *parts]
        points.append(dot)
    axes = frame.axes(x, None, x_label=x_label, n_x=5)
    points_group = element("g", *points, class_="points")
    return picture(name, title, frame, axes, *rows, points_group, **options)


def _bar(start: float, end: float, y: float, height: float, kind: str) -> Markup:
    left, width = min(start, end), abs(end - start)
    return element(
        "rect", x=left, y=y - height / 2, width=width, height=height, class_=kind
    )


def importance_picture(report: SearchPart) -> dict[str, Any] | None:
    """Return the shares of the score's variance; None if they may be chance."""
    importance = report.importance
    if importance is None or not importance.is_conclusive:
        return None
    order = importance.order[:_MOST_BARS]
    labels = [importance.labels[index] for index in order]
    x = scale_of([0.0, 1.0, *importance.high[order]], _BAR_FRAME.x_range)

    def draw(k: int, y: float) -> tuple[list[Markup], Markup]:
        total, main, low, high = (
            getattr(importance, name)[order[k]] for name in ("total", "main", "low", "high")
        )
        text = (
            f"{labels[k]}: {100 * total:.0f} % of the variance, {100 * main:.0f} % alone; "
            f"{100 * low:.0f} % to {100 * high:.0f} % in 80 % of trees"
        )
        bars = [_bar(x(0.0), x(total), y, 16, "total"), _bar(x(0.0), x(main), y, 8, "main")]
        noise = x(importance.noise)
        bars.append(line(noise, y - 12, noise, y + 12, "chosen"))
        return bars, point(text, x(total), y, 4, "dot")

    svg = _row_picture(
        f"{report.key}importance",
        f"{importance.message}.",
        labels,
        x,
        "share of the variance of scores",
        draw,
    )
    caption = (
        f"{importance.message}. Solid: share explained by a parameter alone; faint, up to "
        "the point: together with others; dotted: share of random numbers."
    )
    return {"svg": svg, "caption": caption}


def column_pictures(effects: ColumnEffects, metric: str) -> list[dict[str, Any]]:
    """Return the importance of the first columns, and partial dependence on the best."""
    names = effects.columns[:_MOST_BARS]
    n = len(names)
    spread = np.nan_to_num(effects.std[:n])
    low, high = (effects.importance[:n] + sign * spread for sign in (-1, 1))
    x = scale_of([0.0, *low, *high], _BAR_FRAME.x_range)
    stds = number_texts(effects.std[:n].tolist(), 2)

    def draw(k: int, y: float) -> tuple[list[Markup], Markup]:
        at = x(effects.importance[k])
        text = f"{names[k]}: {number_text(effects.importance[k])} ± {stds[k]}"
        spread = line(x(low[k]), y, x(high[k]), y, "line b")
        return [_bar(x(0.0), at, y, 12, "total"), spread], point(text, at, y, 4, "dot")

    svg = _row_picture(
        "column-importance",
        f"Importance of columns, from {names[0]} to {names[-1]}.",
        names,
        x,
        f"decrease in {metric}",
        draw,
    )
    caption = (
        "Importance of columns: decrease in held-out score after permuting a column. "
        f"Lines are ± one standard deviation over the folds. {effects.note}"
    )
    dependence = [_dependence(d, k) for k, d in enumerate(effects.dependence)]
    return [{"svg": svg, "caption": caption}, *dependence]


def _dependence(dependence: Dependence, k: int) -> dict[str, Any]:
    """Return mean predictions by the values of a column, with the range over the folds."""
    frame, means = Frame(height=246), dependence.means
    mean, low, high = means.mean(axis=0), means.min(axis=0), means.max(axis=0)
    y = scale_of([*low, *high], frame.y_range)
    tops, bottoms, middle = ([y(v) for v in part] for part in (high, low, mean))
    x: AxisScale | None = None
    names: list[tuple[float, str]] = []
    if dependence.values is None:
        left, right = frame.x_range
        width = (right - left) / len(dependence.texts)
        at = [left + width * (j + 0.5) for j in range(len(dependence.texts))]
        texts = [fitted(text, width) for text in dependence.texts]
        names = list(zip(at, texts, strict=True))
    else:
        x = scale_of(dependence.values, frame.x_range)
        at = [x(v) for v in dependence.values]
    if dependence.is_ordered:
        area = f"{line_path([*at, *at[::-1]], tops + bottoms[::-1])}Z"
        parts = [element("path", d=area, class_="band b")]
        parts.append(element("path", d=line_path(at, middle), class_="line b"))
    else:
        ends = zip(at, bottoms, at, tops, strict=True)
        parts = [line(*four, "line b") for four in ends]
    numbers = number_texts(mean.tolist())
    dots = [
        point(f"{dependence.column} {text}: {number}", a, b, 4, "dot")
        for text, number, a, b in zip(dependence.texts, numbers, at, middle, strict=True)
    ]
    title = f"Mean {dependence.target} by {dependence.column}"
    axes = frame.axes(
        x, y, x_label=dependence.column, y_label=dependence.target, x_names=names
    )
    dots_group = element("g", *dots, class_="points")
    svg = picture(f"dependence-{k}", f"{title}.", frame, axes, *parts, dots_group)
    ranges = "The band spans" if dependence.is_ordered else "Lines span"
    caption = f"{title}, all else unchanged. {ranges} the models of the folds."
    return {"svg": svg, "caption": caption}


def score_texts(lines: Sequence[ScoreLine]) -> list[list[str]]:
    """Return the numbers of each line as text, with equally many decimals."""
    texts = number_texts([n for s in lines for n in (*s[1:4], s.set_aside)])
    return [texts[i : i + 4] for i in range(0, len(texts), 4)]


def score_picture(lines: Sequence[ScoreLine], metric: str) -> dict[str, Any] | None:
    """Return scores, the expected one last, as points ("svg") and as text, or None."""
    if not lines:
        return None
    x = scale_of([v for s in lines for v in s[1:4]], _BAR_FRAME.x_range)

    def draw(k: int, y: float) -> tuple[list[Markup], Markup]:
        name, score, low, high, *_ = lines[k]
        kind = "a" if name in {"dummy", "linear"} else "b"
        spread = [line(x(low), y, x(high), y, f"line {kind}")] if low == low else []
        r = 6 if k == len(lines) - 1 else 4
        return spread, element("circle", cx=x(score), cy=y, r=r, class_=f"mark {kind}")

    texts = score_texts(lines)
    title = "; ".join(f"{s.name} {t[0]}" for s, t in zip(lines, texts, strict=True))
    svg = _row_picture(
        "scores",
        f"Scores: {title}.",
        [score.name for score in lines],
        x,
        f"{metric}, greater is better",
        draw,
        is_active=False,
    )
    return {"svg": svg, "texts": texts}


# Epochs of a curve in a picture; more are not distinguishable.
_MOST_EPOCHS = 150
_LABELS = {
    "train_loss": "training rows",
    "valid_loss": "held-out rows",
    "valid_score": "held-out rows",
}


def curve_pictures(report: SearchPart) -> list[dict[str, Any]]:
    """Return the best candidate's losses by epochs, and its score on held-out samples."""
    if report.best is None or report.curves is None:
        return []
    summaries = {
        name: fold_summary(getattr(report.curves, name), n_most=_MOST_EPOCHS)
        for name in _LABELS
    }
    bands = {name: band for name, band in summaries.items() if not band.is_empty}
    scores = {name: bands.pop(name) for name in ["valid_score"] if name in bands}
    caption = (
        f"Loss of {report.best_text} by epoch; less is better. Lines are means over the "
        "folds, bands reach from the lowest to the highest fold."
    )
    if np.isnan(report.curves.train_loss[:, -1]).any():
        caption += " A fold that ends earlier keeps its last value."
    if report.best_epoch is None:
        caption += " The network of each fold uses its own best epoch, by early stopping."
    if any(f.name == "search cut short" and f.outcome == "issue" for f in report.findings):
        caption += " The time budget ended the training early."
    if (report.curves.params.get("members") or 1) > 1:
        caption += (
            " The loss on training rows is a mean over the members of the network, which "
            "is higher than the loss of their mean prediction."
        )
    figures = [{"svg": _curves(report, "loss", bands), "caption": caption}]
    if scores:
        metric = report.curve_metric
        caption = (
            f"{metric[0].upper()}{metric[1:]} of {report.best_text} on the held-out rows "
            "by epoch; greater is better."
        )
        if metric != report.metric:
            caption += f" The search itself is scored by {report.metric}."
        figures.append({"svg": _curves(report, metric, scores), "caption": caption})
    return figures


def _curves(report: SearchPart, label: str, bands: dict[str, FoldSummary]) -> Markup:
    """Return curves of losses or scores with a mark at the epoch of the weights."""
    chosen = report.best_epoch
    frame = Frame(top=26)
    ends = np.concatenate([[*b.mean, *b.low, *b.high] for b in bands.values()])
    n_epochs = max(band.epochs[-1] for band in bands.values())
    x = scale_of([1, n_epochs], frame.x_range, is_count=True)
    y = scale_of(ends, frame.y_range, is_log=label == "loss" and needs_log(ends))
    parts = [frame.axes(x, y, x_label="epoch", y_label=label)]
    keys = []
    for name, band in bands.items():
        kind = "a" if name == "train_loss" else "b"
        epochs, is_finite = np.array([x(e) for e in band.epochs]), np.isfinite(band.low)
        upper, lower = ([y(v) for v in end[is_finite]] for end in (band.high, band.low))
        at = epochs[is_finite]
        around = line_path([*at, *at[::-1]], upper + lower[::-1])
        area = f"{around}Z" if around else ""
        parts.append(element("path", d=area, class_=f"band {kind}"))
        # A scale maps NaN, too; here it must leave a gap.
        mean = [y(v) if np.isfinite(v) else v for v in band.mean]
        parts.append(element("path", d=line_path(epochs, mean), class_=f"line {kind}"))
        keys.append((f"line {kind}", _LABELS[name]))
    used = ""
    if chosen is not None:
        parts.append(line(x(chosen), frame.y_range[0], x(chosen), frame.top, "chosen"))
        keys.append(("chosen", "epoch used"))
        used = f"; epoch {chosen} is used"
    legend: list[Markup] = []
    for k, (kind, text) in enumerate(keys):
        x_start = frame.left + 4.0 + 120 * k
        legend += [
            line(x_start, 14, x_start + 18, 14, kind),
            text_at(text, x_start + 23, 18, "start"),
        ]
    parts.append(element("g", *legend, aria_hidden="true"))
    ending = " and ".join(_LABELS[name] for name in bands)
    title = (
        f"{label[0].upper()}{label[1:]} of {report.best_text} on {ending} over "
        f"{n_epochs:.0f} epochs{used}."
    )
    name = f"{report.key}loss-curves" if label == "loss" else f"{report.key}score-curve"
    return picture(name, title, frame, *parts, _points(bands, x, y, label))


def _points(
    bands: dict[str, FoldSummary], x: AxisScale, y: AxisScale, label: str
) -> Markup:
    """Return a point for each epoch, at the mean of the last curve, with all values."""
    last = list(bands.values())[-1]
    points = []
    for k in np.flatnonzero(np.isfinite(last.mean)):
        texts = []
        for name, band in bands.items():
            if np.isnan(band.mean[k]):
                continue
            ends = f" ({number_text(band.low[k])} to {number_text(band.high[k])})"
            ends = "" if np.isnan(band.low[k]) else ends
            texts.append(f"{_LABELS[name]} {number_text(band.mean[k])}{ends}")
        text = f"epoch {last.epochs[k]:.0f}, {label}: {'; '.join(texts)}"
        points.append(point(text, x(last.epochs[k]), y(last.mean[k]), 3, "hit"))
    return element("g", *points, class_="points")


def residual_picture(quality: Quality) -> dict[str, Any] | None:
    """Return true against predicted numbers as a picture with its caption, or None."""
    if quality.points is None:
        return None
    frame = Frame()
    predicted, truth = quality.points.T
    x, y = scale_of(predicted, frame.x_range), scale_of(truth, frame.y_range)
    texts = number_texts([*predicted, *truth])
    both = zip(predicted, truth, texts, texts[len(predicted) :], strict=False)
    dots = []
    for p, t, p_text, t_text in sorted(both):
        text = f"predicted {p_text}, true {t_text}, off by {number_text(p - t)}"
        dots.append(point(text, x(p), y(t), 2.5, "dot"))
    low, high = max(x.low, y.low), min(x.high, y.high)
    svg = picture(
        "residuals",
        "True values against predictions; they are equal on the line.",
        frame,
        frame.axes(x, y, x_label="prediction", y_label="true value"),
        line(x(low), y(low), x(high), y(high), "axis") if low < high else "",
        element("g", *dots, class_="points"),
    )
    caption = (
        "True value against prediction of models that were not trained on the row; they "
        "are equal on the line."
    )
    if len(predicted) < quality.n_rows:
        caption += f" The plot shows {len(predicted)} of the rows."
    return {"svg": svg, "caption": caption}
