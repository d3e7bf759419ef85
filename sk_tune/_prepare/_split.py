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
from sk_tune._splits import as_times, order_of_times

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

_SIZE = [
    Interval(RealNotInt, 0, 1, closed="neither"),
    Interval(Integral, 1, None, closed="left"),
]
_CONSTRAINTS = {"test_size": _SIZE, "valid_size": _SIZE, "random_state": ["random_state"]}


def train_valid_test_split(
    *arrays: Any,
    test_size: float = 0.2,
    valid_size: float = 0.2,
    stratify: Any = None,
    groups: Any = None,
    times: Any = None,
    random_state: Any = None,
) -> list[Any]:
    """Split rows into training, validation and test rows, each row in exactly one part.

    Parameters
    ----------
    *arrays : array-like of shape (n_samples, ...)
        Lists, arrays, sparse matrices or tables of the same length.
    test_size : float or int, default=0.2
        Share of all rows, or number of rows, for the test.
    valid_size : float or int, default=0.2
        Share of all rows, or number of rows, for validation.
    stratify : array-like of shape (n_samples,), default=None
        Classes whose shares are equal in all parts, as far as `groups` allow.
    groups : array-like of shape (n_samples,), default=None
        Groups, such as patients, whose rows stay together in one part.  Sizes are then
        kept as nearly as the groups allow.
    times : array-like of shape (n_samples,), default=None
        Numbers or dates; text is read as dates that begin with the year.  All training
        rows are then earlier than all validation rows, and these earlier than all test
        rows; rows of one time stay together, so that sizes are kept as nearly as the times
        allow.  Cannot be combined with the two above.
    random_state : int, RandomState or None, default=None
        Seed of the shuffling.  No effect with `times`.

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
    sk_tune._diagnosis.find_leaks : Find rows of one part that give away rows of another.

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
    validate_parameter_constraints(
        _CONSTRAINTS,
        {"test_size": test_size, "valid_size": valid_size, "random_state": random_state},
        caller_name="train_valid_test_split",
    )
    if not arrays:
        raise ValueError("At least one array required as input")
    *arrays, stratify, groups, times = indexable(*arrays, stratify, groups, times)
    sizes = _sizes(num_samples(arrays[0]), valid_size, test_size)
    rng = check_random_state(random_state)
    if times is not None:
        if stratify is not None or groups is not None:
            raise ValueError(
                "'times' of train_valid_test_split must be given without 'stratify' and "
                "'groups', because time alone determines the parts."
            )
        parts = _by_time(as_times(_one_dimensional(times, "times")), sizes)
    elif groups is not None:
        classes = None if stratify is None else _one_dimensional(stratify, "stratify")
        parts = _by_group(_one_dimensional(groups, "groups"), classes, sizes, rng)
    else:
        parts = _at_random(stratify, sizes, rng)
    return [safe_indexing(array, part) for array in arrays for part in parts]


def _sizes(n_samples: int, valid_size: Any, test_size: Any) -> tuple[int, int, int]:
    """Return the numbers of training, validation and test rows."""
    n_valid, n_test = (
        int(size) if isinstance(size, Integral) else math.ceil(size * n_samples)
        for size in (valid_size, test_size)
    )
    n_train = n_samples - n_valid - n_test
    if n_train < 1:
        raise ValueError(
            "The sum of 'test_size' and 'valid_size' of train_valid_test_split must leave "
            f"at least one training row. Got {test_size=} and {valid_size=} for "
            f"n_samples={n_samples}, which leave {max(n_train, 0)}."
        )
    return n_train, int(n_valid), int(n_test)


def _at_random(stratify: Any, sizes: tuple[int, int, int], rng: Any) -> list[Indices]:
    _, n_valid, n_test = sizes
    remaining, rest_classes = np.arange(sum(sizes)), stratify
    parts = []
    for size in (n_test, n_valid):
        remaining, part = train_test_split(
            remaining, test_size=size, stratify=rest_classes, random_state=rng
        )
        parts.append(part)
        rest_classes = None if stratify is None else safe_indexing(stratify, remaining)
    test, valid = parts
    return [remaining, valid, test]


def _by_time(times: Array, sizes: tuple[int, int, int]) -> list[Indices]:
    # Cuts are possible only where a later time begins.
    order, starts = order_of_times(times)
    if len(starts) < 2:
        raise ValueError(
            "'times' of train_valid_test_split must hold at least 3 different times. Got "
            f"{len(starts) + 1}."
        )
    # The second cut is not the first possible one, and the first cut precedes it.
    second = 1 + np.abs(starts[1:] - (sizes[0] + sizes[1])).argmin()
    first = np.abs(starts[:second] - sizes[0]).argmin()
    return np.split(order, [starts[first], starts[second]])


def _by_group(
    groups: Array, classes: Array | None, sizes: tuple[int, int, int], rng: Any
) -> list[Indices]:
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


def _assign(counts: Array, shares: Array, rng: Any) -> Indices:
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
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"{name!r} of train_valid_test_split must have shape (n_samples,). Got "
            f"{array.shape} instead."
        )
    n_missing = int(pd.isna(array).sum())
    if n_missing:
        raise ValueError(
            f"{name!r} of train_valid_test_split must not hold missing values. Got "
            f"{n_missing}."
        )
    return array
