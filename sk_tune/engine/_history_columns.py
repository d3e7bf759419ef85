# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Histories with the batches of an epoch as columns, which take a third of the space.

skorch notes each batch of each epoch; with their names written out a thousand times, the
notes of a long training are larger than its network, and take longer to write.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

__all__ = ["history_from_columns", "history_to_columns"]

_BATCHES = "batches"


def history_to_columns(history: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a history with a list of columns for each run of batches of the same names.

    >>> history_to_columns([{"epoch": 1, "batches": [{"loss": 0.5}, {"loss": 0.4}]}])
    [{'epoch': 1, 'batches': [{'loss': [0.5, 0.4]}]}]
    """
    return [
        {**record, _BATCHES: _columns(record[_BATCHES])} if _BATCHES in record else record
        for record in history
    ]


def history_from_columns(history: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the history that :func:`history_to_columns` was given.

    Raises ValueError if columns are of different lengths.
    """
    return [
        {**record, _BATCHES: _batches(record[_BATCHES])} if _BATCHES in record else record
        for record in history
    ]


def _columns(batches: Sequence[dict[str, Any]]) -> list[Any]:
    runs: list[Any] = []
    for names, run in groupby(batches, tuple):
        own = list(run)
        # What has no names has no columns to be counted by.
        runs.append({n: [batch[n] for batch in own] for n in names} if names else own)
    return runs


def _batches(runs: Sequence[Any]) -> list[dict[str, Any]]:
    batches: list[dict[str, Any]] = []
    for run in runs:
        if isinstance(run, list):
            batches += run
        else:
            rows = zip(*run.values(), strict=True)
            batches += [dict(zip(run, row, strict=True)) for row in rows]
    return batches
