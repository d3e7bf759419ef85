# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""One form for all data sets that mean the same to full-batch training.

A step over all rows depends on which rows there are and how much each weighs, not on their
order or on whether a weight of 2 is written as two rows.  Brought to one form first, such
data sets give the same network to the last bit, which float32 sums in another order do not.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["merge_equal_rows"]

Array = npt.NDArray[Any]


def merge_equal_rows(
    X: Array, target: Array, weight: Array | None
) -> tuple[Array, Array, Array]:
    """Merge rows that are equal in X and target, adding their weights, and sort them.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...)
        Inputs.
    target : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Encoded targets.
    weight : ndarray of shape (n_samples,) or None
        Weights; all 1 if None.

    Returns
    -------
    X, target, weight : ndarray
        With one row for each different one, in lexicographic order.

    Examples
    --------
    >>> X, y = np.array([[2.0], [1.0], [2.0]]), np.array([0, 1, 0])
    >>> [a.tolist() for a in merge_equal_rows(X, y, None)]
    [[[1.0], [2.0]], [1, 0], [1.0, 2.0]]
    """
    keys = np.column_stack([
        np.nan_to_num(X.reshape(len(X), -1), nan=np.inf),
        target.reshape(len(X), -1),
    ])
    _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    weight = np.ones(len(X)) if weight is None else weight
    return X[first], target[first], np.bincount(group.ravel(), weights=weight)
