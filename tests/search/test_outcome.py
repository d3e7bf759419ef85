"""Held-out predictions, and the table made of them."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from sk_tune.search._outcomes import (
    FoldOutcome,
    HeldOut,
    hold,
    out_of_fold_predictions,
    positions,
)


def outcome(rows, values, classes=None):
    """Return an outcome of held-out rows."""
    return FoldOutcome(
        held=HeldOut(rows=np.array(rows), values=np.array(values), classes=classes)
    )


def test_a_row_held_out_twice_has_the_mean():
    """Predictions of overlapping folds are averaged; rows held out by none are NaN."""
    folds = [outcome([0, 1], [1.0, 2.0]), outcome([1, 1], [4.0, 6.0])]

    table = out_of_fold_predictions([folds], 3, None)

    np.testing.assert_array_equal(table, [[1.0, 4.0, np.nan]])


def test_a_row_held_out_twice_may_have_the_first():
    """The mean is what an ensemble predicts; a mask of rows says which as well."""
    folds = [outcome([0, 1], [1.0, 2.0]), outcome([1, 2, 2], [4.0, 6.0, 6.0])]

    table = out_of_fold_predictions([folds], 4, None, averaged=False)

    np.testing.assert_array_equal(table, [[1.0, 2.0, 6.0, np.nan]])
    assert positions(np.array([False, True, True])).tolist() == [1, 2]


def test_a_class_that_a_fold_lacks_has_probability_zero():
    """Columns are aligned by their classes, strings too."""
    classes = np.array(["a", "b", "c"])
    folds = [
        outcome([0], [[0.25, 0.75]], classes[[0, 2]]),
        outcome([1], [[0.2, 0.3, 0.5]], classes),
    ]

    table = out_of_fold_predictions([folds], 2, classes)

    np.testing.assert_array_equal(table, [[[0.25, 0, 0.75], [0.2, 0.3, 0.5]]])


def test_classes_in_another_order_are_put_in_theirs():
    """An estimator may have its classes in any order; columns follow the sorted labels."""
    classes = np.array(["a", "b", "c"])
    folds = [outcome([0], [[0.5, 0.3, 0.2]], classes[[2, 0, 1]])]

    table = out_of_fold_predictions([folds], 1, classes)

    np.testing.assert_array_equal(table, [[[0.3, 0.2, 0.5]]])


def test_candidates_without_predictions_are_nan():
    """A failed candidate has a row of NaN beside those that did not fail."""
    table = out_of_fold_predictions(
        [[FoldOutcome()], [outcome([0, 1], [1.0, 2.0])]], 2, None
    )

    np.testing.assert_array_equal(table, [[np.nan, np.nan], [1.0, 2.0]])


def test_nothing_held_gives_a_table_of_nan():
    """Where nothing predicts, the table has a row a candidate, all NaN."""
    table = out_of_fold_predictions([[FoldOutcome()]] * 2, 3, None)

    assert table.shape == (2, 3)
    assert np.isnan(table).all()


def test_probabilities_are_held_where_there_are_any(iris):
    """A classifier with probabilities holds these, one without 1 for its label."""
    rows = np.arange(0, 150, 10)
    regression = LogisticRegression(max_iter=1000).fit(*iris)
    svc = LinearSVC().fit(*iris)

    soft = hold(regression, iris.X[rows], rows)
    hard = hold(svc, iris.X[rows], rows)

    np.testing.assert_array_equal(soft.values, regression.predict_proba(iris.X[rows]))
    np.testing.assert_array_equal(hard.values.argmax(axis=1), svc.predict(iris.X[rows]))
    assert set(hard.values.ravel()) == {0.0, 1.0}
    assert (soft.is_of_predict, hard.is_of_predict) == (False, True)


def test_several_labels_are_held_as_the_probability_of_each(iris):
    """A multilabel classifier of scikit-learn holds one probability a label."""
    y = np.column_stack([iris.y == 0, iris.X[:, 0] > 5.8]).astype(int)
    model = KNeighborsClassifier(7).fit(iris.X, y)

    held = hold(model, iris.X, np.arange(150))

    expected = [own[:, 1] for own in model.predict_proba(iris.X)]
    np.testing.assert_array_equal(held.values.T, expected)
    assert held.classes is None


def test_a_label_that_all_rows_have_has_probability_one(iris):
    """Scikit-learn gives one column for it, of the only value that it has seen."""
    y = np.column_stack([iris.y == 0, np.ones(150), np.zeros(150)]).astype(int)
    model = KNeighborsClassifier(7).fit(iris.X, y)

    held = hold(model, iris.X, np.arange(150))

    np.testing.assert_array_equal(held.values[:, 1:], [[1.0, 0.0]] * 150)


def test_what_cannot_predict_holds_nothing(iris):
    """An unfitted estimator gives None and no error."""
    assert hold(LinearRegression(), iris.X, np.arange(150)) is None


@pytest.mark.parametrize("name", ["train_loss", "valid_loss", "valid_score"])
def test_curves_are_empty_by_default(name):
    """What is no network has curves without epochs."""
    assert getattr(FoldOutcome(), name).shape == (0,)
