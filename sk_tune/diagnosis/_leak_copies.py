# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Cases that were recorded several times, each time a little differently.

Notation: a row's distances to its neighbours are d_1 <= d_2 <= ..., and m is the dimension
that the rows fill.  Where rows lie evenly, the neighbours of a row up to the k-th fill a
ball, so ``(d_1 / d_k) ** m`` is the least of ``k - 1`` uniform numbers: below a limit it
is once in 1,000 rows.  A copy is nearer.  m is estimated from farther neighbours, behind
the copies [1]_.

With more noise copies lie no nearer than other rows may.  Two more things give them away.
If every case was recorded s times, most rows lie in closed groups of s: each is among the
``s - 1`` nearest rows of all others of them, and no other row is.  And a target that is a
number is the same to the last digit, which it hardly ever is for other rows nearby.

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

from sk_tune.diagnosis._leak_checks import holds_classes, plain_numbers

__all__ = [
    "NEIGHBOURS",
    "K",
    "closed_groups",
    "group_copies",
    "has_like_targets",
    "nearness_limit",
    "scaled_numbers",
]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]

# k: behind the copies that a case may have.
K = 10
# Neighbours to look for.
NEIGHBOURS = 2 * K
# Chance that a row is called a copy which is none, where this is an accusation, and where
# it only keeps two rows on one side of a split.
CHANCE, CHANCE_TO_GROUP = 1e-3, 0.02
# Rows that lie in closed groups of one size: by chance, also in tables of clumps, it is two
# in three for pairs, two in five for threes and fours, and one in four for more.
LEAST_IN_GROUPS = {2: 0.85, 3: 0.5, 4: 0.5}
LEAST_IN_LARGE_GROUPS = 0.35
# Rows with a neighbour of the same target, more of the nearer neighbours than of farther.
LEAST_OF_LIKE_TARGET = 0.3
# Distances say little in more columns than this; the first ones by variance are taken.
MOST_COLUMNS = 200


def group_copies(X: Any, y: Any = None) -> Ints:
    """Give rows that are copies of one case one group.

    Parameters
    ----------
    X : array-like or frame of shape (n_samples, ...)
        Features.  Columns of numbers and durations are compared; missing ones count as the
        median.
    y : array-like of shape (n_samples,) or None, default=None
        Targets of a regression or classes.  With them copies with more noise are found.

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

    If most rows lie in groups of one size that are closed, each row nearer to its group's
    than to any other, these are grouped too; with `y`, so are rows that are among each
    other's nearest and have one class, and neighbours with the same number as target where
    many have such neighbours.

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
    numbers = plain_numbers(X).select_dtypes(include=["number", "bool"]).astype(np.float64)
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
    if n_neighbours == NEIGHBOURS:
        linked |= _are_of_one_case(columns, None if y is None else np.asarray(y))
    rows = np.nonzero(linked)[0]
    graph = coo_array((np.ones(len(rows)), (rows, columns[linked])), shape=(n, n))
    groups: Ints = connected_components(graph, directed=False)[1]
    return groups.astype(np.intp)


def _are_of_one_case(neighbours: Ints, y: npt.NDArray[Any] | None) -> Bools:
    """Tell which neighbours are of a row's own case, by closed groups and by targets."""
    is_same = np.zeros(neighbours.shape, dtype=bool)
    closed, size = closed_groups(neighbours)
    is_like = np.ones(neighbours.shape, dtype=bool)
    if y is not None:
        others = y[neighbours].reshape(*neighbours.shape, -1)
        is_like = (others == y.reshape(len(y), 1, -1)).all(axis=2)
        if not holds_classes(y) and has_like_targets(is_like):
            is_same[:, :K] = is_like[:, :K]
    if size:
        near = neighbours[:, : size - 1]
        is_mutual = (near[near] == np.arange(len(near))[:, None, None]).any(axis=2)
        own = is_mutual & is_like[:, : size - 1] if y is not None else closed[:, None]
        is_same[:, : size - 1] |= own
    return is_same


def closed_groups(neighbours: Ints) -> tuple[Bools, int]:
    """Look for a number of times that most cases were recorded.

    `neighbours`, (n_samples, k), are the nearest samples of each, nearest first, without
    itself. Returns whether a sample is in a closed group of that size, (n_samples,), and
    the size, 0 if most samples are in none of one size.
    """
    rows = np.arange(len(neighbours))[:, None]
    best, n_best = np.zeros(len(rows), dtype=bool), 0
    for size in range(2, min(K, neighbours.shape[1]) + 1):
        groups = np.sort(np.hstack([rows, neighbours[:, : size - 1]]), axis=1)
        closed: Bools = (groups[groups] == groups[:, None]).all(axis=(1, 2))
        is_told = closed.mean() >= LEAST_IN_GROUPS.get(size, LEAST_IN_LARGE_GROUPS)
        # Two groups that are neighbours are closed together, too, but fewer are.
        if is_told and closed.sum() > best.sum():
            best, n_best = closed, size
    return best, n_best


def has_like_targets(is_like: Bools) -> bool:
    """Tell whether near neighbours share the target far more often than farther ones.

    `is_like`, (n_samples, 2 k), says so for each neighbour, nearest first. False where few
    values are common: then farther neighbours have them, too.
    """
    near, far = is_like[:, :K].any(axis=1).mean(), is_like[:, K:].any(axis=1).mean()
    return bool(near - far >= LEAST_OF_LIKE_TARGET)


def nearness_limit(distances: Floats, chance: float = CHANCE) -> float:
    """Return the share of the k-th distance within which a neighbour counts as a copy.

    `distances`, (n_samples, 2 k), rise; `chance` is the probability that a sample which is
    no copy is within the limit. The limit is 0 if most samples have k equal ones, or if
    nothing is known of the dimension.
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
    """Return the columns that vary most for their size, standardised, without holes.

    They are 200 at most.
    """
    filled = numbers.fillna(numbers.median()).fillna(0.0).to_numpy()
    order = np.argsort(-filled.std(axis=0, ddof=0) / (np.abs(filled).max(axis=0) + 1e-300))
    scaled: Floats = StandardScaler().fit_transform(
        filled[:, np.sort(order[:MOST_COLUMNS])]
    )
    return scaled
