# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A report as one page that needs nothing else: no network, no other file."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from sk_tune._files import replaced_file
from sk_tune._text import seconds_text
from sk_tune.report._candidate_pictures import (
    history_picture,
    rung_picture,
    slice_pictures,
)
from sk_tune.report._candidate_table import candidate_table
from sk_tune.report._curve_pictures import curve_pictures
from sk_tune.report._gathering import gather, importance_in
from sk_tune.report._importance_picture import importance_picture
from sk_tune.report._quality import confusion_table, residual_picture
from sk_tune.report._records import Baseline, Page, Report, SearchPart
from sk_tune.report._score_picture import score_lines, score_picture
from sk_tune.report._spending import ledger_counts, ledger_seconds
from sk_tune.report._values import number_text, value_text

__all__ = ["page", "write_html", "write_page"]

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("sk_tune.report", "page"),
    # Always: names, values and messages come from users.
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters.update(
    number=number_text,
    value=value_text,
    seconds=seconds_text,
    # Long names of parameters are to be broken between their parts.
    breakable=lambda name: Markup("__<wbr>").join(str(name).split("__")),
)


def write_html(
    search: Any,
    path: str | Path,
    *,
    X: Any = None,
    y: Any = None,
    baselines: Sequence[Baseline] | None = None,
) -> Path:
    """Write what a search found as one page.

    Parameters
    ----------
    search : estimator
        A fitted search.
    path : str or Path
        HTML file to write, as a whole or not at all.
    X, y : array-like, default=None
        The data that the search was fitted with.  With them the page has baselines on the
        same folds and a fingerprint of the data.
    baselines : sequence of Baseline or None, default=None
        Instead of those that are scored here.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    NotFittedError
        If the search is not fitted.

    See Also
    --------
    to_text : The same for a terminal.
    to_json : The same for programs.
    """
    return write_page(search_page(gather(search, X, y, baselines)), path)


def write_page(content: Page, path: str | Path) -> Path:
    """Write a page.

    Parameters
    ----------
    content : Page
        Of a search, or of one call.
    path : str or Path
        HTML file to write, as a whole or not at all.

    Returns
    -------
    Path
        The file.
    """
    path, text = Path(path), render(content)
    with replaced_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def page(report: Report) -> str:
    """Return the page of a search as HTML."""
    return render(search_page(report))


def search_page(report: Report) -> Page:
    """Return what is on the page of a search."""
    rows = ""
    if report.resource:
        rows = f" in {len(report.candidates)} rows of results"
    n = report.n_configurations
    return Page(
        title=report.title,
        subtitle=f"{n} candidate{'s' if n != 1 else ''}{rows}",
        metric=report.metric,
        verdict=report.verdict,
        notes=report.notes,
        scores=score_lines(report),
        best=None if report.best is None else report.best.params,
        quality=report.quality,
        usage=report.usage,
        searches=[report],
        checks=report.checks,
        reproduction=report.reproduction,
    )


def render(content: Page) -> str:
    """Return a page as HTML, which needs nothing else: no network, no other file."""
    script = _ENVIRONMENT.get_template("report.js").render()
    quality = content.quality
    return _ENVIRONMENT.get_template("report.html.j2").render(
        page=content,
        script=script,
        # The browser runs this script and no other, whatever a name or message holds.
        script_hash=_content_hash(script),
        written=datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        scores=score_picture(content.scores, content.metric),
        has_set_aside=any(line.set_aside == line.set_aside for line in content.scores),
        confusion=None if quality is None else confusion_table(quality),
        residuals=None if quality is None else residual_picture(quality),
        searches=[_pictures_of(part) for part in content.searches],
    )


def _pictures_of(part: SearchPart) -> dict[str, Any]:
    """Return what the page shows of a search."""
    if part.importance is None:
        part = replace(part, importance=importance_in(part))
    return {
        "part": part,
        "curves": curve_pictures(part),
        # Of one candidate among other searches they show nothing.
        "overviews": [
            figure
            for draw in (history_picture, rung_picture, importance_picture)
            if not (part.key and part.n_configurations == 1)
            and (figure := draw(part)) is not None
        ],
        "slices": slice_pictures(part),
        "table": candidate_table(part),
        "counts": ledger_counts(part.ledger),
        "times": ledger_seconds(part.ledger),
    }


def _content_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
