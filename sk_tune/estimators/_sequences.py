# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Lists of sequences, which may be unequally long, as one array."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sk_tune.estimators._validation import as_array

__all__ = ["as_sequences"]

Array = npt.NDArray[Any]


def as_sequences(X: Any, n_features: int | None = None) -> Any:
    """Return a list of sequences as an array that is padded with NaN at their ends.

    Parameters
    ----------
    X : object
        Lists, tuples and arrays of objects are looked into; anything else stays as it is.
    n_features : int or None, default=None
        Features that a network was fitted on.  With one, equally long sequences of numbers
        are steps, too, and no rows of a table.

    Returns
    -------
    ndarray of shape (n_samples, n_steps, n_features), or X
        X if its rows are equally long.

    Raises
    ------
    ValueError
        If sequences differ in their features.

    Examples
    --------
    >>> as_sequences([[1.0, 2.0, 3.0], [4.0]])[:, :, 0].tolist()
    [[1.0, 2.0, 3.0], [4.0, nan, nan]]
    """
    is_objects = isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1
    if not (is_objects or isinstance(X, list | tuple)) or not len(X):
        return X
    rows = [as_array(row) for row in X]
    if not all(hasattr(row, "__len__") and not isinstance(row, str) for row in rows):
        return X
    lengths = {len(row) for row in rows}
    wide = {np.shape(row)[1] for row in rows if np.ndim(row) == 2}
    if len(wide) > 1:
        _refuse(lengths, wide)
    is_series = n_features == 1 and all(np.ndim(row) == 1 for row in rows)
    if len(lengths) == 1 and not (is_objects or is_series):
        return X
    return _padded(rows, max(lengths))


def _padded(rows: Sequence[Any], n_steps: int) -> Array:
    steps = [np.asarray(row, dtype=np.float64) for row in rows]
    steps = [own[:, np.newaxis] if own.ndim == 1 else own for own in steps]
    padded = np.full((len(steps), n_steps, *steps[0].shape[1:]), np.nan)
    for own, values in zip(padded, steps, strict=True):
        own[: len(values)] = values
    return padded


def _refuse(lengths: set[int], widths: set[int]) -> None:
    hint = ""
    if len(lengths) == 1:
        hint = (
            " If they are (n_channels, n_steps), as aeon has them, transpose each, for "
            "example by [row.T for row in X]."
        )
    raise ValueError(
        "All sequences of X must have equally many features, in arrays of shape "
        f"(n_steps, n_features). Got from {min(widths)} to {max(widths)}.{hint}"
    )
