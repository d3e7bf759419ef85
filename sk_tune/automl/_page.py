# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What one call found, as one page that needs nothing else."""

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import jinja2

from sk_tune._files import replaced_file
from sk_tune._text import interval_text, seconds_text
from sk_tune.automl._verdict import format_score, scale_of
from sk_tune.report import value_text

__all__ = ["write_page"]

_ENVIRONMENT = jinja2.Environment(
    # The look is that of the page of a search.
    loader=jinja2.ChoiceLoader([
        jinja2.PackageLoader("sk_tune.automl", "page"),
        jinja2.PackageLoader("sk_tune.report", "page"),
    ]),
    # Always: names, values and messages come from users.
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters.update(value=value_text, seconds=seconds_text)


def write_page(auto: Any, path: str | Path, *, title: str = "") -> Path:
    """Write what one call found as one page.

    Parameters
    ----------
    auto : AutoClassifier or AutoRegressor
        Fitted.
    path : str or Path
        HTML file to write, as a whole or not at all.
    title : str, default=""
        Its heading; the name of the estimator if empty.

    Returns
    -------
    Path
        The file.
    """
    default = "accuracy" if hasattr(auto, "classes_") else "r2"
    own = auto.corrected_score_
    text = _ENVIRONMENT.get_template("auto.html.j2").render(
        auto=auto,
        title=title or type(auto).__name__,
        metric=default if auto.scoring is None else str(auto.scoring),
        written=datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        checks=[f for f in auto.findings_ if f.is_of_leaks],
        faults=[
            f for f in auto.findings_ if not f.is_of_leaks and f.outcome in {"issue", "tip"}
        ],
        rows=list(auto.leaderboard_.iterrows()),
        digits=partial(format_score, scale=scale_of(list(auto.scores_.values()))),
        expected=interval_text(own.score, own.low, own.high),
    )
    path = Path(path)
    with replaced_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
