# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Cases that were recorded several times, each time a little differently.

Notation: a row's distances to its neighbours are d_1 <= d_2 <= ..., and m is the dimension
that the rows fill.  Where rows lie evenly, the neighbours of a row up to the k-th fill a
ball, so ``(d_1 / d_k) ** m`` is the least of ``k - 1`` uniform numbers: below a limit it
is once in 1,000 rows.  A copy is nearer.  m is estimated from farther neighbours, behind
the copies [1]_.

References
----------
.. [1] E. Levina, P. J. Bickel. Maximum likelihood estimation of intrinsic dimension.
   NeurIPS 2004. Here by the mean logarithm of ``d_2k / d_k``.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import digamma
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

__all__ = ["NEIGHBOURS", "group_copies", "nearness_limit", "scaled_numbers"]

Floats = npt.NDArray[np.float64]

# k: behind the copies that a case may have.
K = 10
# Neighbours to look for.
NEIGHBOURS = 2 * K
# Chance that a row is called a copy which is none, where this is an accusation, and where
# it only keeps two rows on one side of a split.
CHANCE, CHANCE_TO_GROUP = 1e-3, 0.02
# Distances say little in more columns than this; the first ones by variance are taken.
MOST_COLUMNS = 200


def group_copies(X: Any) -> npt.NDArray[np.intp]:
    """Give rows that are copies of one case one group.

    Parameters
    ----------
    X : array-like or frame of shape (n_samples, ...)
        Features.  Columns of numbers are compared; missing ones count as the median.

    Returns
    -------
    ndarray of shape (n_samples,)
        A number for each row, the same for rows that are equal or almost equal: as
        ``groups`` for ``GroupKFold``.

    Raises
    ------
    ValueError
        If there are no columns of numbers.

    See Also
    --------
    find_leaks : Tells whether this is needed.

    Notes
    -----
    Rows are almost equal if they are far nearer to each other than to the tenth row from
    there, given the dimension that the rows fill.  By chance that is so for two rows in a
    hundred, which only makes folds a little coarser.  Of less than 22 rows only equal ones
    are grouped.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_tune.diagnosis import group_copies
    >>> rng = np.random.default_rng(0)
    >>> cases = rng.normal(size=(100, 5))
    >>> X = np.repeat(cases, 2, axis=0) + 0.02 * rng.normal(size=(200, 5))
    >>> groups = group_copies(X)
    >>> bool((groups[::2] == groups[1::2]).all()), len(np.unique(groups))
    (True, 100)
    """
    if not isinstance(X, pd.DataFrame):
        array = np.asarray(X)
        X = pd.DataFrame(array.reshape(len(array), -1)).infer_objects()
    numbers = X.select_dtypes(include=["number", "bool"]).astype(np.float64)
    if not numbers.shape[1]:
        raise ValueError("X of group_copies must have columns of numbers. Got none.")
    scaled = scaled_numbers(numbers)
    n = len(scaled)
    n_neighbours = min(NEIGHBOURS, n - 1)
    if n_neighbours < 1:
        return np.zeros(n, dtype=np.intp)
    neighbours = NearestNeighbors(n_neighbors=n_neighbours).fit(scaled)
    distances, columns = neighbours.kneighbors()
    limit = 0.0
    if n_neighbours == NEIGHBOURS:
        limit = nearness_limit(distances, CHANCE_TO_GROUP)
    usual = distances[:, min(K, n_neighbours) - 1]
    # Seen from both sides: a row far from all others has no copies.
    both = np.minimum(usual[:, None], usual[columns])
    linked = distances <= limit * both
    rows = np.nonzero(linked)[0]
    graph = coo_array((np.ones(len(rows)), (rows, columns[linked])), shape=(n, n))
    groups: npt.NDArray[np.intp] = connected_components(graph, directed=False)[1]
    return groups.astype(np.intp)


def nearness_limit(distances: Floats, chance: float = CHANCE) -> float:
    """Return the share of the k-th distance within which a neighbour is a copy.

    Parameters
    ----------
    distances : ndarray of shape (n_samples, 2 * k)
        To the nearest neighbours, rising.
    chance : float, default=0.001
        That a row is within it which is no copy.

    Returns
    -------
    float
        0 if most rows have k equal ones, or if nothing is known of the dimension.
    """
    near, far = distances[:, K - 1], distances[:, NEIGHBOURS - 1]
    known = near > 0
    if known.mean() < 0.5:
        return 0.0
    growth = float(np.log(far[known] / near[known]).mean())
    if growth <= 0:
        return 0.0
    dimension = float(digamma(NEIGHBOURS) - digamma(K)) / growth
    return math.pow(chance / (K - 1), 1 / dimension)


def scaled_numbers(numbers: pd.DataFrame) -> Floats:
    """Return columns on one scale, without holes.

    Parameters
    ----------
    numbers : DataFrame of shape (n_samples, n_columns)
        Of numbers.

    Returns
    -------
    ndarray of shape (n_samples, at most 200)
        Those that vary most for their size, standardised.
    """
    filled = numbers.fillna(numbers.median()).fillna(0.0).to_numpy()
    order = np.argsort(-filled.std(axis=0, ddof=0) / (np.abs(filled).max(axis=0) + 1e-300))
    scaled: Floats = StandardScaler().fit_transform(
        filled[:, np.sort(order[:MOST_COLUMNS])]
    )
    return scaled
