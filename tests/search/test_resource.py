"""What rungs grant more of."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from sk_tune import HyperbandSearchCV
from sk_tune.search._rounds import (
    is_epochs,
    refuse_searched,
    smallest_samples,
    subsampled,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("max_epochs", True),
        ("net__max_epochs", True),
        ("n_samples", False),
        ("max_iter", False),
        ("max_epochs__x", False),
    ],
)
def test_epochs_are_told_by_their_name(name, expected):
    """Alone or as a parameter of a pipeline's step."""
    assert is_epochs(name) is expected


def test_a_resource_cannot_be_searched():
    """Samples are no parameter, so that they never are."""
    refuse_searched("n_samples", ["n_samples"])
    refuse_searched("max_epochs", ["dropout"])

    with pytest.raises(ValueError, match="Cannot use parameter max_epochs as the resource"):
        refuse_searched("max_epochs", ["dropout", "max_epochs"])


def test_a_rung_has_two_rows_of_each_class_in_each_fold():
    """As scikit-learn's "smallest" is defined."""
    assert smallest_samples(5, 3) == 30


@pytest.mark.parametrize(("resource", "n_rows"), [("n_samples", 60), ("max_iter", 150)])
def test_only_samples_cut_the_folds(iris, resource, n_rows):
    """Folds of 60 of 150 rows have 40 % of their rows; other resources leave them whole."""
    search = HyperbandSearchCV(
        LogisticRegression(max_iter=200),
        {"C": [1.0]},
        resource=resource,
        min_resources=60,
        max_resources=150,
        cv=2,
        random_state=0,
    ).fit(*iris)

    splits = list(subsampled(search, StratifiedKFold(3), 60).split(*iris))

    assert [len(train) + len(test) for train, test in splits] == [n_rows] * 3
    assert not any(np.isin(test, train).any() for train, test in splits)
