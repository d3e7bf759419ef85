"""Scores of baselines."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score

from sk_tune.cli._baselines import score_baselines, score_on_test
from sk_tune.cli._split import Split, build_folds, split_rows
from sk_tune.cli._target import Target
from sk_tune.exceptions import OptionError

X = pd.DataFrame({"a": np.linspace(-1, 1, 100)})


def _split(y, task):
    return split_rows(X, Target(name="y", task=task, reason="", y=y), 0.2, 0)


def _baselines(y, task, scoring):
    rows = _split(y, task)
    folds = build_folds(task, 0)
    return score_baselines(rows, task, scoring=scoring, folds=folds, n_jobs=1)


def test_the_dummy_of_classes_scores_the_share_of_the_largest():
    """Seven rows in ten are of class 0, in the folds and in the test."""
    dummy, linear = _baselines(
        (np.arange(100) >= 70).astype(int), "classification", "accuracy"
    )

    assert dummy.mean == pytest.approx(0.7, abs=0.01)
    assert dummy.test == 0.7
    assert linear.test > 0.9


def test_the_linear_baseline_of_numbers_is_linear():
    """A straight line is explained nearly fully, and the mean explains nothing."""
    dummy, linear = _baselines(3 * X["a"].to_numpy() + 1, "regression", "r2")

    assert dummy.mean <= 0
    assert linear.mean > 0.99
    assert linear.test > 0.99


def test_scores_are_of_the_given_folds():
    """As scikit-learn's cross_val_score has them, on training rows only."""
    y = np.sin(9 * X["a"].to_numpy())
    rows = _split(y, "regression")
    folds = build_folds("regression", 0)

    _, linear = score_baselines(rows, "regression", scoring="r2", folds=folds, n_jobs=1)

    # Ridge with penalty 1 on one scaled column of 64 rows is within 2 % of least squares.
    expected = cross_val_score(LinearRegression(), rows.X_train, rows.y_train, cv=folds)
    assert linear.mean == pytest.approx(expected.mean(), abs=0.02)
    assert linear.std == pytest.approx(expected.std(), abs=0.02)


def test_a_scorer_that_does_not_suit_the_target_is_refused():
    """The dummy tells before any time is spent."""
    with pytest.raises(
        OptionError, match=r"--scoring must suit the target\. Got 'accuracy'"
    ):
        _baselines(X["a"].to_numpy(), "regression", "accuracy")


def test_a_test_score_that_is_undefined_is_nan():
    """ROC-AUC needs rows of both classes."""
    y = np.arange(100) % 2
    fitted = DummyClassifier().fit(X, y)
    rows = Split(X_train=X, X_test=X[::2], y_train=y, y_test=y[::2], stratified=False)

    with pytest.warns(UserWarning, match="Only one class"):
        score = score_on_test(fitted, rows, "roc_auc")

    assert math.isnan(score)
    assert math.isnan(score_on_test(fitted, rows, "neg_log_loss"))
