# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Rows of a test fold that training rows repeat, exactly or nearly."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.util import hash_pandas_object
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from sk_tune.diagnosis._check import share
from sk_tune.diagnosis._leak_checks import LEAK_CHECKS, LeakTable
from sk_tune.diagnosis._records import Finding

__all__ = ["check_duplicates", "check_near_duplicates"]

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
# Columns of numbers that tell rows apart: by different values and missing ones, of all.
LEAST_VARIED = 0.05
MOST_MISSING = 0.05
# Nearest neighbours are looked for among so many rows at most, drawn by a fixed seed.
MOST_ROWS = 5000
# Distances say little in more columns than this; the first ones by variance are taken.
MOST_COLUMNS = 200


def check_duplicates(table: LeakTable) -> Finding:
    """Look for test rows that are also training rows.

    Parameters
    ----------
    table : LeakTable
        Rows and folds.

    Returns
    -------
    Finding
        An issue if they are too many to be chance, a tip where rows repeat by nature.
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
    """Look for test rows that are training rows with a little noise.

    Parameters
    ----------
    table : LeakTable
        Rows and folds.

    Returns
    -------
    Finding
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
    distances, usual = _distances(numbers, table)
    if usual == 0.0:
        return check.not_applicable("Most rows are there several times.")
    near = ((distances > 0) & (distances < NEAR * usual)).sum()
    part = float(near / len(distances))
    evidence = {"share": part, "rows": float(near), "usual_distance": usual}
    if part < LEAST_NEAR_SHARE or near < FEWEST_ROWS:
        return check.passed("Test rows keep their distance from training rows.", evidence)
    return check.issue(
        "high" if part > 10 * LEAST_NEAR_SHARE else "medium",
        f"{share(part)} of the test rows are almost equal to a training row.",
        evidence,
        "Keep copies of one case (augmented, measured twice) on one side of each split: "
        "give them one group and split by it.",
    )


def _hashable(X: pd.DataFrame) -> pd.DataFrame:
    """Return a table in which every value can be hashed."""
    objects = [name for name in X.columns if X[name].dtype == object]
    return X.assign(**{name: X[name].map(repr) for name in objects})


def _distances(
    numbers: pd.DataFrame, table: LeakTable
) -> tuple[npt.NDArray[np.float64], float]:
    """Return how far test rows are from the nearest training row, and what is usual."""
    filled = numbers.fillna(numbers.median()).to_numpy()
    order = np.argsort(-filled.std(axis=0, ddof=0) / (np.abs(filled).max(axis=0) + 1e-300))
    scaled = StandardScaler().fit_transform(filled[:, np.sort(order[:MOST_COLUMNS])])
    rng = np.random.default_rng(0)
    most = MOST_ROWS // len(table.folds)
    found = []
    for train, test in table.folds:
        some = rng.choice(test, most, replace=False) if len(test) > most else test
        neighbours = NearestNeighbors(n_neighbors=min(USUAL, len(train)))
        found.append(neighbours.fit(scaled[train]).kneighbors(scaled[some])[0])
    distances = np.concatenate(found)
    return distances[:, 0], float(np.median(distances[:, -1]))
