"""Groups and times on both sides of a split."""

import numpy as np
import pandas as pd
import pytest

from sk_tune.diagnosis._leak_copies import as_leak_table
from sk_tune.diagnosis._leaks import check_groups, check_times

FOLDS = [(np.arange(8), np.arange(8, 12))]


def _table(**columns):
    X = pd.DataFrame({"a": np.arange(12.0), **columns})
    return as_leak_table(X, np.zeros(12), is_classification=False, folds=FOLDS)


@pytest.mark.parametrize(("n_shared", "outcome"), [(0, "passed"), (3, "issue")])
def test_the_share_is_that_of_test_rows_whose_group_is_in_training(n_shared, outcome):
    """Of four test rows."""
    groups = np.arange(12)
    groups[8 : 8 + n_shared] = 0

    finding = check_groups(_table(), groups)

    assert finding.outcome == outcome
    assert finding.evidence["share"] == n_shared / 4


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("patient", True),
        ("Customer ID", True),
        ("customerID", True),
        ("user_id", True),
        ("id", True),
        ("number_customer_service_calls", False),
        ("user_rating", False),
        ("paid", False),
    ],
)
def test_identities_are_told_by_their_whole_name(name, is_one):
    """A word somewhere in a name makes no identity."""
    X = pd.DataFrame({name: np.arange(40) // 2})
    folds = [(np.arange(0, 40, 2), np.arange(1, 40, 2))]
    table = as_leak_table(X, np.zeros(40), is_classification=False, folds=folds)

    assert (check_groups(table).outcome == "tip") is is_one


def test_test_rows_before_the_last_training_row_are_late():
    """Times need not be sorted."""
    assert check_times(_table(), np.arange(12)).outcome == "passed"
    backwards = check_times(_table(), np.arange(12)[::-1])

    assert backwards.outcome == "issue"
    assert backwards.evidence["share"] == 1.0
