# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A report as text for a terminal, and as JSON for programs."""

import json
import textwrap
from dataclasses import fields
from typing import Any

from sk_tune._text import number_texts, seconds_text, text_table
from sk_tune.report._gathering import gather, score_lines
from sk_tune.report._page_records import Report, outcome_text
from sk_tune.report._pictures import score_texts
from sk_tune.report._value_texts import plain, value_text
from sk_tune.report.displays import short_names

__all__ = ["to_json", "to_text"]

_WIDTH = 88
_N_SHOWN = 5  # Candidates that the text lists.
_FORMAT = 1


def to_text(search: Any) -> str:
    """Return what a search found as text for a terminal.

    Parameters
    ----------
    search : estimator
        A fitted search.

    Returns
    -------
    str
        The answer, what is wrong, the best candidates, and what was spent.

    Raises
    ------
    NotFittedError
        If the search is not fitted.

    See Also
    --------
    write_html : The same as a page, with pictures.
    """
    report = gather(search)
    parts = [
        report.title,
        _wrapped(report.verdict),
        _scores(report),
        *(_wrapped(note) for note in report.notes),
        _findings(report),
        _best(report),
    ]
    if report.ledger is not None:
        parts.append(str(report.ledger))
    return "\n\n".join(part for part in parts if part)


def to_json(search: Any) -> str:
    """Return what a search found as JSON.

    Parameters
    ----------
    search : estimator
        A fitted search.

    Returns
    -------
    str
        A mapping with the fields of the page; null for numbers that are not finite, and
        text for parameters that JSON does not have.

    Raises
    ------
    NotFittedError
        If the search is not fitted.

    See Also
    --------
    write_html : The same as a page.
    """
    report = gather(search)
    content = {f.name: plain(getattr(report, f.name)) for f in fields(Report)}
    content["checks"] = [
        {"name": f.name, "outcome": outcome_text(f), "text": f.message}
        for f in report.checks
    ]
    return json.dumps({"format": _FORMAT, **content}, ensure_ascii=False, allow_nan=False)


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)


def _scores(report: Report) -> str:
    lines = score_lines(report)
    if not lines:
        return ""
    rows = [
        (line[0], score, f"{low} to {high}")
        for line, (score, low, high, _) in zip(lines, score_texts(lines), strict=True)
    ]
    return text_table([report.metric, "score", "range"], rows)


def _findings(report: Report) -> str:
    lines = []
    for finding in report.wrong:
        head = f"{finding.outcome} {finding.code} {finding.name}: {finding.message}"
        lines.append(_wrapped(head))
        if finding.remedy:
            lines.append(_wrapped(finding.remedy, "    "))
    return "\n".join(lines)


def _best(report: Report) -> str:
    ranked = sorted(report.scored, key=lambda row: (row.rank or 0, -row.row))[:_N_SHOWN]
    short = short_names(report.names)
    scores = number_texts([row.score for row in ranked])
    stds = number_texts([row.std for row in ranked], 2)
    rows = [
        (
            row.row,
            score,
            std,
            seconds_text(row.seconds),
            ", ".join(f"{short[n]}={value_text(v)}" for n, v in row.params.items()),
        )
        for row, score, std in zip(ranked, scores, stds, strict=True)
    ]
    header = ["row", report.metric, "std", "fit", "parameters"]
    return text_table(header, rows) if rows else ""
