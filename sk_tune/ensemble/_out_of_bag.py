# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What the rows that members of a bagging lack tell of its epochs and its size.

Notation: m members, n rows, C classes or targets.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import accuracy_score, r2_score

from sk_tune.ensemble._combination import Combination, network_of

__all__ = ["epoch_table", "members_table", "rows_left_out"]

Array = npt.NDArray[Any]

# Names in a network's history, and in the table.
_COLUMNS = {
    "train_loss": "train_loss",
    "monitor_loss": "oob_loss",
    "monitor_score": "oob_score",
}
# Predictions of all members at one time, in numbers.
_MOST_NUMBERS = 2**22


def rows_left_out(samples: Sequence[Array], n_samples: int) -> npt.NDArray[np.bool_]:
    """Return which samples each of m members has never seen, (m, n_samples)."""
    left_out = np.ones((len(samples), n_samples), dtype=bool)
    for own, drawn in zip(left_out, samples, strict=True):
        own[drawn] = False
    return left_out


def epoch_table(members: Sequence[Any]) -> pd.DataFrame:
    """Return the curves of the members on the samples that they lack.

    Columns: member, epoch, train_loss, oob_loss and oob_score; members without such a curve
    have no rows.
    """
    rows = []
    for number, member in enumerate(members):
        network: Any = network_of(member)
        history = [] if network is None else network.history_
        rows += [
            {
                "member": number,
                "epoch": epoch,
                **{own: record[name] for name, own in _COLUMNS.items()},
            }
            for epoch, record in enumerate(history, start=1)
            if "monitor_loss" in record
        ]
    return pd.DataFrame(rows, columns=["member", "epoch", *_COLUMNS.values()])


def members_table(
    combination: Combination, left_out: npt.NDArray[np.bool_], X: Any, y: Array
) -> pd.DataFrame:
    """Return the score of the first members, for every number of them.

    Columns: n_members; oob_score, accuracy or R^2, over the samples that at least one of
    them lacks; n_samples, the number of these. `y` holds positions of classes, or targets.
    """
    is_classifier = combination.classes is not None
    predicted = np.empty(left_out.shape, dtype=np.intp if is_classifier else np.float64)
    n_columns = 1 if combination.classes is None else len(combination.classes)
    size = max(1, _MOST_NUMBERS // (len(left_out) * n_columns))
    for start in range(0, len(y), size):
        rows = slice(start, start + size)
        counts = left_out[:, rows, np.newaxis]
        sums = np.cumsum(combination.each(X[rows]) * counts, axis=0)  # (m, rows, C)
        if is_classifier:
            predicted[:, rows] = sums.argmax(axis=2)
        else:
            n_predictions = np.maximum(counts.cumsum(axis=0), 1)
            predicted[:, rows] = (sums / n_predictions)[:, :, 0]
    covered = np.logical_or.accumulate(left_out, axis=0)
    score = accuracy_score if is_classifier else r2_score
    # R^2 of fewer than two rows is not defined.
    scores = [
        score(y[own], values[own]) if own.sum() > 1 else np.nan
        for own, values in zip(covered, predicted, strict=True)
    ]
    return pd.DataFrame({
        "n_members": np.arange(1, len(left_out) + 1),
        "oob_score": scores,
        "n_samples": covered.sum(axis=1),
    })
