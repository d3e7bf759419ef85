"""Training, validation and test rows."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import sparse

from sk_tune import train_valid_test_split

SIZES = st.one_of(st.floats(0.05, 0.45), st.integers(1, 8))
SEEDS = st.integers(0, 2**32 - 1)


def _n(size, n_samples):
    return size if isinstance(size, int) else int(np.ceil(size * n_samples))


def _is_partition(parts, n_samples):
    return np.array_equal(np.sort(np.concatenate(parts)), np.arange(n_samples))


@given(n=st.integers(20, 60), valid_size=SIZES, test_size=SIZES, seed=SEEDS)
def test_each_row_is_in_one_part_and_sizes_are_those_asked_for(
    n, valid_size, test_size, seed
):
    """Shares are of all rows, and are rounded up as in scikit-learn."""
    parts = train_valid_test_split(
        np.arange(n), valid_size=valid_size, test_size=test_size, random_state=seed
    )

    assert _is_partition(parts, n)
    assert [len(part) for part in parts[1:]] == [_n(valid_size, n), _n(test_size, n)]


@given(counts=st.lists(st.integers(10, 30), min_size=2, max_size=4), seed=SEEDS)
def test_classes_have_the_same_shares_in_all_parts(counts, seed):
    """Within a row, or two if both splits round in the same direction."""
    y = np.repeat(np.arange(len(counts)), counts)
    rows = np.arange(len(y))

    parts = train_valid_test_split(rows, stratify=y, random_state=seed)

    assert _is_partition(parts, len(y))
    for part in parts:
        expected = np.array(counts) * len(part) / len(y)
        assert (np.abs(np.bincount(y[part]) - expected) <= 2).all()


@given(
    counts=st.lists(st.integers(1, 9), min_size=3, max_size=30),
    valid_size=st.floats(0.1, 0.4),
    test_size=st.floats(0.1, 0.4),
    seed=SEEDS,
)
def test_groups_are_never_shared(counts, valid_size, test_size, seed):
    """No part is empty, and sizes differ from the requested by less than two groups."""
    groups = np.random.default_rng(seed).permutation(np.repeat(range(len(counts)), counts))
    n = len(groups)
    wanted = np.array([_n(valid_size, n), _n(test_size, n)])
    if wanted.sum() >= n:
        return

    parts = train_valid_test_split(
        np.arange(n),
        valid_size=valid_size,
        test_size=test_size,
        groups=groups,
        random_state=seed,
    )

    assert _is_partition(parts, n)
    sets = [set(groups[part]) for part in parts]
    assert sum(len(own) for own in sets) == len(counts)
    assert all(sets)
    sizes = np.array([len(part) for part in parts[1:]])
    assert (np.abs(sizes - wanted) <= 2 * max(counts)).all()


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"train_size": 0.57}, [11, 4, 5]),
        ({"train_size": 12, "test_size": 6}, [12, 2, 6]),
        ({"train_size": 6, "test_size": 4, "valid_size": 0.2}, [6, 4, 4]),
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": False},
        {"stratify": [0, 1] * 10},
        {"groups": range(20)},
        {"times": range(20)},
    ],
)
def test_training_rows_may_be_limited(sizes, expected, options):
    """A share is rounded down, as in scikit-learn, and None shares the remaining rows."""
    parts = train_valid_test_split(np.arange(20), random_state=0, **sizes, **options)

    assert [len(part) for part in parts] == expected
    assert len(set(np.concatenate(parts))) == sum(expected)


def test_rows_stay_in_order_without_shuffling():
    """The parts follow one another, as in scikit-learn's train_test_split."""
    parts = train_valid_test_split(list(range(10)), shuffle=False)

    assert parts == [[0, 1, 2, 3, 4, 5], [6, 7], [8, 9]]


def test_the_latest_training_rows_remain():
    """With times, rows that exceed the sizes are the earliest."""
    train, *_ = train_valid_test_split(
        range(10), times=range(10), train_size=3, test_size=2
    )

    assert list(train) == [0, 1, 2]
    parts = train_valid_test_split(
        list(range(10)), times=range(10), train_size=3, valid_size=2, test_size=2
    )
    assert parts == [[3, 4, 5], [6, 7], [8, 9]]


def test_groups_may_be_stratified_too():
    """Classes that come in whole groups are spread over the parts."""
    groups = np.repeat(np.arange(100), 10)
    y = np.isin(groups, np.arange(20)).astype(int)  # 20 groups of 100.
    rows = np.arange(1000)

    for seed in range(5):
        parts = train_valid_test_split(rows, stratify=y, groups=groups, random_state=seed)

        assert [len(part) for part in parts] == [600, 200, 200]
        assert [y[part].mean() for part in parts] == pytest.approx([0.2, 0.2, 0.2])


@example(times=[0] * 8 + [1, 2])
@given(times=st.lists(st.integers(0, 30), min_size=3, max_size=80))
def test_times_are_in_order_and_never_shared(times):
    """The last training row is earlier than the first validation row, and so on."""
    times = np.array(times)
    if len(set(times)) < 3:
        return

    train, valid, test = train_valid_test_split(np.arange(len(times)), times=times)

    assert _is_partition([train, valid, test], len(times))
    assert times[train].max() < times[valid].min()
    assert times[valid].max() < times[test].min()
    assert (np.diff(times[train]) >= 0).all()


@pytest.mark.parametrize("as_times", [pd.to_datetime, lambda t: [str(x) for x in t]])
def test_times_may_be_dates(as_times):
    """The rows are cut where the sizes say if all times are different."""
    days = np.datetime64("2026-01-01") + np.random.default_rng(0).permutation(10)

    train, valid, test = train_valid_test_split(days, times=as_times(days))

    assert (len(train), len(valid), len(test)) == (6, 2, 2)
    assert list(test) == list(np.sort(days)[-2:])


def test_times_of_text_are_dates_or_refused():
    """Sorted as text, 2024-10 would be before 2024-9, and 12/01/2023 after 01/15/2024."""
    months = [f"2024-{month}" for month in range(1, 13)]

    train, _, test = train_valid_test_split(months, times=months, test_size=3)

    assert (train[0], test) == ("2024-1", ["2024-10", "2024-11", "2024-12"])
    with pytest.raises(ValueError, match="begin with the year"):
        train_valid_test_split(months, times=[f"{m}/1/2024" for m in range(1, 13)])


def test_all_kinds_of_arrays_are_split_alike():
    """Each keeps its type; the three parts of an array are adjacent."""
    values = np.arange(10)
    frame = pd.DataFrame({"a": values}, index=values + 100)
    arrays = (values, frame, pl.DataFrame({"a": values}), values.tolist())
    matrix = sparse.csr_array(values[:, None])

    parts = train_valid_test_split(*arrays, matrix, random_state=0)

    for k in range(3):
        array, own, other, listed, sparse_rows = parts[k::3]
        assert own["a"].tolist() == other["a"].to_list() == listed == array.tolist()
        assert own.index.tolist() == (array + 100).tolist()
        assert sparse_rows.toarray().ravel().tolist() == listed


def test_a_seed_repeats_the_split_and_another_changes_it():
    """With and without classes and groups."""
    rows, y, groups = np.arange(60), np.arange(60) % 3, np.arange(60) // 2

    for options in ({}, {"stratify": y}, {"groups": groups}):
        first, again, other = (
            train_valid_test_split(rows, random_state=seed, **options) for seed in (0, 0, 1)
        )

        assert all(map(np.array_equal, first, again))
        assert not all(map(np.array_equal, first, other))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_size": 1.5}, "'test_size' parameter of train_valid_test_split must be"),
        ({"valid_size": 0}, "'valid_size' parameter of train_valid_test_split must be"),
        (
            {"test_size": 0.5, "valid_size": 0.5},
            "must leave at least one row for each part",
        ),
        (
            {"test_size": 12},
            "must leave at least one row for each part.*test_size=12 for n_samples=10",
        ),
        ({"train_size": 9, "test_size": 1}, "must leave at least one row for each part"),
        ({"train_size": 0.7, "valid_size": 4}, "must leave at least one row for each part"),
        ({"shuffle": False, "stratify": [0, 1] * 5}, "with 'stratify' or 'groups'"),
        ({"groups": [0, 1] * 5}, "at least 3 different groups. Got 2"),
        ({"times": [0, 1] * 5}, "at least 3 different times. Got 2"),
        ({"times": [np.nan] * 10}, "'times' .* must not hold missing values. Got 10"),
        ({"groups": np.eye(10)}, r"'groups' must have shape \(n_samples,\)"),
        ({"times": range(10), "groups": range(10)}, "with 'stratify' or 'groups'"),
        ({"stratify": [0] * 9 + [1]}, "least populated class"),
        ({"groups": range(9)}, "inconsistent numbers of samples"),
    ],
)
def test_invalid_splits_are_refused(options, message):
    """With scikit-learn's message and the value."""
    with pytest.raises(ValueError, match=message):
        train_valid_test_split(np.arange(10), **options)


def test_something_must_be_given():
    """As in scikit-learn's train_test_split."""
    with pytest.raises(ValueError, match="At least one array required as input"):
        train_valid_test_split()


@pytest.mark.parametrize("n", range(100, 105))
def test_three_shares_of_all_rows_suit_each_number_of_rows(n):
    """The last parts are rounded up, and the first has the rest."""
    parts = train_valid_test_split(
        np.arange(n), train_size=0.6, valid_size=0.2, test_size=0.2, random_state=0
    )

    n_rounded = int(np.ceil(0.2 * n))
    assert [*map(len, parts)] == [n - 2 * n_rounded, n_rounded, n_rounded]
