# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Copies of one case, told by how near rows lie by chance."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from sk_tune.diagnosis import group_copies
from sk_tune.diagnosis._leak_copies import K, nearness_limit


def _distances(X):
    return NearestNeighbors(n_neighbors=2 * K).fit(X).kneighbors()[0]


@pytest.mark.parametrize("n_columns", [2, 4, 8])
def test_the_limit_is_passed_by_chance_as_often_as_said(n_columns):
    """Of 4,000 rows that lie evenly, about one in fifty is within the limit for one."""
    rng = np.random.default_rng(0)
    distances = _distances(rng.random((4000, n_columns)))

    limit = nearness_limit(distances, chance=0.02)

    # The dimension is estimated, and of more columns a cube is mostly border.
    share = (distances[:, 0] < limit * distances[:, K - 1]).mean()
    assert 0.007 < share < 0.04


def test_nothing_is_near_where_most_rows_are_equal():
    """Without distances there is no dimension."""
    assert nearness_limit(np.zeros((10, 2 * K))) == 0.0
    assert nearness_limit(np.ones((10, 2 * K))) == 0.0


@settings(deadline=None)
@given(n_times=st.integers(2, 5), seed=st.integers(0, 50))
def test_copies_of_a_case_have_its_group(n_times, seed):
    """Recorded so many times with some noise, nine in ten cases are whole at least."""
    rng = np.random.default_rng(seed)
    cases = np.repeat(np.arange(60), n_times)
    X = rng.normal(size=(60, 6))[cases] + 0.05 * rng.normal(size=(len(cases), 6))

    groups = group_copies(X)

    whole = [len(np.unique(groups[cases == case])) == 1 for case in range(60)]
    assert np.mean(whole) >= 0.9
    assert max(len(np.unique(cases[groups == group])) for group in groups) <= 2


def test_rows_without_copies_keep_their_own_groups():
    """Two rows in a hundred may be near each other by chance."""
    X = np.random.default_rng(0).normal(size=(500, 5))

    assert len(np.unique(group_copies(X))) > 480


def test_units_and_order_do_not_matter():
    """Grams for kilograms, and the rows the other way round."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(50, 4)), 2, axis=0)
    X += 0.02 * rng.normal(size=X.shape)

    groups = group_copies(X)
    others = group_copies(1000 * X[::-1])[::-1]

    same = groups[:, None] == groups
    assert ((others[:, None] == others) == same).all()


def test_of_few_rows_only_equal_ones_are_grouped():
    """Six rows tell nothing of how near rows usually are."""
    X = np.array([[0.0], [0.0], [1.0], [1.001], [5.0], [9.0]])

    groups = group_copies(X)

    assert groups[0] == groups[1]
    assert len(np.unique(groups)) == 5
    assert group_copies(X[:1]).tolist() == [0]


def test_a_table_is_compared_by_its_numbers():
    """Names are no distances, and missing values count as usual ones."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(40, 3)), columns=list("abc"))
    X.loc[3, "a"] = np.nan
    doubled = pd.concat([X, X], ignore_index=True).assign(name="x")

    groups = group_copies(doubled)

    assert (groups[:40] == groups[40:]).all()


def test_without_numbers_there_is_nothing_to_compare():
    """Words have no distance."""
    with pytest.raises(ValueError, match="must have columns of numbers"):
        group_copies(pd.DataFrame({"name": ["a", "b"]}))
