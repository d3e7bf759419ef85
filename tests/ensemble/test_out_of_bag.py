"""Tables on rows that members lack."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from sk_tune.ensemble._combination import Combination, Member
from sk_tune.ensemble._out_of_bag import epoch_table, members_table, rows_left_out


class Fixed:
    """Predicts what it was told, by the number in the first column."""

    def __init__(self, values):
        self.values = np.asarray(values, dtype=float)

    def predict(self, X):
        """Return the values of the rows."""
        return self.values[X[:, 0].astype(int)]


class FixedProba(Fixed):
    """The same for two classes."""

    classes_ = np.arange(2)

    def predict_proba(self, X):
        """Return the probabilities of the rows."""
        p = self.predict(X)
        return np.column_stack([1 - p, p])


ROWS = np.arange(4)[:, np.newaxis]


def test_rows_left_out_are_those_not_drawn():
    """However often a row was drawn."""
    left_out = rows_left_out([np.array([0, 0, 2]), np.array([1, 1, 1])], 3)

    assert left_out.tolist() == [[False, True, False], [True, False, True]]


@pytest.mark.parametrize("most_numbers", [1, 2**22], ids=["row by row", "at once"])
def test_members_are_only_asked_for_rows_that_they_lack(monkeypatch, most_numbers):
    """Accuracy of the mean over members that lack the row; other members do not count."""
    monkeypatch.setattr("sk_tune.ensemble._out_of_bag._MOST_NUMBERS", most_numbers)
    members = [FixedProba([0.9, 0.9, 0.1, 0.4]), FixedProba([0.2, 0.3, 0.8, 0.7])]
    left_out = np.array([[True, True, False, True], [True, False, False, True]])
    y = np.array([1, 1, 1, 1])

    table = members_table(
        Combination([Member(m, 0.5) for m in members], np.arange(2)), left_out, ROWS, y
    )

    # Row 2 is left out by nobody.  One member: rows 0 and 1 of rows 0, 1 and 3 are right;
    # two: means are 0.55, 0.9 and 0.55, all right.
    assert table["n_members"].tolist() == [1, 2]
    assert table["n_samples"].tolist() == [3, 3]
    np.testing.assert_allclose(table["oob_score"], [2 / 3, 1.0])


def test_the_score_of_regressors_is_r2():
    """Of means over the members that lack a row; NaN where R^2 is not defined."""
    members = [Fixed([1, 0, 0, 0]), Fixed([3, 2, 3, 9])]
    left_out = np.array([[True, False, False, False], [True, True, True, False]])
    y = np.array([2.0, 2.0, 5.0, 0.0])

    table = members_table(Combination([Member(m, 0.5) for m in members]), left_out, ROWS, y)

    # Predicted are 2, 2 and 3 for 2, 2 and 5, whose squared deviations sum to 6.
    np.testing.assert_allclose(table["oob_score"], [np.nan, 1 - 4 / 6])
    assert table["n_samples"].tolist() == [1, 3]


def test_members_without_curves_have_no_rows(iris, make_estimator):
    """The table has its columns all the same."""
    watched = LinearRegression().fit(*iris), make_estimator("MLPClassifier").fit(*iris)

    table = epoch_table(watched)

    assert list(table) == ["member", "epoch", "train_loss", "oob_loss", "oob_score"]
    assert len(table) == 0
