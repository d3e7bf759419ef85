# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The output of the command line: labelled lines, scores and progress."""

import math
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sk_tune._automl import (
    AutoProgress,
    ModelScore,
    auto_step,
    format_score,
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


def labelled(label: str, text: str) -> str:
    """Return text after a label of at most eleven characters, wrapped to the terminal."""
    return textwrap.fill(
        text,
        width=min(shutil.get_terminal_size().columns, _MAX_WIDTH),
        initial_indent=f"{label:<{_LABEL}}",
        subsequent_indent=" " * _LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )


def score_lines(scores: Sequence[ModelScore], scoring: str) -> list[str]:
    """Return a table of scores: a header and a line for each."""
    scale = scale_of(scores)
    cells = [
        (s.name, *(format_score(x, scale) for x in (s.score, s.std, s.held_out)))
        for s in scores
    ]
    rows = [(scoring, "CV mean", "std", "set aside"), *cells]
    if all(math.isnan(s.held_out) for s in scores):
        rows = [(*row[:3], "") for row in rows]
    first, second, third, fourth = (
        max(map(len, column)) for column in zip(*rows, strict=True)
    )
    first = max(first, _LABEL - 2)
    return [
        f"{name:<{first}}  {mean:>{second}} ± {std:<{third}}  {test:>{fourth}}".rstrip()
        for name, mean, std, test in rows
    ]


_N_NAMED = 6  # Columns, classes or members that are listed.


def print_problem(
    table: LoadedTable,
    target: Target,
    kinds: ColumnKinds,
    n_test: int,
    *,
    keeps_whole: bool,
) -> None:
    """Print the contents of the table, the target, and the `n_test` rows set aside.

    With `keeps_whole`, rows of a group or time are on the same side of a split.
    """
    n_rows, n_columns = table.frame.shape
    print(labelled("Table", f"{table.name}: {n_rows} rows, {n_columns} columns"))
    for note in table.notes:
        print(labelled("", note))
    try:
        n_copies = int(table.frame.duplicated().sum())
    except TypeError:  # Cells that cannot be hashed, such as lists.
        n_copies = 0
    if n_copies:
        rows = "1 row is a copy" if n_copies == 1 else f"{n_copies} rows are copies"
        print(labelled("", f"Note: {rows} of others. Across folds, they inflate scores."))
    print(labelled("Target", f"{target.name}: {target.task}, {target.reason}"))
    if target.other_task:
        print(labelled("", f"For {target.other_task}, say --task {target.other_task}."))
    for note in _notes_on_target(target):
        print(labelled("", note))
    plurals = {"number": "numbers", "date": "dates", "category": "categories"}
    counts = Counter(kind for _, kind in kinds)
    columns = [f"{n} {kind if n == 1 else plurals[kind]}" for kind, n in counts.items()]
    print(labelled("Columns", ", ".join(columns)))
    for text_format in dict.fromkeys(map(str, kinds.formats.values())):
        names = [name for name, style in kinds.formats.items() if str(style) == text_format]
        print(labelled("", f"Read as {text_format}: {listed(names, _N_NAMED)}"))
    if kinds.dropped:
        by_reason: dict[str, list[str]] = {}
        for name, reason in kinds.dropped.items():
            by_reason.setdefault(reason, []).append(name)
        left_out = [f"{why}: {listed(names, _N_NAMED)}" for why, names in by_reason.items()]
        print(labelled("Left out", "; ".join(left_out)))
    split = f"{n_test} set aside for a final check; {n_rows - n_test} to train on"
    if n_test:
        print(labelled("Rows", f"about {split}" if keeps_whole else split))


def print_outcome(auto: Any, seconds: float) -> None:
    """Print the number of models, findings and the answer."""
    trained = counted(auto.n_trials_, "model")
    print(labelled("Trained", f"{trained} in each fold; {seconds:.0f} s in all"))
    for family, reason in auto.failures_.items():
        print(labelled("", f"No {family}: {reason}"))
    for finding in auto.findings_:
        if finding.outcome == "issue" and finding.is_of_leaks:
            print(labelled("Leak", f"{finding.message} {in_options(finding.remedy)}"))
        if finding.code.startswith("SKT3"):
            print(labelled("Classes", f"{finding.message} {in_options(finding.remedy)}"))
    print_answer(auto)


def print_answer(auto: Any) -> None:
    """Print metric, scores, importance, summary, and the three answers of a page."""
    print(labelled("Metric", auto.scoring_reason_))
    if rule := threshold_text(auto):
        print(labelled("Labels", rule))
    print()
    print("\n".join(score_lines(list(auto.model_scores_.values()), auto.scoring_)))
    print()
    if auto._effects is not None:
        listing = listed(auto._effects.texts(_N_NAMED), _N_NAMED)
        lost = f"loss of {auto.scoring_} by permuting a column"
        print(labelled("Importance", f"{listing} ({lost})"))
    print(labelled("Summary", in_options(auto.summary_)))
    interval = f"{100 * auto.expected_score_.confidence:.0f} % interval"
    of = "" if auto.use == "ensemble" else " of the ensemble"
    print(labelled("Expected", f"{auto.expected_score_} on new data ({interval}{of})"))
    kind, folds, weights = model_texts(auto)
    members = [f"{name} {weight}" for name, weight in weights.items()]
    print(labelled("Model", f"{kind}. {folds}".rstrip()))
    if len(members) > 1:
        print(labelled("", listed(members, _N_NAMED)))
    step = auto_step(auto)
    text = "nothing urgent" if step is None else in_options(step.remedy)
    print(labelled("Next step", text))


def _notes_on_target(target: Target) -> Iterator[str]:
    if target.task != "classification":
        return
    labels, counts = np.unique(target.y, return_counts=True)
    rare = [str(label) for label in labels[counts < N_FOLDS]]
    if rare:
        yield (
            f"Note: fewer rows than the {N_FOLDS} folds in class {listed(rare, _N_NAMED)}."
        )


class StepLines:
    """Prints one line for each step of a fit."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, progress: AutoProgress) -> None:
        """Print the progress when a step begins."""
        if progress.stage != self._last:
            self._last = progress.stage
            print(progress, flush=True)
