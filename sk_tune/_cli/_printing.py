# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The output of the command line: labelled lines, scores and progress."""

import math
import shutil
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import numpy as np

from sk_tune._automl import (
    AutoProgress,
    ModelScore,
    auto_step,
    failure_texts,
    format_score,
    front_text,
    model_texts,
    scale_of,
    threshold_text,
)
from sk_tune._cli._parser import in_options
from sk_tune._cli._tables import N_FOLDS, LoadedTable, Target
from sk_tune._prepare import ColumnKinds
from sk_tune._text import counted, listed

_LABEL = 12  # Columns of a label.
_MAX_WIDTH = 92
_N_NAMED = 6  # Columns, classes or members that are listed.


_OF_LEAKS = {"issue": "Leak", "tip": "Check"}  # Labels by outcome.


def say(label: str, text: str) -> None:
    """Print a text with options of the command line, wrapped, after a short label."""
    lines = textwrap.fill(
        in_options(text),
        width=min(shutil.get_terminal_size().columns, _MAX_WIDTH),
        initial_indent=f"{label:<{_LABEL}}",
        subsequent_indent=" " * _LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )
    print(lines, flush=True)


def print_problem(
    table: LoadedTable, target: Target, kinds: ColumnKinds, rows_set_aside: str
) -> None:
    """Print the contents of the table, the target, and the rows set aside."""
    n_rows, n_columns = table.frame.shape
    say("Table", f"{table.name}: {n_rows} rows, {n_columns} columns")
    for note in table.notes:
        say("", note)
    with suppress(TypeError):  # Cells that cannot be hashed, such as lists.
        n_copies = int(table.frame.duplicated().sum())
        rows = "1 row is a copy" if n_copies == 1 else f"{n_copies} rows are copies"
        if n_copies:
            say("", f"Note: {rows} of other rows. A warning follows if that raises scores.")
    say("Target", f"{target.name}: {target.task}, {target.reason}")
    if target.other_task:
        say("", f"For {target.other_task}, use --task {target.other_task}.")
    labels, counts = np.unique(target.y, return_counts=True)
    rare = [str(label) for label in labels[counts < N_FOLDS]]
    if rare and target.task == "classification":
        names = listed(rare, _N_NAMED)
        few = f"fewer rows than there are folds ({N_FOLDS})"
        have = "class has" if len(rare) == 1 else "classes have"
        say("", f"Note: {len(rare)} {have} {few}: {names}")
    n_of_kind = Counter(kind for _, kind in kinds)
    plurals = {"category": "categories"}
    columns = (
        f"{n} {kind if n == 1 else plurals.get(kind, f'{kind}s')}"
        for kind, n in n_of_kind.items()
    )
    say("Columns", ", ".join(columns))
    if kinds.texts:
        say("", f"Texts are used if they help: {listed(kinds.texts, _N_NAMED)}")
    for text_format, names in _by_value(kinds.formats).items():
        say("", f"Read as {text_format}: {names}")
    if kinds.dropped:
        reasons = _by_value(kinds.dropped).items()
        say("Left out", "; ".join(f"{why}: {names}" for why, names in reasons))
    if rows_set_aside:
        say("Rows", rows_set_aside)


def _by_value(columns: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the columns with each value, as text."""
    names: dict[str, list[str]] = {}
    for name, value in columns.items():
        names.setdefault(str(value), []).append(name)
    return {value: listed(names[value], _N_NAMED) for value in names}


def print_texts(texts: Sequence[str], kinds: ColumnKinds) -> None:
    """Print which columns of text are used, and why others are left out."""
    if kinds.texts:
        say("Texts", f"Used: {listed(kinds.texts, _N_NAMED)}")
    left_out = {name: kinds.dropped[name] for name in texts if name in kinds.dropped}
    for why, names in _by_value(left_out).items():
        say("Texts", f"Left out, {why}: {names}")


def print_outcome(auto: Any, seconds: float) -> None:
    """Print the number of models, findings and the answer."""
    trained = counted(auto.n_trials_, "model")
    say("Trained", f"{trained} in each fold; {seconds:.0f} s in total")
    for text in failure_texts(auto):
        say("", text)
    for finding in auto.findings_:
        if finding.is_of_leaks and finding.outcome in _OF_LEAKS:
            say(_OF_LEAKS[finding.outcome], f"{finding.message} {finding.remedy}")
        if finding.code.startswith("SKT3"):
            say("Classes", f"{finding.message} {finding.remedy}")
    print_answer(auto)


def print_answer(auto: Any) -> None:
    """Print metric, scores, importance, summary, and the three answers of a page."""
    say("Metric", in_options(auto.scoring_reason_))
    if rule := threshold_text(auto):
        say("Labels", in_options(rule))
    print("", *_score_lines([*auto.model_scores_.values()], auto.scoring_), "", sep="\n")
    if auto._effects is not None:
        listing = listed(auto._effects.texts(_N_NAMED), _N_NAMED)
        meaning = f"decrease in {auto.scoring_} after permuting a column"
        say("Importance", f"{listing} ({meaning})")
    else:
        say("Importance", auto.column_importance_reason_)
    say("Summary", auto.summary_)
    interval = f"{100 * auto.expected_score_.confidence:.0f} % interval"
    of = "" if auto.use == "ensemble" else " of the ensemble"
    say("Expected", f"{auto.expected_score_} on new data ({interval}{of})")
    kind, folds, weights = model_texts(auto)
    say("Model", f"{kind}. {folds}".rstrip())
    if len(weights) > 1:
        members = [f"{name} ({weight})" for name, weight in weights.items()]
        say("", listed(members, _N_NAMED))
    if front := front_text(auto):
        say("Speed", front)
    step = auto_step(auto)
    say("Next step", "Nothing urgent." if step is None else step.remedy)


def _score_lines(scores: Sequence[ModelScore], scoring: str) -> list[str]:
    """Return a table of scores: a header and a line for each."""
    scale = scale_of(scores)
    rows: list[tuple[str, ...]] = [(scoring, "CV mean", "std", "set aside")]
    for s in scores:
        texts = (format_score(x, scale) for x in (s.score, s.std, s.held_out))
        rows.append((s.name, *texts))
    if all(math.isnan(s.held_out) for s in scores):
        rows = [(*row[:3], "") for row in rows]
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    widths = [max(first, _LABEL - 2), *widths]
    form = "{:<{}}  {:>{}} ± {:<{}}  {:>{}}"
    pairs = (chain.from_iterable(zip(row, widths, strict=True)) for row in rows)
    return [form.format(*pair).rstrip() for pair in pairs]


class StepLines:
    """Prints one line for each step of a fit."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, progress: AutoProgress) -> None:
        if progress.stage != self._last:
            self._last = progress.stage
            print(progress, flush=True)
