# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""A report as one page that needs nothing else: no network, no other file."""

import base64
import hashlib
from collections.abc import Sequence
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
from sk_tune.report._gathering import gather
from sk_tune.report._importance_picture import importance_picture
from sk_tune.report._records import Baseline, Report
from sk_tune.report._score_picture import score_picture
from sk_tune.report._spending import ledger_counts, ledger_seconds
from sk_tune.report._values import number_text, value_text

__all__ = ["page", "write_html"]

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
    path = Path(path)
    text = page(gather(search, X, y, baselines))
    with replaced_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def page(report: Report) -> str:
    """Return a report as HTML.

    Parameters
    ----------
    report : Report
        Of a search.

    Returns
    -------
    str
        The page.
    """
    script = _ENVIRONMENT.get_template("report.js").render()
    return _ENVIRONMENT.get_template("report.html.j2").render(
        report=report,
        script=script,
        # The browser runs this script and no other, whatever a name or message holds.
        script_hash=_content_hash(script),
        written=datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        scores=score_picture(report),
        curves=curve_pictures(report),
        overviews=[
            figure
            for draw in (history_picture, rung_picture, importance_picture)
            if (figure := draw(report)) is not None
        ],
        slices=slice_pictures(report),
        table=candidate_table(report),
        counts=ledger_counts(report.ledger),
        times=ledger_seconds(report.ledger),
    )


def _content_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
