# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Folds of all rows, where some of the rows are left."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sk_tune._splits import folds_among


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 4))
def test_positions_lead_to_the_same_rows(is_kept, n_folds):
    """Of each part those that were kept, in its order."""
    n = len(is_kept)
    rows = np.random.default_rng(0).permutation(n)
    folds = [(rows[rows % n_folds != i], rows[rows % n_folds == i]) for i in range(n_folds)]
    kept = np.flatnonzero(is_kept)

    found = folds_among(kept, folds, n)

    assert len(found) == n_folds
    for fold, own in zip(folds, found, strict=True):
        for part, places in zip(fold, own, strict=True):
            assert kept[places].tolist() == [row for row in part if is_kept[row]]
