# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The folds of a search that is over, as far as it tells which they were."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier
from sklearn.model_selection import check_cv

__all__ = ["folds_of", "held_out_rows"]

Rows = npt.NDArray[np.intp]
Fold = tuple[Rows, Rows]


def held_out_rows(search: Any) -> list[list[Rows | None]]:
    """Return which rows each candidate was scored on.

    Parameters
    ----------
    search : estimator
        A fitted search.

    Returns
    -------
    list of list of ndarray or None
        By candidate and fold; None where it has no predictions.  Empty for a search that
        remembers none, as scikit-learn's.
    """
    return [list(folds) for folds in getattr(search, "held_out_rows_", ())]


def folds_of(search: Any, X: Any, y: Any, n_rows: int) -> tuple[list[Fold] | None, bool]:
    """Return training and held-out rows of each fold.

    Parameters
    ----------
    search : estimator
        A fitted search.
    X, y : array-like or None
        The data that it was fitted with.
    n_rows : int
        How many rows they have.

    Returns
    -------
    folds : list of tuple of ndarray, or None
        None if they cannot be known without `X`.
    are_same : bool
        Whether these are certainly the folds of the search.  They are not if the splitter
        draws anew each time and the search did not hold every row out exactly once.
    """
    remembered = _remembered(held_out_rows(search))
    if remembered and _is_partition(remembered, n_rows):
        everything = np.arange(n_rows)
        return [(np.setdiff1d(everything, held), held) for held in remembered], True
    if X is None:
        return None, False
    cv = check_cv(search.cv, y, classifier=is_classifier(search.estimator))
    first, second = _drawn(cv, X, y), _drawn(cv, X, y)
    if first is None or second is None:
        return None, False
    if remembered:
        pairs = zip((held for _, held in first), remembered, strict=True)
        return first, all(map(_is_equal, *zip(*pairs, strict=True)))
    pairs = zip((held for _, held in first), (held for _, held in second), strict=True)
    return first, all(map(_is_equal, *zip(*pairs, strict=True)))


def _remembered(rows: Sequence[Sequence[Rows | None]]) -> list[Rows]:
    """Return the held-out rows of the last candidate that was scored on all folds.

    The last, because early rungs of a search may use a part of the rows only.
    """
    for folds in reversed(rows):
        own = [held for held in folds if held is not None]
        if folds and len(own) == len(folds):
            return own
    return []


def _is_partition(held: Sequence[Rows], n_rows: int) -> bool:
    return _is_equal(np.sort(np.concatenate(held)), np.arange(n_rows))


def _is_equal(first: Rows, second: Rows) -> bool:
    return np.array_equal(first, second)


def _drawn(cv: Any, X: Any, y: Any) -> list[Fold] | None:
    try:
        return [(np.asarray(train), np.asarray(test)) for train, test in cv.split(X, y)]
    except (TypeError, ValueError):
        # Groups, for example, which a report is not given.
        return None
