"""Test rows and folds."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from sk_tune.cli._split import build_folds, split_rows
from sk_tune.cli._target import Target
from sk_tune.exceptions import OptionError


def _target(y, task="classification"):
    return Target(name="y", task=task, reason="", y=np.asarray(y))


def _frame(n):
    return pd.DataFrame({"row": np.arange(n)})


def test_each_row_is_in_one_part_with_its_target():
    """Nothing is lost, shared or mixed up."""
    y = np.arange(50) % 2
    split = split_rows(_frame(50), _target(y), 0.3, 0)

    rows = [*split.X_train["row"], *split.X_test["row"]]
    assert sorted(rows) == list(range(50))
    assert len(split.X_test) == 15
    assert (np.concatenate([split.y_train, split.y_test]) == y[rows]).all()


def test_classes_keep_their_shares():
    """One row in five of the rare class is set aside too."""
    split = split_rows(_frame(100), _target([1] * 10 + [0] * 90), 0.2, 0)

    assert split.stratified
    assert split.y_test.sum() == 2


def test_a_class_of_one_row_is_split_at_random():
    """It cannot be in both parts, which is no reason to refuse the table."""
    split = split_rows(_frame(41), _target([2] + [0, 1] * 20), 0.2, 0)

    assert not split.stratified


def test_numbers_are_split_at_random():
    """There is nothing to stratify in a regression."""
    assert not split_rows(
        _frame(50), _target(np.arange(50.0), "regression"), 0.2, 0
    ).stratified


def test_the_seed_decides():
    """The same seed sets the same rows aside, another one others."""
    rows = [
        split_rows(_frame(50), _target([0, 1] * 25), 0.2, s).X_test["row"]
        for s in (0, 0, 1)
    ]

    assert rows[0].tolist() == rows[1].tolist()
    assert rows[0].tolist() != rows[2].tolist()


@pytest.mark.parametrize(("y", "test_size"), [([0, 1] * 10, 0.6), ([0, 1, 2, 3] * 5, 0.49)])
def test_too_few_rows_to_train_on_are_refused(y, test_size):
    """What is left must fill the folds, and one class each of them."""
    with pytest.raises(OptionError, match=f"--test-size.*Got {test_size}"):
        split_rows(_frame(len(y)), _target(y), test_size, 0)


def test_one_class_to_train_on_is_refused():
    """The only row of a class may be the one that is set aside."""
    y = [0] * 30 + [1]

    # The first seed that sets the last row aside.
    seed = next(
        s
        for s in range(99)
        if 30 in train_test_split(range(31), test_size=16, random_state=s)[1]
    )

    with pytest.raises(OptionError, match="of two classes or more"):
        split_rows(_frame(31), _target(y), 0.5, seed)


def test_folds_are_the_same_each_time():
    """Baselines and candidates are compared on equal folds."""
    folds = build_folds("classification", 3)
    X, y = np.zeros((40, 1)), np.arange(40) % 2

    first, second = ([test.tolist() for _, test in folds.split(X, y)] for _ in range(2))
    assert first == second
    assert [int(y[test].sum()) for test in first] == [4] * 5


def test_folds_of_a_regression_are_shuffled():
    """Tables are often sorted by what is to be predicted."""
    X = np.zeros((40, 1))

    assert next(build_folds("regression", 0).split(X))[1].tolist() != list(range(8))
