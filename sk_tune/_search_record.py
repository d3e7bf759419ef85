# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""What ensembles, diagnosis and reports read of a search beside its public results.

These packages and the searches do not import each other.  A search of sk_tune hands out
one record, as ``search_record_``; whatever else looks like a search has none.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "INTERRUPTED",
    "LEFT_OUT",
    "LOST_RACE",
    "UNSCORED",
    "FoldLayout",
    "SearchRecord",
    "deciding_scorer",
    "fold_layout",
    "rows_of_most",
    "search_record",
    "was_stopped",
]

# Of what a search gives as the reason why a candidate has no score.
LOST_RACE = "clearly worse than candidate"
INTERRUPTED = "It was not trained, because the search was interrupted."
LEFT_OUT = "It was not trained to its end, because the time budget was up."
UNSCORED = "Its predictions could not be scored; a warning said why."

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchRecord:
    """Data and rungs of a fitted search.

    Parameters
    ----------
    n_rows : int
        Rows that it was fitted with.
    y : ndarray of shape (n_rows,) or (n_rows, n_outputs), or None
        Their targets.
    last_rows : tuple of int
        Of each configuration the row of ``cv_results_`` with the most resources.
    resource : str or None
        The parameter that rungs grant more of, or "n_samples"; None without rungs.
    """

    n_rows: int
    y: Array | None
    last_rows: tuple[int, ...]
    resource: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldLayout:
    """How independent the folds of a search are.

    Parameters
    ----------
    n_folds : int
        Folds, those of all repetitions; F.
    n_repeats : float
        How often a row that is held out is held out; 1 if folds part the rows.
    test_by_train : float
        Rows that are held out by rows that are trained on, in a fold.
    """

    n_folds: int
    n_repeats: float
    test_by_train: float


def search_record(search: Any) -> SearchRecord | None:
    """Return what a search tells of itself.

    Parameters
    ----------
    search : estimator
        Any search.

    Returns
    -------
    SearchRecord or None
        None for a search that is not fitted, or is none of sk_tune.
    """
    record: SearchRecord | None = getattr(search, "search_record_", None)
    return record


def deciding_scorer(search: Any) -> tuple[Any, str]:
    """Return the scorer that decides in a fitted search, and the name of its score."""
    scorer = search.scorer_
    if not isinstance(scorer, dict):
        return scorer, "score"
    name = search.refit if search.refit in scorer else next(iter(scorer))
    return scorer[name], name


def fold_layout(search: Any, candidate: int) -> FoldLayout:
    """Return how independent the folds are that a candidate was scored on.

    Parameters
    ----------
    search : estimator
        Fitted.
    candidate : int
        Row of ``cv_results_``.

    Returns
    -------
    FoldLayout
        Where the search does not tell the rows of each fold, that of folds which part all
        rows.

    Notes
    -----
    What is not held out is taken to be trained on.
    """
    n_folds = int(search.n_splits_)
    record = search_record(search)
    told = search.held_out_rows_[candidate] if record is not None else []
    held = [rows for rows in told if rows is not None and len(rows)]
    if record is None or len(held) < n_folds:
        parts = max(n_folds - 1, 1)
        return FoldLayout(n_folds=n_folds, n_repeats=1.0, test_by_train=1 / parts)
    n_rows = record.n_rows
    if record.resource == "n_samples":
        n_rows = int(search.cv_results_["n_resources"][candidate])
    n_held = sum(len(rows) for rows in held)
    mean = n_held / n_folds
    return FoldLayout(
        n_folds=n_folds,
        n_repeats=n_held / len(np.unique(np.concatenate(held))),
        test_by_train=mean / max(n_rows - mean, 1.0),
    )


def rows_of_most(is_predicted: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the rows that are predicted by all candidates that predict most rows.

    Parameters
    ----------
    is_predicted : ndarray of shape (n_candidates, n_rows)
        Which candidate predicts which row; those that went out early predict fewer.

    Returns
    -------
    ndarray of shape (n_rows,)
        A mask.
    """
    n_predicted = is_predicted.sum(axis=1)
    mask: npt.NDArray[np.bool_]
    mask = is_predicted[n_predicted == n_predicted.max(initial=0)].all(axis=0)
    return mask


def was_stopped(reason: str) -> bool:
    """Return whether a search stopped a candidate that did not fail.

    Parameters
    ----------
    reason : str
        Why it has no score.

    Returns
    -------
    bool
        Whether it lost a race, or there was no time for it.
    """
    return LOST_RACE in reason or reason == INTERRUPTED
