# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Rows of a test fold that training rows repeat, exactly or nearly."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.util import hash_pandas_object
from sklearn.neighbors import NearestNeighbors

from sk_tune.diagnosis._check import share
from sk_tune.diagnosis._leak_checks import LEAK_CHECKS, LeakTable
from sk_tune.diagnosis._leak_copies import (
    NEIGHBOURS,
    K,
    closed_groups,
    has_like_targets,
    nearness_limit,
    scaled_numbers,
)
from sk_tune.diagnosis._records import Finding

__all__ = ["check_duplicates", "check_near_duplicates"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# Of the test rows.  A few repeated rows change no score.
LEAST_SHARE = 0.01
FEWEST_ROWS = 3
# Houses of one kind or twins are nearly equal and two cases all the same.
LEAST_NEAR_SHARE = 0.02
# A table with fewer kinds of rows than this share of its rows repeats them by its nature.
CONTINUOUS = 0.5
# Rows that are nearer to a training row than this share of what is usual are copies with
# noise.  In tables without copies, nearest distances spread by far less.
NEAR = 0.02
# Which neighbour's distance is usual: behind the copies that a row may have.
USUAL = 5
# Targets of copies differ by less than this share of what targets of farther rows do: in a
# table of few columns rows lie near each other without being one case.
LIKE_TARGET = 0.25
# With more noise, copies are not so near.  They are nearer than rows come to lie by chance
# (see `_leak_copies`) in so many columns at least, are this share of the test rows, and
# have next to the same targets.
FEWEST_COLUMNS = 3
LEAST_COPIED, FEWEST_COPIES = 0.05, 10
SAME_TARGET = 0.05
# Columns of numbers that tell rows apart: by different values and missing ones, of all.
LEAST_VARIED = 0.05
MOST_MISSING = 0.05
# Nearest neighbours are looked for among so many rows at most, drawn by a fixed seed.
MOST_ROWS = 5000


def check_duplicates(table: LeakTable) -> Finding:
    """Look for test samples that are also training samples.

    An issue if they are too many to be chance, a tip where samples repeat by nature.
    """
    check = LEAK_CHECKS["duplicates across folds"]
    hashes = hash_pandas_object(_hashable(table.X), index=False).to_numpy()
    repeated = [np.isin(hashes[test], hashes[train]) for train, test in table.folds]
    n_tested = sum(map(len, repeated))
    n_repeated = int(sum(map(np.sum, repeated)))
    part = n_repeated / max(1, n_tested)
    kinds = len(np.unique(hashes)) / max(1, len(hashes))
    evidence = {"share": part, "rows": n_repeated, "different_rows": kinds}
    if part < LEAST_SHARE or n_repeated < FEWEST_ROWS:
        return check.passed("Few test rows are also training rows, or none.", evidence)
    said = f"{share(part)} of the test rows are also training rows."
    if kinds < CONTINUOUS:
        return check.tip(
            "low",
            f"{said} The table has few kinds of rows, so this may be its nature.",
            evidence,
            "If equal rows are one case that was recorded twice, keep one of them.",
        )
    return check.issue(
        "high" if part > 10 * LEAST_SHARE else "medium",
        said,
        evidence,
        "Drop repeated rows before you split, or split by a group for each kind of row.",
    )


def check_near_duplicates(table: LeakTable) -> Finding:
    """Look for test samples that are training samples with a little noise.

    An issue if they are too many to be chance.
    """
    check = LEAK_CHECKS["near duplicates across folds"]
    numbers = table.numbers.astype(np.float64)
    # Filled in with one value, rows come to lie closer together.
    is_whole = numbers.isna().mean() < MOST_MISSING
    is_varied = numbers.nunique() > max(2, LEAST_VARIED * len(numbers))
    numbers = numbers.loc[:, is_whole & is_varied]
    if numbers.shape[1] < 2:
        return check.not_applicable("It takes two columns of many different numbers.")
    found = _neighbours(numbers, table)
    usual = float(np.median(found.distances[:, min(USUAL, found.distances.shape[1]) - 1]))
    if usual == 0.0:
        return check.not_applicable("Most rows are there several times.")
    nearest = found.distances[:, 0]
    is_near = (nearest > 0) & (nearest < NEAR * usual)
    is_leak = is_near.mean() >= LEAST_NEAR_SHARE and is_near.sum() >= FEWEST_ROWS
    is_leak = is_leak and found.difference(is_near) <= LIKE_TARGET
    if not is_leak and numbers.shape[1] >= FEWEST_COLUMNS and found.is_complete:
        is_copy = found.are_copies()
        is_leak = is_copy.mean() >= LEAST_COPIED and is_copy.sum() >= FEWEST_COPIES
        is_leak = is_leak and found.difference(is_copy) <= SAME_TARGET
        is_near = is_copy if is_leak else is_near
    if not is_leak and found.is_complete:
        is_copy = found.have_like_targets() | found.are_in_closed_groups()
        is_leak = is_copy.mean() >= LEAST_COPIED and is_copy.sum() >= FEWEST_COPIES
        is_near = is_copy if is_leak else is_near
    part = float(is_near.mean())
    evidence = {"share": part, "rows": float(is_near.sum()), "usual_distance": usual}
    if not is_leak:
        return check.passed("Test rows keep their distance from training rows.", evidence)
    return check.issue(
        "high" if part > 10 * LEAST_NEAR_SHARE else "medium",
        f"{share(part)} of the test rows are almost equal to a training row.",
        evidence,
        "Keep copies of one case (augmented, measured twice) on one side of each split: "
        "groups=group_copies(X, y) and cv=GroupKFold() or StratifiedGroupKFold().",
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Neighbours:
    """The nearest training samples of R test samples.

    `distances`, (R, k), rise; `differences`, (R, k), are those of the targets: absolute, or
    1 for another class. `in_groups`, (R,), says whether a sample is in a closed group with
    training samples.
    """

    distances: Floats
    differences: Floats
    in_groups: Bools
    is_classification: bool

    @property
    def is_complete(self) -> bool:
        """Whether there were rows enough to tell what is usual."""
        return bool(self.distances.shape[1] == NEIGHBOURS)

    def are_copies(self) -> Bools:
        """Return which rows are nearer to a training row than by chance, but not equal."""
        nearest, usual = self.distances[:, 0], self.distances[:, NEIGHBOURS // 2 - 1]
        limit = nearness_limit(self.distances)
        copies: Bools = (nearest > 0) & (nearest < limit * usual)
        return copies

    def have_like_targets(self) -> Bools:
        """Return which rows have a number as target that a row nearby has, too.

        None if that is about as common farther away.
        """
        is_like = self.differences == 0
        is_told = not self.is_classification and has_like_targets(is_like)
        rows: Bools = is_told & is_like[:, :K].any(axis=1)
        return rows

    def are_in_closed_groups(self) -> Bools:
        """Return which rows are in closed groups, if these have next to one target each."""
        is_told = self.in_groups.any() and self.difference(self.in_groups) <= SAME_TARGET
        return self.in_groups & is_told

    def difference(self, rows: Bools) -> float:
        """Return how much targets of nearest rows differ, by how those of farther do."""
        nearest = float(self.differences[rows, 0].mean())
        farther = float(self.differences[:, self.differences.shape[1] // 2 :].mean())
        return nearest / farther if farther > 0 else 0.0


def _hashable(X: pd.DataFrame) -> pd.DataFrame:
    """Return a table in which every value can be hashed."""
    hashable = X.copy(deep=False)
    for name in X.columns:
        if X[name].dtype == object:
            hashable[name] = X[name].map(repr)
    return hashable


def _neighbours(numbers: pd.DataFrame, table: LeakTable) -> _Neighbours:
    scaled = scaled_numbers(numbers)
    y = table.y.reshape(len(table.y), -1)
    rng = np.random.default_rng(0)
    most = MOST_ROWS // len(table.folds)
    k = min(NEIGHBOURS, *(len(train) for train, _ in table.folds))
    closed, members = _closed_groups(scaled)
    distances, differences, in_groups = [], [], []
    for train, test in table.folds:
        some = rng.choice(test, most, replace=False) if len(test) > most else test
        found = NearestNeighbors(n_neighbors=k).fit(scaled[train]).kneighbors(scaled[some])
        distances.append(found[0])
        own, others = y[some][:, None], y[train][found[1]]
        if table.is_classification:
            differences.append((own != others).any(axis=2).astype(np.float64))
        else:
            differences.append(np.abs(own - others).astype(np.float64).mean(axis=2))
        in_groups.append(closed[some] & np.isin(members[some], train).any(axis=1))
    return _Neighbours(
        np.concatenate(distances),
        np.concatenate(differences),
        np.concatenate(in_groups),
        table.is_classification,
    )


def _closed_groups(scaled: Floats) -> tuple[Bools, npt.NDArray[np.intp]]:
    """Return which rows are in closed groups, and the other rows of each one's group."""
    n = len(scaled)
    if not NEIGHBOURS < n <= MOST_ROWS:
        # Some of very many rows would not tell: they lack others of their groups.
        return np.zeros(n, dtype=bool), np.zeros((n, 0), dtype=np.intp)
    neighbours = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(scaled).kneighbors()[1]
    closed, size = closed_groups(neighbours)
    return closed, neighbours[:, : max(size - 1, 0)]
