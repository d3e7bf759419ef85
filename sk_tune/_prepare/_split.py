# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Rows in three parts: for training, for selection, and for one final test."""

import math
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, indexable

from sk_tune._compat import (
    Interval,
    RealNotInt,
    num_samples,
    safe_indexing,
    validate_parameter_constraints,
)
from sk_tune._splits import as_column, as_times, order_of_times
from sk_tune._types import Array, Integers

_SIZE = [
    Interval(RealNotInt, 0, 1, closed="neither"),
    Interval(Integral, 1, None, closed="left"),
    None,
]
_CONSTRAINTS = {
    **dict.fromkeys(("test_size", "valid_size", "train_size"), _SIZE),
    "random_state": ["random_state"],
    "shuffle": ["boolean"],
}
_DEFAULT_SIZE = 0.2


def train_valid_test_split(
    *arrays: Any,
    test_size: float | None = None,
    valid_size: float | None = None,
    train_size: float | None = None,
    random_state: int | np.random.RandomState | None = None,
    shuffle: bool = True,
    stratify: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    times: npt.ArrayLike | None = None,
) -> list[Any]:
    """Split rows into training, validation and test rows, each row in at most one part.

    Parameters
    ----------
    *arrays : array-like of shape (n_samples, ...)
        Lists, arrays, sparse matrices or tables of the same length.
    test_size : float or int, default=None
        Share of all rows, or number of rows, for the test part.  None means 0.2.  If
        `train_size` is set, None means all remaining rows; if `valid_size` is also None,
        each part gets half of them.
    valid_size : float or int, default=None
        Share of all rows, or number of rows, for validation; None as for `test_size`.
    train_size : float or int, default=None
        Share of all rows, or number of rows, for training.  None means all other rows.  If
        the three sizes add up to fewer rows than there are, the remaining rows are in no
        part.
    random_state : int, RandomState or None, default=None
        Seed of the shuffling.  No effect with `times`.
    shuffle : bool, default=True
        Whether to shuffle the rows before they are split.  False requires `stratify` and
        `groups` to be None.  No effect with `times`.
    stratify : array-like of shape (n_samples,), default=None
        Class of each row.  All parts have equal class shares, as far as `groups` allow.
    groups : array-like of shape (n_samples,), default=None
        Group of each row, such as its patient.  Rows of a group stay together in one part.
        Sizes are matched as closely as the groups allow.
    times : array-like of shape (n_samples,), default=None
        Numbers or dates; text is read as dates that begin with the year.  All training rows
        are then earlier than all validation rows, which are earlier than all test rows.
        Rows with the same time stay together, so sizes are matched as closely as the times
        allow.  Cannot be combined with `stratify` or `groups`.

    Returns
    -------
    list of length 3 * len(arrays)
        Training, validation and test rows of the first array, then of the second, and so
        on; shuffled, or in the order of `times`.

    Raises
    ------
    ValueError
        If the sizes leave no training rows, there are too few classes, groups or times for
        three parts, or times are text that is not a date.

    See Also
    --------
    sklearn.model_selection.train_test_split : Split into two parts.
    sk_tune.find_leaks : Find rows of one part that give away rows of another.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_tune import train_valid_test_split
    >>> X, y = np.arange(20).reshape(10, 2), np.arange(10) % 2
    >>> parts = train_valid_test_split(X, y, stratify=y, random_state=0)
    >>> X_train, X_valid, X_test, y_train, y_valid, y_test = parts
    >>> [sorted(part.tolist()) for part in (y_train, y_valid, y_test)]
    [[0, 0, 0, 1, 1, 1], [0, 1], [0, 1]]
    """
    values = {"test_size": test_size, "valid_size": valid_size, "train_size": train_size}
    validate_parameter_constraints(
        _CONSTRAINTS,
        {**values, "random_state": random_state, "shuffle": shuffle},
        caller_name="train_valid_test_split",
    )
    if not arrays:
        raise ValueError("At least one array required as input")
    *arrays, stratify, groups, times = indexable(*arrays, stratify, groups, times)
    n_train, sizes = _sizes(num_samples(arrays[0]), values)
    rng = check_random_state(random_state)
    has_others = stratify is not None or groups is not None
    if times is not None and has_others:
        raise ValueError(
            "'times' of train_valid_test_split cannot be combined with 'stratify' or "
            "'groups', because time alone determines the parts."
        )
    if times is None and has_others and not shuffle:
        raise ValueError(
            "shuffle=False of train_valid_test_split cannot be combined with 'stratify' "
            "or 'groups', because these determine the part of a row."
        )
    if times is not None:
        train, *last = _by_time(as_times(_one_dimensional(times, "times")), sizes)
        parts = [train[-(n_train or 0) :], *last]
    elif groups is not None:
        classes = None if stratify is None else _one_dimensional(stratify, "stratify")
        train, *last = _by_group(_one_dimensional(groups, "groups"), classes, sizes, rng)
        parts = [train[:n_train], *last]
    elif shuffle:
        parts = _at_random(stratify, n_train, sizes, rng)
    else:
        parts = np.split(
            np.arange(sum(sizes)), np.cumsum([n_train or sizes[0], *sizes[1:]])
        )[:3]
    return [safe_indexing(array, part) for array in arrays for part in parts]


def _sizes(n_samples: int, values: dict[str, float | None]) -> tuple[int | None, list[int]]:
    """Return the limit of training rows, and sizes of three parts that hold all rows."""
    n_rows = {
        name: int(size) if isinstance(size, int | np.integer) else rounded(size * n_samples)
        for (name, size), rounded in zip(
            values.items(), (math.ceil, math.ceil, math.floor), strict=True
        )
        if size is not None
    }
    n_train = n_rows.pop("train_size", None)
    missing = [name for name in ("test_size", "valid_size") if name not in n_rows]
    for n_left, name in zip(range(len(missing), 0, -1), missing, strict=True):
        n_rest = n_samples - (n_train or 0) - sum(n_rows.values())
        default = math.ceil(_DEFAULT_SIZE * n_samples)
        n_rows[name] = default if n_train is None else -(-n_rest // n_left)
    n_rest = n_samples - sum(n_rows.values())
    shares = [size for size in values.values() if isinstance(size, float)]
    if n_train is not None and len(shares) == len(values) and math.isclose(sum(shares), 1):
        # Shares of all rows, of which the other parts are rounded up.
        n_train = n_rest
    is_possible = n_train is None or 1 <= n_train <= n_rest
    if not (is_possible and min(n_rest, *n_rows.values()) >= 1):
        sizes = " and ".join(f"{k}={v}" for k, v in values.items() if v is not None)
        raise ValueError(
            "The sizes of train_valid_test_split must leave at least one row for each "
            f"part and not exceed the number of rows. Got {sizes or 'the defaults'} for "
            f"n_samples={n_samples}."
        )
    return n_train, [n_rest, n_rows["valid_size"], n_rows["test_size"]]


def _at_random(
    stratify: Any, n_train: int | None, sizes: list[int], rng: Any
) -> list[Integers]:
    _, n_valid, n_test = sizes
    remaining, test = train_test_split(
        np.arange(sum(sizes)), test_size=n_test, stratify=stratify, random_state=rng
    )
    classes = None if stratify is None else safe_indexing(stratify, remaining)
    train, valid = train_test_split(
        remaining, train_size=n_train, test_size=n_valid, stratify=classes, random_state=rng
    )
    return [train, valid, test]


def _by_time(times: Array, sizes: list[int]) -> list[Integers]:
    # Cuts are possible only where a later time begins.
    order, starts = order_of_times(times)
    if len(starts) < 2:
        raise ValueError(
            "'times' of train_valid_test_split must hold at least 3 different times. Got "
            f"{len(starts) + 1}."
        )
    # The second cut leaves a place for the first cut before it.
    second = 1 + np.abs(starts[1:] - (sizes[0] + sizes[1])).argmin()
    first = np.abs(starts[:second] - sizes[0]).argmin()
    return np.split(order, [starts[first], starts[second]])


def _by_group(
    groups: Array, classes: Array | None, sizes: list[int], rng: Any
) -> list[Integers]:
    codes, names = pd.factorize(groups)
    if len(names) < len(sizes):
        raise ValueError(
            "'groups' of train_valid_test_split must hold at least 3 different groups. Got "
            f"{len(names)}."
        )
    labels = np.zeros(len(codes), int) if classes is None else pd.factorize(classes)[0]
    counts = np.zeros((len(names), labels.max() + 1))  # (groups, classes)
    np.add.at(counts, (codes, labels), 1)
    part_of_group = _assign(counts, np.array(sizes) / sum(sizes), rng)
    rows = rng.permutation(len(codes))
    return [rows[part_of_group[codes[rows]] == part] for part in range(len(sizes))]


def _assign(counts: Array, shares: Array, rng: Any) -> Integers:
    """Return a part for each group, such that each gets about its share of each class.

    Groups come in random order.  Each goes to the part for which the chi-squared distance
    of the counts from the target counts increases least.
    """
    target_counts = np.outer(shares, counts.sum(axis=0))  # (parts, classes)
    filled = np.zeros_like(target_counts)
    is_empty = np.ones(len(shares), dtype=bool)
    part_of_group = np.empty(len(counts), dtype=np.int64)
    for n_seen, group in enumerate(rng.permutation(len(counts))):
        added = counts[group]
        growth = (added * (2 * (filled - target_counts) + added) / target_counts).sum(
            axis=1
        )
        if len(counts) - n_seen <= is_empty.sum():
            growth[~is_empty] = np.inf
        part = growth.argmin()
        filled[part] += added
        is_empty[part] = False
        part_of_group[group] = part
    return part_of_group


def _one_dimensional(values: Any, name: str) -> Array:
    array = as_column(values, name)
    n_missing = int(pd.isna(array).sum())
    if n_missing:
        raise ValueError(
            f"{name!r} of train_valid_test_split must not hold missing values. Got "
            f"{n_missing}."
        )
    return array
