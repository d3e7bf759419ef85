# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The candidates as a table: columns and cells, each with what it is sorted by."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from numbers import Real

from sk_tune.report._records import CandidateRow, SearchPart
from sk_tune.report._table import Cell, Column, Table, number_cells
from sk_tune.report._values import number_text, value_text
from sk_tune.report.displays import short_names

__all__ = ["candidate_table"]

# What a column shows of a candidate.
CellOf = Callable[[CandidateRow], "Cell"]

# Characters of a reason beside its first line; a traceback would fill the page.
_LONGEST_REASON = 500


def candidate_table(report: SearchPart) -> Table:
    """Return the table of all rows of ``cv_results_``.

    Parameters
    ----------
    report : SearchPart
        Of a search.

    Returns
    -------
    Table
        With columns for rungs, several metrics and reasons only where there are some.
    """
    columns = [*_result_columns(report), *_parameter_columns(report)]
    columns.append((
        Column(name="fit time", is_number=True, hint="mean seconds of a fit"),
        number_cells(report.candidates, lambda row: row.seconds, digits=2),
    ))
    if any(row.reason for row in report.candidates):
        failure = Column(name="failure", is_number=False)
        columns.append((failure, lambda row: _reason(row.reason)))
    ordered = sorted(
        report.candidates, key=lambda r: (math.isnan(r.score), r.rank or 0, -r.row)
    )
    return Table(
        columns=[column for column, _ in columns],
        rows=[(_kind(report, row), [cell(row) for _, cell in columns]) for row in ordered],
    )


def _kind(report: SearchPart, row: CandidateRow) -> str:
    if report.best is not None and row.row == report.best.row:
        return "best"
    return "failed" if row.reason else ""


def _result_columns(report: SearchPart) -> Iterator[tuple[Column, CellOf]]:
    yield (
        Column(name="rank", is_number=True, hint="by the mean score"),
        lambda row: _number(row.rank),
    )
    yield (
        Column(name="row", is_number=True, hint="row of cv_results_"),
        lambda row: _number(row.row),
    )
    yield (
        Column(name=report.metric, is_number=True, hint="mean over the folds"),
        number_cells(report.candidates, lambda row: row.score),
    )
    yield (
        Column(name="std", is_number=True, hint="standard deviation over the folds"),
        number_cells(report.candidates, lambda row: row.std, digits=2),
    )
    for name in report.candidates[0].others if report.candidates else ():
        yield (
            Column(name=name, is_number=True, hint="mean over the folds"),
            number_cells(report.candidates, partial(_other, name)),
        )
    # What rungs grant is a column of its own, not one of the parameters.
    resource = (report.resource or "resource").rsplit("__", 1)[-1]
    for field, label in (
        ("bracket", "bracket"),
        ("rung", "rung"),
        ("n_resources", resource),
    ):
        if any(getattr(row, field) is not None for row in report.candidates):
            yield (
                Column(name=label, is_number=True),
                partial(_field, field),
            )


def _parameter_columns(report: SearchPart) -> Iterator[tuple[Column, CellOf]]:
    names = [name for name in report.names if name != report.resource]
    for name, short in short_names(names).items():
        yield (
            Column(
                name=short,
                is_number=_is_numeric(report, name),
                hint=name if short != name else "",
            ),
            partial(_param, name),
        )


def _is_numeric(report: SearchPart, name: str) -> bool:
    values = [row.params[name] for row in report.candidates if name in row.params]
    return all(isinstance(v, Real) and not isinstance(v, bool) for v in values)


def _number(value: float | None) -> Cell:
    if value is None or math.isnan(value):
        return Cell(text="n/a")
    text = str(value) if isinstance(value, int) else number_text(value)
    return Cell(text=text, key=repr(value))


def _other(name: str, row: CandidateRow) -> float:
    return row.others[name]


def _field(name: str, row: CandidateRow) -> Cell:
    return _number(getattr(row, name))


def _param(name: str, row: CandidateRow) -> Cell:
    if name not in row.params:
        return Cell(text="")
    value = row.params[name]
    if isinstance(value, Real) and not isinstance(value, bool):
        return Cell(text=value_text(value), key=repr(float(value)))
    return Cell(text=value_text(value))


def _reason(reason: str) -> Cell:
    lines = reason.splitlines()
    if len(lines) < 2:
        return Cell(text=reason[:_LONGEST_REASON], is_long=bool(reason))
    # The last line of a traceback is what happened.
    return Cell(
        text=lines[-1][:_LONGEST_REASON], details=reason[-_LONGEST_REASON:], is_long=True
    )
