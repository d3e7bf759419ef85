"""Predictions of held-out rows, of networks and of what is none."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold
from sklearn.tree import DecisionTreeClassifier

from sk_tune import GridSearchCV

CV = StratifiedKFold(3, shuffle=True, random_state=1)


@pytest.fixture
def net(make_estimator):
    """Return a small classifier in float64."""
    return make_estimator("MLPClassifier", dtype="float64")


@pytest.mark.parametrize(
    ("keep", "n_kept"), [("none", 0), ("best", 1), (2, 2), ("all", 3)], ids=str
)
@pytest.mark.parametrize("is_network", [True, False], ids=["network", "tree"])
def test_predictions_of_as_many_candidates_are_kept_as_are_asked_for(
    net, iris, is_network, keep, n_kept
):
    """The best ones; which rows were held out is told in any case."""
    estimator = net if is_network else DecisionTreeClassifier(random_state=0)
    grid = {"max_epochs": [1, 9, 3]} if is_network else {"max_depth": [1, 3, 2]}
    whole = GridSearchCV(estimator, grid, cv=CV).fit(*iris)

    search = clone(whole).set_params(keep_predictions=keep).fit(*iris)

    scores = whole.cv_results_["mean_test_score"]
    is_kept = ~np.isnan(search.oof_predictions_).reshape(3, -1).any(axis=1)
    assert sorted(scores[is_kept]) == sorted(scores)[3 - n_kept :]
    for row in np.flatnonzero(is_kept):
        own, expected = (s.oof_predictions_[row] for s in (search, whole))
        np.testing.assert_array_equal(own, expected)
    np.testing.assert_array_equal(
        np.hstack(search.held_out_rows_), np.hstack(whole.held_out_rows_)
    )
    assert search.corrected_score_ == (whole.corrected_score_ if n_kept == 3 else None)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predictions_are_kept_in_the_type_of_the_network(net, iris, dtype):
    """Half the memory for float32, which most networks have."""
    search = GridSearchCV(net.set_params(dtype=dtype), {"max_epochs": [1, 2]}, cv=CV)

    assert search.fit(*iris).oof_predictions_.dtype == dtype
