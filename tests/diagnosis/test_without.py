# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""Folds tried without the rows of one of them."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import KFold, RepeatedKFold

from sk_tune.diagnosis import try_without_fold


def _linear(n_rows=100):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 3))
    return X, X.sum(axis=1) + 0.1 * rng.normal(size=n_rows)


@pytest.mark.parametrize("fold", [0, 3])
def test_rows_with_other_targets_do_harm(fold):
    """Three more for each target of a fold spoils the line for the others."""
    X, y = _linear()
    y[20 * fold : 20 * (fold + 1)] += 3.0

    finding = try_without_fold(LinearRegression(), X, y, fold=fold, cv=KFold(5))

    assert (finding.code, finding.outcome) == ("SKT116", "issue")
    assert finding.evidence["fold"] == fold
    assert finding.evidence["score_without"] > 0.98 > finding.evidence["score"]


def test_rows_that_are_only_rare_are_kept():
    """An end of the data that follows the same law helps the others."""
    X, y = _linear()
    X[:20] += 2.0
    y[:20] += 6.0

    finding = try_without_fold(LinearRegression(), X, y, fold=0, cv=KFold(5))

    assert finding.outcome == "passed"
    assert finding.evidence["gain"] < 0.001


def test_the_score_can_be_chosen():
    """Half of the labels of a fold are wrong: the others' log loss tells."""
    X, y = _linear(400)
    labels = (y > 0).astype(int)
    labels[:80:2] = 1 - labels[:80:2]

    finding = try_without_fold(
        LogisticRegression(), X, labels, fold=0, cv=KFold(5), scoring="neg_log_loss"
    )

    assert finding.outcome == "issue"
    assert finding.evidence["score"] < finding.evidence["score_without"] < 0


def test_folds_that_share_the_rows_are_no_others():
    """Of two repetitions of three folds, two or less do not test rows of the first."""
    X, y = _linear(60)
    y[:20] += 3.0
    cv = RepeatedKFold(n_splits=3, n_repeats=2, random_state=0)

    finding = try_without_fold(LinearRegression(), X, y, fold=0, cv=cv)

    assert np.isfinite(finding.evidence["gain"])


@pytest.mark.parametrize(("fold", "n_folds"), [(5, 5), (-1, 5), (0, 2)])
def test_it_takes_a_fold_of_three(fold, n_folds):
    """Of two folds that differ nobody knows which is the odd one."""
    X, y = _linear()

    with pytest.raises(ValueError, match="must be one of at least three folds"):
        try_without_fold(LinearRegression(), X, y, fold=fold, cv=KFold(n_folds))
