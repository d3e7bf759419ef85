"""Curves of all candidates, and results of a search as columns."""

import numpy as np
import pytest
from sklearn.datasets import load_iris

from sk_tune import HalvingGridSearchCV, MLPClassifier
from sk_tune._report import RungDisplay
from sk_tune._report._search_trials import trials_of


def test_the_best_score_so_far_starts_again_with_more_resources(made):
    """It ignores failures; scores after few and many epochs are not comparable."""
    search = made(
        [{"a": i} for i in range(7)],
        [np.nan, 0.7, 0.9, np.nan, 0.8, np.nan, 0.95],
        n_resources=[1, 1, 1, 3, 3, 3, 1],
        iter=[0, 0, 0, 1, 1, 1, 0],
    )
    search.resource = "max_epochs"

    best = trials_of(search).running_best()

    np.testing.assert_array_equal(best, [np.nan, 0.7, 0.9, 0.9, 0.8, 0.8, 0.8])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "needs rungs, or networks"),
        ({"quantity": "error"}, "'quantity' parameter must be one of"),
    ],
)
def test_missing_quantities_are_refused(ridge_grid, options, words):
    """A ridge regression has neither epochs nor rungs, and names are checked."""
    with pytest.raises(ValueError, match=words):
        RungDisplay.from_search(ridge_grid, **options)


def test_one_of_several_metrics_decides(iris_grid):
    """The deciding metric, or a named metric."""
    accuracy, own = trials_of(iris_grid, "accuracy"), trials_of(iris_grid)

    expected = iris_grid.cv_results_["mean_test_accuracy"]
    np.testing.assert_array_equal(accuracy.scores, expected)
    assert accuracy.best == np.argmax(expected)
    assert accuracy.score_label.startswith("Accuracy")
    assert own.best == iris_grid.best_index_
    assert own.score_label.startswith("Negative log loss")
    with pytest.raises(ValueError, match="must be one of .* Got 'f1' instead"):
        trials_of(iris_grid, "f1")


def test_lines_are_the_searchs_curves(hyperband):
    """Each is the mean over folds of a configuration's last row of cv_results_."""
    table = hyperband.learning_curves_
    means = table.groupby(["result_row", "epoch"])["valid_score"].mean()

    display = RungDisplay.from_search(hyperband)

    trials = display.trials
    assert set(display.lines_) == set(np.flatnonzero(trials.is_last))
    assert len(display.lines_) == sum(b.rungs[0].n_candidates for b in hyperband.brackets_)
    for row, line in display.lines_.items():
        np.testing.assert_array_equal(line.get_xdata(), means[row].index)
        np.testing.assert_allclose(line.get_ydata(), means[row])
        assert len(line.get_xdata()) == trials.n_resources[row]


def test_candidates_of_the_last_rung_look_different(hyperband):
    """Their number is the number of candidates in the last rungs."""
    display = RungDisplay.from_search(hyperband)

    curves = display.curves
    survivors = {curve.row for curve in curves if curve.survives}
    assert len(survivors) == sum(b.rungs[-1].n_candidates for b in hyperband.brackets_)
    assert hyperband.best_index_ in survivors
    for row, line in display.lines_.items():
        assert (line.get_linestyle() == "--") == (row not in survivors)
    assert display.ax_.get_title(loc="left").startswith(f"{len(curves)} candidates")


def test_rungs_are_marked_on_the_axis(hyperband):
    """Ticks are at the rungs that drop candidates."""
    ax = RungDisplay.from_search(hyperband).ax_

    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "3", "9"]
    assert ax.get_xscale() == "log"


def test_losses_may_be_drawn_instead(iris_grid):
    """Without rungs, all candidates except the best have the same style."""
    table = iris_grid.learning_curves_
    means = table.groupby(["result_row", "epoch"])["valid_loss"].mean()

    display = RungDisplay.from_search(iris_grid, quantity="loss", line_kw={"label": "mine"})

    np.testing.assert_allclose(display.lines_[3].get_ydata(), means[3])
    labels = [t.get_text() for t in display.ax_.get_legend().get_texts()]
    assert labels == ["Best", "Candidate"]


def test_rungs_of_samples_are_drawn_by_their_scores():
    """Points are mean_test_score of a rung against its number of rows."""
    X, y = load_iris(return_X_y=True)
    net = MLPClassifier(width=4, max_epochs=2, batch_size=16, random_state=0)
    grid = {"learning_rate": [1e-3, 1e-2, 1e-1]}
    search = HalvingGridSearchCV(net, grid, cv=3, min_resources=40, random_state=0).fit(
        X, y
    )

    display = RungDisplay.from_search(search)

    results = search.cv_results_
    drawn = sorted(
        (n, score)
        for line in display.lines_.values()
        for n, score in zip(line.get_xdata(), line.get_ydata(), strict=True)
    )
    rows = zip(results["n_resources"], results["mean_test_score"], strict=True)
    assert drawn == sorted(rows)
    assert display.ax_.get_xlabel() == "Samples"


def test_one_candidate_on_one_fold_is_drawn(diabetes_one):
    """A score below the mean's score is inside the axes."""
    display = RungDisplay.from_search(diabetes_one)

    low, high = display.ax_.get_ylim()
    values = display.lines_[0].get_ydata()
    assert low < values.min() < values.max() < high
    assert display.ax_.get_title(loc="left") == "1 candidate"
