# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What ``sk-tune fit`` prints before its search and after it."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from sk_tune.cli._baselines import Score
from sk_tune.cli._search import TableSearchCV, n_failed
from sk_tune.cli._split import Split
from sk_tune.cli._summary import format_params, labelled, score_lines, verdict
from sk_tune.cli._tables import Table
from sk_tune.cli._target import N_FOLDS, Target
from sk_tune.prepare import ColumnKinds

__all__ = ["print_outcome", "print_problem"]

# Share of one class from which accuracy says little.
_LOPSIDED = 0.8
_N_NAMED = 6  # Columns or classes that are listed.


def print_problem(
    table: Table, target: Target, split: Split, kinds: ColumnKinds, scoring: str
) -> None:
    """Print what the table holds and what will be done with it.

    Parameters
    ----------
    table : Table
        The whole table.
    target : Target
        What to predict.
    split : Split
        Its rows in two parts.
    kinds : ColumnKinds
        What the columns are.
    scoring : str
        What scores will be.
    """
    n_rows, n_columns = table.frame.shape
    print(labelled("Table", f"{table.name}: {n_rows} rows, {n_columns} columns"))
    for note in (*table.notes, *_notes_on_rows(table.frame)):
        print(labelled("", note))
    print(labelled("Target", f"{target.name}: {target.task}, {target.reason}"))
    if target.other_task:
        print(labelled("", f"For {target.other_task}, say --task {target.other_task}."))
    for note in _notes_on_target(split, target, scoring):
        print(labelled("", note))
    print(labelled("Columns", _describe_columns(kinds)))
    if kinds.dropped:
        print(labelled("Left out", _describe_dropped(kinds)))
    how = "stratified" if split.stratified else "at random"
    print(
        labelled(
            "Rows",
            f"{len(split.X_test)} set aside for the test, {how}; {len(split.X_train)} for "
            f"{N_FOLDS}-fold cross-validation",
        )
    )


def print_outcome(
    scores: tuple[Score, Score, Score],
    search: TableSearchCV,
    scoring: str,
    seconds: float,
) -> None:
    """Print what was found and what it is worth.

    Parameters
    ----------
    scores : tuple of Score
        Of the dummy, the linear model and the network.
    search : TableSearchCV
        Fitted.
    scoring : str
        What the scores are.
    seconds : float
        Time that everything took.
    """
    n_tried, n_lost = len(search.cv_results_["params"]), n_failed(search)
    failed = f", {n_lost} of them failed" if n_lost else ""
    networks = "1 network" if n_tried == 1 else f"{n_tried} networks"
    print(labelled("Searched", f"{networks}{failed}; {seconds:.0f} s in all"))
    print(labelled("Best", format_params(search.best_params_)))
    print()
    print("\n".join(score_lines(scores, scoring)))
    print()
    print(labelled("Verdict", verdict(*scores)))
    print(labelled("", _caution(n_tried)))


def _notes_on_rows(frame: pd.DataFrame) -> Iterator[str]:
    try:
        n_copies = int(frame.duplicated().sum())
    except TypeError:  # Cells that cannot be hashed, such as lists.
        return
    if n_copies:
        rows = "1 row is a copy" if n_copies == 1 else f"{n_copies} rows are copies"
        yield (
            f"Note: {rows} of others. On both sides of a split, they make scores too good."
        )


def _notes_on_target(split: Split, target: Target, scoring: str) -> Iterator[str]:
    if target.task != "classification":
        return
    labels, counts = np.unique(split.y_train, return_counts=True)
    share = counts.max() / counts.sum()
    if scoring == "accuracy" and share >= _LOPSIDED:
        yield (
            f"Note: {share:.0%} of the rows are {str(labels[counts.argmax()])!r}, so "
            "accuracy says little; consider --scoring balanced_accuracy."
        )
    rare = [str(label) for label in labels[counts < N_FOLDS]]
    if rare:
        yield (
            f"Note: too few rows for each of {N_FOLDS} folds to have some: class "
            f"{_listed(rare)}."
        )


def _describe_columns(kinds: ColumnKinds) -> str:
    counts = {
        "number": len(kinds.numbers),
        "date": len(kinds.dates),
        "category": len(kinds.categories),
    }
    plurals = {"number": "numbers", "date": "dates", "category": "categories"}
    return ", ".join(
        f"{count} {kind if count == 1 else plurals[kind]}"
        for kind, count in counts.items()
        if count
    )


def _describe_dropped(kinds: ColumnKinds) -> str:
    by_reason: dict[str, list[str]] = {}
    for name, reason in kinds.dropped.items():
        by_reason.setdefault(reason, []).append(name)
    return "; ".join(f"{reason}: {_listed(names)}" for reason, names in by_reason.items())


def _listed(names: list[str]) -> str:
    more = len(names) - _N_NAMED
    listed = ", ".join(names[:_N_NAMED])
    return f"{listed} and {more} more" if more > 0 else listed


def _caution(n_tried: int) -> str:
    if n_tried == 1:
        return (
            "The budget ended with the default network. To search others, raise --budget."
        )
    return (
        f"The network's CV score is the highest of {n_tried}, so it is optimistic; its "
        "test score is not."
    )
