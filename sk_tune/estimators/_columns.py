# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Which columns of a table hold categories, and which codes they hold."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sk_tune.estimators._validation import is_whole

__all__ = ["bin_edges", "categorical_mask", "check_codes", "known_codes"]

Array = npt.NDArray[Any]

# A matrix of so many vectors fits into memory many times.
_MOST_CODES = 2**16
_N_NAMED = 5  # Values that an error message lists.


def categorical_mask(
    given: Any, n_features: int, names: Sequence[str] | None, from_dtype: Sequence[int]
) -> npt.NDArray[np.bool_]:
    """Return which columns hold categories, as the parameter ``categorical_features`` says.

    `from_dtype` are the positions of the columns whose type says so. Raises ValueError if
    the parameter does not fit to the columns.

    >>> categorical_mask(["b"], 3, ["a", "b", "c"], ()).tolist()
    [False, True, False]
    """
    mask = np.zeros(n_features, dtype=bool)
    if given is None:
        given = []
    elif isinstance(given, str):
        if given != "from_dtype":
            raise ValueError(_message("'from_dtype', positions, names or a mask", given))
        given = list(from_dtype)
    values = np.asarray(given, dtype=object).ravel().tolist()
    if values and all(isinstance(value, bool | np.bool_) for value in values):
        if len(values) != n_features:
            wanted = f"a mask of {n_features} values, one for each column of X"
            raise ValueError(_message(wanted, f"a mask of {len(values)}"))
        mask[:] = values
    elif all(is_whole(value, 0) for value in values):
        beyond = [value for value in values if value >= n_features]
        if beyond:
            raise ValueError(_message(f"positions below {n_features}", beyond[:_N_NAMED]))
        mask[[int(value) for value in values]] = True
    elif all(isinstance(value, str) for value in values):
        mask[_positions(values, names)] = True
    else:
        wanted = "positions of at least 0, names or a mask"
        raise ValueError(_message(wanted, values[:_N_NAMED]))
    return mask


def check_codes(X: Array, positions: Sequence[int], names: Sequence[str] | None) -> None:
    """Raise ValueError, naming column and values, if a category column holds no codes."""
    for position in positions:
        column = _column(X, position)
        wrong = column[(column < 0) | (column != np.floor(column))]
        if len(wrong):
            name = position if names is None else names[position]
            raise ValueError(
                "Columns of categorical_features must hold codes: integers of at least 0. "
                f"Got {wrong[:_N_NAMED].tolist()} in column {name!r} instead. "
                "sk_tune.prepare.TablePreparer or sklearn.preprocessing.OrdinalEncoder "
                "make codes of categories; scale the other columns only."
            )


def known_codes(
    X: Array, positions: Sequence[int], names: Sequence[str] | None
) -> list[npt.NDArray[np.int64]]:
    """Return the codes of each category column, sorted, without repetition.

    Raises ValueError if a code is so large that its column is none of dense codes.
    """
    found = []
    for position in positions:
        codes = np.unique(_column(X, position))
        if codes[-1] >= _MOST_CODES:
            name = position if names is None else names[position]
            raise ValueError(
                f"Columns of categorical_features must hold codes below {_MOST_CODES}. "
                f"Got {codes[-1]:.0f} in column {name!r}. Number its categories from 0, "
                "for example with sklearn.preprocessing.OrdinalEncoder."
            )
        found.append(codes.astype(np.int64))
    return found


def bin_edges(
    X: Array, positions: Sequence[int], n_bins: int, weight: Array | None = None
) -> list[Array]:
    """Return the rising edges of bins with roughly equally many samples, for each position.

    There are fewer than `n_bins` where many values are equal, and a single edge for a
    constant column; `weight` says how often each sample counts. The edges are quantiles by
    the inverse of the distribution function: unlike those that numpy interpolates, they are
    the same whether a sample has weight 2 or comes twice.

    >>> bin_edges(np.array([[0.0], [1.0], [2.0], [8.0]]), [0], 2)[0].tolist()
    [0.0, 1.0, 8.0]
    """
    # Less than the share itself, so that rounding makes no difference at an edge.
    shares = np.linspace(0, 1, n_bins + 1) * (1 - 1e-12)
    found = []
    X = sparse.csc_array(X) if sparse.issparse(X) else X
    for position in positions:
        column = _column(X, position)
        order = np.argsort(column, kind="stable")
        counts = np.ones(len(column)) if weight is None else weight[order]
        passed = counts.cumsum()
        places = np.searchsorted(passed, shares * passed[-1])
        edges = np.unique(column[order][places])
        # Bins so narrow that their widths have no inverse are left out.
        wide = np.diff(edges.astype(np.float64)) > 4 * np.finfo(X.dtype).tiny
        found.append(edges[np.append(True, wide)])
    return found


def _column(X: Any, position: int) -> Array:
    """Return a column of a table, sparse or not, as an array of shape (n_samples,)."""
    is_sparse = sparse.issparse(X)
    column: Array = X[:, [position]].toarray().ravel() if is_sparse else X[:, position]
    return column


def _positions(wanted: Sequence[str], names: Sequence[str] | None) -> list[int]:
    if names is None:
        raise ValueError(_message("positions or a mask where X has no names", list(wanted)))
    known = {name: position for position, name in enumerate(names)}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(_message("names of columns of X", unknown[:_N_NAMED]))
    return [known[name] for name in wanted]


def _message(wanted: str, got: Any) -> str:
    return f"The 'categorical_features' parameter must hold {wanted}. Got {got!r} instead."
