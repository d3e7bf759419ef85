"""Columns that hold the target or know of all rows."""

import numpy as np
import pandas as pd
import pytest

from sk_tune.diagnosis._leak_columns import (
    MOST_TREES,
    check_giveaway,
    check_target,
)
from sk_tune.diagnosis._leak_copies import as_leak_table

RNG = np.random.default_rng(0)
Y = RNG.normal(size=120)
CLASSES = np.arange(120) % 3


def _table(columns, y=CLASSES):
    X = pd.DataFrame(columns)
    is_classification = y.dtype.kind != "f"
    return as_leak_table(X, y, is_classification=is_classification, folds=[])


@pytest.mark.parametrize(
    ("column", "outcome"),
    [
        (np.array(["red", "green", "blue"])[CLASSES], "issue"),
        (CLASSES * -2.5, "issue"),
        (CLASSES % 2, "passed"),
        (np.arange(120), "passed"),
        (np.where(np.arange(120) == 5, 0, CLASSES), "passed"),
    ],
    ids=["renamed", "other numbers", "coarser", "finer", "one differs"],
)
def test_a_class_under_another_name_is_the_target(column, outcome):
    """If each value goes with one class and each class with one value."""
    assert check_target(_table({"a": column})).outcome == outcome


def test_a_number_in_other_units_is_the_target():
    """Not one that is only close to it."""
    noisy = Y + 0.01 * RNG.normal(size=120)

    assert check_target(_table({"a": 32 + 1.8 * Y}, Y)).outcome == "issue"
    assert check_target(_table({"a": noisy}, Y)).outcome == "passed"
    assert check_giveaway(_table({"a": RNG.normal(size=120)}, Y)).outcome == "passed"


def test_among_many_columns_the_one_that_tells_is_found():
    """Only some get a tree; it is among them."""
    columns = {f"c{i}": RNG.normal(size=120) for i in range(MOST_TREES + 50)}
    columns["told"] = CLASSES + 0.1 * RNG.normal(size=120)

    finding = check_giveaway(_table(columns))

    assert finding.outcome == "issue"
    assert "'told'" in finding.message


def test_a_column_that_tells_a_rare_class_gives_it_away():
    """Guessing is right 99 times in 100, so that little is left to be better by."""
    y = np.zeros(2000, dtype=int)
    y[::100] = 1
    charged = y * RNG.uniform(10, 90, size=2000)

    found = check_giveaway(_table({"a": RNG.normal(size=2000), "charged": charged}, y))

    assert found.outcome == "issue"
    assert "'charged'" in found.message


def test_a_class_that_is_rare_gives_nothing_away():
    """Guessing the common class is right 99.6 times in 100, with any column."""
    y = np.zeros(500, dtype=int)
    y[:2] = 1

    assert check_giveaway(_table({"a": RNG.normal(size=500)}, y)).outcome == "passed"
