# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Folds of all rows, where some of the rows are left."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["folds_among"]

Array = npt.NDArray[Any]


def folds_among(
    kept: Array, folds: Iterable[tuple[Any, Any]], n_rows: int
) -> list[tuple[Array, Array]]:
    """Return folds as positions among the rows that were kept.

    Parameters
    ----------
    kept : ndarray of shape (n_kept,)
        Positions of these rows among all.
    folds : iterable of (array-like, array-like)
        Positions among all rows, to train on and to hold out.
    n_rows : int
        Of all.

    Returns
    -------
    list of (ndarray, ndarray)
        In the order of `folds`; parts may be empty.

    Examples
    --------
    >>> folds_among(np.array([1, 3, 4]), [([0, 1], [2, 3, 4])], 5)
    [(array([0]), array([1, 2]))]
    """
    place = np.full(n_rows, -1)
    place[kept] = np.arange(len(kept))
    parts = [[place[part] for part in fold] for fold in folds]
    return [(train[train >= 0], held[held >= 0]) for train, held in parts]
