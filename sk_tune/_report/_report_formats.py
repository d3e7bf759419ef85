# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A report as a self-contained page, as text for a terminal, and as JSON."""

import base64
import hashlib
import io
import json
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from sk_tune._diagnosis import Finding, to_act_on
from sk_tune._files import replaced_file
from sk_tune._report._gathering import (
    CandidateRow,
    Cell,
    Page,
    PageColumn,
    PageTable,
    SearchPart,
    number_cells,
    with_importance,
)
from sk_tune._report._pictures import (
    column_pictures,
    curve_pictures,
    history_picture,
    importance_picture,
    residual_picture,
    rung_picture,
    score_picture,
    score_texts,
    slice_pictures,
)
from sk_tune._report._quality import confusion_table
from sk_tune._report._search_trials import number_text, plain, short_names, value_text
from sk_tune._text import error_line, is_number, number_texts, seconds_text, text_table

# A column and its cells, from above.
Cells = tuple[PageColumn, list[Cell]]

# Characters of a reason after its first line; a traceback would fill the page.
_LONGEST_REASON = 500


def _ranked(rows: Iterable[CandidateRow]) -> list[CandidateRow]:
    """Return rows of results, the best first and those without a score last."""

    def order(row: CandidateRow) -> tuple[bool, int, int, int]:
        return math.isnan(row.score), row.rank or 0, -(row.n_resources or 0), row.result_row

    return sorted(rows, key=order)


def candidate_table(report: SearchPart) -> PageTable:
    """Return the table of all rows of ``cv_results_``, the best first."""
    rows = _ranked(report.candidates)
    columns = list(_columns(report, rows))
    best = None if report.best is None else report.best.result_row
    kinds = ["best" if r.result_row == best else "failed" if r.reason else "" for r in rows]
    cells = zip(*(cells for _, cells in columns), strict=True)
    return PageTable(
        columns=[column for column, _ in columns],
        rows=list(zip(kinds, map(list, cells), strict=True)),
    )


def _column(
    name: str, cells: Iterable[Cell], hint: str = "", *, is_number: bool = True
) -> Cells:
    return PageColumn(name=name, is_number=is_number, hint=hint), list(cells)


def _columns(report: SearchPart, rows: Sequence[CandidateRow]) -> Iterator[Cells]:
    mean = "mean over the folds"
    yield _column("rank", (_count(r.rank) for r in rows), "by the mean score")
    if report.resource:
        yield _column("candidate", (_count(r.candidate) for r in rows))
    yield _column("result row", (_count(r.result_row) for r in rows), "row of cv_results_")
    yield _column(report.metric, number_cells(r.score for r in rows), mean)
    spreads = number_cells((row.std for row in rows), digits=2)
    yield _column("std", spreads, "standard deviation over the folds")
    for name in rows[0].others if rows else ():
        yield _column(name, number_cells(r.others[name] for r in rows), mean)
    # Resources of rungs have a column before the parameters.
    resource = (report.resource or "resource").rsplit("__", 1)[-1]
    labels = {"bracket": "bracket", "rung": "rung", "n_resources": resource}
    for field, label in labels.items():
        counts = [getattr(row, field) for row in rows]
        if any(count is not None for count in counts):
            yield _column(label, map(_count, counts))
    names = [name for name in report.names if name != report.resource]
    for name, short in short_names(names).items():
        cells, are_numbers = [], True
        for row in rows:
            value = row.params.get(name, "")
            key = repr(float(value)) if is_number(value) else None
            cells.append(Cell(text=value_text(value), key=key))
            are_numbers = are_numbers and (key is not None or name not in row.params)
        yield _column(short, cells, name if short != name else "", is_number=are_numbers)
    seconds = number_cells((row.seconds for row in rows), digits=2)
    yield _column("fit time (s)", seconds, "mean seconds of a fit")
    if any(row.reason for row in rows):
        reasons = []
        for row in rows:
            text = error_line(row.reason)[:_LONGEST_REASON]
            details = row.reason[-_LONGEST_REASON:] if "\n" in row.reason else ""
            reasons.append(Cell(text=text, details=details, is_long=bool(row.reason)))
        yield _column("failure", reasons, is_number=False)


def _count(value: int | None) -> Cell:
    return Cell(text="n/a") if value is None else Cell(text=str(value), key=str(value))


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("sk_tune._report", "page"),
    # Always: names, values and messages come from users.
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters.update(
    number=number_text,
    value=value_text,
    outcome=lambda f: "not checked" if f.outcome == "not applicable" else f.outcome,
    # Long names of parameters break between their parts.
    breakable=lambda name: Markup("__<wbr>").join(str(name).split("__")),
)


def writer_for(path: str | Path) -> Callable[[Page], str]:
    """Return the function that writes a file's format, or raise ValueError."""
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise ValueError(
            f"A report must be a file that ends in {', '.join(_WRITERS)}. Got "
            f"{str(path)!r}. Name {path.stem}.html; a browser prints it as PDF."
        )
    return writer


def write_page(content: Page, path: str | Path) -> Path:
    """Write a page in the format of the file's suffix, completely or not at all."""
    path, text = Path(path), writer_for(path)(content)
    with replaced_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def render(page: Page) -> str:
    """Return a page as HTML that needs no network and no other file."""
    searches = []
    for part in map(with_importance, page.searches):
        # Overviews of a single candidate are empty.
        is_single = part.key and part.n_configurations == 1
        overviews = () if is_single else (history_picture, rung_picture, importance_picture)
        searches.append({
            "part": part,
            "curves": curve_pictures(part),
            "overviews": [figure for draw in overviews if (figure := draw(part))],
            "slices": slice_pictures(part),
            "table": candidate_table(part),
        })
    script = _ENVIRONMENT.get_template("report.js").render()
    digest, quality = hashlib.sha256(script.encode()).digest(), page.quality
    return _ENVIRONMENT.get_template("report.html.j2").render(
        page=page,
        script=script,
        # The browser runs only this script, not any in a name or message.
        script_hash=f"sha256-{base64.b64encode(digest).decode()}",
        written=datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        scores=score_picture(page.scores, page.metric),
        has_set_aside=any(line.set_aside == line.set_aside for line in page.scores),
        confusion=None if quality is None else confusion_table(quality),
        effects=[] if page.effects is None else column_pictures(page.effects, page.metric),
        residuals=None if quality is None else residual_picture(quality),
        searches=searches,
        sections={title: _section(content) for title, content in page.sections.items()},
    )


def _section(content: Any) -> Markup:
    """Return a user's text, figure or object with an HTML form as HTML."""
    figure = getattr(content, "figure_", content)
    if hasattr(figure, "savefig"):
        file = io.StringIO()
        figure.savefig(file, format="svg", bbox_inches="tight")
        text = file.getvalue()
        return Markup(text[text.index("<svg") :])
    if hasattr(content, "_repr_html_"):
        return Markup(content._repr_html_())
    paragraphs = str(content).split("\n\n")
    return Markup("").join(Markup("<p>{}</p>").format(text) for text in paragraphs)


_WIDTH = 88
_N_SHOWN = 5  # Candidates that the text lists.
_FORMAT = 1


def to_text(page: Page) -> str:
    """Return a page as text for a terminal, without pictures."""
    parts = [page.title]
    if page.answer is not None:
        heading, (score, low, high), _ = page.answer
        interval = f"{low} to {high}, {page.scores[-1].what}"
        line = f"{heading}: {score} ({interval}; {page.metric}). {page.doubt}"
        parts.append(line.removesuffix(". "))
    parts.append(f"Model: {page.model[0]}. {page.model[1]}")
    if any(part.findings for part in page.searches):
        step = "Nothing urgent." if page.next_step is None else page.next_step.remedy
        parts.append(f"Next step: {step}")
    parts = ["\n".join(map(_wrapped, parts)), _wrapped(page.summary)]
    if page.scores:
        texts = score_texts(page.scores)
        rows = [
            (line.name, score, f"{low} to {high}")
            for line, (score, low, high, _) in zip(page.scores, texts, strict=True)
        ]
        parts.append(text_table([page.metric, "score", "range"], rows))
    parts.append(_wrapped("" if page.quality is None else page.quality.intervals))
    parts += [_wrapped(note) for note in page.notes]
    parts.append(_findings_text(to_act_on(page.checks)))
    for part in page.searches:
        parts.append(part.title if part.key else "")
        parts += [_findings_text(part.wrong), _best(part)]
        parts.append("" if part.ledger is None else str(part.ledger))
    parts += [f"{title}\n\n{content}" for title, content in page.sections.items()]
    return "\n\n".join(filter(None, parts))


def to_json(page: Page) -> str:
    """Return the fields of a page as JSON."""
    sections = {title: str(content) for title, content in page.sections.items()}
    searches = [with_importance(part) for part in page.searches]
    content = plain(replace(page, searches=searches, sections=sections))
    return json.dumps({"format": _FORMAT, **content}, ensure_ascii=False, allow_nan=False)


# By suffix; text in Markdown is a block of code, because its tables are aligned by spaces.
_WRITERS: dict[str, Callable[[Page], str]] = {
    ".html": render,
    ".htm": render,
    ".json": to_json,
    ".txt": to_text,
    ".md": lambda page: f"```text\n{to_text(page)}\n```\n",
}


def _findings_text(findings: Iterable[Finding]) -> str:
    lines = []
    for finding in findings:
        head = " ".join(filter(None, [finding.outcome, finding.code, finding.name]))
        lines.append(_wrapped(f"{head}: {finding.message}"))
        if finding.remedy:
            lines.append(_wrapped(finding.remedy, "    "))
    return "\n".join(lines)


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)


def _best(part: SearchPart) -> str:
    ranked = _ranked(part.scored)[:_N_SHOWN]
    short, rows = short_names(part.names), []
    scores = number_texts([row.score for row in ranked])
    stds = number_texts([row.std for row in ranked], 2)
    for row, score, std in zip(ranked, scores, stds, strict=True):
        params = ", ".join(f"{short[n]}={value_text(v)}" for n, v in row.params.items())
        rows.append((row.result_row, score, std, seconds_text(row.seconds), params))
    header = ["result row", part.metric, "std", "fit", "parameters"]
    return text_table(header, rows) if rows else ""
