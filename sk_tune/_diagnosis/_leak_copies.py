# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Duplicate cases, even if each was recorded several times with noise.

Notation: a row's distances to its neighbours are d_1 <= d_2 <= ..., and m is the intrinsic
dimension of the rows, estimated from neighbours beyond the copies [1]_.  At even density,
``(d_1 / d_k) ** m`` is the least of ``k - 1`` uniform numbers, which falls below a limit
for 1 in 1,000 rows; copies are nearer.  Two signs reveal copies with more noise: if every
case was recorded s times, the ``s - 1`` nearest rows of most rows are a closed group; and
numeric targets of copies agree to the last digit.

References
----------
.. [1] E. Levina, P. J. Bickel. Maximum likelihood estimation of intrinsic dimension.
   NeurIPS 2004. Here by the mean logarithm of ``d_2k / d_k``.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pandas.util import hash_pandas_object
from scipy import sparse
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import digamma
from scipy.stats import poisson
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.utils.multiclass import type_of_target

from sk_tune._diagnosis._findings import RULES, Finding, share
from sk_tune._diagnosis._leak_effect import only_if_copies_matter
from sk_tune._frames import as_pandas
from sk_tune._plain_numbers import unique_counts
from sk_tune._types import Array, Bools, Features, Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LeakTable:
    """Samples, flattened, targets, and folds (positions of training and test samples)."""

    X: pd.DataFrame
    y: Array
    is_classification: bool
    folds: Sequence[tuple[Array, Array]]

    @property
    def numbers(self) -> pd.DataFrame:
        return self.X.select_dtypes(include=["number", "bool"])


# Trees compute in float32.
_LARGEST = float(np.finfo(np.float32).max)
# Largest number of values, including zeros, of a sparse table that is checked.
MOST_DENSE = 100_000_000


def as_frame(X: Any) -> pd.DataFrame:
    """Return data of any kind as a table with named columns, without infinite numbers.

    Numbers too large for float32 are clipped, and repeated names get a number.
    Raises ValueError if the samples have unequal lengths, or a sparse table is too large.
    """
    X = _dense(X) if sparse.issparse(X) else X
    frame = as_pandas(X)
    if frame is None:
        try:
            array = np.asarray(X)
        except ValueError as error:
            raise ValueError(
                "The samples of X must have equal lengths. Got unequal lengths. Check a "
                "table with one row for each sequence instead, such as its mean and length."
            ) from error
        frame = pd.DataFrame(array.reshape(len(array), -1))
        frame.columns = [f"column {i}" for i in range(frame.shape[1])]
        frame = frame.infer_objects()
    table: pd.DataFrame = frame.reset_index(drop=True).copy(deep=False)
    if not table.columns.is_unique:
        names = pd.Series(table.columns.astype(str))
        places = names.groupby(names).cumcount() + 1
        table.columns = names.where(places == 1, names + " (" + places.astype(str) + ")")
    for name, column in table.items():
        if column.dtype == object:
            # Lists, for example, have no hash.
            is_text = pd.api.types.infer_dtype(column, skipna=True) == "string"
            as_text = str if is_text else repr
            table[name] = column.map(as_text, na_action="ignore")
        elif pd.api.types.is_timedelta64_dtype(column.dtype):
            table[name] = column.dt.total_seconds()
        elif pd.api.types.is_float_dtype(column.dtype):
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
            if (np.abs(values) > _LARGEST).any():
                finite = np.where(np.isinf(values), np.nan, values)
                table[name] = np.clip(finite, -_LARGEST, _LARGEST)
    return table


def _dense(X: Any) -> Array:
    """Return a sparse table as an array; ValueError if it is too large."""
    if math.prod(X.shape) > MOST_DENSE:
        raise ValueError(
            f"A sparse X must have at most {MOST_DENSE:,} values, including zeros. Got "
            f"X.shape={X.shape}. Check some of its columns, such as X[:, :1000]."
        )
    return np.asarray(X.toarray())


def holds_classes(y: Array) -> bool:
    """Return whether targets are classes: not numbers, or few or frequent integers."""
    if type_of_target(y).startswith("continuous"):
        return False
    n = len(np.unique(y))
    is_often = y.dtype.kind != "f" and n <= len(y) / 10
    return y.dtype.kind not in "fiu" or n <= 20 or is_often


# k: larger than the number of copies of a case.
K = 10
# Number of neighbours to search.
_NEIGHBOURS = 2 * K
# Smaller distances, relative to the median of the farthest neighbours, are 0.
_ROUNDING = 1e-6
# False positive rates: for reporting copies, and for only keeping rows on one side of a
# split.
CHANCE, CHANCE_TO_GROUP = 1e-3, 0.02


def group_copies(X: Features, y: ArrayLike | None = None) -> Ints:
    """Return a group number for each row, equal for copies of the same case.

    Parameters
    ----------
    X : array-like or frame of shape (n_samples, ...)
        Features.  Numeric columns and durations are compared; missing values are replaced
        by the median.
    y : array-like of shape (n_samples,) or None, default=None
        Regression targets or classes.  With targets, noisier copies are detected.

    Returns
    -------
    ndarray of shape (n_samples,)
        Group of each row, to pass as ``groups`` to ``GroupKFold``.  Rows that are equal or
        almost equal are in the same group.

    Raises
    ------
    ValueError
        If X has no numeric columns.

    See Also
    --------
    find_leaks : Checks whether groups are needed.

    Notes
    -----
    Rows are almost equal if they are far closer to each other than to their tenth
    neighbour; by chance this holds for two rows in a hundred.  With fewer than 22 rows only
    equal rows are grouped.  If most rows form groups of the same size, in which each row is
    nearer to its group than to any other row, these are also grouped.  With `y`, mutual
    nearest neighbours of the same class are grouped, and neighbours with the same numeric
    target if many rows have such neighbours.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_tune import group_copies
    >>> rng = np.random.default_rng(0)
    >>> cases = rng.normal(size=(100, 5))
    >>> X = np.repeat(cases, 2, axis=0) + 0.02 * rng.normal(size=(200, 5))
    >>> groups = group_copies(X)
    >>> bool((groups[::2] == groups[1::2]).all()), len(np.unique(groups))
    (True, 100)
    """
    numbers = as_frame(X).select_dtypes(include=["number", "bool"]).astype(np.float64)
    if not numbers.shape[1]:
        raise ValueError("X of group_copies must have numeric columns. Got none.")
    scaled = _scaled_numbers(numbers)
    n = len(scaled)
    n_neighbours = min(_NEIGHBOURS, n - 1)
    if n_neighbours < 1:
        return np.zeros(n, dtype=np.intp)
    neighbours = NearestNeighbors(n_neighbors=n_neighbours).fit(scaled)
    distances, columns = neighbours.kneighbors()
    limit = 0.0
    if n_neighbours == _NEIGHBOURS:
        limit = _nearness_limit(distances, CHANCE_TO_GROUP)
    usual = distances[:, min(K, n_neighbours) - 1]
    # The smaller distance of both rows counts, because isolated rows have no copies.
    both = np.minimum(usual[:, None], usual[columns])
    linked = distances <= limit * both
    if n_neighbours == _NEIGHBOURS:
        linked |= _are_of_one_case(columns, None if y is None else np.asarray(y))
    rows = np.nonzero(linked)[0]
    graph = coo_array((np.ones(len(rows)), (rows, columns[linked])), shape=(n, n))
    groups: Ints = connected_components(graph, directed=False)[1]
    return groups.astype(np.intp)


def _are_of_one_case(neighbours: Ints, y: Array | None) -> Bools:
    """Return which neighbours are copies of a row, by closed groups and by targets."""
    is_same = np.zeros(neighbours.shape, dtype=bool)
    closed, size = _find_closed_groups(neighbours)
    is_like = np.ones(neighbours.shape, dtype=bool)
    if y is not None:
        neighbour_targets = y[neighbours].reshape(*neighbours.shape, -1)
        is_like = (neighbour_targets == y.reshape(len(y), 1, -1)).all(axis=2)
        if not holds_classes(y) and _has_like_targets(is_like):
            is_same[:, :K] = is_like[:, :K]
    if size:
        nearest = neighbours[:, : size - 1]
        is_mutual = (nearest[nearest] == np.arange(len(nearest))[:, None, None]).any(axis=2)
        is_copy = is_mutual & is_like[:, : size - 1] if y is not None else closed[:, None]
        is_same[:, : size - 1] |= is_copy
    return is_same


def _find_closed_groups(neighbours: Ints) -> tuple[Bools, int]:
    """Return which samples, (n_samples,), form closed groups, and the usual size or 0."""
    rows = np.arange(len(neighbours))[:, None]
    best, n_best = np.zeros(len(rows), dtype=bool), 0
    for size in range(2, min(K, neighbours.shape[1]) + 1):
        groups = np.sort(np.hstack([rows, neighbours[:, : size - 1]]), axis=1)
        closed: Bools = (groups[groups] == groups[:, None]).all(axis=(1, 2))
        # By chance, even in clustered tables, two in three rows form closed pairs, two in
        # five closed groups of three or four, and one in four larger groups.
        is_frequent = closed.mean() >= {2: 0.85, 3: 0.5, 4: 0.5}.get(size, 0.35)
        # Two neighbouring groups may also form a closed group, but this is rarer.
        if is_frequent and closed.sum() > best.sum():
            best, n_best = closed, size
    return best, n_best


def _has_like_targets(is_like: Bools) -> bool:
    """Return whether near neighbours share targets much more often than far neighbours."""
    # A few common values are also shared by far neighbours.
    close, far = (part.any(axis=1).mean() for part in (is_like[:, :K], is_like[:, K:]))
    return bool(close - far >= 0.3)


def _nearness_limit(distances: Floats, chance: float = CHANCE) -> float:
    """Return the share of the k-th distance within which a neighbour counts as a copy.

    `distances`, (n_samples, 2 k), ascend. The limit is 0 if most samples have k equal
    neighbours, or if the dimension is unknown.
    """
    kth, far = distances[:, K - 1], distances[:, _NEIGHBOURS - 1]
    is_positive = kth > 0
    if is_positive.mean() < 0.5:
        return 0.0
    growth = float(np.log(far[is_positive] / kth[is_positive]).mean())
    if growth <= 0:
        return 0.0
    dimension = float(digamma(_NEIGHBOURS) - digamma(K)) / growth
    return math.pow(chance / (K - 1), 1 / dimension)


def _scaled_numbers(numbers: pd.DataFrame) -> Floats:
    """Return the 200 most variable columns, standardised and imputed."""
    values = numbers.to_numpy()
    filled = np.where(np.isnan(values), numbers.median().to_numpy(), values)
    # Columns stay contiguous, on which the last bit of a sum depends.
    filled = np.asfortranarray(np.where(np.isnan(filled), 0.0, filled))
    order = np.argsort(-filled.std(axis=0, ddof=0) / (np.abs(filled).max(axis=0) + 1e-300))
    # Distances in more columns are less informative.
    scaled: Floats = StandardScaler().fit_transform(filled[:, np.sort(order[:200])])
    return scaled


# Largest number of rows for the search of neighbours, drawn with a fixed seed.
_MOST_ROWS = 5000
# Least excess of equal rows over the expected number, as a share of the test rows.
_LEAST_SHARE = 0.01
# Least ratio of the number of equal rows to the expected number, and largest p-value.
_LEAST_RATIO, _SIGNIFICANCE = 1.5, 1e-3


def check_duplicates(table: LeakTable) -> Finding:
    """Check for test samples that are also training samples, with the same target."""
    rule = RULES["duplicates across folds"]
    varied = (name for name in table.X if _codes(table.X[name]).max() > 0)
    if len(list(islice(varied, 2))) < 2:
        return rule.not_applicable("This check needs two columns with different values.")
    rows = _codes(hash_pandas_object(table.X, index=False).to_numpy())
    targets = _target_codes(table)
    cases = _joint_codes([rows, *targets.T])
    n_tested = sum(len(test) for _, test in table.folds)
    n_equal, n_copies = (
        sum(int(np.isin(codes[test], codes[train]).sum()) for train, test in table.folds)
        for codes in (rows, cases)
    )
    part, kinds = n_copies / max(1, n_tested), (rows.max() + 1) / len(rows)
    evidence = {"share": part, "rows": n_copies, "different_rows": float(kinds)}
    least = max(3, _LEAST_SHARE * n_tested)
    if n_equal < least:
        return rule.passed("Few or no test rows are also training rows.", evidence)
    if n_copies < least:
        return rule.passed(
            f"{share(n_equal / n_tested)} of the test rows have the same features as a "
            "training row but a different target, so they are different cases.",
            evidence,
        )
    rate, most = _chances_of_twin(table, targets, cases)
    evidence |= {"expected_share": rate, "most_expected_share": most}
    expected = most * n_tested
    # Both rows of a pair are test rows, so pairs are independent, rows are not.
    p_value = poisson.sf(n_copies // 2 - 1, expected / 2)
    is_excess = n_copies > _LEAST_RATIO * expected and p_value < _SIGNIFICANCE
    if is_excess and n_copies - expected >= least:
        issue = rule.issue(
            "high" if part > 0.1 else "medium",
            f"{share(part)} of the test rows are also training rows, with the same target; "
            f"by chance, at most {share(most)} would be.",
            evidence,
            "Drop repeated rows before splitting, or split by groups of equal rows.",
        )
        return only_if_copies_matter(issue, table, cases)
    message = f"{share(part)} of the test rows are equal to a training row"
    if kinds >= 0.5:
        return rule.passed(
            f"{message}, no more than the values of the columns produce by chance.",
            evidence,
        )
    return rule.tip(
        "low",
        f"{message}. The table has few distinct rows, so they need not be copies.",
        evidence,
        "If equal rows are repeated records of one case, keep one row per case.",
    )


def _codes(values: Any) -> Ints:
    codes: Ints = pd.factorize(values, use_na_sentinel=False)[0].astype(np.intp)
    return codes


def _joint_codes(columns: Sequence[Ints]) -> Ints:
    """Return one code for each combination of the codes of several columns."""
    joint = columns[0]
    for codes in columns[1:]:
        joint = np.unique(joint * (codes.max() + 1) + codes, return_inverse=True)[1]
    return joint


def _counts(codes: Ints) -> Ints:
    """Return for each sample the number of samples with its code."""
    return np.bincount(codes)[codes]


def _target_codes(table: LeakTable) -> Ints:
    """Return codes of targets, (n_samples, n_outputs), equal within 1e-9 of a number."""
    y = table.y.reshape(len(table.y), -1)
    if not table.is_classification:
        mantissas, exponents = np.frexp(y.astype(np.float64))
        y = np.ldexp(np.round(mantissas, 9), exponents)
    return np.column_stack([_codes(column) for column in y.T])


# Columns and samples from which the chance of equal rows is estimated.
_MOST_COLUMNS = 40
# Weight of the distribution that does not depend on a further column, in samples.
_PRIOR_WEIGHTS = (0.01, 0.1, 1.0, 10.0)


def _chances_of_twin(table: LeakTable, targets: Ints, cases: Ints) -> tuple[float, float]:
    """Return the chance of a test sample that is not a copy to equal a training sample.

    The first value is the best estimate, the second an upper bound. A row of probability p
    has the chance ``1 - exp(-n p)`` among n rows.
    """
    some = np.arange(len(cases))
    if len(some) > _MOST_ROWS:
        some = np.random.default_rng(0).choice(some, _MOST_ROWS, replace=False)
    columns = [_codes(column.iloc[some]) for column in (table.X[name] for name in table.X)]
    columns += [_codes(codes[some]) for codes in targets.T]
    n_equal = _counts(_codes(cases[some]))
    likely = _row_probabilities(columns, n_equal)
    most = np.maximum(likely, _local_probabilities(columns, n_equal))
    n_trained = float(np.mean([len(train) for train, _ in table.folds]))
    rate, highest = (float((1 - np.exp(-n_trained * p)).mean()) for p in (likely, most))
    return rate, highest


def _local_probabilities(columns: Sequence[Ints], n_equal: Ints) -> Floats:
    """Return the probability of each row, estimated from rows that differ in one column.

    If L rows differ from a row only in a column, and its value there has the frequency f,
    then ``L f / (1 - f)`` rows are expected to equal it.
    """
    rng, n = np.random.default_rng(0), len(n_equal)
    hashes = [
        rng.integers(2**63, size=codes.max() + 1, dtype=np.uint64)[codes]
        for codes in columns
    ]
    total, most = np.sum(hashes, axis=0, dtype=np.uint64), np.zeros(n)
    for codes, hashed in zip(columns, hashes, strict=True):
        n_similar = _counts(_codes(total - hashed)) - n_equal
        n_other_value = np.maximum(n - _counts(codes), 1)
        most = np.maximum(most, n_similar * (_counts(codes) - n_equal) / n_other_value)
    return most / n


def _row_probabilities(columns: Sequence[Ints], n_equal: Ints) -> Floats:
    """Return the probability of each row by a Bayesian network of the columns.

    Each column depends on the up to two preceding columns that best predict its left-out
    values, with frequencies that back off to one column less.
    """
    n = len(n_equal)
    n_others = np.maximum(n - n_equal, 1)
    diverse = sorted(columns, key=lambda codes: np.log(_counts(codes)).mean())
    log_probability = np.zeros(n)
    for position, column in enumerate(diverse[:_MOST_COLUMNS]):
        n_value = _counts(column)
        frequency, left_out = (n_value - n_equal) / n_others, (n_value - 1 + 1 / n) / n
        best, condition = float(np.log(left_out).mean()), np.zeros(n, dtype=np.intp)
        for _ in range(2):
            choice = None
            for other in diverse[:position]:
                joint = _joint_codes([condition, other])
                n_given, n_both = _counts(joint), _counts(_joint_codes([joint, column]))
                for weight in _PRIOR_WEIGHTS:
                    predicted = (n_both - 1 + weight * left_out) / (n_given - 1 + weight)
                    gained = float(np.log(predicted).mean())
                    if gained > best + 1e-3:
                        best, choice = gained, (joint, n_given, n_both, weight, predicted)
            if choice is None:
                break
            condition, n_given, n_both, weight, left_out = choice
            frequency = (n_both - n_equal + weight * frequency) / (
                n_given - n_equal + weight
            )
        with np.errstate(divide="ignore"):
            log_probability += np.log(frequency)
    return np.exp(log_probability)


def check_near_duplicates(table: LeakTable) -> Finding:
    """Check for many test samples that are training samples with a little noise."""
    rule = RULES["near duplicates across folds"]
    numbers = table.numbers.astype(np.float64)
    # Imputation with one value would move rows closer together.
    is_whole = numbers.isna().mean() < 0.05
    is_varied = unique_counts(numbers.to_numpy()) > max(2, 0.05 * len(numbers))
    numbers = numbers.loc[:, is_whole & is_varied]
    if numbers.shape[1] < 2:
        return rule.not_applicable(
            "This check needs two columns of many different numbers."
        )
    neighbours = _neighbours(numbers, table)
    # The fifth neighbour lies beyond the copies of a row.
    usual = float(
        np.median(neighbours.distances[:, min(5, neighbours.distances.shape[1]) - 1])
    )
    if usual == 0.0:
        return rule.not_applicable("Most rows occur several times.")
    nearest = neighbours.distances[:, 0]
    # Copies with a little noise: without copies, nearest distances vary far less.
    # Different cases may be nearly equal, above all in tables with few columns, so the
    # targets of copies must also differ less.
    is_near = (nearest > 0) & (nearest < 0.02 * usual)
    is_leak = is_near.mean() >= 0.02 and is_near.sum() >= 3
    is_leak = is_leak and neighbours.difference(is_near) <= 0.25
    for is_copy in () if is_leak else neighbours.noisy_copies(numbers.shape[1]):
        if not is_leak and is_copy.mean() >= 0.05 and is_copy.sum() >= 10:
            is_leak, is_near = True, is_copy
    part = float(is_near.mean())
    evidence = {"share": part, "rows": float(is_near.sum()), "usual_distance": usual}
    if not is_leak:
        return rule.passed("Test rows are not unusually close to training rows.", evidence)
    issue = rule.issue(
        "high" if part > 0.2 else "medium",
        f"{share(part)} of the test rows are almost equal to a training row.",
        evidence,
        "Keep copies of one case (augmented, measured twice) on one side of each split: "
        "groups=group_copies(X, y) and cv=GroupKFold() or StratifiedGroupKFold().",
    )
    return only_if_copies_matter(issue, table, group_copies(table.X, table.y))


@dataclass(frozen=True, slots=True, eq=False)
class _Neighbours:
    """The nearest training samples of R test samples."""

    distances: Floats  # (R, k), ascending
    differences: Floats  # (R, k), of targets; 1 for another class
    in_groups: Bools  # (R,), whether in a closed group with training samples
    is_classification: bool

    def noisy_copies(self, n_columns: int) -> Iterator[Bools]:
        """Yield which test samples are noisy copies, by distances and by other signs."""
        if self.distances.shape[1] < _NEIGHBOURS:
            # There are too few rows to estimate usual distances.
            return
        if n_columns >= 3:
            nearest, usual = self.distances[:, 0], self.distances[:, K - 1]
            limit = _nearness_limit(self.distances)
            yield self._of_one_target((nearest > 0) & (nearest < limit * usual))
        is_like = self.differences == 0
        is_sign = not self.is_classification and _has_like_targets(is_like)
        rows: Bools = is_sign & is_like[:, :K].any(axis=1)
        yield rows | self._of_one_target(self.in_groups)

    def _of_one_target(self, rows: Bools) -> Bools:
        return rows & bool(rows.any() and self.difference(rows) <= 0.05)

    def difference(self, rows: Bools) -> float:
        """Return the target difference to the nearest rows, relative to farther rows."""
        nearest = float(self.differences[rows, 0].mean())
        farther = float(self.differences[:, self.differences.shape[1] // 2 :].mean())
        return nearest / farther if farther > 0 else 0.0


def _neighbours(numbers: pd.DataFrame, table: LeakTable) -> _Neighbours:
    scaled = _scaled_numbers(numbers)
    y = table.y.reshape(len(table.y), -1)
    rng = np.random.default_rng(0)
    most = _MOST_ROWS // len(table.folds)
    k = min(_NEIGHBOURS, *(len(train) for train, _ in table.folds))
    if _NEIGHBOURS < len(scaled) <= _MOST_ROWS:
        nearest = NearestNeighbors(n_neighbors=_NEIGHBOURS).fit(scaled).kneighbors()[1]
        closed, size = _find_closed_groups(nearest)
        members = nearest[:, : max(size - 1, 0)]
    else:
        # A subsample of many rows would break groups apart.
        closed = np.zeros(len(scaled), dtype=bool)
        members = np.zeros((len(scaled), 0), dtype=np.intp)
    distances, differences, in_groups = [], [], []
    for train, test in table.folds:
        some = rng.choice(test, most, replace=False) if len(test) > most else test
        hits = NearestNeighbors(n_neighbors=k).fit(scaled[train]).kneighbors(scaled[some])
        distances.append(hits[0])
        mine, theirs = y[some][:, None], y[train][hits[1]]
        if table.is_classification:
            differences.append((mine != theirs).any(axis=2).astype(np.float64))
        else:
            differences.append(np.abs(mine - theirs).astype(np.float64).mean(axis=2))
        in_groups.append(closed[some] & np.isin(members[some], train).any(axis=1))
    all_distances = np.concatenate(distances)
    # Equal rows have distances of rounding errors, which are not near duplicates.
    all_distances[all_distances < _ROUNDING * np.median(all_distances[:, -1])] = 0.0
    return _Neighbours(
        all_distances,
        np.concatenate(differences),
        np.concatenate(in_groups),
        table.is_classification,
    )
